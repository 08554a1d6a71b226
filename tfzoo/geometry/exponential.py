"""Geodesics from a point and a velocity, by the geodesic equation and an ODE solver.

z'' = -Gamma(z)(z', z') = -G(z)^-1 J(z)' (d^2 / ds^2) f(z + s z')
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfzoo.geometry import metric
from tfzoo.geometry.arguments import EmbeddingFn, MetricFn, as_points, check_functions, check_jitter
from tfzoo.math.jacobians import directional_derivative, value_and_jacobian
from tfzoo.types import Tensor, TensorLike

__all__ = ["exponential_map"]


def exponential_map(
    embedding_fn: EmbeddingFn | None,
    z: TensorLike,
    velocity: TensorLike,
    *,
    metric_fn: MetricFn | None = None,
    jitter: float = 0.0,
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> Tensor:
    """Returns where the geodesics that start at `z` with `velocity` are at time 1, ``[..., D]``.

    By Dormand and Prince's method with one step size for the whole batch.

    Args:
      embedding_fn: the decoder, as in `tfzoo.geometry.geodesic.solve`, or None where `metric_fn` is given.
      z: ``[..., D]``.
      velocity: ``[..., D]``.
      metric_fn: points ``[N, D]`` to metrics ``[N, D, D]``.
      jitter: of the metric, as in `tfzoo.geometry.metric.pullback`.
      rtol: relative tolerance of a step.
      atol: absolute tolerance of a step, in latent units.

    Raises:
      ValueError: for other shapes, or a `jitter` that is negative; in eager code also for a metric that is singular.
    """
    check_functions(embedding_fn, metric_fn)
    check_jitter(jitter)
    z = as_points("z", z)
    velocity = as_points("velocity", velocity, like=z)
    size = z.shape[-1]

    def derivatives(time: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        del time  # the equation does not depend on it
        points, speeds = state
        return speeds, _acceleration(embedding_fn, metric_fn, points, speeds, jitter)

    results = tfp.math.ode.DormandPrince(rtol=rtol, atol=atol).solve(
        derivatives,
        initial_time=tf.zeros([], z.dtype),
        initial_state=(tf.reshape(z, [-1, size]), tf.reshape(velocity, [-1, size])),
        solution_times=tf.ones([1], z.dtype),
    )
    return tf.reshape(results.states[0][0], tf.shape(z))


def _acceleration(
    embedding_fn: EmbeddingFn | None, metric_fn: MetricFn | None, z: Tensor, velocity: Tensor, jitter: float
) -> Tensor:
    """Returns z'' ``[N, D]`` at `z` with `velocity`, ``[N, D]``."""
    if metric_fn is not None:
        symbols = metric.christoffel(lambda z: metric.evaluate(None, metric_fn, z, jitter), z)
        return -tf.einsum("nijk,nj,nk->ni", symbols, velocity, velocity)
    assert embedding_fn is not None

    def along(points: Tensor) -> tuple[Tensor, ...]:
        return directional_derivative(embedding_fn, points, velocity)[1]

    _, bends = directional_derivative(along, z, velocity)
    _, jacobians = value_and_jacobian(embedding_fn, z)
    force = tf.add_n([tf.linalg.matvec(jacobian, bend) for jacobian, bend in zip(jacobians, bends, strict=True)])
    gram = metric.gram(jacobians, jitter)
    return -tf.linalg.matvec(metric.inverse(gram), force)
