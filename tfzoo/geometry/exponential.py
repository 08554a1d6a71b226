"""Geodesics from a point and a velocity, by the geodesic equation and an ODE solver.

z'' = -Gamma(z)(z', z') = -G(z)^-1 J(z)' (d^2 / ds^2) f(z + s z')
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfzoo.geometry import metric
from tfzoo.geometry.arguments import EmbeddingFn, as_points, check_functions
from tfzoo.math.jacobians import directional_derivative, value_and_jacobian
from tfzoo.math.metric_tensors import MetricFn, check_jitter, cholesky, regular_cholesky
from tfzoo.types import Tensor, TensorLike

__all__ = ["exponential_map"]

_MAX_NUM_STEPS = 10_000


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

    By Dormand and Prince's method with one step size for the whole batch. A geodesic that meets a singular metric, or
    leaves for infinity before its time, is NaN in a graph; others of its batch are not.

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
      tf.errors.InvalidArgumentError: for geodesics that 10,000 steps are too few for, but not under XLA.
    """
    check_functions(embedding_fn, metric_fn)
    check_jitter(jitter)
    z = as_points("z", z)
    velocity = as_points("velocity", velocity, like=z)
    size = z.shape[-1]

    def derivatives(time: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        del time  # the equation does not depend on it
        points, speeds = state
        acceleration = _acceleration(embedding_fn, metric_fn, points, speeds, jitter)
        # What fails rests where it does: the solver would look for ever for a step that has no NaN.
        going = _small(tf.concat([points, speeds, acceleration], axis=-1))
        return tf.where(going, speeds, tf.zeros_like(speeds)), tf.where(going, acceleration, tf.zeros_like(speeds))

    results = tfp.math.ode.DormandPrince(rtol=rtol, atol=atol, max_num_steps=_MAX_NUM_STEPS).solve(
        derivatives,
        initial_time=tf.zeros([], z.dtype),
        initial_state=(tf.reshape(z, [-1, size]), tf.reshape(velocity, [-1, size])),
        solution_times=tf.ones([1], z.dtype),
    )
    ends, speeds = (state[0] for state in results.states)
    acceleration = _acceleration(embedding_fn, metric_fn, ends, speeds, jitter)
    arrived = _small(tf.concat([ends, speeds, acceleration], axis=-1))
    return tf.reshape(tf.where(arrived, ends, tf.constant(np.nan, z.dtype)), tf.shape(z))


def _small(vector: Tensor) -> Tensor:
    """Returns whether all of ``[N, K]`` can be computed with, ``[N, 1]``; False for NaN."""
    return tf.reduce_all(tf.abs(vector) < vector.dtype.max**0.25, axis=-1, keepdims=True)


def _acceleration(
    embedding_fn: EmbeddingFn | None, metric_fn: MetricFn | None, z: Tensor, velocity: Tensor, jitter: float
) -> Tensor:
    """Returns z'' ``[N, D]`` at `z` with `velocity`, ``[N, D]``; NaN where the metric is singular."""
    if metric_fn is not None:
        gram, lowered = metric.lowered_christoffel(lambda z: metric.evaluate(None, metric_fn, z, jitter), z)
        force = tf.einsum("nljk,nj,nk->nl", lowered, velocity, velocity)
    else:
        assert embedding_fn is not None

        def along(points: Tensor) -> tuple[Tensor, ...]:
            return directional_derivative(embedding_fn, points, velocity)[1]

        _, bends = directional_derivative(along, z, velocity)
        _, jacobians = value_and_jacobian(embedding_fn, z)
        pairs = zip(jacobians, bends, strict=True)
        force = tf.add_n([tf.linalg.matvec(jacobian, bend) for jacobian, bend in pairs])
        gram = metric.gram(jacobians, jitter)
    if tf.executing_eagerly():
        cholesky(gram)  # says so if one is singular
    factor, regular = regular_cholesky(gram)
    acceleration = -tf.linalg.cholesky_solve(factor, force[..., tf.newaxis])[..., 0]
    return tf.where(regular[..., tf.newaxis], acceleration, tf.constant(np.nan, z.dtype))
