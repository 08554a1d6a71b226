"""Energies of chains of points as sums of squares, with all that Gauss and Newton's method needs to know of them.

    E = (P - 1) sum_s |r_s|^2,    r_s = f(c_s+1) - f(c_s)    or    r_s = L(m)' (c_s+1 - c_s),   L L' = G

with m the middle of both points and G the metric where there is no embedding f. A change of the points changes r_s by

    A_s' (change of c_s+1 - c_s) + B_s' (change of m):    A = (J_s + J_s+1) / 2,  B = J_s+1 - J_s
                                                      or  A = L,  B_k = L^-1 (d_k G) (c_s+1 - c_s) / 2

with J ``[D, M]`` the derivatives of the outputs by a point. (Factors of G differ by rotations, which change r but
neither E nor its gradient; of all of them this B turns least.) Products of A, B and r give energy, gradient and
Gauss-Newton matrix, and nothing else of the size of an image is kept. Differences of neighbours are taken before
products: products of neighbours nearly cancel, which float32 does not survive.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.geometry.arguments import EmbeddingFn
from tfzoo.math.jacobians import value_and_jacobian
from tfzoo.math.metric_tensors import MetricFn, check_metric
from tfzoo.types import Tensor

__all__ = ["Residuals", "embedding_residuals", "metric_residuals"]


class Residuals(NamedTuple):
    """Products of the residuals of B chains of P points, and of their derivatives.

    Attributes:
      gram: inner products of the rows of A, those of B, and r, ``[B, P - 1, 2 D + 1, 2 D + 1]``.
      rounding: what rounding of points or images makes of an energy of 0, ``[B]``.
    """

    gram: Tensor
    rounding: Tensor


def embedding_residuals(embedding_fn: EmbeddingFn, points: Tensor) -> Residuals:
    """Returns the products for chains of `points` ``[B, P, D]``, by one evaluation and D passes."""
    batch, (count, size) = tf.shape(points)[0], points.shape[1:]
    grams, sizes = [], []
    for y, jacobian in zip(*value_and_jacobian(embedding_fn, tf.reshape(points, [-1, size])), strict=True):
        y = tf.reshape(y, tf.stack([batch, count, 1, tf.shape(y)[-1]]))
        jacobian = tf.reshape(jacobian, tf.stack([batch, count, size, tf.shape(jacobian)[-1]]))
        mean = 0.5 * (jacobian[:, 1:] + jacobian[:, :-1])
        rows = tf.concat([mean, jacobian[:, 1:] - jacobian[:, :-1], y[:, 1:] - y[:, :-1]], axis=2)
        grams.append(tf.matmul(rows, rows, transpose_b=True))
        sizes.append(tf.reduce_sum(y**2, axis=[1, 2, 3]))
    return Residuals(tf.add_n(grams), _rounding(count, tf.add_n(sizes)))


def metric_residuals(metric_fn: MetricFn, points: Tensor) -> Residuals:
    """Returns the products for chains of `points` ``[B, P, D]``.

    A hundred units of rounding of the mean eigenvalue are added to the diagonal of the metric, so that a singular one
    has a factor too. Chains where the metric is not finite have an infinite energy.
    """
    batch, (count, size) = tf.shape(points)[0], points.shape[1:]
    dtype = points.dtype
    steps = tf.reshape(points[:, 1:] - points[:, :-1], [-1, size])
    middles = tf.reshape(0.5 * (points[:, 1:] + points[:, :-1]), [-1, size])

    def lifted(middles: Tensor) -> Tensor:
        metric = check_metric(metric_fn(middles), middles)
        lift = 100.0 * _epsilon(dtype) * tf.linalg.trace(metric) / size + 1e-30
        return metric + lift[:, tf.newaxis, tf.newaxis] * tf.eye(size, dtype=dtype)

    (metric,), (changes,) = value_and_jacobian(lifted, middles)
    known = tf.reduce_all(tf.math.is_finite(metric), axis=-1) & tf.reduce_all(tf.math.is_finite(changes), axis=[1, 2])
    metric = tf.reshape(tf.where(known[:, tf.newaxis], metric, tf.zeros_like(metric)), [-1, size, size])
    unknown = tf.cast(tf.logical_not(known), dtype)[:, tf.newaxis, tf.newaxis]
    factor = tf.linalg.cholesky(metric + unknown * tf.eye(size, dtype=dtype))
    r = tf.linalg.matvec(factor, steps, transpose_a=True)
    r = tf.where(known[:, tf.newaxis], r, tf.constant(np.inf, dtype))
    # dG step, for each coordinate of the middle: [N, D, D].
    turned = tf.linalg.matvec(tf.reshape(changes, [-1, size, size, size]), steps[:, tf.newaxis])
    by_middle = 0.5 * tf.linalg.matrix_transpose(tf.linalg.triangular_solve(factor, tf.linalg.matrix_transpose(turned)))
    rows = tf.concat([factor, by_middle, r[:, tf.newaxis]], axis=1)
    gram = tf.reshape(tf.matmul(rows, rows, transpose_b=True), [batch, count - 1, 2 * size + 1, 2 * size + 1])
    factor = tf.reshape(factor, [batch, count - 1, size, size])
    ends = tf.linalg.matvec(factor, points[:, 1:], transpose_a=True)
    return Residuals(gram, _rounding(count, tf.reduce_sum(ends**2, axis=[1, 2])))


def _rounding(count: int, sizes: Tensor) -> Tensor:
    return (count - 1) * _epsilon(sizes.dtype) ** 2 * sizes


def _epsilon(dtype: tf.DType) -> float:
    return float(np.finfo(dtype.as_numpy_dtype).eps)
