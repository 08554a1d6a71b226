"""Pairs of point clouds that solvers find easy or hard."""

import numpy as np

KINDS = ("shifted", "scaled", "heavy", "clustered")


def cloud(kind, n, dimension, seed=0):
    """Returns source and target points, float32."""
    generator = np.random.default_rng(seed)
    target = generator.normal(size=(n, dimension))
    source = generator.normal(size=(n, dimension))
    if kind == "shifted":
        source = source + 0.3
    elif kind == "scaled":
        source = 1.5 * source
    elif kind == "heavy":
        source = generator.standard_t(3, size=(n, dimension))
    elif kind == "clustered":
        centres = 3.0 * generator.normal(size=(10, dimension))
        source = centres[generator.integers(0, 10, n)] + 0.2 * source
    return source.astype(np.float32), target.astype(np.float32)
