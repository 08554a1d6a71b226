"""Langevin variational autoencoder: the encoder's sample, moved by quasi-symplectic steps with damping.

The bound is that of `tfzoo.models.phase_space` with the integrator of `tfzoo.integrators.quasi_symplectic`: a step is
drift-kick-drift with one gradient, and its log-determinant is -nu sum_j t_j, so K steps of size t take K D nu t from
the bound. With `noise` the kicks carry noise of temperature 1; the bound stays valid, and gets looser.

Deviations from the paper (its integrator's are in `tfzoo.integrators.quasi_symplectic`):
  - eqs. 11 and 21 add K nu t to the bound; the log-determinant is negative and counts every dimension: -K D nu t
    (with the printed sign log p(x) would be over-stated: test_models_phase_space.py);
  - algorithm 1 runs K - 1 steps (`for i = 1; i < K`); here it is K;
  - table 3 has T_0 = 1.5, algorithm 1 T_0 = 1. Nothing cools the momentum but the damping, so T_0 = 1.5 costs
    D/2 (T_0 - 1 - log T_0) = 3.0 nats at D = 64; it is 1 here, or learned.

References:
  Wang, Delingette, "Quasi-symplectic Langevin Variational Autoencoder", https://arxiv.org/abs/2009.01675
"""

from typing import Any

import keras
import tensorflow as tf

from tfzoo.checks import check_number, check_positive_number
from tfzoo.integrators import phase_space, quasi_symplectic
from tfzoo.integrators.arguments import step_size_at
from tfzoo.models.phase_space import PhaseSpaceModel
from tfzoo.networks.constrained import ConstrainedVariable
from tfzoo.types import LogProbFn, Tensor

__all__ = ["LangevinVAE"]


@keras.saving.register_keras_serializable("tfzoo")
class LangevinVAE(PhaseSpaceModel):
    """Quasi-symplectic Langevin variational autoencoder (Wang and Delingette, arXiv:2009.01675).

    Example::

        model = tfzoo.create_model("langevin_vae", event_shape=(28, 28, 1), latent_dim=64, num_steps=5)
        model = tfzoo.create_model("langevin_vae", event_shape=(60, 50, 50, 1))  # volumes

    Args:
      damping: nu, from 0 (symplectic) on; None learns it, from 0.2 on. With `annealed` too, a step costs D nu t.
      initial_temperature: T_0; None learns it, from 1.5 on. It is 1 with `annealed`.
      noise: add the noise of Langevin dynamics of temperature 1 to the kicks; not with `annealed`, which refreshes the
        momentum.
      **kwargs: see `tfzoo.models.phase_space.PhaseSpaceModel`; `step_size_range` is (0.01, 0.5) here.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        damping: float | None = 0.01,
        initial_temperature: float | None = 1.0,
        noise: bool = False,
        step_size_range: tuple[float, float] = (0.01, 0.5),
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape=event_shape, step_size_range=step_size_range, **kwargs)
        self.damping = None if damping is None else check_number("damping", damping, 0)
        if initial_temperature is not None:
            initial_temperature = check_positive_number("initial_temperature", initial_temperature)
        if self.annealed and (noise or initial_temperature != 1.0):
            raise ValueError(
                "annealed goes without noise and with initial_temperature 1. "
                f"Received: noise={noise}, initial_temperature={initial_temperature}"
            )
        self.initial_temperature = initial_temperature
        self.noise = noise
        if self.num_steps and initial_temperature is None:
            self.temperature = ConstrainedVariable((), 1.5, dtype=self.variable_dtype, name="temperature")
        if self.num_steps and damping is None:
            self.friction = ConstrainedVariable((), 0.2, dtype=self.variable_dtype, name="damping")
        self.build()

    def _damping(self) -> Tensor | float:
        return self.friction.value() if self.num_steps and self.damping is None else self.damping or 0.0

    def _initial_temperature(self) -> Tensor:
        if not self.num_steps:
            return super()._initial_temperature()
        if self.initial_temperature is None:
            return self.temperature.value()
        return tf.constant(self.initial_temperature, self.variable_dtype)

    def _integrate(self, log_prob_fn: LogProbFn, position: Tensor, momentum: Tensor, seed: Tensor | None) -> Any:
        return quasi_symplectic.integrate(
            quasi_symplectic.init(position, momentum),
            log_prob_fn,
            step_size=self._step_sizes(),
            num_steps=self.num_steps,
            damping=self._damping(),
            temperature=1.0 if self.noise and seed is not None else None,
            seed=seed,
            second_order=self.second_order,
        )

    def _step(self, state: phase_space.State, log_prob_fn: LogProbFn, k: Tensor) -> Any:
        return quasi_symplectic.step(
            state,
            log_prob_fn,
            step_size=step_size_at(self._step_sizes(), k),
            damping=self._damping(),
            second_order=self.second_order,
        )

    def get_config(self) -> dict:
        own = {"damping": self.damping, "initial_temperature": self.initial_temperature, "noise": self.noise}
        return {**super().get_config(), **own}
