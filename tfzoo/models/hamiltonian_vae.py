"""Hamiltonian variational autoencoder: the encoder's sample, moved by leapfrog steps with tempering.

The bound is that of `tfzoo.models.phase_space` with the integrator of `tfzoo.integrators.leapfrog`. Tempering starts
from momenta of temperature T_0 and cools them: prod_k alpha_k^2 T_0 = 1, so that D/2 log T_0 in
log N(m_0; 0, T_0 I) and the log-determinant sum_k D log alpha_k cancel.

| tempering | T_0 | alpha_k |
|---|---|---|
| "none" | 1 | 1 |
| "fixed" | learned, above 1 | sqrt(T_k / T_(k-1)), T_k = T_0 + (1 - T_0) k^2 / K^2 |
| "free" | prod_k alpha_k^-2 | learned, in (0, 1), with a product of 0.9^5 at first |

A step is kick-drift-kick, K + 1 gradients for K steps (2 K in the annealed bound, where each step has its own target).

Deviations (each with its test in test_models_phase_space.py): the authors integrate the entropies of z_0 and of the
momentum in closed form; here the momentum's is sampled, which has the same gradient and less noise, and for z_0 it is
KL(q || p) that is in closed form.

References:
  Caterini, Doucet, Sejdinovic, "Hamiltonian Variational Auto-Encoder", https://arxiv.org/abs/1805.11328
"""

from typing import Any

import keras
import tensorflow as tf

from tfzoo.checks import check_positive_number
from tfzoo.integrators import leapfrog, phase_space
from tfzoo.integrators.arguments import step_size_at
from tfzoo.models.phase_space import PhaseSpaceModel
from tfzoo.networks.constrained import ConstrainedVariable
from tfzoo.types import LogProbFn, Tensor

__all__ = ["HamiltonianVAE"]

_TEMPERINGS = ("none", "fixed", "free")


@keras.saving.register_keras_serializable("tfzoo")
class HamiltonianVAE(PhaseSpaceModel):
    """Hamiltonian variational autoencoder (Caterini et al., arXiv:1805.11328).

    Example::

        model = tfzoo.create_model("hamiltonian_vae", event_shape=(28, 28, 1), latent_dim=64, num_steps=5)

    Args:
      tempering: "none", "fixed" or "free"; "none" with `annealed`, which has temperatures of its own.
      initial_temperature: where a learned T_0 of "fixed" starts, above 1.
      **kwargs: see `tfzoo.models.phase_space.PhaseSpaceModel`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        tempering: str | None = None,
        initial_temperature: float = 1.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape=event_shape, **kwargs)
        self.tempering = tempering or ("none" if self.annealed else "fixed")
        self.initial_temperature = check_positive_number("initial_temperature", initial_temperature)
        if self.tempering not in _TEMPERINGS or (self.annealed and self.tempering != "none"):
            raise ValueError(
                f"tempering must be one of {', '.join(_TEMPERINGS)}, and none where the bound is annealed. "
                f"Received: {tempering!r}"
            )
        if self.num_steps and self.tempering == "fixed":
            self.temperature = ConstrainedVariable(
                (), self.initial_temperature, lower=1.0, dtype=self.variable_dtype, name="temperature"
            )
        if self.num_steps and self.tempering == "free":
            self.cooling = ConstrainedVariable(
                (self.num_steps,), 0.9 ** (5 / self.num_steps), upper=1.0, dtype=self.variable_dtype, name="cooling"
            )
        self.build()

    def _factors(self) -> Tensor | None:
        """Returns alpha_1..alpha_K, or None without tempering."""
        if not self.num_steps or self.tempering == "none":
            return None
        if self.tempering == "fixed":
            return leapfrog.quadratic_tempering(self.temperature.value(), self.num_steps)
        return self.cooling.value()

    def _initial_temperature(self) -> Tensor:
        factors = self._factors()
        return super()._initial_temperature() if factors is None else tf.reduce_prod(factors) ** -2

    def _integrate(self, log_prob_fn: LogProbFn, position: Tensor, momentum: Tensor, seed: Tensor | None) -> Any:
        return leapfrog.integrate(
            leapfrog.init(position, momentum),
            log_prob_fn,
            step_size=self._step_sizes(),
            num_steps=self.num_steps,
            tempering=self._factors(),
            second_order=self.second_order,
        )

    def _step(self, state: phase_space.State, log_prob_fn: LogProbFn, k: Tensor) -> Any:
        return leapfrog.step(
            leapfrog.State(*state),
            log_prob_fn,
            step_size=step_size_at(self._step_sizes(), k),
            second_order=self.second_order,
        )

    def get_config(self) -> dict:
        own = {"tempering": self.tempering, "initial_temperature": self.initial_temperature}
        return {**super().get_config(), **own}
