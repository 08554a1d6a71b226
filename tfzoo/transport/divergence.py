"""The squared 2-Wasserstein distance of two samples."""

import tensorflow as tf

from tfzoo import random
from tfzoo.transport import semidiscrete
from tfzoo.transport.arguments import as_points
from tfzoo.transport.threads import from_py_function
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["divergence"]


def divergence(source: TensorLike, target: TensorLike, *, tolerance: float | None = None, seed: Seed = None) -> Tensor:
    """Returns the squared 2-Wasserstein distance between the laws of two samples, float64 ``[]``.

    It is the distance of the samples: between finite samples of one law it is not 0, and the less so the more
    dimensions there are, so compare values of equally many points.

    Args:
      source: ``[N, D]``.
      target: ``[M, D]``. With n = m the value is the cost of a one-to-one matching, above the distance by at most
        `tolerance` relatively. With n != m, whose couplings split points, it is the highest dual that Adam finds,
        below it: by 1e-3 and less in our tests.
      tolerance: see `semidiscrete.solve`; None for 1e-3, or 0.01 of the mass with n != m.
      seed: see `semidiscrete.solve`.

    Raises:
      ValueError: as `semidiscrete.solve` does.
    """
    source, target = tf.convert_to_tensor(source), tf.convert_to_tensor(target)
    if not tf.executing_eagerly():  # where sizes may be unknown

        def run(source: Tensor, target: Tensor, key: Tensor) -> Tensor:
            with from_py_function():
                return divergence(source, target, tolerance=tolerance, seed=key)

        key = random.as_seed(0 if seed is None else seed)
        return tf.ensure_shape(tf.py_function(run, [source, target, key], tf.float64), [])
    if source.shape[:1].is_compatible_with(target.shape[:1]) or not source.shape.rank or not target.shape.rank:
        return semidiscrete.solve(source, target, tolerance=tolerance, seed=seed).cost
    if source.shape[0] < target.shape[0]:  # few points cannot fill many cells
        target, source = as_points(source, target)  # checked by the names that they were given by
    mass = tf.fill(tf.shape(target)[:1], 1.0 / max(1, target.shape[0]))
    return semidiscrete.solve(
        source, target, masses=mass, method="adam", tolerance=0.01 if tolerance is None else tolerance, seed=seed
    ).dual
