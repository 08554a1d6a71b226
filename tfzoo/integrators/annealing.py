"""Uncorrected annealing: dynamics through targets that lead from a proposal to the posterior, and its weight.

    log pi_k(z) = (1 - b_k) log q(z) + b_k log p(x, z),   0 < b_1 < ... < b_K = 1

At each k the momentum is refreshed in part, m~ = eta m + sqrt(1 - eta^2) noise, and one deterministic step on pi_k
moves position and momentum from (z, m~) to (z', m'). With momenta from N(0, I) at first,

    log w = log p(x, z_K) - log q(z_0) + sum_k [ log N(m_k; 0, I) - log N(m~_k; 0, I) + log |det step_k| ]

has E w = p(x), so E log w is a lower bound on log p(x), and a differentiable one: there is no accept or reject. It
tightens as K grows; without a step it is the ELBO of q.

References:
  Geffner, Domke, "MCMC Variational Inference via Uncorrected Hamiltonian Annealing", https://arxiv.org/abs/2107.04150
  Zhang et al., "Differentiable Annealed Importance Sampling and the Perils of Gradient Noise",
    https://arxiv.org/abs/2107.10211
  Thin et al., "Monte Carlo Variational Auto-Encoders", https://arxiv.org/abs/2106.15921
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfzoo import random
from tfzoo.integrators import phase_space
from tfzoo.integrators.arguments import as_non_negative, check_num_steps
from tfzoo.math import repeat
from tfzoo.types import LogProbFn, Seed, Tensor, TensorLike

__all__ = ["State", "integrate"]


class State(NamedTuple):
    """Chains on their way from the proposal to the posterior.

    Attributes:
      position: ``[..., D]``.
      momentum: ``[..., D]``.
      log_weight: the sum over k above, ``[...]``.
      is_finite: False for chains that have diverged and stand still since, bool ``[...]``.
    """

    position: Tensor
    momentum: Tensor
    log_weight: Tensor
    is_finite: Tensor


def integrate(
    position: TensorLike,
    momentum: TensorLike,
    initial_log_prob_fn: LogProbFn,
    log_prob_fn: LogProbFn,
    *,
    transition: Callable[[phase_space.State, LogProbFn, Tensor], phase_space.State],
    inverse_temperatures: TensorLike,
    num_steps: int,
    persistence: TensorLike,
    seed: Seed,
) -> State:
    """Returns the chains after `num_steps` refreshments and steps, in one loop.

    Args:
      position: samples of the proposal, ``[..., D]``.
      momentum: samples of N(0, I), ``[..., D]``.
      initial_log_prob_fn: log q, positions ``[..., D]`` to ``[...]``.
      log_prob_fn: log p(x, .), likewise.
      transition: of a state (its `log_det` is 0), a target's log density, and k, int32 ``[]``: one deterministic step
        to a state, such as `tfzoo.integrators.quasi_symplectic.step`'s.
      inverse_temperatures: b_1..b_K, ``[num_steps]``.
      num_steps: K.
      persistence: eta in [0, 1], ``[]``.
      seed: an int, a pair, or one pair per example ``[B, 2]``; None leaves out the noise, for a code that is a function
        of the image.

    Raises:
      ValueError: for a number that is out of its range, or another shape.
    """
    start = phase_space.init(position, momentum)
    position, dtype = start.position, start.position.dtype
    inverse_temperatures = as_non_negative(
        "inverse_temperatures", inverse_temperatures, dtype, [check_num_steps(num_steps)]
    )
    keep = as_non_negative("persistence", persistence, dtype)
    known = tf.get_static_value(keep)
    if known is not None and known > 1:
        raise ValueError(f"persistence must be at most 1. Received: {known}")
    renew = tf.sqrt(1.0 - tf.square(keep))
    seed = None if seed is None else random.as_seed(seed)

    def body(k: Tensor, state: State) -> State:
        refreshed = keep * state.momentum
        if seed is not None:
            noise = random.normal(tf.shape(position), random.fold_in(seed, k), position.dtype)
            refreshed += renew * tf.ensure_shape(noise, position.shape)
        b = inverse_temperatures[k]

        def target(z: Tensor) -> Tensor:
            return (1.0 - b) * initial_log_prob_fn(z) + b * log_prob_fn(z)

        begin = phase_space.init(state.position, refreshed)
        end = transition(begin._replace(is_finite=begin.is_finite & state.is_finite), target, k)
        gain = 0.5 * tf.reduce_sum(tf.square(refreshed) - tf.square(end.momentum), axis=-1) + end.log_det
        return State(end.position, end.momentum, state.log_weight + gain, end.is_finite)

    return repeat(body, State(*start), num_steps)
