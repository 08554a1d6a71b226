"""The integrators as `tfp.mcmc.TransitionKernel`s, for `tfp.mcmc.sample_chain` and what is built on it.

    kernel = kernels.GeneralizedHamiltonianMonteCarlo(log_prob_fn, step_size=0.3, num_steps=3, damping=0.5)
    positions, accepted = tfp.mcmc.sample_chain(
        1000, tf.zeros([16, 2]), kernel=kernel, trace_fn=lambda _, results: results.is_accepted, seed=[0, 1]
    )

The state of a chain is its position, one tensor ``[..., D]``; its momentum lives in the kernel's results. All kernels
move with one gradient a step, in eager code, graphs and XLA, and a transition (`one_step`) has the same noise for the
same seed in all of them. A whole `sample_chain` has it in eager code and graphs: the seeds of its transitions come from
TFP, whose own are others under XLA.

References:
  Horowitz, "A generalized guided Monte Carlo algorithm", Phys. Lett. B 268 (1991)
  Kennedy, Pendleton, "Cost of the Generalised Hybrid Monte Carlo Algorithm for Free Field Theory",
    https://arxiv.org/abs/hep-lat/0008020
  Neal, "MCMC using Hamiltonian dynamics", https://arxiv.org/abs/1206.1901, section 5.3
  Wang, Delingette, "Quasi-symplectic Langevin Variational Autoencoder", https://arxiv.org/abs/2009.01675
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.integrators import phase_space, quasi_symplectic, short_run
from tfzoo.integrators.arguments import as_non_negative, as_step_sizes
from tfzoo.math import value_and_gradient
from tfzoo.types import LogProbFn, Seed, Tensor, TensorLike

__all__ = [
    "GeneralizedHamiltonianMonteCarlo",
    "GeneralizedHamiltonianMonteCarloResults",
    "QuasiSymplecticLangevin",
    "QuasiSymplecticLangevinResults",
    "ShortRunLangevin",
    "ShortRunLangevinResults",
]


class QuasiSymplecticLangevinResults(NamedTuple):
    """What a chain of `QuasiSymplecticLangevin` carries beside its position.

    Attributes:
      momentum: ``[..., D]``.
      is_finite: False for chains that have diverged and stand still since, bool ``[...]``.
      step_size: ``[]`` or ``[D]``; the next transition takes it from here.
      seed: what the transition drew its noise with, ``int32 [2]``.
    """

    momentum: Tensor
    is_finite: Tensor
    step_size: Tensor
    seed: Tensor


class ShortRunLangevinResults(NamedTuple):
    """What a chain of `ShortRunLangevin` carries beside its position.

    Attributes:
      is_finite: False for chains that have diverged and stand still since, bool ``[...]``.
      step_size: ``[]`` or ``[D]``; the next transition takes it from here.
      seed: what the transition drew its noise with, ``int32 [2]``.
    """

    is_finite: Tensor
    step_size: Tensor
    seed: Tensor


class GeneralizedHamiltonianMonteCarloResults(NamedTuple):
    """What a chain of `GeneralizedHamiltonianMonteCarlo` carries beside its position, and how its last proposal fared.

    Attributes:
      momentum: ``[..., D]``.
      momentum_is_drawn: False before the first transition, bool ``[]``.
      target_log_prob: of the chain's position, ``[...]``.
      proposed_state: ``[..., D]``; where a trajectory diverged, the last place before.
      log_accept_ratio: minus the energy error of the proposal, ``[...]``; -inf where it is not finite.
      is_accepted: bool ``[...]``.
      has_divergence: whether the trajectory diverged, bool ``[...]``.
      step_size: ``[]`` or ``[D]``; the next transition takes it from here.
      seed: what the transition drew its numbers with, ``int32 [2]``.
    """

    momentum: Tensor
    momentum_is_drawn: Tensor
    target_log_prob: Tensor
    proposed_state: Tensor
    log_accept_ratio: Tensor
    is_accepted: Tensor
    has_divergence: Tensor
    step_size: Tensor
    seed: Tensor


class _Kernel(tfp.mcmc.TransitionKernel):
    """What all three have: their arguments by name, and whether their chains converge to the target."""

    is_calibrated = False  # without accept or reject they do not

    def __init__(self, **parameters: Any) -> None:
        self._parameters = parameters

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments of the constructor, by name."""
        return self._parameters


class QuasiSymplecticLangevin(_Kernel):
    """Langevin dynamics by `tfzoo.integrators.quasi_symplectic`, one step a transition, without accept or reject.

    The chain's law differs from the target by O(t^2): for a Gaussian, by what the discrete Lyapunov equation of the
    step says. Chains start at rest; for another momentum replace it in `bootstrap_results`. A chain that diverges
    stands still.

    Args:
      target_log_prob_fn: positions ``[..., D]`` to log densities ``[...]``.
      step_size: t, a number or one per dimension ``[D]``.
      damping: nu, from 0 on.
      temperature: T of the noise sqrt(2 nu T): the chain goes by the target's density to the power 1/T; None for no
        noise.
    """

    def __init__(
        self,
        target_log_prob_fn: LogProbFn,
        step_size: TensorLike,
        damping: TensorLike,
        temperature: TensorLike | None = 1.0,
    ) -> None:
        super().__init__(
            target_log_prob_fn=target_log_prob_fn, step_size=step_size, damping=damping, temperature=temperature
        )

    def bootstrap_results(self, init_state: TensorLike) -> QuasiSymplecticLangevinResults:
        """Returns the results before the first transition from positions ``[..., D]``, with the momentum at rest.

        Raises:
          ValueError: if the state is a list of parts, or the step size is negative or of a wrong shape.
        """
        position = _as_position(init_state)
        return QuasiSymplecticLangevinResults(momentum=tf.zeros_like(position), **_start(self, position))

    def one_step(
        self, current_state: TensorLike, previous_kernel_results: QuasiSymplecticLangevinResults, seed: Seed = None
    ) -> tuple[Tensor, QuasiSymplecticLangevinResults]:
        """Returns positions ``[..., D]`` and results after one step of the integrator with this seed.

        Args:
          current_state: ``[..., D]``.
          previous_kernel_results: of the transition before, or from `bootstrap_results`.
          seed: an int or a pair; None draws one, anew in each call of a graph too.

        Raises:
          ValueError: as `tfzoo.integrators.quasi_symplectic.step`.
        """
        position = _as_position(current_state)
        start = quasi_symplectic.init(position, previous_kernel_results.momentum)
        return _one_step(self, quasi_symplectic.step, position, start, previous_kernel_results, _as_seed(seed))


class ShortRunLangevin(_Kernel):
    """Overdamped Langevin dynamics by `tfzoo.integrators.short_run`, one step a transition, without accept or reject.

    It is `tfp.mcmc.UncalibratedLangevin` of the step size s^2, with this package's seeds and chains that stand still
    where they diverge.

    Args:
      target_log_prob_fn: positions ``[..., D]`` to log densities ``[...]``.
      step_size: s, a number or one per dimension ``[D]``.
      temperature: T of the noise; None for no noise.
    """

    def __init__(
        self, target_log_prob_fn: LogProbFn, step_size: TensorLike, temperature: TensorLike | None = 1.0
    ) -> None:
        super().__init__(target_log_prob_fn=target_log_prob_fn, step_size=step_size, temperature=temperature)

    def bootstrap_results(self, init_state: TensorLike) -> ShortRunLangevinResults:
        """Returns the results before the first transition from positions ``[..., D]``.

        Raises:
          ValueError: if the state is a list of parts, or the step size is negative or of a wrong shape.
        """
        return ShortRunLangevinResults(**_start(self, _as_position(init_state)))

    def one_step(
        self, current_state: TensorLike, previous_kernel_results: ShortRunLangevinResults, seed: Seed = None
    ) -> tuple[Tensor, ShortRunLangevinResults]:
        """Returns positions ``[..., D]`` and results after one step of the integrator with this seed.

        Args:
          current_state: ``[..., D]``.
          previous_kernel_results: of the transition before, or from `bootstrap_results`.
          seed: an int or a pair; None draws one, anew in each call of a graph too.

        Raises:
          ValueError: as `tfzoo.integrators.short_run.step`.
        """
        position = _as_position(current_state)
        start = short_run.init(position)
        return _one_step(self, short_run.step, position, start, previous_kernel_results, _as_seed(seed))


def _start(kernel: _Kernel, position: Tensor) -> dict[str, Tensor]:
    """Returns what the results of both Langevin kernels begin with."""
    return {
        "is_finite": phase_space.within_reach(position),
        "step_size": as_step_sizes(kernel.parameters["step_size"], position),
        "seed": tf.zeros([2], tf.int32),
    }


def _one_step(
    kernel: _Kernel, step: Callable[..., Any], position: Tensor, start: Any, results: Any, seed: Tensor
) -> tuple[Tensor, Any]:
    """Returns positions and results after a step of an integrator from its state `start`."""
    options = {**kernel.parameters, "step_size": results.step_size}
    log_prob_fn = options.pop("target_log_prob_fn")
    start = start._replace(is_finite=start.is_finite & results.is_finite)
    end = step(start, log_prob_fn, **options, seed=seed)
    carried = {name: value for name, value in end._asdict().items() if name in results._fields}
    # A chain that starts beyond reach stands where it is, not where the integrator lets it rest.
    moved = tf.where(end.is_finite[..., tf.newaxis], end.position, position)
    return moved, results._replace(**carried, seed=seed)


class GeneralizedHamiltonianMonteCarlo(_Kernel):
    """Underdamped Langevin dynamics with accept or reject: it leaves the target invariant at any step size.

    With eta_j = exp(-nu t_j K) for dimension j, a transition from (position, momentum)

      - refreshes the momentum in part, by the exact solution of its Ornstein-Uhlenbeck process over the time t K:
        momentum~ = eta momentum + sqrt(1 - eta^2) noise;
      - proposes K undamped steps (drift-kick-drift) of `tfzoo.integrators.quasi_symplectic` from there;
      - accepts with probability min(1, exp(H(position, momentum~) - H(proposal))), H = -log p + |momentum|^2 / 2, and
        otherwise keeps the position and turns the momentum around, -momentum~.

    Each of the three leaves p(position) N(momentum; 0, I) invariant. A damping large enough that eta is 0 is
    Hamiltonian Monte Carlo; K = 1 with a small damping is the corrected counterpart of `QuasiSymplecticLangevin`, for
    which rejections must be rare, as each turns the chain around. A transition costs K gradients and one more value of
    the density. Momenta are drawn from N(0, I) in the first transition. A proposal that is not finite is rejected.

    It can be wrapped by `tfp.mcmc.SimpleStepSizeAdaptation` and `tfp.mcmc.DualAveragingStepSizeAdaptation` with a step
    size ``[]`` or ``[D]`` (shared by the chains), and by `tfp.mcmc.TransformedTransitionKernel`.

    Args:
      target_log_prob_fn: positions ``[..., D]`` to log densities ``[...]``, up to a constant.
      step_size: t, a number or one per dimension ``[D]``.
      num_steps: K, from 1 on.
      damping: nu, from 0 on, per unit of time; with 0 the momentum is never refreshed.

    Raises:
      ValueError: if `num_steps` is not a whole number of at least 1.
    """

    is_calibrated = True

    def __init__(
        self, target_log_prob_fn: LogProbFn, step_size: TensorLike, num_steps: int, damping: TensorLike
    ) -> None:
        check_positive("num_steps", num_steps)
        super().__init__(
            target_log_prob_fn=target_log_prob_fn, step_size=step_size, num_steps=num_steps, damping=damping
        )

    def bootstrap_results(self, init_state: TensorLike) -> GeneralizedHamiltonianMonteCarloResults:
        """Returns the results before the first transition from positions ``[..., D]``, by one value of the density.

        Raises:
          ValueError: if the state is a list of parts, the step size is negative or of a wrong shape, or the density has
            not one number for each position.
        """
        position = _as_position(init_state)
        target_log_prob, _ = value_and_gradient(self._parameters["target_log_prob_fn"], position)
        no = tf.zeros_like(target_log_prob, tf.bool)
        return GeneralizedHamiltonianMonteCarloResults(
            momentum=tf.zeros_like(position),
            momentum_is_drawn=tf.constant(False),
            target_log_prob=target_log_prob,
            proposed_state=position,
            log_accept_ratio=tf.zeros_like(target_log_prob),
            is_accepted=no,
            has_divergence=no,
            step_size=as_step_sizes(self._parameters["step_size"], position),
            seed=tf.zeros([2], tf.int32),
        )

    def one_step(
        self,
        current_state: TensorLike,
        previous_kernel_results: GeneralizedHamiltonianMonteCarloResults,
        seed: Seed = None,
    ) -> tuple[Tensor, GeneralizedHamiltonianMonteCarloResults]:
        """Returns positions ``[..., D]`` and results after one transition.

        Args:
          current_state: ``[..., D]``.
          previous_kernel_results: of the transition before, or from `bootstrap_results`.
          seed: an int or a pair; None draws one, anew in each call of a graph too.

        Raises:
          ValueError: for a step size or damping that is negative or of a wrong shape.
        """
        results, log_prob_fn = previous_kernel_results, self._parameters["target_log_prob_fn"]
        seed = _as_seed(seed)
        noise_seed, accept_seed = random.split(seed)
        position = _as_position(current_state)
        momentum = self._refresh(results, position, noise_seed)
        start = quasi_symplectic.init(position, momentum)
        end = quasi_symplectic.integrate(
            start, log_prob_fn, step_size=results.step_size, num_steps=self._parameters["num_steps"]
        )
        proposed_log_prob = tf.convert_to_tensor(log_prob_fn(end.position))
        kinetic = 0.5 * tf.reduce_sum(tf.square(momentum) - tf.square(end.momentum), axis=-1)
        log_ratio = proposed_log_prob - results.target_log_prob + tf.cast(kinetic, proposed_log_prob.dtype)
        # A chain that starts where the density is 0 has a ratio of infinity, and leaves.
        sound = end.is_finite & tf.math.is_finite(proposed_log_prob) & ~tf.math.is_nan(log_ratio)
        log_ratio = tf.where(sound, log_ratio, tf.constant(float("-inf"), log_ratio.dtype))
        # One axis more, as random numbers with one seed per example need.
        uniform = random.uniform(tf.shape(position[..., :1]), accept_seed, log_ratio.dtype)[..., 0]
        accepted = tf.math.log(uniform) < log_ratio
        each = accepted[..., tf.newaxis]
        return tf.where(each, end.position, position), results._replace(
            momentum=tf.where(each, end.momentum, -momentum),
            momentum_is_drawn=tf.constant(True),
            target_log_prob=tf.where(accepted, proposed_log_prob, results.target_log_prob),
            proposed_state=end.position,
            log_accept_ratio=log_ratio,
            is_accepted=accepted,
            has_divergence=~end.is_finite,
            seed=seed,
        )

    def _refresh(self, results: GeneralizedHamiltonianMonteCarloResults, position: Tensor, seed: Tensor) -> Tensor:
        """Returns momentum~, which for a first transition is all noise."""
        nu = as_non_negative("damping", self._parameters["damping"], position.dtype)
        decay = nu * as_step_sizes(results.step_size, position) * float(self._parameters["num_steps"])
        decay = tf.where(results.momentum_is_drawn, decay, tf.constant(float("inf"), decay.dtype))
        noise = tf.ensure_shape(random.normal(tf.shape(position), seed, position.dtype), position.shape)
        # 1 - eta^2, without the cancellation for a small damping.
        return tf.exp(-decay) * results.momentum + tf.sqrt(-tf.math.expm1(-2.0 * decay)) * noise


def _as_position(state: TensorLike) -> Tensor:
    if isinstance(state, (list, tuple)) and any(tf.is_tensor(part) for part in state):
        raise ValueError(
            "the state must be one tensor [..., D]: join its parts by tf.concat(parts, axis=-1), and split them again "
            f"in target_log_prob_fn. Received: {type(state).__name__} of {len(state)} parts"
        )
    return tf.convert_to_tensor(state)


def _as_seed(seed: Seed) -> Tensor:
    # Not a fresh seed of ours where there is none: it would be drawn once for all rounds of a loop.
    return tfp.random.sanitize_seed(None) if seed is None else random.as_seed(seed)
