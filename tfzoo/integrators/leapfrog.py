"""Leapfrog integrator of Hamiltonian dynamics (kick, drift, kick), with tempering; K + 1 gradients for K steps.

For a log density log p and step size t (a vector acts dimension by dimension):

    momentum_1 = momentum + (t / 2) grad log p(position)
    position'  = position + t momentum_1
    momentum_2 = momentum_1 + (t / 2) grad log p(position')
    momentum'  = alpha_k momentum_2                          tempering, alpha_k = 1 without it

Symplectic and of order 2 without tempering; log |det| = D log alpha_k a step. The gradient at the end of a step is that
at the start of the next, and is kept in the state. It is the conjugate of `quasi_symplectic` without damping
(drift-kick-drift): equal up to half a step at both ends.

Tempering starts from momenta of temperature T_0 and cools them to 1: prod_k alpha_k^2 T_0 = 1.

References:
  Caterini, Doucet, Sejdinovic, "Hamiltonian Variational Auto-Encoder", https://arxiv.org/abs/1805.11328, section 3
"""

from typing import NamedTuple

import tensorflow as tf

from tfzoo.integrators import phase_space
from tfzoo.integrators.arguments import as_positive, as_step_sizes, check_num_steps, step_size_at
from tfzoo.math import repeat, value_and_gradient
from tfzoo.types import LogProbFn, Tensor, TensorLike

__all__ = ["State", "init", "integrate", "inverse_step", "quadratic_tempering", "step"]


class State(NamedTuple):
    """Positions and momenta of chains, with the gradient where they stand.

    Attributes:
      position: ``[..., D]``.
      momentum: ``[..., D]``.
      log_det: log |det d(position, momentum) / d(first position, first momentum)|, ``[...]``.
      is_finite: False for chains that have diverged and stand still since, bool ``[...]``.
      gradient: of the log density at `position`, ``[..., D]``; None before the first step.
      log_prob: the log density at `position`, ``[...]``, -inf for diverged chains; None before the first step.
        Differentiable: who needs it at the end has it without another evaluation.
    """

    position: Tensor
    momentum: Tensor
    log_det: Tensor
    is_finite: Tensor
    gradient: Tensor | None = None
    log_prob: Tensor | None = None


def init(position: TensorLike, momentum: TensorLike) -> State:
    """Returns the state before the first step; arguments and errors as `tfzoo.integrators.phase_space.init`."""
    return State(*phase_space.init(position, momentum))


def quadratic_tempering(initial_temperature: TensorLike, num_steps: int) -> Tensor:
    """Returns the factors alpha_1..alpha_K ``[num_steps]`` of T_k = T_0 + (1 - T_0) k^2 / K^2 ("fixed tempering").

    Args:
      initial_temperature: T_0, a positive number or floating-point tensor ``[]``.
      num_steps: K, from 0 on.

    Raises:
      ValueError: if they are not.
    """
    check_num_steps(num_steps)
    dtype = tf.as_dtype(getattr(initial_temperature, "dtype", tf.float32))
    start = as_positive("initial_temperature", initial_temperature, dtype if dtype.is_floating else tf.float32)
    fractions = tf.range(num_steps + 1, dtype=start.dtype) / max(num_steps, 1)
    temperatures = start + (1.0 - start) * fractions**2
    return tf.sqrt(temperatures[1:] / temperatures[:-1])


def step(
    state: State,
    log_prob_fn: LogProbFn,
    *,
    step_size: TensorLike,
    tempering: TensorLike | None = None,
    second_order: bool = True,
) -> State:
    """Returns the state after one step; one gradient, and another one before the first step.

    Args:
      state: from `init`, or from an earlier step on the same `log_prob_fn`.
      log_prob_fn: positions ``[..., D]`` to log densities ``[...]``.
      step_size: t, a number or one per dimension ``[D]``.
      tempering: alpha, a positive number that multiplies the momentum at the end; None for 1.
      second_order: False treats gradients as constants when the result is differentiated.

    Raises:
      ValueError: for a step size that is negative or of a wrong shape, a tempering that is not one positive number, or
        a `log_prob_fn` that returns the wrong shape.
    """
    t = as_step_sizes(step_size, state.position)
    alpha = as_positive("tempering", 1.0 if tempering is None else tempering, state.position.dtype)
    state = _with_gradient(state, log_prob_fn, second_order)
    position, momentum = state.position, state.momentum + 0.5 * t * state.gradient
    position, momentum, gradient, value = _drift_and_kick(position, momentum, t, log_prob_fn, second_order)
    return _keep_finite(state, position, alpha * momentum, _log_det(alpha, position), gradient, value)


def inverse_step(
    state: State,
    log_prob_fn: LogProbFn,
    *,
    step_size: TensorLike,
    tempering: TensorLike | None = None,
    second_order: bool = True,
) -> State:
    """Returns the state before a step; arguments and errors as `step`."""
    t = as_step_sizes(step_size, state.position)
    alpha = as_positive("tempering", 1.0 if tempering is None else tempering, state.position.dtype)
    state = _with_gradient(state, log_prob_fn, second_order)
    position = state.position
    momentum = state.momentum / alpha - 0.5 * t * state.gradient
    position, momentum, gradient, value = _drift_and_kick(position, momentum, -t, log_prob_fn, second_order)
    return _keep_finite(state, position, momentum, -_log_det(alpha, position), gradient, value)


def integrate(
    state: State,
    log_prob_fn: LogProbFn,
    *,
    step_size: TensorLike,
    num_steps: int,
    tempering: TensorLike | None = None,
    second_order: bool = True,
) -> State:
    """Returns the state after `num_steps` steps, all but the last in one loop; `num_steps` + 1 gradients.

    Args:
      state: from `init`, or from an earlier call on the same `log_prob_fn`, which saves the first gradient.
      log_prob_fn: as in `step`.
      step_size: as in `step`, or one per step and dimension ``[num_steps, D]``.
      num_steps: from 0 on.
      tempering: alpha_1..alpha_K ``[num_steps]``, such as `quadratic_tempering`'s; None for none.
      second_order: as in `step`.

    Raises:
      ValueError: as `step`, or if `tempering` has not one factor for each step.
    """
    steps = as_step_sizes(step_size, state.position, check_num_steps(num_steps))
    if tempering is not None:
        tempering = as_positive("tempering", tempering, state.position.dtype, [num_steps])
    if not num_steps:
        return state

    def one_step(k: Tensor | int, state: State) -> State:
        return step(
            state,
            log_prob_fn,
            step_size=step_size_at(steps, k),
            tempering=None if tempering is None else tempering[k],
            second_order=second_order,
        )

    # The last step is outside of the loop, and so are the log densities: of one that is carried on, all steps before
    # would compute the derivatives too, which are 0.
    carried = _with_gradient(state, log_prob_fn, second_order)[:-1]
    carried = repeat(lambda k, carried: one_step(k, State(*carried))[:-1], carried, num_steps - 1)
    return one_step(num_steps - 1, State(*carried))


def _with_gradient(state: State, log_prob_fn: LogProbFn, second_order: bool) -> State:
    if state.gradient is not None:
        return state
    value, gradient = value_and_gradient(log_prob_fn, state.position, second_order=second_order)
    sound = tf.math.is_finite(value) & phase_space.within_reach(gradient)
    gradient = tf.where(sound[..., tf.newaxis], gradient, tf.zeros_like(gradient))
    is_finite = state.is_finite & sound
    return state._replace(gradient=gradient, is_finite=is_finite, log_prob=_where_finite(is_finite, value))


def _drift_and_kick(
    position: Tensor, momentum: Tensor, t: Tensor, log_prob_fn: LogProbFn, second_order: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns position, momentum, gradient and log density after a drift and half a kick; -inf where it left."""
    end = position + t * momentum
    sound = phase_space.within_reach(end)
    end = tf.where(sound[..., tf.newaxis], end, position)
    value, gradient = value_and_gradient(log_prob_fn, end, second_order=second_order)
    return end, momentum + 0.5 * t * gradient, gradient, _where_finite(sound, value)


def _log_det(alpha: Tensor, position: Tensor) -> Tensor:
    return tf.cast(tf.shape(position)[-1], position.dtype) * tf.math.log(alpha)


def _keep_finite(
    old: State, position: Tensor, momentum: Tensor, log_det: Tensor, gradient: Tensor, log_prob: Tensor
) -> State:
    state = phase_space.keep_finite(phase_space.State(*old[:4]), position, momentum, log_det, log_prob)
    gradient = tf.where(state.is_finite[..., tf.newaxis], gradient, old.gradient)
    return State(*state, gradient, _where_finite(state.is_finite, log_prob))


def _where_finite(finite: Tensor, log_prob: Tensor) -> Tensor:
    return tf.where(finite, log_prob, tf.constant(float("-inf"), log_prob.dtype))
