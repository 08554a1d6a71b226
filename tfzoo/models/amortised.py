"""Models with an encoder: q(z|x) in one pass of a network."""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.compiled import Compiled
from tfzoo.distributions.priors import StandardNormalPrior
from tfzoo.distributions.vamp_prior import VampPrior
from tfzoo.models import inpainting
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.validation import as_mask
from tfzoo.networks import default
from tfzoo.objectives import importance
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["AmortisedModel"]

_SERVED_CHUNK = 25
_ESTIMATORS = ("analytic_kl", "analytic_entropy", "sampled")


class AmortisedModel(LatentVariableModel):
    """Base class of the models whose posterior is an encoder's: its likelihood estimates and its bounds.

    Args:
      encoder: any Keras layer from ``[B, *event_shape]`` to features ``[B, E]``; None takes `tfzoo.networks.default`.
      num_samples: S, posterior samples per example in training.
      estimator: how the bound's KL(q || p) is found: "analytic_kl" in closed form; "analytic_entropy", q's entropy
        in closed form and log p(z) at the samples, as the Hamiltonian VAE's authors do; "sampled", both at the samples.
        None takes the first that the posterior and the prior allow.
      **kwargs: see `tfzoo.models.base.LatentVariableModel`.

    Raises:
      ValueError: if the encoder's output is not ``[B, E]``, or an argument is out of its range.
    """

    has_encoder = True

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        encoder: keras.layers.Layer | None = None,
        num_samples: int = 1,
        estimator: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape=event_shape, **kwargs)
        self.num_samples = check_positive("num_samples", num_samples)
        closed_form = isinstance(self.prior_layer, StandardNormalPrior)
        self.estimator = estimator or ("analytic_kl" if closed_form else "sampled")
        if self.estimator not in _ESTIMATORS or (self.estimator == "analytic_kl" and not closed_form):
            raise ValueError(
                f"estimator must be one of {', '.join(_ESTIMATORS)}, and analytic_kl needs the standard normal prior. "
                f"Received: {estimator!r}"
            )
        if encoder is None:
            encoder = default.encoder(self.event_shape, dtype=self.dtype_policy)
        self.encoder = encoder
        features = self._build_network("encoder", encoder, self.event_shape)
        if len(features) != 1 or features[0] is None:
            raise ValueError(f"encoder must return features [B, E]. Received: [B, {', '.join(map(str, features))}]")
        self._features = features
        self._compiled_completions = Compiled(self._completions)

    def prior(self) -> tfd.Distribution:
        """Returns p(z), batch ``[]``, event ``[D]``."""
        if isinstance(self.prior_layer, VampPrior):
            return self.prior_layer.distribution(self._posterior)
        return super().prior()

    def _set_posterior(self, layer: keras.layers.Layer) -> None:
        """Takes the layer that makes q(z|x) of the encoder's features; a subclass's `__init__` calls it."""
        self.posterior_layer = layer
        layer.build((None, *self._features))

    @property
    def proposal_name(self) -> str:
        """What importance sampling draws from, in words."""
        return "q(z|x)"

    def posterior(self, x: TensorLike) -> tfd.Distribution:
        """Returns q(z|x), batch ``[B]``, event ``[D]``, for images ``[B, *event_shape]``.

        Raises:
          NotImplementedError: where inference goes on from the encoder's distribution to one without a density.
        """
        return self.base_posterior(x)

    def base_posterior(self, x: TensorLike) -> tfd.Distribution:
        """Returns the encoder's distribution of z, from which inference starts; arguments as `posterior`."""
        return self._posterior(self._as_images(x))

    annealing_origin = "q(z|x)"

    def annealing_start(self, x: TensorLike) -> tfd.Distribution:
        """Returns the encoder's distribution, that of `base_posterior`."""
        return self.base_posterior(x)

    def _posterior(self, x: Tensor, training: bool = False) -> tfd.Distribution:
        return self.posterior_layer.distribution(self.encoder(x, training=training))

    def _encode(self, x: Tensor, seed: Tensor) -> Tensor:
        return self._posterior(x).mean()

    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns the ELBO's estimate, ``[B]``."""
        return tf.reduce_mean(self._log_weights(x, inference, training), axis=0)

    def call(self, x: TensorLike, training: bool = False, seed: Seed = None) -> dict[str, Tensor]:
        """Returns the inference for a batch: "z" ``[S, B, D]`` and "kl", the estimate of KL(q || p), ``[S, B]``."""
        return self._infer(self._as_images(x), self.num_samples, self._as_seed(seed), training)

    def _infer(self, x: Tensor, num_samples: int, seed: Tensor, training: bool = False) -> dict[str, Tensor]:
        return self._draw(x, self._posterior(x, training), num_samples, seed, self.estimator)

    def _draw(
        self, x: Tensor, posterior: tfd.Distribution, num_samples: int, seed: Tensor, estimator: str
    ) -> dict[str, Tensor]:
        """Returns "z" ``[S, B, D]`` and "kl" ``[S, B]`` for images and the encoder's distribution."""
        z = random.sample(posterior, num_samples, seed)
        return {"z": z, "kl": self._kl(posterior, z, estimator)}

    def _kl(self, posterior: tfd.Distribution, z: Tensor, estimator: str) -> Tensor:
        """Returns the estimate of KL(q || p) ``[S, B]`` from the encoder's samples ``[S, B, D]``."""
        if estimator == "analytic_kl":
            return tf.broadcast_to(tfd.kl_divergence(posterior, self.prior()), tf.shape(z)[:-1])
        log_density = -posterior.entropy() if estimator == "analytic_entropy" else posterior.log_prob(z)
        return log_density - self._log_prior(z)

    def _log_weights(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns log p(x|z) - KL estimate, ``[S, B]``; with the sampled estimator log p(x, z) - log q(z|x)."""
        return self._log_likelihood(x, inference["z"], training) - inference["kl"]

    def elbo(self, x: TensorLike, num_samples: int = 1, seed: Seed = None) -> Tensor:
        """Returns the evidence lower bound in nats, ``[B]``, by `num_samples` samples of q(z|x)."""
        check_positive("num_samples", num_samples)
        x = self._as_images(x)
        return tf.reduce_mean(
            self._log_weights(x, self._infer(x, num_samples, self._as_seed(seed, x.shape[0]))), axis=0
        )

    def log_prob(self, x: TensorLike, num_samples: int = 1000, seed: Seed = None) -> Tensor:
        """Returns log p(x) in nats, ``[B]``, by importance sampling from q(z|x).

        A lower bound in expectation that tightens with `num_samples`; `estimate_log_prob` gives its standard error too.
        """
        return self.estimate_log_prob(x, num_samples, seed).log_prob

    def served_log_prob(self, x: Tensor, num_samples: int, seed: Tensor) -> Tensor:
        """Returns `log_prob` in chunks of a fixed size: the noise of an example is the same in a batch of any size."""
        return self.estimate_log_prob(x, num_samples, seed, chunk_size=min(_SERVED_CHUNK, num_samples)).log_prob

    def estimate_log_prob(
        self, x: TensorLike, num_samples: int = 1000, seed: Seed = None, *, chunk_size: int | None = None
    ) -> importance.Estimate:
        """Returns `log_prob` with its standard error and its effective sample size; see `tfzoo.objectives.importance`.

        Args:
          x: images ``[B, *event_shape]``.
          num_samples: importance samples an image.
          seed: an int, a pair, or one pair per example ``[B, 2]``; None for fresh noise.
          chunk_size: samples at once; the noise depends on it.
        """
        check_positive("num_samples", num_samples)
        x = self._as_images(x)
        posterior = self._posterior(x)

        def log_weights(size: int, seed: Tensor) -> Tensor:
            return self._log_weights(x, self._draw(x, posterior, size, seed, "sampled"))

        return importance.estimate_from_weights(
            log_weights,
            tf.shape(x)[0] if x.shape[0] is None else x.shape[0],
            num_samples=num_samples,
            chunk_size=chunk_size,
            seed=self._as_seed(seed, x.shape[0]),
            dtype=x.dtype,
        )

    def inpaint(
        self, x: TensorLike, mask: TensorLike, num_samples: int = 1, seed: Seed = None, *, num_steps: int = 100
    ) -> Tensor:
        """Returns completions of partly seen images, ``[num_samples, B, *event_shape]``, the visible pixels kept.

        Args:
          x: images ``[B, *event_shape]``; what the mask hides is not looked at, but must be numbers in range.
          mask: 1 = visible, 0 = missing; broadcast to the images. A pixel of each must be visible.
          num_samples: independent completions of each image.
          seed: an int or a pair; None for fresh noise.
          num_steps: of the Markov chain, see `tfzoo.models.inpainting`.
        """
        check_positive("num_samples", num_samples)
        check_positive("num_steps", num_steps)
        x, seed = self._as_images(x), self._as_seed(seed)
        if seed.shape.rank != 1:
            raise ValueError(f"seed must be an int or a pair [2]. Received: shape {tuple(seed.shape)}")
        options = {"num_samples": num_samples, "num_steps": num_steps}
        return self._compiled_completions(x, as_mask(mask, x), seed=seed, **options)

    def _completions(self, x: Tensor, mask: Tensor, *, seed: Tensor, num_samples: int, num_steps: int) -> Tensor:
        return inpainting.metropolis_within_gibbs(
            x,
            mask,
            posterior=self._posterior,
            likelihood=self.likelihood,
            log_prior=self._log_prior,
            num_samples=num_samples,
            num_steps=num_steps,
            seed=seed,
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "num_samples": self.num_samples,
            "estimator": self.estimator,
        }
