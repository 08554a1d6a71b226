"""A learned prior by an energy: N(0, I), corrected by a network.

    p(z) = exp(-E(z)) N(z; 0, I) / Z

Z is not known. `log_prob` leaves it out, and is right up to that constant; everything else of a model goes without it.
`sample` walks a short Langevin chain from N(0, I),

    z' = z - (s^2 / 2) (grad E(z) + z) + s noise,

whose end is distributed as p up to the error of the step and of the chain's length (for E = a |z|^2 / 2 the variance is
known: test_distributions_energy_prior.py).

With a proposal, a flow prior q that covers p, there is a weight `log_normalizer` in place of log Z, which noise
contrast learns (`tfzoo.models.latent_ebm`), and samples are q's, resampled: of a few draws, one is kept with
probabilities proportional to p / q. No chain is run.

References:
  Pang, Han, Nijkamp, Zhu, Wu, "Learning Latent Space Energy-Based Prior Model", https://arxiv.org/abs/2006.08205
  Gao, Nijkamp, Kingma, Xu, Dai, Wu, "Flow Contrastive Estimation of Energy-Based Models",
    https://arxiv.org/abs/1912.00589
"""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_positive, check_positive_number
from tfzoo.compiled import Compiled
from tfzoo.distributions.flow_prior import FlowPrior
from tfzoo.distributions.standard_normal import standard_normal
from tfzoo.integrators import short_run
from tfzoo.integrators.arguments import check_num_steps
from tfzoo.networks.energy import energy as energy_network
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["EnergyDistribution", "EnergyPrior"]


@keras.saving.register_keras_serializable("tfzoo")
class EnergyPrior(keras.layers.Layer):
    """p(z) proportional to exp(-E(z)) N(z; 0, I), with samples by a short Langevin chain.

    Args:
      latent_dim: D.
      energy: any Keras layer from ``[B, D]`` to ``[B, 1]`` or ``[B]``; None takes `tfzoo.networks.energy`.
      num_steps: of the chain.
      step_size: s of the chain.
      proposal: a `FlowPrior` that samples are drawn from and resampled, in place of the chain.
      num_proposals: draws of it for each sample.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
      ValueError: if an argument is out of its range, or the network returns more than one number for a latent.

    References:
      Pang et al., "Learning Latent Space Energy-Based Prior Model", https://arxiv.org/abs/2006.08205
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        energy: keras.layers.Layer | None = None,
        num_steps: int = 60,
        step_size: float = 0.4,
        proposal: FlowPrior | None = None,
        num_proposals: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.num_steps = check_num_steps(num_steps)
        self.step_size = check_positive_number("step_size", step_size)
        self.num_proposals = check_positive("num_proposals", num_proposals)
        if proposal is not None and proposal.latent_dim != self.latent_dim:
            raise ValueError(f"proposal must be over latent_dim = {self.latent_dim}. Received: {proposal.latent_dim}")
        self.proposal = proposal
        self.network = energy_network(self.latent_dim, dtype=self.variable_dtype) if energy is None else energy
        self.log_normalizer: Any = None
        self._compiled_chain = Compiled(self._chain)
        self.build()

    def build(self, input_shape: object = None) -> None:
        output = self.network(keras.KerasTensor((None, self.latent_dim), dtype=self.variable_dtype))
        shape = tuple(getattr(output, "shape", (None, None)))
        if shape not in ((None,), (None, 1)):
            raise ValueError(f"energy must return one number for each latent, [B, 1] or [B]. Received: {shape}")
        if self.proposal is not None and self.log_normalizer is None:
            self.log_normalizer = self.add_weight(name="log_normalizer", shape=(), initializer="zeros", autocast=False)
        self.built = True

    def energy(self, z: Tensor) -> Tensor:
        """Returns E(z) ``[...]`` for ``[..., D]``, in the precision of the weights."""
        values = self.network(tf.reshape(z, [-1, self.latent_dim]))
        values = tf.reshape(tf.cast(values, self.variable_dtype), tf.shape(z)[:-1])
        return tf.ensure_shape(values, z.shape[:-1])

    def distribution(self, temperature: float = 1.0) -> "EnergyDistribution":
        """Returns p(z), batch ``[]``, event ``[D]``.

        Args:
          temperature: T of samples, which are those of p(z)^(1 / T^2): with E = 0, normals of deviation T.
        """
        return EnergyDistribution(self, temperature)

    def base(self) -> tfd.Distribution:
        """Returns N(0, I), batch ``[]``, event ``[D]``."""
        return standard_normal([self.latent_dim], self.variable_dtype)

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log p(z) ``[...]`` for ``[..., D]`` up to a constant, or with the learned `log_normalizer`."""
        log_prob = self.base().log_prob(z) - self.energy(z)
        return log_prob if self.log_normalizer is None else log_prob - tf.convert_to_tensor(self.log_normalizer)

    def run_chain(self, sizes: list[int | Tensor], seed: Tensor, temperature: float = 1.0) -> short_run.State:
        """Returns the ends of chains from N(0, I), ``[*sizes, D]``.

        Args:
          sizes: leading dimensions; with one seed for each example, examples are the last of them.
          seed: ``[2]`` or ``[B, 2]``.
          temperature: see `distribution`.
        """
        # In eager code one graph for all sizes.
        known = sizes if not tf.executing_eagerly() else [tf.convert_to_tensor(size) for size in sizes]
        temperature = tf.convert_to_tensor(temperature, self.variable_dtype)
        options = {"step_size": self.step_size, "num_steps": self.num_steps}
        return self._compiled_chain(known, temperature, seed=seed, **options)

    def _chain(
        self, sizes: list[int | Tensor], temperature: Tensor, *, seed: Tensor, step_size: float, num_steps: int
    ) -> short_run.State:
        start_seed, noise_seed = random.split(seed)
        start = random.normal([*sizes, self.latent_dim], start_seed, self.variable_dtype)
        return short_run.integrate(
            short_run.init(temperature * start),
            self.log_prob,
            step_size=step_size,
            num_steps=num_steps,
            temperature=temperature**2,
            seed=noise_seed,
        )

    def resample(self, sizes: list[int | Tensor], seed: Tensor, temperature: float = 1.0) -> Tensor:
        """Returns draws of the proposal ``[*sizes, D]``, each of `num_proposals`; arguments as `run_chain`."""
        assert self.proposal is not None
        draw_seed, choice_seed = random.split(seed)
        noise = random.normal([self.num_proposals, *sizes, self.latent_dim], draw_seed, self.variable_dtype)
        z = self.proposal.flow.bijector().forward(temperature * noise)  # [P, ..., D]
        log_weights = self.log_prob(z) / temperature**2 - self.proposal.distribution(temperature).log_prob(z)
        # Gumbel's trick: the largest of log w plus this noise is a draw with probabilities w. A uniform may be 0, which
        # makes -infinity, but is never 1. Examples are the last axis but one.
        uniform = random.uniform([*sizes, self.num_proposals], choice_seed, self.variable_dtype)
        gumbel = -tf.math.log(-tf.math.log(uniform))
        chosen = tf.argmax(tf.stack(tf.unstack(log_weights), axis=-1) + gumbel, axis=-1, output_type=tf.int32)
        is_chosen = tf.one_hot(chosen, self.num_proposals, axis=0, dtype=z.dtype)
        return tf.reduce_sum(is_chosen[..., tf.newaxis] * z, axis=0)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "energy": keras.saving.serialize_keras_object(self.network),
            "num_steps": self.num_steps,
            "step_size": self.step_size,
            "proposal": self.proposal and keras.saving.serialize_keras_object(self.proposal),
            "num_proposals": self.num_proposals,
        }

    @classmethod
    def from_config(cls, config: dict) -> "EnergyPrior":
        parts = {key: config[key] for key in ("energy", "proposal")}
        made = {key: part and keras.saving.deserialize_keras_object(part) for key, part in parts.items()}
        return cls(**{**config, **made})


class EnergyDistribution(tfd.Distribution):
    """p(z) of an `EnergyPrior`: `log_prob` up to a constant, `sample` by its chain, or its proposal.

    Args:
      prior: the layer that has the weights.
      temperature: see `EnergyPrior.distribution`.
      name: of the operations.
    """

    def __init__(self, prior: EnergyPrior, temperature: float = 1.0, name: str = "energy") -> None:
        parameters = dict(locals())
        self._prior = prior
        self._temperature = temperature
        # TFP looks for variables in the attributes of a tf.Module; a Keras layer is none.
        self._weights = [weight.value for weight in prior.weights]
        super().__init__(
            dtype=tf.as_dtype(prior.variable_dtype),
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict:
        return {}

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _batch_shape_tensor(self) -> Tensor:
        return tf.constant([], tf.int32)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self._prior.latent_dim])

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([self._prior.latent_dim], tf.int32)

    def _log_prob(self, z: TensorLike) -> Tensor:
        return self._prior.log_prob(tf.convert_to_tensor(z, self.dtype))

    def _sample_n(self, n: int | Tensor, seed: Seed = None) -> Tensor:
        return self._draw([n], random.as_seed(seed))

    def sample_each(self, num_samples: int | Tensor, seed: Tensor) -> Tensor:
        """Returns ``[S, B, D]`` by one seed for each of B examples ``[B, 2]``, each by its own only."""
        return self._draw([num_samples, tf.shape(seed)[0] if seed.shape[0] is None else seed.shape[0]], seed)

    def _draw(self, sizes: list[int | Tensor], seed: Tensor) -> Tensor:
        if self._prior.proposal is not None:
            return self._prior.resample(sizes, seed, self._temperature)
        return self._prior.run_chain(sizes, seed, self._temperature).position
