"""Shortest curves between points of latent space, by their energy.

    E(c) = int_0^1 c'(t)' G(c(t)) c'(t) dt = int_0^1 |d f(c(t)) / dt|^2 dt

Of all curves between two points those of least energy are the shortest, and have constant speed: E = length^2. Energies
are taken through the embedding f where there is one, which needs no metric, and are minimised over cubic splines or
over chains of points, for all pairs in one loop.

A minimum is a local one: near the curve it started from. `initial=` takes other starts than straight lines, such as
shortest paths on a graph of the data (`tfzoo.geometry.graph`).

Deviations from the authors' code of the Riemannian VAE:
  The gradient of the squared distance is ``-2 G(z0) v0`` and ``2 G(z1) v1`` for velocities v on [0, 1], that of the
  first variation; the code lacks G, and has the wrong sign at z0. By the envelope theorem it is the gradient of the
  energy at fixed coefficients, which is how it is computed here: exact for the minimum over the splines, and it
  reaches the weights of the decoder, where the code has none
  (test_geometry_geodesic.py: gradient of the squared distance).

References:
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
  Detlefsen et al., "StochMan", https://github.com/MachineLearningLifeScience/stochman
  do Carmo, "Riemannian Geometry", 1992, chapter 9
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.checks import check_between, check_choice, check_positive
from tfzoo.geometry import curves, metric
from tfzoo.geometry.arguments import EmbeddingFn, as_points, check_functions
from tfzoo.geometry.exponential import exponential_map
from tfzoo.geometry.gauss_newton import minimize
from tfzoo.geometry.residuals import Residuals, embedding_residuals, metric_residuals
from tfzoo.math.metric_tensors import MetricFn
from tfzoo.types import Tensor, TensorLike

__all__ = ["Geodesic", "distance", "exponential_map", "logarithmic_map", "solve", "squared_distance"]

_CURVES = ("discrete", "spline")
_CURVE, _NUM_NODES, _NUM_POINTS = "spline", 8, 32


class Geodesic(NamedTuple):
    """Curves on [0, 1]; all are tensors, through which no gradient flows.

    Attributes:
      points: ``[..., P, D]``, at equally spaced times, end points included.
      velocity: derivatives by time there, ``[..., P, D]``.
      coefficients: of the basis, ``[..., K, D]``.
      length: ``sum |f(c_i+1) - f(c_i)|``, ``[...]``.
      energy: ``(P - 1) sum |f(c_i+1) - f(c_i)|^2``, ``[...]``; infinite where that is not finite at the start.
      converged: bool ``[...]``, whether another step promises to lower the energy by less than the tolerance.
      num_iterations: evaluations, int32 ``[...]``.
    """

    points: Tensor
    velocity: Tensor
    coefficients: Tensor
    length: Tensor
    energy: Tensor
    converged: Tensor
    num_iterations: Tensor


def solve(
    embedding_fn: EmbeddingFn | None,
    z0: TensorLike,
    z1: TensorLike,
    *,
    metric_fn: MetricFn | None = None,
    curve: str = _CURVE,
    num_nodes: int = _NUM_NODES,
    num_points: int = _NUM_POINTS,
    initial: TensorLike | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
    block_size: int = 16,
) -> Geodesic:
    """Returns curves of least energy from `z0` to `z1`.

        geodesic = tfzoo.geometry.geodesic.solve(decoder, z0, z1)      # z0, z1 [B, D], any Keras layer or function
        images = decoder(tf.reshape(geodesic.points, [-1, latent_dim]))

    One evaluation of a curve costs D + 1 passes of P points through the decoder. Most curves need three to six. To have
    it compiled, call it in a `tf.function`; batches may be of unknown size there.

    Args:
      embedding_fn: the decoder, any Keras layer or function: points ``[N, D]`` to outputs ``[N, ...]``, each of its own
        point only, or a tuple of such outputs, such as a mean and a scale. None where `metric_fn` is given.
      z0: start points, ``[..., D]``.
      z1: end points, ``[..., D]``; leading dimensions broadcast.
      metric_fn: points ``[N, D]`` to metrics ``[N, D, D]``, for spaces without an embedding, such as charts.
      curve: "spline", or "discrete" for chains of `num_points` points.
      num_nodes: of the splines, from 2 on.
      num_points: P at which energies are measured, at least `num_nodes` + 2, and at least 3.
      initial: curves to start from, ``[..., P', D]``, at equally spaced times and with the same end points. Where the
        straight line has less energy, it starts from that.
      tolerance: of `converged`, a relative one in energy.
      max_iterations: the most evaluations of a curve.
      block_size: curves that are evaluated at once; more need more memory, and suit a GPU.

    Raises:
      ValueError: for another value of an argument, shapes that do not broadcast, or functions that return other shapes.
    """
    check_functions(embedding_fn, metric_fn)
    z0, z1 = _end_points(z0, z1)
    basis = _basis(curve, num_nodes, num_points)
    tolerance = check_between("tolerance", tolerance, 0, 1)
    check_positive("max_iterations", max_iterations)
    check_positive("block_size", block_size)
    size, shape = z0.shape[-1], tf.shape(z0)
    start, end = (tf.stop_gradient(tf.reshape(z, [-1, size])) for z in (z0, z1))
    coefficients = tf.zeros([tf.shape(start)[0], basis.values.shape[1], size], start.dtype)
    if initial is not None:
        coefficients = _better_start(embedding_fn, metric_fn, basis, z0, start, end, coefficients, initial)

    def residuals_fn(coefficients: Tensor, rows: Tensor) -> Residuals:
        points = curves.points(basis, tf.gather(start, rows), tf.gather(end, rows), coefficients)
        if embedding_fn is not None:
            return embedding_residuals(embedding_fn, points)
        assert metric_fn is not None
        return metric_residuals(metric_fn, points)

    minimum = minimize(
        residuals_fn,
        basis.values,
        coefficients,
        tolerance=tolerance,
        max_iterations=max_iterations,
        block_size=block_size,
    )
    leading = shape[:-1]

    def shaped(tensor: Tensor) -> Tensor:
        return tf.stop_gradient(tf.reshape(tensor, tf.concat([leading, tf.shape(tensor)[1:]], 0)))

    return Geodesic(
        shaped(curves.points(basis, start, end, minimum.coefficients)),
        shaped(curves.velocity(basis, start, end, minimum.coefficients)),
        shaped(minimum.coefficients),
        shaped(minimum.length),
        shaped(minimum.energy),
        shaped(minimum.converged),
        shaped(minimum.num_iterations),
    )


def squared_distance(
    embedding_fn: EmbeddingFn | None,
    z0: TensorLike,
    z1: TensorLike,
    *,
    metric_fn: MetricFn | None = None,
    **options: Any,
) -> Tensor:
    """Returns the squared geodesic distance ``[...]``: the energy of the curves that `solve` finds.

    It has a gradient by both end points and by the weights of the decoder, that of the first variation, and no second
    one. Arguments and errors as `solve`.
    """
    z0, z1 = _end_points(z0, z1)
    found = solve(embedding_fn, z0, z1, metric_fn=metric_fn, **options)
    basis = _basis(
        options.get("curve", _CURVE), options.get("num_nodes", _NUM_NODES), options.get("num_points", _NUM_POINTS)
    )
    points = curves.points(basis, z0, z1, found.coefficients)
    return curves.energy(embedding_fn, points, metric_fn=metric_fn)


def distance(
    embedding_fn: EmbeddingFn | None,
    z0: TensorLike,
    z1: TensorLike,
    *,
    metric_fn: MetricFn | None = None,
    **options: Any,
) -> Tensor:
    """Returns the geodesic distance ``[...]``, the root of `squared_distance`; its gradient is 0 where it is 0."""
    square = squared_distance(embedding_fn, z0, z1, metric_fn=metric_fn, **options)
    apart = square > 0.0
    return tf.where(apart, tf.sqrt(tf.where(apart, square, tf.ones_like(square))), tf.zeros_like(square))


def logarithmic_map(
    embedding_fn: EmbeddingFn | None,
    z0: TensorLike,
    z1: TensorLike,
    *,
    metric_fn: MetricFn | None = None,
    jitter: float = 0.0,
    **options: Any,
) -> Tensor:
    """Returns the velocity v0 ``[..., D]`` at `z0` of the geodesic on [0, 1] to `z1`; `exponential_map` leads back.

    From the gradient of the squared distance, v0 = -G(z0)^-1 gradient / 2, which is far more exact than the slope of a
    spline at its end.

    Args:
      embedding_fn: as in `solve`.
      z0: as in `solve`.
      z1: as in `solve`.
      metric_fn: as in `solve`.
      jitter: of the metric at `z0`, as in `tfzoo.geometry.metric.pullback`.
      **options: of `solve`.

    Raises:
      ValueError: as `solve`; in eager code also for a metric at `z0` that is singular.
    """
    z0, z1 = (tf.stop_gradient(z) for z in _end_points(z0, z1))
    with tf.GradientTape() as tape:
        tape.watch(z0)
        square = squared_distance(embedding_fn, z0, z1, metric_fn=metric_fn, **options)
    gradient = tape.gradient(square, z0, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return -0.5 * tf.linalg.matvec(metric.inverse(metric.evaluate(embedding_fn, metric_fn, z0, jitter)), gradient)


def _end_points(z0: TensorLike, z1: TensorLike) -> tuple[Tensor, Tensor]:
    z0 = as_points("z0", z0)
    z1 = as_points("z1", z1, dtype=z0.dtype)
    try:
        shape = tf.broadcast_static_shape(z0.shape, z1.shape)
    except ValueError:
        shape = None
    if shape is None or z0.shape[-1] != z1.shape[-1]:
        raise ValueError(
            f"z0 and z1 must be points of the same space, in shapes that broadcast. Received: {z0.shape} and {z1.shape}"
        )
    if z0.shape.is_fully_defined() and z0.shape == z1.shape:
        return z0, z1
    dynamic = tf.broadcast_dynamic_shape(tf.shape(z0), tf.shape(z1))
    return tf.ensure_shape(tf.broadcast_to(z0, dynamic), shape), tf.ensure_shape(tf.broadcast_to(z1, dynamic), shape)


def _basis(curve: str, num_nodes: int, num_points: int) -> curves.Basis:
    check_choice("curve", curve, _CURVES)
    if curve == "discrete":
        return curves.chain(num_points)
    check_positive("num_nodes", num_nodes)
    if check_positive("num_points", num_points) < num_nodes + 2:
        raise ValueError(
            f"num_points must be at least num_nodes + 2, to see all of a spline. Received: {num_points} for {num_nodes}"
        )
    return curves.spline(num_nodes, np.linspace(0.0, 1.0, num_points))


def _better_start(
    embedding_fn: EmbeddingFn | None,
    metric_fn: MetricFn | None,
    basis: curves.Basis,
    z0: Tensor,
    start: Tensor,
    end: Tensor,
    straight: Tensor,
    initial: TensorLike,
) -> Tensor:
    """Returns the coefficients of `initial`, or zeros where the straight line has less energy."""
    initial = as_points("initial", initial, dtype=z0.dtype)
    rank = z0.shape.rank
    expected = tf.TensorShape([*z0.shape[:-1], None, z0.shape[-1]])
    if initial.shape.rank != rank + 1 or not initial.shape.is_compatible_with(expected):
        raise ValueError(f"initial must be curves of the shape {expected}. Received: {initial.shape}")
    num_points, size = initial.shape[-2:]
    if num_points is None or num_points < 3:
        raise ValueError(f"initial must have at least 3 points, and a known number. Received: shape {initial.shape}")
    resampling = curves.resampling(num_points, basis.times)
    initial = tf.reshape(tf.stop_gradient(initial), [-1, num_points, size])
    coefficients = curves.coefficients_of(basis, tf.einsum("pq,bqd->bpd", tf.constant(resampling, z0.dtype), initial))

    def energy(coefficients: Tensor) -> Tensor:
        return curves.energy(embedding_fn, curves.points(basis, start, end, coefficients), metric_fn=metric_fn)

    worse = energy(straight) <= energy(coefficients)
    return tf.where(worse[:, tf.newaxis, tf.newaxis], straight, coefficients)
