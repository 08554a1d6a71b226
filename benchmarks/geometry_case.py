"""The decoder of the geometry benchmark, in NumPy, so that both sides have the same: 784 means and scales of latents.

mean = W3 tanh(W2 tanh(W1 z + b1) + b2) + b3,    scale = (softplus(R) exp(-beta |z - c_k|^2) + 1e-9)^(-1/2)
"""

import itertools

import numpy as np

__all__ = ["BETA", "NUM_NODES", "NUM_POINTS", "pairs", "points", "weights"]

BETA = 0.5
NUM_NODES, NUM_POINTS = 5, 20  # stochman's own


def weights(latent_dim: int) -> dict[str, np.ndarray]:
    """Returns the weights, float32: kernels ``[in, out]``, 64 centres, and what softplus makes the weights of."""
    rng = np.random.default_rng(0)
    widths = [latent_dim, 64, 64, 784]
    arrays = {}
    for i, (before, after) in enumerate(itertools.pairwise(widths)):
        arrays[f"kernel{i}"] = rng.normal(size=[before, after]) / np.sqrt(before)
        arrays[f"bias{i}"] = 0.1 * rng.normal(size=[after])
    arrays["centres"] = rng.normal(size=[64, latent_dim])
    arrays["raw_weights"] = rng.normal(size=[64, 784])
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def points(latent_dim: int, count: int = 1000) -> np.ndarray:
    """Returns points ``[count, latent_dim]``."""
    return np.random.default_rng(1).normal(size=[count, latent_dim]).astype(np.float32)


def pairs(latent_dim: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Returns end points, ``[count, latent_dim]`` each."""
    both = np.random.default_rng(2).normal(size=[2, count, latent_dim]).astype(np.float32)
    return both[0], both[1]
