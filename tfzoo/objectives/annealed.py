"""Annealed importance sampling: a lower bound on log p(x), and an upper one where a true posterior sample is known.

Forward, chains walk from ``initial`` (the prior, or q(z|x)) to the posterior through

    log pi_b(z) = (1 - b) log initial(z) + b log p(x, z),   0 = b_0 < b_1 < ... < b_K = 1,

with one Hamiltonian Monte Carlo transition at each b_1..b_{K-1} and

    log w = sum_k (b_k - b_{k-1}) [ log p(x, z_{k-1}) - log initial(z_{k-1}) ].

E w = p(x), so ``log mean w`` is a lower bound. The same walk backwards from an exact posterior sample has
E 1/w = 1/p(x), so ``-log mean 1/w`` is an upper bound (bidirectional Monte Carlo). An exact posterior sample is at hand
for data simulated from the model: draw z from the prior, x from p(x|z). For real data, report the lower bound and
beside it the gap between both bounds on simulated data.

Each bound holds in expectation over the seed, and fails by more than c nats with a probability below exp(-c).

Cost: K - 1 transitions of ``num_leapfrog_steps`` + 1 gradients, on S x B chains, once for each direction and once more
for the pilot run that sets the step sizes. Memory is that of one gradient at S x B rows: give a few hundred at once.

References:
  Neal, "Annealed Importance Sampling", https://arxiv.org/abs/physics/9803008
  Grosse, Ghahramani, Adams, "Sandwiching the marginal likelihood using bidirectional Monte Carlo",
    https://arxiv.org/abs/1511.02543
  Wu, Burda, Salakhutdinov, Grosse, "On the Quantitative Analysis of Decoder-Based Generative Models",
    https://arxiv.org/abs/1611.04273 (the sigmoidal schedule, and HMC on the latents)

Deviations: Wu et al. adapt the step size during the run that is weighed, which biases the weights by a little. Here a
pilot run with other noise sets a step size for each temperature and example, and the weighed runs keep to it, so that
both bounds are exact (test_objectives_annealed.py: the bounds enclose the exact likelihood of a linear-Gaussian model).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.objectives.bounds import log_mean_exp
from tfzoo.types import LogProbFn, Seed, Tensor, TensorLike

__all__ = ["Bounds", "log_prob_bounds", "sigmoidal_schedule"]

_TARGET_ACCEPTANCE = 0.65  # optimal for HMC: Beskos et al. 2013, https://arxiv.org/abs/1001.4460
_WARM_UP = 30  # transitions at the first temperature: at this gain the step size can grow or shrink fivefold and more
_GAIN = 0.2


class Bounds(NamedTuple):
    """What `log_prob_bounds` found.

    Attributes:
      lower: nats, ``[B]``.
      upper: nats, ``[B]``, or None where no posterior sample was given.
      acceptance: mean acceptance rate of the forward chains, ``[B]``; below 0.2 or so the bounds are loose.
    """

    lower: Tensor
    upper: Tensor | None
    acceptance: Tensor


class _Chain(NamedTuple):
    position: Tensor  # [S, B, D]
    log_weight: Tensor  # [S, B]
    acceptance: Tensor  # sum over steps of the mean acceptance probability, [B]


def sigmoidal_schedule(num_steps: int, steepness: float = 4.0) -> np.ndarray:
    """Returns 0 = b_0 < ... < b_K = 1, ``[K + 1]``, dense at both ends (Wu et al. 2017, appendix)."""
    curve = 1.0 / (1.0 + np.exp(-steepness * np.linspace(-1.0, 1.0, num_steps + 1)))
    return (curve - curve[0]) / (curve[-1] - curve[0])


def log_prob_bounds(
    log_joint: LogProbFn,
    initial: tfd.Distribution,
    *,
    posterior_sample: TensorLike | None = None,
    num_steps: int = 1000,
    num_chains: int = 16,
    num_leapfrog_steps: int = 10,
    step_size: TensorLike | None = None,
    schedule: TensorLike | None = None,
    seed: Seed = None,
) -> Bounds:
    """Bounds log p(x) by annealed importance sampling with HMC.

    Args:
      log_joint: log p(x, z), from ``[S, B, D]`` to ``[S, B]``, differentiable.
      initial: where the chains start, batch ``[B]`` or ``[]``, event ``[D]``: the prior, or q(z|x).
      posterior_sample: one exact sample of p(z|x) for each example, ``[B, D]``; None leaves out the upper bound.
      num_steps: K, the number of temperatures after 0.
      num_chains: S, independent chains for each example.
      num_leapfrog_steps: of each HMC transition.
      step_size: of HMC, broadcastable to ``[K - 1, S, B, 1]``; None tunes it in a pilot run, for each temperature and
        example, towards an acceptance rate of 0.65.
      schedule: b_0..b_K ``[K + 1]``, rising from 0 to 1; None takes `sigmoidal_schedule`.
      seed: an int or a pair.

    Returns:
      `Bounds`.

    Raises:
      ValueError: if a number is not positive, the schedule does not rise from 0 to 1, or shapes do not agree.
    """
    num_steps = check_positive("num_steps", num_steps)
    num_chains = check_positive("num_chains", num_chains)
    num_leapfrog_steps = check_positive("num_leapfrog_steps", num_leapfrog_steps)
    betas = sigmoidal_schedule(num_steps) if schedule is None else np.asarray(schedule, np.float64)
    if betas.shape != (num_steps + 1,) or betas[0] != 0 or betas[-1] != 1 or not np.all(np.diff(betas) > 0):
        raise ValueError(f"schedule must rise from 0 to 1 in {num_steps} steps. Received: {betas}")
    seed = random.as_seed(seed)
    if posterior_sample is not None:
        posterior_sample = tf.convert_to_tensor(posterior_sample, initial.dtype)
        if posterior_sample.shape.rank != 2 or posterior_sample.shape[-1] != initial.event_shape[-1]:
            raise ValueError(
                f"posterior_sample must have shape [B, {initial.event_shape[-1]}]. "
                f"Received: {tuple(posterior_sample.shape)}"
            )

    def run() -> Bounds:
        return _run(
            log_joint,
            initial,
            posterior_sample,
            tf.constant(betas, initial.dtype),
            num_chains,
            num_leapfrog_steps,
            step_size,
            seed,
        )

    # Thousands of small steps: one graph, also where the caller is eager.
    return tf.function(run, autograph=False)() if tf.executing_eagerly() else run()


def _run(
    log_joint: LogProbFn,
    initial: tfd.Distribution,
    posterior_sample: Tensor | None,
    betas: Tensor,
    num_chains: int,
    num_leapfrog_steps: int,
    step_size: TensorLike | None,
    seed: Tensor,
) -> Bounds:
    num_transitions = betas.shape[0] - 2
    pilot_seed, start_seed, forward_seed, reverse_seed = random.split(seed, 4)

    def start(seed: Tensor) -> Tensor:
        z = random.sample(initial, num_chains, seed)
        if z.shape.rank == 3:
            return z
        # One distribution for all examples: draw for each of them, so that their chains are independent.
        log_probs = log_joint(z[:, tf.newaxis])  # [S, B]
        batch = log_probs.shape[1] or tf.shape(log_probs)[1]
        return tf.reshape(random.sample(initial, num_chains * batch, seed), [num_chains, batch, z.shape[-1]])

    # Functions of their own in the graph: traced once, and called by the pilot run, the chains and those in reverse.
    @tf.function(autograph=False)
    def log_ratio(z: Tensor) -> Tensor:
        return log_joint(z) - initial.log_prob(z)

    @tf.function(autograph=False)
    def transition(z: Tensor, beta: Tensor, step: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        kernel = tfp.mcmc.HamiltonianMonteCarlo(
            lambda z: (1.0 - beta) * initial.log_prob(z) + beta * log_joint(z), step, num_leapfrog_steps
        )
        z, results = kernel.one_step(z, kernel.bootstrap_results(z), seed=seed)
        probability = tf.exp(tf.minimum(results.log_accept_ratio, 0.0))
        probability = tf.where(tf.math.is_nan(probability), tf.zeros_like(probability), probability)
        return z, tf.reduce_mean(probability, axis=0)  # [S, B, D], [B]

    z0 = start(start_seed)
    if posterior_sample is not None and not posterior_sample.shape.is_compatible_with(z0.shape[1:]):
        raise ValueError(
            f"posterior_sample must have one row for each of the {z0.shape[1]} examples. "
            f"Received: {tuple(posterior_sample.shape)}"
        )
    if step_size is None:
        steps = _tune(transition, start(random.fold_in(pilot_seed, 0)), betas, num_transitions, pilot_seed)
    else:
        steps = tf.convert_to_tensor(step_size, initial.dtype)
        steps = tf.broadcast_to(
            steps,
            tf.broadcast_dynamic_shape(tf.shape(steps), tf.constant([num_transitions, 1, 1, 1])),
        )

    def forward(k: Tensor, chain: _Chain) -> tuple[Tensor, _Chain]:
        # Transition at b_k, then the weight of going on to b_{k+1}.
        z, acceptance = transition(chain.position, betas[k], steps[k - 1], random.fold_in(forward_seed, k))
        log_weight = chain.log_weight + (betas[k + 1] - betas[k]) * log_ratio(z)
        return k + 1, _Chain(z, log_weight, chain.acceptance + acceptance)

    first = betas[1] * log_ratio(z0)
    chain = _loop(forward, 1, num_transitions, _Chain(z0, first, tf.zeros_like(first[0])))
    lower = log_mean_exp(chain.log_weight)
    acceptance = chain.acceptance / max(num_transitions, 1)
    if posterior_sample is None:
        return Bounds(lower, None, acceptance)

    def reverse(i: Tensor, chain: _Chain) -> tuple[Tensor, _Chain]:
        k = num_transitions + 1 - i  # K - 1, ..., 1
        z, acceptance = transition(chain.position, betas[k], steps[k - 1], random.fold_in(reverse_seed, k))
        log_weight = chain.log_weight + (betas[k] - betas[k - 1]) * log_ratio(z)
        return i + 1, _Chain(z, log_weight, chain.acceptance + acceptance)

    z_last = tf.broadcast_to(posterior_sample, tf.shape(z0))
    last = (betas[-1] - betas[-2]) * log_ratio(z_last)
    chain = _loop(reverse, 1, num_transitions, _Chain(z_last, last, tf.zeros_like(last[0])))
    return Bounds(lower, -log_mean_exp(-chain.log_weight), acceptance)


def _loop(body: Callable, start: int, count: int, chain: _Chain) -> _Chain:
    return tf.while_loop(
        lambda k, _: k < start + count,
        body,
        (tf.constant(start), chain),
        maximum_iterations=count,
        parallel_iterations=1,
    )[1]


def _tune(transition: Callable, z: Tensor, betas: Tensor, num_transitions: int, seed: Tensor) -> Tensor:
    """Returns step sizes ``[K - 1, 1, B, 1]`` from a run that is not weighed."""
    table = tf.TensorArray(z.dtype, size=num_transitions, element_shape=[1, z.shape[1], 1])
    log_step = tf.fill([tf.shape(z)[1]], tf.cast(np.log(0.1), z.dtype))

    def body(k: Tensor, z: Tensor, log_step: Tensor, table: tf.TensorArray) -> tuple:
        temperature = tf.maximum(k, 1)  # the first one repeatedly, until the step size has come up from its guess
        step = tf.exp(log_step)[tf.newaxis, :, tf.newaxis]
        z, acceptance = transition(z, betas[temperature], step, random.fold_in(seed, k + _WARM_UP))
        # A constant gain follows the target as it narrows along the path.
        log_step += _GAIN * (acceptance - _TARGET_ACCEPTANCE)
        return k + 1, z, log_step, table.write(temperature - 1, step)

    if not num_transitions:
        return tf.zeros([0, 1, 1, 1], z.dtype)
    *_, table = tf.while_loop(
        lambda k, *_: k <= num_transitions,
        body,
        (tf.constant(1 - _WARM_UP), z, log_step, table),
        maximum_iterations=num_transitions + _WARM_UP,
        parallel_iterations=1,
    )
    return table.stack()
