"""What every model of the zoo is: a prior, a decoder, a likelihood, and some inference; a plain `keras.Model`.

    z ~ p(z),  x ~ p(x | decoder(z)),  and q or a Markov chain for z given x

A subclass brings the inference: `call` (images to a dict of tensors), `bound` (that dict to nats per example, the loss
of Keras's own `train_step`), `_encode`, `log_prob` and `annealing_start`. `AmortisedModel` and `MCMCModel` have all.
"""

import abc
import os
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.distributions import EnergyPrior, FlowPrior, likelihoods, priors
from tfzoo.models import saved_model
from tfzoo.models.bound_training import BoundTraining
from tfzoo.models.masked import as_visible, not_for_masks
from tfzoo.models.validation import as_images, as_latents, check_event_shape, check_prior
from tfzoo.networks import default
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["LatentVariableModel"]

_TEMPERED = (priors.StandardNormalPrior, FlowPrior, EnergyPrior)


class LatentVariableModel(BoundTraining):
    """Base class of the zoo's models.

    Args:
      event_shape: the shape of one example: (28, 28, 1), (60, 50, 50, 1), (10,).
      latent_dim: D.
      likelihood: "bernoulli" (images in [0, 1]) or "gaussian".
      scale: the Gaussian likelihood's standard deviation; None learns it.
      decoder: any Keras layer from ``[B, D]`` to logits (Bernoulli) or means (Gaussian) ``[B, *event_shape]``; None
        takes `tfzoo.networks.default`.
      prior: a layer of `tfzoo.distributions`, "standard" or None for N(0, I), or "vamp" where there is an encoder.
      seed: of the noise in training and wherever a method is given no seed of its own; None draws one.
      **kwargs: of `keras.Model`: `name`, `dtype`.

    Raises:
      ValueError: if an argument is out of its range, or the decoder's output has not the shape of an example.
    """

    # False where the prior's density is known up to a constant.
    has_normalised_prior = True
    has_encoder = False

    # Signatures of an export beside those of every model.
    own_signatures: tuple[str, ...] = ()

    # Whether the best epoch has the lowest validation loss, or is the last; losses of a first stage are another kind.
    selects_on_validation, first_stage_epochs = True, 0

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 64,
        likelihood: str = "bernoulli",
        scale: float | None = None,
        decoder: keras.layers.Layer | None = None,
        prior: keras.layers.Layer | str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_shape = check_event_shape(event_shape)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._likelihood = likelihood
        self.likelihood_layer = likelihoods.get(likelihood, scale, dtype=self.variable_dtype)
        self.likelihood_layer.build(self.event_shape)
        prior = priors.get(prior, self.latent_dim, self.event_shape, self.variable_dtype)
        self.prior_layer = check_prior(prior, self)
        if decoder is None:
            decoder = default.decoder(self.event_shape, self.latent_dim, likelihood=likelihood, dtype=self.dtype_policy)
        self.decoder = decoder
        output = self._build_network("decoder", decoder, (self.latent_dim,))
        if output != self.event_shape:
            raise ValueError(f"decoder must return [B, {', '.join(map(str, self.event_shape))}]. Received: {output}")

    def _build_network(self, name: str, network: keras.layers.Layer, shape: tuple[int, ...]) -> tuple:
        """Makes a network's weights by a symbolic call, and returns the shape of its output for one example."""
        if not isinstance(network, keras.layers.Layer):
            raise ValueError(f"{name} must be a Keras layer. Received: {type(network).__name__}")
        output = network(keras.KerasTensor((None, *shape), dtype=self.compute_dtype))
        if not isinstance(output, keras.KerasTensor):
            raise ValueError(f"{name} must return one tensor. Received: {type(output).__name__}")
        return tuple(output.shape[1:])

    def build(self, input_shape: object = None) -> None:
        # All weights are made in __init__, where the shapes are known: every method works before training.
        self.built = True

    # === The model ===

    def prior(self) -> tfd.Distribution:
        """Returns p(z), batch ``[]``, event ``[D]``."""
        return self.prior_layer.distribution()

    def likelihood(self, z: TensorLike) -> tfd.Distribution:
        """Returns p(x|z), batch ``[...]``, event `event_shape`, for latents ``[..., D]``."""
        z = as_latents(z, self.latent_dim, self.variable_dtype)
        return self.likelihood_layer.distribution(self._decoder_outputs(z), self.event_shape)

    def log_joint(self, x: TensorLike, z: TensorLike, mask: TensorLike | None = None) -> Tensor:
        """Returns log p(x, z) in nats, ``[..., B]``, for images ``[B, *event_shape]`` and latents ``[..., B, D]``.

        With a mask (1 = visible, broadcast to the images) it is log p(visible pixels, z).
        """
        x, z = self._as_images(x), as_latents(z, self.latent_dim, self.variable_dtype)
        x, mask = (x, None) if mask is None else as_visible(x, mask)
        return self._log_likelihood(x, z, mask=mask) + self._log_prior(z)

    def _log_prior(self, z: Tensor) -> Tensor:
        if hasattr(self.prior_layer, "log_prob"):
            return self.prior_layer.log_prob(z)
        # TFP's bijectors remember by a tensor's identity what they computed last: a copy is differentiated anew.
        return self.prior().log_prob(tf.identity(z))

    def _log_likelihood(self, x: Tensor, z: Tensor, training: bool = False, mask: Tensor | None = None) -> Tensor:
        return self.likelihood_layer.log_prob(x, self._decoder_outputs(z, training), self.event_shape, mask)

    def _decoder_outputs(self, z: Tensor, training: bool = False) -> Tensor:
        """Runs the decoder on ``[..., D]``; the result has the weights' precision, also under mixed precision."""
        outputs = self.decoder(tf.reshape(z, [-1, self.latent_dim]), training=training)
        outputs = tf.cast(outputs, self.variable_dtype)
        if z.shape.rank == 2:
            return outputs
        if z.shape.rank is None or z.shape[:-1].as_list().count(None) > 1:
            return tf.reshape(outputs, tf.concat([tf.shape(z)[:-1], self.event_shape], 0))
        leading = [-1 if size is None else size for size in z.shape[:-1]]
        return tf.reshape(outputs, [*leading, *self.event_shape])

    # === Using it ===

    def encode(self, x: TensorLike, seed: Seed = None) -> Tensor:
        """Returns one latent code for each image, ``[B, D]``.

        Args:
          x: images ``[B, *event_shape]``, floating point in the likelihood's range.
          seed: where inference is random: an int, a pair, or one pair per example ``[B, 2]``; None for fresh noise.

        Raises:
          ValueError: for another shape or dtype, values out of range, NaN, or no image.
        """
        x = self._as_images(x)
        return self._encode(x, self._as_seed(seed, x.shape[0]))

    @abc.abstractmethod
    def _encode(self, x: Tensor, seed: Tensor) -> Tensor:
        """Returns latent codes ``[B, D]`` for checked images."""

    def decode(self, z: TensorLike) -> Tensor:
        """Returns mean images ``[B, *event_shape]`` for latents ``[B, D]``."""
        return self.likelihood(z).mean()

    def reconstruct(self, x: TensorLike, seed: Seed = None, **options: Any) -> Tensor:
        """Returns the mean images ``[B, *event_shape]`` of the codes of `x`; arguments as `encode`."""
        return self.decode(self.encode(x, seed, **options))

    def sample(self, num_samples: int, seed: Seed = None, *, temperature: float = 1.0) -> Tensor:
        """Returns `num_samples` new images (means of p(x|z), z from the prior), ``[num_samples, *event_shape]``.

        Args:
          num_samples: how many.
          seed: an int, a pair, or one pair for each new image ``[num_samples, 2]``; None for fresh noise.
          temperature: of z: the deviation of N(0, I) or of a flow's base, and for an energy the T of p(z)^(1 / T^2).

        Raises:
          ValueError: if an argument is out of its range, or the prior is of a kind that has no temperature but 1.
        """
        check_positive("num_samples", num_samples)
        seed, prior = self._as_seed(seed, num_samples), self._tempered_prior(temperature)
        return self.decode(self._prior_codes(prior, num_samples, seed))

    def _prior_codes(self, prior: tfd.Distribution, num_samples: int, seed: Tensor) -> Tensor:
        return random.sample(prior, num_samples, seed) if seed.shape.rank == 1 else random.sample(prior, 1, seed)[0]

    def _tempered_prior(self, temperature: float) -> tfd.Distribution:
        if temperature == 1:
            return self.prior()
        if not 0 < temperature < float("inf") or not isinstance(self.prior_layer, _TEMPERED):
            name = type(self.prior_layer).__name__
            raise ValueError(f"temperature must be a positive number that {name} takes. Received: {temperature}")
        return self.prior_layer.distribution(temperature)

    num_served_samples = 100  # samples behind an export's log_prob, where none are asked for

    @abc.abstractmethod
    def log_prob(self, x: TensorLike, num_samples: int, seed: Seed = None) -> Tensor:
        """Returns an estimate of log p(x) in nats, ``[B]``."""

    annealing_origin = "the prior"  # `annealing_start` in words

    @abc.abstractmethod
    def annealing_start(self, x: TensorLike) -> tfd.Distribution:
        """Returns the normalised distribution, batch ``[]`` or ``[B]``, that is annealed to p(z|x) for log p(x)."""

    def served_log_prob(self, x: Tensor, num_samples: int, seed: Tensor) -> Tensor:
        """Returns `log_prob` ``[B]`` for one seed per example ``[B, 2]``, each by its own seed only."""
        return self.log_prob(x, num_samples, seed)

    def anomaly_score(self, x: TensorLike, seed: Seed = None, **options: Any) -> Tensor:
        """Returns -log p(x, z) at the code of `x`, ``[B]``: higher is more anomalous; arguments as `encode`."""
        x = self._as_images(x)
        return -self.log_joint(x, self.encode(x, seed, **options))

    def interpolate(
        self, x0: TensorLike, x1: TensorLike, num_points: int = 10, seed: Seed = None, **options: Any
    ) -> Tensor:
        """Returns images between the codes of two batches, on a straight line, ``[B, num_points, *event_shape]``.

        Args:
          x0: images ``[B, *event_shape]``.
          x1: images ``[B, *event_shape]``.
          num_points: how many, both ends included.
          seed: as in `encode`.
          **options: as in `encode`.
        """
        check_positive("num_points", num_points)
        x0, x1 = self._as_images(x0, "x0"), self._as_images(x1, "x1")
        if not x0.shape.is_compatible_with(x1.shape):
            raise ValueError(f"x0 and x1 must be of one size. Received: {tuple(x0.shape)} and {tuple(x1.shape)}")
        seed0, seed1 = random.split(self._as_seed(seed))
        z0, z1 = self.encode(x0, seed0, **options), self.encode(x1, seed1, **options)
        return self.likelihood(self._codes_between(z0, z1, num_points)).mean()

    def _codes_between(self, z0: Tensor, z1: Tensor, num_points: int) -> Tensor:
        weights = tf.linspace(tf.zeros([], z0.dtype), tf.ones([], z0.dtype), num_points)[:, tf.newaxis]
        return z0[:, tf.newaxis] + weights * (z1 - z0)[:, tf.newaxis]  # [B, num_points, D]

    # === What it is given ===

    def _as_images(self, x: TensorLike, name: str = "images") -> Tensor:
        if isinstance(x, dict) and "mask" in x:  # it would be silently left out
            raise not_for_masks(x)
        return as_images(x, self.event_shape, self.likelihood_layer.value_range, self.variable_dtype, name=name)

    def _as_seed(self, seed: Seed, num_examples: int | None = None) -> Tensor:
        if seed is None:
            return random.fold_in_replica(tf.cast(self.seed_generator.next(), tf.int32))
        return random.as_seed(seed, num_examples)

    # === Saving ===

    def adopt_weights(self, other: "LatentVariableModel") -> None:
        """Takes the weights of all parts that another model has too: encoder, decoder, prior, likelihood, ...

        Training then goes on from there: a flow, say, from a trained VAE. A part that `other` has no weights for stays.

        Args:
          other: any model with the same networks.

        Raises:
          ValueError: where a part's weights are of another shape; nothing is changed then.
        """
        theirs = {name: part for name, part in other._parts().items() if part.weights}
        shared = [(part, theirs[name]) for name, part in self._parts().items() if name in theirs]
        for part, source in shared:
            shapes, received = ([tuple(weight.shape) for weight in each.weights] for each in (part, source))
            if shapes != received:
                raise ValueError(f"{part.name} must have weights of the shapes {shapes}. Received: {received}")
        for part, source in shared:
            part.set_weights(source.get_weights())

    def _parts(self) -> dict[str, keras.layers.Layer]:
        """Returns the layers that make up the model, by what they are for."""
        return {name: part for name, part in vars(self).items() if isinstance(part, keras.layers.Layer)}

    def export(self, path: str | os.PathLike, **kwargs: Any) -> None:
        """Writes a SavedModel with the signatures that `tfzoo.models.saved_model` describes.

        Args:
          path: a folder that does not exist yet, or an earlier export, which is replaced once the new one is whole.
          **kwargs: `num_samples` of `log_prob` (100, or 16 annealed chains), `num_points` of `interpolate` (10),
            `num_steps` of the chains of models that infer or inpaint by such (None: the model's own).

        Raises:
          ValueError: if `path` cannot be written or is a folder of something else.
        """
        saved_model.write(self, path, **kwargs)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "event_shape": self.event_shape,
            "latent_dim": self.latent_dim,
            "likelihood": self._likelihood,
            "scale": getattr(self.likelihood_layer, "scale", None),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "prior": keras.saving.serialize_keras_object(self.prior_layer),
            "seed": self.seed,
            # Keras keeps this of the layers of its own models only: what was frozen would learn again once loaded.
            "frozen": [i for i, layer in enumerate(self._flatten_layers()) if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "LatentVariableModel":
        config = dict(config, event_shape=tuple(config["event_shape"]))
        frozen = config.pop("frozen", ())  # older files have none
        for key in ("encoder", "decoder", "prior", "posterior"):
            if isinstance(config.get(key), dict):
                config[key] = keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
        model = cls(**config)
        layers = list(model._flatten_layers())
        for i in frozen:
            layers[i].trainable = False
        return model
