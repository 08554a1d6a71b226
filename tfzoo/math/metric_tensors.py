"""Metrics of manifolds, a symmetric positive definite matrix for each point: checks, jitter, factor, volume.

What geometry and integrators have in common. A metric is singular where a decoder flattens a direction, and in float32
also where it is huge: far from the data the small eigenvalues are rounded to anything, negative numbers included. So
`lifted` adds to the diagonal in part in proportion to the metric:

    G + jitter (1 + trace(G)) I
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor, TensorLike

__all__ = ["MetricFn", "check_jitter", "check_metric", "cholesky", "lifted", "log_volume", "regular_cholesky"]

MetricFn = Callable[[Tensor], Tensor]  # points [N, D] -> metrics [N, D, D], each of its own point only


def check_jitter(jitter: Any) -> float:
    """Returns `jitter`, or raises ValueError unless it is a finite number of at least 0."""
    number = isinstance(jitter, (int, float, np.integer, np.floating)) and not isinstance(jitter, bool)
    if not number or not np.isfinite(jitter) or jitter < 0:
        raise ValueError(f"jitter must be a number of at least 0. Received: {jitter!r}")
    return float(jitter)


def check_metric(metric: TensorLike, points: Tensor) -> Tensor:
    """Returns what a metric_fn made of `points` ``[N, D]``.

    Raises:
      ValueError: unless it is ``[N, D, D]``, of the dtype of `points`.
    """
    metric = tf.convert_to_tensor(metric)
    count, size = points.shape
    if metric.dtype != points.dtype or not metric.shape.is_compatible_with([count, size, size]):
        raise ValueError(
            f"metric_fn must return one metric [{size}, {size}] of {points.dtype.name} for each of {count} points. "
            f"Received: {metric.dtype.name} {metric.shape}"
        )
    return tf.ensure_shape(metric, [count, size, size])


def lifted(metric: Tensor, jitter: float) -> Tensor:
    """Returns metrics ``[..., D, D]`` with ``jitter (1 + trace(G))`` added to their diagonals."""
    if not jitter:
        return metric
    # The sum of the eigenvalues, not their mean: rounding grows with D as well.
    lift = jitter * (1.0 + tf.linalg.trace(metric))
    return metric + lift[..., tf.newaxis, tf.newaxis] * tf.eye(metric.shape[-1], dtype=metric.dtype)


def cholesky(metric: TensorLike) -> Tensor:
    """Returns the factors L ``[..., D, D]`` of metrics L L'; of singular ones NaN in graphs.

    Raises:
      ValueError: for another shape or, in eager code, a metric that is not positive definite.
    """
    metric = tf.convert_to_tensor(metric)
    sizes = metric.shape[-2:]
    if not metric.dtype.is_floating or sizes.rank != 2 or not sizes[1] or not sizes[1:].is_compatible_with(sizes[:1]):
        raise ValueError(f"a metric must be [..., D, D]. Received: {metric.dtype.name} {metric.shape}")
    if tf.executing_eagerly():
        _check_positive_definite(metric.numpy())
    return tf.linalg.cholesky(metric)


def regular_cholesky(metric: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the factors ``[..., D, D]``, of singular metrics the unit matrix, and who is regular ``[...]``."""
    regular = tf.reduce_all(tf.math.is_finite(tf.linalg.cholesky(tf.stop_gradient(metric))), axis=[-2, -1])
    regular &= tf.reduce_all(tf.math.is_finite(metric), axis=[-2, -1])
    # Factored again: a mask behind the factor could not take a NaN out of its gradient.
    unit = tf.eye(metric.shape[-1], dtype=metric.dtype)
    return tf.linalg.cholesky(tf.where(regular[..., tf.newaxis, tf.newaxis], metric, unit)), regular


def log_volume(metric: TensorLike) -> Tensor:
    """Returns log sqrt(det G) ``[...]`` of metrics G ``[..., D, D]``; errors as `cholesky`."""
    return tf.reduce_sum(tf.math.log(tf.linalg.diag_part(cholesky(metric))), axis=-1)


def _check_positive_definite(metric: np.ndarray) -> None:
    finite = np.all(np.isfinite(metric), axis=(-2, -1))
    eigenvalues = np.linalg.eigvalsh(np.where(finite[..., np.newaxis, np.newaxis], metric, 0.0))
    # What rounding leaves of an eigenvalue of 0.
    least = metric.shape[-1] * np.finfo(metric.dtype).eps * np.abs(eigenvalues).max(axis=-1, initial=0.0)
    singular = ~finite | (eigenvalues[..., 0] <= least)
    if np.any(singular):
        first = eigenvalues[singular][0]
        raise ValueError(
            "a metric must be positive definite here: where a decoder flattens a direction, give its metric a jitter. "
            f"Received: {np.sum(singular)} singular of {singular.size}, eigenvalues {first[0]:.3g} to {first[-1]:.3g}"
        )
