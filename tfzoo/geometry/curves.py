"""Curves on [0, 1] between fixed end points: cubic splines and chains of points, both linear in their coefficients.

    c(t) = (1 - t) z0 + t z1 + sum_k phi_k(t) w_k,    phi_k(0) = phi_k(1) = 0,    w [..., K, D]

Splines: on each of the n - 1 equal pieces between n nodes a cubic; that value, slope and curvature agree at the inner
nodes, and that both ends are 0, are 3 (n - 2) + 2 linear conditions on 4 (n - 1) coefficients. The basis spans their
null space, K = n. Chains of P points: K = P - 2, one for each inner point. Both bases are orthonormal in the inner
product ``int phi_k'(t) phi_l'(t) dt`` (for chains of its sum), so that in a flat space the energy is |w|^2 and a
constant: a minimiser's best coordinates.

Energy and length are those of the chain of points: ``(P - 1) sum |f(c_i+1) - f(c_i)|^2`` and
``sum |f(c_i+1) - f(c_i)|`` for an embedding f, with ``(c_i+1 - c_i)' G(middle) (c_i+1 - c_i)`` in place of the square
where there is only a metric.

Deviations from the authors' code of the Riemannian VAE:
  Its row for the curvature is (0, 0, 6 t, 2) where the coefficients need (0, 0, 2, 6 t), and its curves have kinks in
  their slope's slope (test_geometry_curves.py: twice continuously differentiable at the nodes).
  Its squared length lacks the factor 2 (P - 1) (test_geometry_curves.py: energy and length of an arc).

References:
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
"""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.checks import check_positive
from tfzoo.geometry.arguments import EmbeddingFn, as_points, check_functions
from tfzoo.math.jacobians import outputs
from tfzoo.math.metric_tensors import MetricFn, check_metric
from tfzoo.types import Tensor, TensorLike

__all__ = [
    "Basis",
    "chain",
    "coefficients_of",
    "energy",
    "length",
    "points",
    "resampling",
    "spline",
    "squared_steps",
    "velocity",
]


class Basis(NamedTuple):
    """K functions that are 0 at both ends, and their slopes, at some times; float64 arrays.

    Attributes:
      times: ``[P]``, from 0 to 1.
      values: ``[P, K]``.
      slopes: ``[P, K]``.
    """

    times: np.ndarray
    values: np.ndarray
    slopes: np.ndarray


def spline(num_nodes: int, times: np.ndarray) -> Basis:
    """Returns the cubic splines on `num_nodes` equally spaced nodes, K = `num_nodes`, at `times` ``[P]``.

    Raises:
      ValueError: unless `num_nodes` is at least 2.
    """
    if check_positive("num_nodes", num_nodes) < 2:
        raise ValueError(f"num_nodes must be at least 2, the end points. Received: {num_nodes}")
    times = np.asarray(times, np.float64)
    cubics = _spline_cubics(int(num_nodes))
    pieces = num_nodes - 1
    at = np.clip((times * pieces).astype(int), 0, pieces - 1)
    local = times - at / pieces
    values = np.einsum("pc,pck->pk", local[:, np.newaxis] ** np.arange(4), cubics[at])
    powers = np.stack([np.zeros_like(local), np.ones_like(local), 2.0 * local, 3.0 * local**2], axis=1)
    return Basis(times, values, np.einsum("pc,pck->pk", powers, cubics[at]))


@functools.lru_cache
def _spline_cubics(num_nodes: int) -> np.ndarray:
    """Returns the coefficients of 1, s, s^2, s^3 on each piece, s from its start: ``[num_nodes - 1, 4, num_nodes]``."""
    pieces = num_nodes - 1
    h = 1.0 / pieces
    # Value, slope and curvature at the end of a piece, and at its start, of coefficients of (s / h)^i.
    end = np.array([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 2.0, 6.0]])
    start = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])
    conditions = np.zeros([3 * (pieces - 1) + 2, pieces, 4])
    for node in range(pieces - 1):
        conditions[3 * node : 3 * node + 3, node] = end
        conditions[3 * node : 3 * node + 3, node + 1] = -start
    conditions[-2, 0], conditions[-1, -1] = start[0], end[0]
    _, _, rows = np.linalg.svd(conditions.reshape(len(conditions), -1))
    null_space = rows[len(conditions) :].T.reshape(pieces, 4, num_nodes)
    # Gauss's rule of three points is exact for the products of slopes.
    nodes, weights = np.polynomial.legendre.leggauss(3)
    s = 0.5 * (nodes + 1.0)
    slopes = np.einsum("qc,pck->pqk", s[:, np.newaxis] ** np.arange(3) * [1.0, 2.0, 3.0], null_space[:, 1:]) / h
    gram = np.einsum("q,pqk,pql->kl", 0.5 * h * weights, slopes, slopes)
    cubics = null_space @ np.linalg.inv(np.linalg.cholesky(gram)).T
    return cubics / h ** np.arange(4)[:, np.newaxis]


@functools.lru_cache
def chain(num_points: int) -> Basis:
    """Returns a basis of all chains of `num_points` points, K = `num_points` - 2; slopes are central differences.

    Raises:
      ValueError: unless `num_points` is at least 3.
    """
    if check_positive("num_points", num_points) < 3:
        raise ValueError(f"num_points must be at least 3, one of them inside. Received: {num_points}")
    inner = np.eye(num_points)[:, 1:-1]
    steps = np.diff(inner, axis=0)
    values = inner @ np.linalg.inv(np.linalg.cholesky((num_points - 1) * steps.T @ steps)).T
    times = np.linspace(0.0, 1.0, num_points)
    return Basis(times, values, np.gradient(values, times, axis=0, edge_order=2))


def points(basis: Basis, z0: Tensor, z1: Tensor, coefficients: Tensor) -> Tensor:
    """Returns the curves ``[..., P, D]`` from `z0` to `z1` ``[..., D]`` with `coefficients` ``[..., K, D]``."""
    times = tf.constant(basis.times[:, np.newaxis], z0.dtype)
    z0, z1 = z0[..., tf.newaxis, :], z1[..., tf.newaxis, :]
    return (1.0 - times) * z0 + times * z1 + _combine(basis.values, coefficients)


def velocity(basis: Basis, z0: Tensor, z1: Tensor, coefficients: Tensor) -> Tensor:
    """Returns the derivatives by time ``[..., P, D]``; arguments as `points`."""
    return (z1 - z0)[..., tf.newaxis, :] + _combine(basis.slopes, coefficients)


def coefficients_of(basis: Basis, curves: Tensor) -> Tensor:
    """Returns the coefficients ``[..., K, D]`` whose curves are nearest to `curves` ``[..., P, D]`` at their times."""
    times = tf.constant(basis.times[:, np.newaxis], curves.dtype)
    straight = (1.0 - times) * curves[..., :1, :] + times * curves[..., -1:, :]
    return _combine(np.linalg.pinv(basis.values), curves - straight)


def resampling(num_points: int, times: np.ndarray) -> np.ndarray:
    """Returns the matrix ``[P, num_points]`` that takes points at equally spaced times to those at `times` ``[P]``."""
    return np.stack([np.interp(times, np.linspace(0.0, 1.0, num_points), row) for row in np.eye(num_points)], axis=1)


def _combine(matrix: np.ndarray, columns: Tensor) -> Tensor:
    """Returns the product of a matrix ``[P, K]`` with each of ``[..., K, D]``."""
    return tf.einsum("pk,...kd->...pd", tf.constant(matrix, columns.dtype), columns)


def energy(embedding_fn: EmbeddingFn | None, curves: TensorLike, *, metric_fn: MetricFn | None = None) -> Tensor:
    """Returns the energy ``[...]`` of chains of points ``[..., P, D]``, differentiable.

    Args:
      embedding_fn: as in `tfzoo.geometry.metric.pullback`, or None where `metric_fn` is given.
      curves: the points, at equally spaced times.
      metric_fn: points ``[N, D]`` to metrics ``[N, D, D]``, for spaces that have no embedding.

    Raises:
      ValueError: unless exactly one of the two functions is given, or if they return another shape.
    """
    squares = squared_steps(embedding_fn, as_points("curves", curves), metric_fn)
    return tf.cast(tf.shape(squares)[-1], squares.dtype) * tf.reduce_sum(squares, axis=-1)


def length(embedding_fn: EmbeddingFn | None, curves: TensorLike, *, metric_fn: MetricFn | None = None) -> Tensor:
    """Returns the length ``[...]`` of chains of points ``[..., P, D]``; arguments and errors as `energy`."""
    squares = squared_steps(embedding_fn, as_points("curves", curves), metric_fn)
    # The root's derivative is infinite at 0; that of a step of no length is taken as 0.
    none = tf.equal(squares, 0.0)
    steps = tf.where(none, tf.zeros_like(squares), tf.sqrt(tf.where(none, tf.ones_like(squares), squares)))
    return tf.reduce_sum(steps, axis=-1)


def squared_steps(embedding_fn: EmbeddingFn | None, curves: Tensor, metric_fn: MetricFn | None = None) -> Tensor:
    """Returns the squared lengths of the P - 1 steps of chains of points, ``[..., P - 1]``; arguments as `energy`."""
    check_functions(embedding_fn, metric_fn)
    size = curves.shape[-1]
    if embedding_fn is not None:
        shape = tf.shape(curves)[:-1]
        squares = []
        for y in outputs(embedding_fn, tf.reshape(curves, [-1, size])):
            y = tf.reshape(y, tf.concat([shape, [y.shape[-1] or -1]], 0))
            squares.append(tf.reduce_sum((y[..., 1:, :] - y[..., :-1, :]) ** 2, axis=-1))
        return tf.add_n(squares)
    steps = curves[..., 1:, :] - curves[..., :-1, :]
    middles = tf.reshape(0.5 * (curves[..., 1:, :] + curves[..., :-1, :]), [-1, size])
    assert metric_fn is not None
    metric = tf.reshape(check_metric(metric_fn(middles), middles), tf.concat([tf.shape(steps), [size]], 0))
    return tf.reduce_sum(steps * tf.linalg.matvec(metric, steps), axis=-1)
