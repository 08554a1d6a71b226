"""The squared 2-Wasserstein distance of two samples."""

from typing import Any

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

    With n = m it can be a loss, in eager code and in graphs (not under XLA): its gradient is that of the cost of the
    matching found, 2 / n times the way from each point's partner to the point (Danskin's theorem).

    Args:
      source: ``[N, D]``.
      target: ``[M, D]``. With n = m the value is the cost of a one-to-one matching, above the distance by at most
        `tolerance` relatively. With n != m, whose couplings split points, it is the highest dual that Adam finds,
        below it: by 1e-3 and less in our tests. It has no gradient then: that depends on how points are split.
      tolerance: see `semidiscrete.solve`; None for 1e-3, or 0.01 of the mass with n != m.
      seed: see `semidiscrete.solve`.

    Raises:
      ValueError: as `semidiscrete.solve` does, or where a gradient is asked for with n != m.
    """

    @tf.custom_gradient
    def measure(source: Tensor, target: Tensor) -> Any:
        if tf.executing_eagerly():
            value, assignment = _measure(source, target, tolerance, seed)
        else:  # where sizes may be unknown

            def run(source: Tensor, target: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
                with from_py_function():
                    return _measure(source, target, tolerance, key)

            inputs = [source, target, random.as_seed(0 if seed is None else seed)]
            value, assignment = tf.py_function(run, inputs, [tf.float64, tf.int32])
        return tf.ensure_shape(value, []), lambda upstream: _gradient(upstream, source, target, assignment)

    return measure(tf.convert_to_tensor(source), tf.convert_to_tensor(target))


def _measure(source: Tensor, target: Tensor, tolerance: float | None, seed: Seed) -> tuple[Tensor, Tensor]:
    """Returns the distance, and the target of each source point, ``[N]``, or ``[0]`` where points are split."""
    if source.shape[:1].is_compatible_with(target.shape[:1]) or not source.shape.rank or not target.shape.rank:
        solution = semidiscrete.solve(source, target, tolerance=tolerance, seed=seed)
        return solution.cost, solution.assignment
    if source.shape[0] < target.shape[0]:  # few points cannot fill many cells
        target, source = as_points(source, target)  # checked by the names that they were given by
    mass = tf.fill(tf.shape(target)[:1], 1.0 / max(1, target.shape[0]))
    tolerance = 0.01 if tolerance is None else tolerance
    solution = semidiscrete.solve(source, target, masses=mass, method="adam", tolerance=tolerance, seed=seed)
    return solution.dual, tf.zeros([0], tf.int32)


def _gradient(upstream: Tensor, source: Tensor, target: Tensor, assignment: Tensor) -> tuple[Tensor, Tensor]:
    need = "a divergence must be of equally many points to have a gradient"
    if not source.shape[:1].is_compatible_with(target.shape[:1]):
        raise ValueError(f"{need}. Received: {source.shape[0]} and {target.shape[0]}")
    count = tf.shape(source)[0]
    with tf.control_dependencies([tf.debugging.assert_equal(count, tf.shape(target)[0], need)]):
        way = tf.cast(source, tf.float64) - tf.cast(tf.gather(target, assignment), tf.float64)
    way *= 2.0 * upstream / tf.cast(count, tf.float64)
    to_target = tf.math.unsorted_segment_sum(-way, assignment, count)
    return tf.cast(way, source.dtype), tf.cast(to_target, target.dtype)
