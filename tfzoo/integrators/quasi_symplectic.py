"""Quasi-symplectic integrator of Langevin dynamics: drift, damp and kick, drift; one gradient a step.

For a log density log p, damping nu and step size t (a vector t_j acts dimension by dimension), with e = exp(-nu t / 2):

    momentum_1 = e momentum                               damp
    position_1 = position + (t / 2) momentum_1            drift
    momentum_2 = momentum_1 + t grad log p(position_1)    kick   [ + sqrt(2 nu T t) noise ]
    momentum'  = e momentum_2                             damp
    position'  = position_1 + (t / 2) momentum_2          drift

log |det d(position', momentum') / d(position, momentum)| = -nu sum_j t_j, whatever log p is, and also with noise, which
is an addition. With nu = 0 it is the position Verlet integrator (drift-kick-drift): symplectic, reversible, of order 2.

Deviations from the Langevin VAE's paper, whose printed equations contradict each other:
  - eq. 5 prints position_1 = position - (t / 2) momentum_1; a free particle would not move (its appendix A.2 has +);
  - algorithm 1 subtracts the gradient from the position: it walks down log p, and its volume depends on the Hessian;
  - eq. 6 prints a volume of exp(-nu t): right for one dimension only;
  - the noise 2 sqrt(T) heats the momentum to a variance of 2 T / nu; sqrt(2 nu T) keeps it at T.
tests/integrators/test_integrators_quasi_symplectic.py shows each.

References:
  Wang, Delingette, "Quasi-symplectic Langevin Variational Autoencoder", https://arxiv.org/abs/2009.01675, eq. 5
  Milstein, Repin, Tretyakov, "Symplectic integration of Hamiltonian systems with additive noise",
    SIAM J. Numer. Anal. 39 (2002)
"""

from typing import NamedTuple

import tensorflow as tf

from tfzoo import random
from tfzoo.integrators.arguments import as_non_negative, as_step_sizes, check_num_steps, step_size_at
from tfzoo.integrators.phase_space import State, held_within_reach, init, keep_finite
from tfzoo.math import repeat, value_and_gradient
from tfzoo.types import LogProbFn, Seed, Tensor, TensorLike

__all__ = ["State", "init", "integrate", "inverse_step", "step"]


def step(
    state: State,
    log_prob_fn: LogProbFn,
    *,
    step_size: TensorLike,
    damping: TensorLike = 0.0,
    temperature: TensorLike | None = None,
    seed: Seed = None,
    second_order: bool = True,
) -> State:
    """Returns the state after one step; one gradient of `log_prob_fn`.

    Args:
      state: from `init` or an earlier step.
      log_prob_fn: positions ``[..., D]`` to log densities ``[...]``.
      step_size: t, a number or one per dimension ``[D]``.
      damping: nu, a number.
      temperature: T of the noise; None for no noise.
      seed: of the noise: an int, a pair, or one per example; see `tfzoo.random.normal`.
      second_order: False treats the gradient as a constant when the result is differentiated.

    Raises:
      ValueError: for a step size, damping or temperature that is negative or of a wrong shape, a `log_prob_fn` that
        returns the wrong shape, or noise without a seed.
    """
    t = as_step_sizes(step_size, state.position)
    factors = _factors(t, damping, temperature, state.position)
    return _step(state, log_prob_fn, factors, seed, second_order)


def inverse_step(
    state: State,
    log_prob_fn: LogProbFn,
    *,
    step_size: TensorLike,
    damping: TensorLike = 0.0,
    second_order: bool = True,
) -> State:
    """Returns the state before a step without noise; arguments as `step`."""
    f = _factors(as_step_sizes(step_size, state.position), damping, None, state.position)
    kicked = state.momentum / f.decay
    middle = held_within_reach(state.position - f.half_step * kicked)
    value, gradient = value_and_gradient(log_prob_fn, middle, second_order=second_order)
    damped = kicked - f.step * gradient
    return keep_finite(state, middle - f.half_step * damped, damped / f.decay, -f.log_det, value, middle)


def integrate(
    state: State,
    log_prob_fn: LogProbFn,
    *,
    step_size: TensorLike,
    num_steps: int,
    damping: TensorLike = 0.0,
    temperature: TensorLike | None = None,
    seed: Seed = None,
    second_order: bool = True,
) -> State:
    """Returns the state after `num_steps` steps in one loop; `num_steps` gradients of `log_prob_fn`.

    Args:
      state: from `init` or an earlier call.
      log_prob_fn: as in `step`; traced once.
      step_size: as in `step`, or one per step and dimension ``[num_steps, D]``.
      num_steps: from 0 on.
      damping: as in `step`.
      temperature: as in `step`.
      seed: as in `step`; each step draws its own noise.
      second_order: as in `step`.

    Raises:
      ValueError: as `step`.
    """
    steps = as_step_sizes(step_size, state.position, check_num_steps(num_steps))
    if temperature is not None and seed is not None:
        seed = random.as_seed(seed)

    def factors_of(t: Tensor) -> _Factors:
        return _factors(t, damping, temperature, state.position)

    # What does not change from step to step is not computed anew in each.
    constant = factors_of(steps) if steps.shape.rank < 2 else None

    def body(k: Tensor, state: State) -> State:
        factors = factors_of(step_size_at(steps, k)) if constant is None else constant
        noise_seed = random.fold_in(seed, k) if factors.heat is not None and seed is not None else None
        return _step(state, log_prob_fn, factors, noise_seed, second_order)

    return repeat(body, state, num_steps)


class _Factors(NamedTuple):
    step: Tensor
    half_step: Tensor
    decay: Tensor  # of the momentum in half a step
    log_det: Tensor  # []
    heat: Tensor | None  # deviation of the noise in a kick


def _factors(t: Tensor, damping: TensorLike, temperature: TensorLike | None, position: Tensor) -> _Factors:
    nu = as_non_negative("damping", damping, position.dtype)
    heat = None
    if temperature is not None:
        # For vector step sizes too, each dimension for itself.
        variance = 2.0 * nu * as_non_negative("temperature", temperature, position.dtype) * t
        # A root of 0 without its infinite derivative.
        positive = variance > 0
        heat = tf.where(positive, tf.sqrt(tf.where(positive, variance, tf.ones_like(variance))), 0.0)
    log_det = -nu * tf.reduce_sum(t * tf.ones([tf.shape(position)[-1]], position.dtype))
    half_step, decay = 0.5 * t, tf.exp(-0.5 * nu * t)
    # Of a step size that is not a number the kick is none either, and all chains stop; until then they stand.
    known = tf.math.is_finite(half_step) & tf.math.is_finite(decay)
    instead = (t, float("nan")), (half_step, 0.0), (decay, 1.0)
    step, half_step, decay = (tf.where(known, factor, tf.constant(other, t.dtype)) for factor, other in instead)
    return _Factors(step, half_step, decay, log_det, heat)


def _step(state: State, log_prob_fn: LogProbFn, f: _Factors, seed: Seed, second_order: bool) -> State:
    damped = f.decay * state.momentum
    # Up to steps of 2 that is no further than where chains may stand.
    middle = held_within_reach(state.position + f.half_step * damped)
    value, gradient = value_and_gradient(log_prob_fn, middle, second_order=second_order)
    kicked = damped + f.step * gradient
    if f.heat is not None:
        if seed is None:
            raise ValueError("seed must be given where there is noise. Received: None")
        noise = random.normal(tf.shape(middle), random.as_seed(seed), middle.dtype)
        kicked += f.heat * tf.ensure_shape(noise, middle.shape)
    return keep_finite(state, middle + f.half_step * kicked, f.decay * kicked, f.log_det, value, middle)
