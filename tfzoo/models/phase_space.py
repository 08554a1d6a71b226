"""Models whose posterior is the encoder's, moved by dynamics of position and momentum towards the true one.

    z_0 ~ q(z|x),  m_0 ~ N(0, T_0 I),  (z_K, m_K) = K steps of an integrator on log p(x, z)

    bound = E [ log p(x, z_K) + log N(m_K; 0, I) + log |det| - log q(z_0|x) - log N(m_0; 0, T_0 I) ]

The steps are a diffeomorphism of phase space for any fixed noise, so exp of what is in brackets has the mean p(x): the
same weights serve importance sampling. Gradients pass through the steps, the gradients inside them included.

With `annealed` the steps go through targets between q and the posterior, with learned inverse temperatures and partly
refreshed momenta (`tfzoo.integrators.annealing`): where the plain flow stalls, this bound tightens with more steps.

Diverged chains (see `tfzoo.integrators.phase_space`) do not count in training and in `elbo`, and count as samples of
weight 0 in `log_prob`, which stays a lower bound; training reports their share as "diverged".

The log density inside the steps is the decoder's at inference (dropout off, moving averages): any target gives a valid
bound, and one that does not change between the steps keeps the volume.
"""

import abc
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.integrators import annealing, phase_space
from tfzoo.integrators.arguments import check_num_steps
from tfzoo.models.amortised import AmortisedModel
from tfzoo.models.validation import check_positive
from tfzoo.networks.constrained import ConstrainedVariable, InverseTemperatures
from tfzoo.types import LogProbFn, Seed, Tensor, TensorLike

__all__ = ["PhaseSpaceModel"]


class PhaseSpaceModel(AmortisedModel):
    """Base class of the Hamiltonian and the Langevin VAE.

    Args:
      num_steps: K; 0 is the VAE with the same estimator.
      step_size: where the learned step sizes start.
      step_size_range: the open interval in which they stay.
      step_size_per_step: learn step sizes for each step and dimension, instead of for each dimension.
      learn_step_size: False keeps them at `step_size`.
      second_order: False leaves out how the gradients inside the steps depend on the weights and on z: cheaper, and no
        longer the gradient of the bound.
      precondition: take the steps in units of the encoder's deviations, image by image: a mass of 1 / scale^2.
      annealed: the annealed bound.
      estimator: "sampled" (default) or "analytic_entropy"; the momentum's part is always sampled, which costs nothing
        and cancels most of its noise.
      **kwargs: see `tfzoo.models.amortised.AmortisedModel`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        num_steps: int = 5,
        step_size: float = 0.2,
        step_size_range: tuple[float, float] = (0.0, 0.5),
        step_size_per_step: bool = False,
        learn_step_size: bool = True,
        second_order: bool = True,
        precondition: bool = False,
        annealed: bool = False,
        estimator: str | None = None,
        **kwargs: Any,
    ) -> None:
        if estimator == "analytic_kl":
            raise ValueError("estimator must be sampled or analytic_entropy: z moves. Received: 'analytic_kl'")
        super().__init__(event_shape=event_shape, estimator=estimator or "sampled", **kwargs)
        self.num_steps = check_num_steps(num_steps)
        self.step_size = step_size
        self.step_size_range = tuple(step_size_range)
        self.step_size_per_step = step_size_per_step
        self.learn_step_size = learn_step_size
        self.second_order = second_order
        self.precondition = precondition
        self.annealed = annealed
        self.diverged = keras.metrics.Mean(name="diverged")
        dtype = self.variable_dtype
        if self.num_steps:
            low, high = self.step_size_range
            if not 0 <= low < high:
                raise ValueError(f"step_size_range must rise from 0 or more. Received: {step_size_range}")
            shape = (self.num_steps, self.latent_dim) if step_size_per_step else (self.latent_dim,)
            self.step_size_layer = ConstrainedVariable(
                shape, step_size, lower=low, upper=high, dtype=dtype, trainable=learn_step_size, name="step_size"
            )
        if self.num_steps and annealed:
            self.inverse_temperatures = InverseTemperatures(self.num_steps, dtype=dtype, name="inverse_temperatures")
            self.persistence = ConstrainedVariable((), 0.5, upper=1.0, dtype=dtype, name="persistence")

    # === What a subclass brings ===

    @abc.abstractmethod
    def _integrate(self, log_prob_fn: LogProbFn, position: Tensor, momentum: Tensor, seed: Tensor | None) -> Any:
        """Returns the state after all steps; without a seed, without noise."""

    @abc.abstractmethod
    def _step(self, state: phase_space.State, log_prob_fn: LogProbFn, k: Tensor) -> Any:
        """Returns the state after step `k`, without noise or tempering: what the annealed bound goes by."""

    def _initial_temperature(self) -> Tensor:
        """Returns T_0, ``[]``."""
        return tf.ones([], self.variable_dtype)

    def _step_sizes(self) -> Tensor:
        """Returns ``[D]`` or ``[K, D]``."""
        return self.step_size_layer.value() if self.num_steps else tf.zeros([], self.variable_dtype)

    # === Inference ===

    @property
    def proposal_name(self) -> str:
        """What importance sampling draws from, in words."""
        return f"q(z|x) and {self.num_steps} steps" if self.num_steps else super().proposal_name

    def posterior(self, x: TensorLike) -> tfd.Distribution:
        """Raises NotImplementedError: the density of z alone is an integral over the momentum.

        `base_posterior` is where the steps start, calling the model gives samples with their weights, and `log_prob`
        uses them.
        """
        if not self.num_steps:
            return self.base_posterior(x)
        raise NotImplementedError(
            "the posterior's density of z alone is not tractable: take samples and weights from calling the model, "
            "likelihoods from log_prob, or the encoder's part from base_posterior."
        )

    def call(self, x: TensorLike, training: bool = False, seed: Seed = None) -> dict[str, Tensor]:
        """Returns the inference for a batch.

        "z" is z_K ``[S, B, D]``; "kl" the log density of (z_K, m_K) under the flow minus log p(z_K) N(m_K; 0, I),
        ``[S, B]``; "is_finite" False for diverged chains, ``[S, B]``.
        """
        return super().call(x, training, seed)

    def _encode(self, x: Tensor, seed: Tensor) -> Tensor:
        # From the mean, at rest and without noise: a function of the image.
        posterior = self._posterior(x)
        z = posterior.mean()[tf.newaxis]
        return self._move(x, posterior, z, tf.zeros_like(z), None)["z"][0]

    def _draw(
        self, x: Tensor, posterior: tfd.Distribution, num_samples: int, seed: Tensor, estimator: str
    ) -> dict[str, Tensor]:
        z = random.sample(posterior, num_samples, seed)
        shape = [num_samples, tf.shape(z)[1], self.latent_dim]
        noise = tf.ensure_shape(random.normal(shape, random.fold_in(seed, 1), z.dtype), z.shape)
        moved = self._move(x, posterior, z, noise, random.fold_in(seed, 2))
        log_density = self._log_density(posterior, z, estimator)
        return {
            "z": moved["z"],
            "kl": log_density - self._log_prior(moved["z"]) - moved["log_weight"],
            "is_finite": moved["is_finite"],
        }

    def _move(
        self, x: Tensor, posterior: tfd.Distribution, z: Tensor, noise: Tensor, seed: Tensor | None
    ) -> dict[str, Tensor]:
        """Returns z_K, and the log weight without log p(x, z_K) - log q(z_0|x), for unit noise of the momentum."""
        # Volumes in units of the encoder's deviations differ by a constant, which cancels between both ends.
        loc, scale = (posterior.mean(), posterior.stddev()) if self.precondition else (0.0, 1.0)

        def log_prob_fn(u: Tensor) -> Tensor:
            z = loc + scale * u
            return self._log_likelihood(x, z) + self._log_prior(z)

        z = (z - loc) / scale
        if self.annealed and self.num_steps:
            state = annealing.integrate(
                z,
                noise,
                lambda u: posterior.log_prob(loc + scale * u),
                log_prob_fn,
                transition=self._step,
                inverse_temperatures=self.inverse_temperatures.value(),
                num_steps=self.num_steps,
                persistence=self.persistence.value(),
                seed=seed,
            )
            return {"z": loc + scale * state.position, "log_weight": state.log_weight, "is_finite": state.is_finite}
        temperature = self._initial_temperature()
        state = self._integrate(log_prob_fn, z, tf.sqrt(temperature) * noise, seed)
        kinetic = 0.5 * tf.reduce_sum(tf.square(noise) - tf.square(state.momentum), axis=-1)
        log_weight = kinetic + 0.5 * self.latent_dim * tf.math.log(temperature) + state.log_det
        return {"z": loc + scale * state.position, "log_weight": log_weight, "is_finite": state.is_finite}

    def _log_weights(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        log_weights = super()._log_weights(x, inference, training)
        return tf.where(inference["is_finite"], log_weights, tf.constant(float("-inf"), log_weights.dtype))

    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns the mean over the chains that have not diverged, ``[B]``; -inf for an image that has none left."""
        return _mean_over_sound(self._log_weights(x, inference, training), inference["is_finite"])

    def elbo(self, x: TensorLike, num_samples: int = 1, seed: Seed = None) -> Tensor:
        """Returns the lower bound in nats, ``[B]``, by `num_samples` chains; diverged ones do not count."""
        check_positive("num_samples", num_samples)
        x = self._as_images(x)
        return self.bound(x, self._infer(x, num_samples, self._as_seed(seed)))

    def compute_loss(
        self,
        x: TensorLike = None,
        y: TensorLike = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Returns minus the mean bound over the images that have a chain left; else as in the base class."""
        sound = y_pred["is_finite"]
        self.diverged.update_state(1.0 - tf.cast(sound, tf.float32))
        left = tf.cast(tf.reduce_any(sound, axis=0), self.variable_dtype)  # [B]
        weight = left / tf.reduce_mean(left)  # NaN where no chain is left at all: training stops there
        if sample_weight is not None:
            weight *= tf.reshape(tf.cast(sample_weight, weight.dtype), tf.shape(weight))
        return super().compute_loss(x, y, y_pred, weight, training)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_steps": self.num_steps,
            "step_size": self.step_size,
            "step_size_range": self.step_size_range,
            "step_size_per_step": self.step_size_per_step,
            "learn_step_size": self.learn_step_size,
            "second_order": self.second_order,
            "precondition": self.precondition,
            "annealed": self.annealed,
        }


def _mean_over_sound(log_weights: Tensor, sound: Tensor) -> Tensor:
    """Returns the mean over the first axis of what is `sound`, and -inf where nothing is."""
    count = tf.reduce_sum(tf.cast(sound, log_weights.dtype), axis=0)
    total = tf.reduce_sum(tf.where(sound, log_weights, tf.zeros_like(log_weights)), axis=0)
    return tf.where(count > 0, total / tf.maximum(count, 1.0), tf.constant(float("-inf"), total.dtype))
