"""Brownian motion on a Riemannian manifold, in a chart z with the metric G(z), by the Euler-Maruyama scheme.

A step of length h = duration / num_steps, with the inverse metric P = G^-1 and standard normal noise:

    z' = z + h b(z) + sqrt(h) L^-T noise,   G = L L'
    b^i = 1/2 |G|^-1/2 d_j (|G|^1/2 P^ij) = -1/2 P^jk Gamma^i_jk

so that the noise has the covariance h P, and b is the Laplace-Beltrami drift: it makes the process the one of the
generator Delta / 2, whatever the chart. On a flat manifold with a constant metric b = 0, and the end is exactly
N(z, duration P) after any number of steps; else its law is right up to the order h.

A step evaluates the metric once and differentiates it in each of the D directions: for a decoder's metric, 4 times the
price of the metric at D = 2 and 7 times at D = 10, where a step without drift costs one. Nothing else in it is dear:
a Cholesky factor of D x D.

A chain stops where the metric is singular or not finite, or where a step would take it beyond reach; it stays at its
last sound position and is marked. A `jitter` on the metric's diagonal, `tfzoo.math.metric_tensors`, makes singular ones
regular.

Deviations from the paper, whose z' = N(z, h P) has no drift (`drift=False`): its law then depends on the chart. On a
line with the metric g(z)^2, the arc length s drifts by g' / (2 g^2) h a step, where it should not drift at all
(test_integrators_riemannian_brownian.py has the case in which this is constant).

References:
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227 (its step)
  Hsu, "Stochastic Analysis on Manifolds", 2002, section 3.2 (the process in local coordinates)
"""

from typing import NamedTuple

import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.integrators.arguments import as_positive
from tfzoo.integrators.phase_space import within_reach
from tfzoo.math import repeat
from tfzoo.math.jacobians import value_and_jacobian
from tfzoo.math.metric_tensors import MetricFn, check_jitter, check_metric, cholesky, lifted, regular_cholesky
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["State", "init", "integrate", "laplace_beltrami_drift", "step"]


class State(NamedTuple):
    """Positions of chains.

    Attributes:
      position: ``[..., D]``.
      is_finite: False for chains that have met a singular metric or left for infinity, and stand still since, bool
        ``[...]``.
      trajectory: the positions before the first and after each step of the last `integrate`, ``[K + 1, ..., D]``; None
        where they were not asked for.
    """

    position: Tensor
    is_finite: Tensor
    trajectory: Tensor | None = None


def init(position: TensorLike) -> State:
    """Returns the state before the first step; chains that start beyond reach are marked, and rest at the origin.

    Args:
      position: ``[..., D]``, floating point.

    Raises:
      ValueError: for another dtype, or no dimension D.
    """
    position = _as_position(position)
    sound = within_reach(position)
    return State(tf.where(sound[..., tf.newaxis], position, tf.zeros_like(position)), sound)


def laplace_beltrami_drift(metric_fn: MetricFn, position: TensorLike, *, jitter: float = 0.0) -> Tensor:
    """Returns the Laplace-Beltrami drift b ``[..., D]`` at ``[..., D]``; arguments as `step`.

    Raises:
      ValueError: if `position` is no ``[..., D]``, the metric no ``[N, D, D]``, or `jitter` negative; in eager code
        also for a metric that is singular, which gives NaN in graphs.
    """
    value, derivatives = _metric_and_derivatives(metric_fn, _as_position(position), check_jitter(jitter))
    return _drift(cholesky(value), derivatives)


def step(
    state: State,
    metric_fn: MetricFn,
    *,
    duration: TensorLike,
    drift: bool = True,
    jitter: float = 0.0,
    seed: Seed,
) -> State:
    """Returns the state after one step.

    Args:
      state: from `init` or an earlier step.
      metric_fn: positions ``[N, D]`` to metrics ``[N, D, D]``, symmetric and positive definite, each of its own
        position only; with `drift` it has to be differentiable twice.
      duration: h, a number, or one for each chain, of a shape that broadcasts to ``[...]``.
      drift: False leaves out b, as the paper does.
      jitter: times (1 + the sum of the eigenvalues) is added to the metric's diagonal; 1e-5 keeps float32 positive
        definite.
      seed: of the noise: an int, a pair, or one per example; see `tfzoo.random.normal`.

    Raises:
      ValueError: for a duration that is not positive or of a wrong shape, a negative jitter, or a metric of a wrong
        shape.
    """
    duration = _as_duration(duration, state.position)
    noise = random.normal(tf.shape(state.position), random.as_seed(seed), state.position.dtype)
    noise = tf.ensure_shape(noise, state.position.shape)
    return _step(state, metric_fn, duration, noise, drift, check_jitter(jitter))


def integrate(
    state: State,
    metric_fn: MetricFn,
    *,
    duration: TensorLike,
    num_steps: int,
    drift: bool = True,
    jitter: float = 0.0,
    seed: Seed,
    return_trajectory: bool = False,
) -> State:
    """Returns the state after a Brownian motion of the whole `duration`, in one loop of `num_steps` steps.

    Example::

        metric_fn = lambda z: metric.pullback(decoder, z)
        state = riemannian_brownian.init(tf.zeros([100, 2]))
        state = riemannian_brownian.integrate(state, metric_fn, duration=1.0, num_steps=100, seed=0)

    Args:
      state: from `init` or an earlier call.
      metric_fn: as in `step`; traced once.
      duration: t, of all steps together: a number, or one for each chain, of a shape that broadcasts to ``[...]``.
      num_steps: K, from 1 on.
      drift: as in `step`.
      jitter: as in `step`.
      seed: as in `step`. The noise of all steps is drawn at once, ``[K, ..., D]``.
      return_trajectory: keep all positions, ``[K + 1, ..., D]``.

    Raises:
      ValueError: as `step`, or for no step.
    """
    num_steps = check_positive("num_steps", num_steps)
    position = state.position
    duration = _as_duration(duration, position) / num_steps
    jitter = check_jitter(jitter)
    noise = random.normal(tf.concat([[num_steps], tf.shape(position)], 0), random.as_seed(seed), position.dtype)
    noise = tf.ensure_shape(noise, [num_steps, *position.shape])
    size = num_steps if return_trajectory else 0
    positions = tf.TensorArray(position.dtype, size=size, element_shape=position.shape)

    def body(k: Tensor, carried: tuple) -> tuple:
        position, is_finite, positions = carried
        end = _step(State(position, is_finite), metric_fn, duration, noise[k], drift, jitter)
        return end.position, end.is_finite, positions.write(k, end.position) if return_trajectory else positions

    last, is_finite, positions = repeat(body, (position, state.is_finite, positions), num_steps)
    trajectory = tf.concat([position[tf.newaxis], positions.stack()], 0) if return_trajectory else None
    return State(last, is_finite, trajectory)


def _as_duration(duration: TensorLike, position: Tensor) -> Tensor:
    """Returns the duration as a tensor ``[]`` or of a shape that broadcasts to the chains', ``[...]``."""
    duration = as_positive("duration", duration, position.dtype, shape=None)
    chains = position.shape[:-1]
    if duration.shape.rank is not None and chains.rank is not None:
        pairs = zip(duration.shape.as_list()[::-1], chains.as_list()[::-1], strict=False)
        fits = duration.shape.rank <= chains.rank and all(own in (None, 1, size) or not size for own, size in pairs)
        if not fits:
            raise ValueError(
                f"duration must be a number, or one for each chain {chains}. Received: shape {duration.shape}"
            )
    return duration


def _step(state: State, metric_fn: MetricFn, duration: Tensor, noise: Tensor, with_drift: bool, jitter: float) -> State:
    position, duration = state.position, duration[..., tf.newaxis]
    if with_drift:
        value, derivatives = _metric_and_derivatives(metric_fn, position, jitter)
    else:
        points, shape = _flat(position)
        value = tf.reshape(lifted(check_metric(metric_fn(points), points), jitter), shape)
    factor, sound = regular_cholesky(value)
    moved = position
    if with_drift:
        # A derivative that is not finite, of a metric that is: caught below, with the position.
        moved += duration * _drift(factor, derivatives)
    # Where a duration is known at run time only, one that is not positive stops its chain.
    positive = duration > 0
    moved += tf.sqrt(tf.where(positive, duration, tf.ones_like(duration))) * _solve(factor, noise, adjoint=True)
    going = state.is_finite & sound & within_reach(moved) & positive[..., 0]
    return State(tf.where(going[..., tf.newaxis], moved, position), going)


def _as_position(position: TensorLike) -> Tensor:
    position = tf.convert_to_tensor(position)
    if not position.dtype.is_floating or position.shape.rank == 0 or position.shape[-1] is None:
        raise ValueError(f"position must be floating point [..., D]. Received: {position.dtype.name} {position.shape}")
    return position


def _flat(position: Tensor) -> tuple[Tensor, Tensor]:
    """Returns positions as points ``[N, D]``, and the shape of their metrics."""
    size = position.shape[-1]
    return tf.reshape(position, [-1, size]), tf.concat([tf.shape(position), [size]], 0)


def _metric_and_derivatives(metric_fn: MetricFn, position: Tensor, jitter: float) -> tuple[Tensor, Tensor]:
    """Returns G ``[..., D, D]`` and its derivatives by each coordinate, the first axis of ``[D, ..., D, D]``."""
    size = position.shape[-1]
    points, shape = _flat(position)

    def metric(points: Tensor) -> Tensor:
        return lifted(check_metric(metric_fn(points), points), jitter)

    (value,), (derivatives,) = value_and_jacobian(metric, points)
    by_coordinate = [tf.reshape(each, shape) for each in tf.unstack(derivatives, axis=1)]
    return tf.reshape(value, shape), tf.ensure_shape(tf.stack(by_coordinate), [size, *position.shape, size])


def _solve(factor: Tensor, vector: Tensor, *, adjoint: bool) -> Tensor:
    """Returns L^-1 v, or L^-T v, ``[..., D]``."""
    return tf.linalg.triangular_solve(factor, vector[..., tf.newaxis], adjoint=adjoint)[..., 0]


def _drift(factor: Tensor, derivatives: Tensor) -> Tensor:
    """Returns b ``[..., D]`` from the factor of G and the derivatives of G ``[D, ..., D, D]``.

    With d_j P = -P (d_j G) P and d_j log |G| = tr(P d_j G):

        b^i = P^ia (-1/2 sum_j (d_j G)_ab P^bj + 1/4 tr(P d_a G))
    """
    unit = tf.eye(factor.shape[-1], batch_shape=tf.shape(factor)[:-2], dtype=factor.dtype)
    inverse = tf.linalg.cholesky_solve(factor, unit)  # [..., D, D]
    divergence = tf.einsum("j...ab,...bj->...a", derivatives, inverse)
    traces = tf.einsum("a...bc,...bc->...a", derivatives, inverse)
    return tf.linalg.matvec(inverse, 0.25 * traces - 0.5 * divergence)
