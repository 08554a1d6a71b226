"""The deterministic steps of `tfzoo.integrators` as `tfb.Bijector`s on phase space.

An event is the concatenation [position, momentum] ``[..., 2 D]``, so that a step goes together with ordinary bijectors
and distributions: K of them in a `tfb.Chain` are the integrator, and a `tfd.TransformedDistribution` of
`tfd.MultivariateNormalDiag` by it has the flow's density of position and momentum. One gradient of the log density
either way (two for leapfrog); the log-determinant takes none, for it does not depend on the point.

Points where a step diverges (see `tfzoo.integrators.phase_space`) are outside of the bijector's domain: it returns NaN.

References:
  Wang, Delingette, "Quasi-symplectic Langevin Variational Autoencoder", https://arxiv.org/abs/2009.01675, eq. 5
  Caterini, Doucet, Sejdinovic, "Hamiltonian Variational Auto-Encoder", https://arxiv.org/abs/1805.11328, section 3
"""

import abc
from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import util as tfp_util

from tfzoo.bijectors.uncached import UncachedBijector
from tfzoo.integrators import leapfrog, phase_space, quasi_symplectic
from tfzoo.types import LogProbFn, Tensor, TensorLike

__all__ = ["LeapfrogStep", "QuasiSymplecticStep"]


class _Step(UncachedBijector):
    """One step of an integrator on [position, momentum]."""

    def __init__(
        self,
        log_prob_fn: LogProbFn,
        step_size: TensorLike,
        *,
        validate_args: bool,
        parameters: dict[str, Any],
        name: str,
    ) -> None:
        self._log_prob_fn = log_prob_fn
        self._step_size = step_size
        # Not is_constant_jacobian, though the determinant is: TFP takes that for an affine map.
        super().__init__(forward_min_event_ndims=1, validate_args=validate_args, parameters=parameters, name=name)

    @property
    def log_prob_fn(self) -> LogProbFn:
        """The log density, positions ``[..., D]`` to ``[...]``."""
        return self._log_prob_fn

    @property
    def step_size(self) -> TensorLike:
        """The step size t."""
        return self._step_size

    @abc.abstractmethod
    def _step(self, state: phase_space.State, log_prob_fn: LogProbFn) -> Any:
        """Returns the state after the step."""

    @abc.abstractmethod
    def _inverse_step(self, state: phase_space.State, log_prob_fn: LogProbFn) -> Any:
        """Returns the state before the step."""

    def _forward(self, x: Tensor) -> Tensor:
        return _join(self._step(_split(x), self._log_prob_fn))

    def _inverse(self, y: Tensor) -> Tensor:
        return _join(self._inverse_step(_split(y), self._log_prob_fn))

    # The same for every log density: a free particle's step needs no gradient of it.

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return self._step(_at_origin(x), _flat).log_det

    def _inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        return self._inverse_step(_at_origin(y), _flat).log_det


class QuasiSymplecticStep(_Step):
    """One step of `tfzoo.integrators.quasi_symplectic` without noise, log |det| = -nu sum_j t_j.

    Args:
      log_prob_fn: positions ``[..., D]`` to log densities ``[...]``. What it captures is differentiated, variables in
        it are not tracked.
      step_size: t, a number or one per dimension ``[D]``.
      damping: nu, a number from 0 on.
      validate_args: as in TFP.
      name: of the operations.

    Using it raises ValueError where a step size or damping is negative or of a wrong shape, `log_prob_fn` returns the
    wrong shape, or the event's size is not even.
    """

    def __init__(
        self,
        log_prob_fn: LogProbFn,
        step_size: TensorLike,
        damping: TensorLike = 0.0,
        validate_args: bool = False,
        name: str = "quasi_symplectic_step",
    ) -> None:
        parameters = dict(locals())
        self._damping = damping
        with tf.name_scope(name) as name:
            super().__init__(log_prob_fn, step_size, validate_args=validate_args, parameters=parameters, name=name)

    @property
    def damping(self) -> TensorLike:
        """The damping nu."""
        return self._damping

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType | None, num_classes: int | None = None) -> dict[str, Any]:
        return {"step_size": _parameter(event_ndims=1), "damping": _parameter(event_ndims=0)}

    def _step(self, state: phase_space.State, log_prob_fn: LogProbFn) -> phase_space.State:
        return quasi_symplectic.step(state, log_prob_fn, step_size=self._step_size, damping=self._damping)

    def _inverse_step(self, state: phase_space.State, log_prob_fn: LogProbFn) -> phase_space.State:
        return quasi_symplectic.inverse_step(state, log_prob_fn, step_size=self._step_size, damping=self._damping)


class LeapfrogStep(_Step):
    """One step of `tfzoo.integrators.leapfrog`, log |det| = D log alpha.

    Args:
      log_prob_fn: positions ``[..., D]`` to log densities ``[...]``. What it captures is differentiated, variables in
        it are not tracked.
      step_size: t, a number or one per dimension ``[D]``.
      tempering: alpha, a positive number that multiplies the momentum at the end; None for 1.
      validate_args: as in TFP.
      name: of the operations.

    Using it raises ValueError where a step size is negative or of a wrong shape, the tempering is not one positive
    number, `log_prob_fn` returns the wrong shape, or the event's size is not even.
    """

    def __init__(
        self,
        log_prob_fn: LogProbFn,
        step_size: TensorLike,
        tempering: TensorLike | None = None,
        validate_args: bool = False,
        name: str = "leapfrog_step",
    ) -> None:
        parameters = dict(locals())
        self._tempering = tempering
        with tf.name_scope(name) as name:
            super().__init__(log_prob_fn, step_size, validate_args=validate_args, parameters=parameters, name=name)

    @property
    def tempering(self) -> TensorLike | None:
        """The tempering alpha, or None."""
        return self._tempering

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType | None, num_classes: int | None = None) -> dict[str, Any]:
        return {"step_size": _parameter(event_ndims=1), "tempering": _parameter(event_ndims=0)}

    def _step(self, state: phase_space.State, log_prob_fn: LogProbFn) -> leapfrog.State:
        start = leapfrog.State(*state)
        return leapfrog.step(start, log_prob_fn, step_size=self._step_size, tempering=self._tempering)

    def _inverse_step(self, state: phase_space.State, log_prob_fn: LogProbFn) -> leapfrog.State:
        end = leapfrog.State(*state)
        return leapfrog.inverse_step(end, log_prob_fn, step_size=self._step_size, tempering=self._tempering)


def _parameter(event_ndims: int) -> tfp_util.ParameterProperties:
    # A number is enough for each of them, whatever the size of the event.
    return tfp_util.ParameterProperties(
        event_ndims=event_ndims, shape_fn=lambda shape: shape[:-1], default_constraining_bijector_fn=tfb.Softplus
    )


def _split(event: Tensor) -> phase_space.State:
    if event.shape.rank == 0 or (event.shape[-1] or 0) % 2:
        raise ValueError(f"an event must be [position, momentum], [..., 2 D]. Received: shape {event.shape}")
    return phase_space.init(*tf.split(event, 2, axis=-1))


def _at_origin(event: Tensor) -> phase_space.State:
    return _split(tf.zeros_like(event))


def _join(state: Any) -> Tensor:
    event = tf.concat([state.position, state.momentum], axis=-1)
    # By the mask, no gradient of what diverged reaches the others.
    return tf.where(state.is_finite[..., tf.newaxis], event, tf.constant(float("nan"), event.dtype))


def _flat(position: Tensor) -> Tensor:
    return tf.zeros_like(position[..., 0])
