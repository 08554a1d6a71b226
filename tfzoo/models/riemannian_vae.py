"""Variational autoencoder whose prior is a Brownian motion on the manifold of its decoder.

A decoder with a mean and a scale makes a manifold of its latent space (`tfzoo.models.decoder_manifold`). The prior is
the law of a Brownian motion on it,

    x ~ N(mean(z), scale(z)^2),   z ~ Brownian motion from m for the duration t,   q(z|x) = N(mean_q, t_q I)

with a density by the heat kernel of short durations (`tfzoo.distributions.brownian`), m and t learned. Training has two
stages, within one `fit`, since the scale needs to know where the codes are:

    1. E_q log N(x; mean(z), s^2) - KL(q || N(0, I)),  with one scale s, learned
    2. E_q [log N(x; mean(z), scale(z)^2) + log p(z) - log q(z|x)],  for all weights together

In between, the scale's centres become the k-means of the codes, m their mean, and t their mean squared distance from it
over D. All other methods go by the full model at any time: the Brownian prior and the scale of stage 2.

p and q are densities of one measure, dz, and q is sampled from and scored by one Gaussian. So the bound is one, of the
logarithm of int p(x|z) p(z) dz, and `log_prob` an estimate of that from below. It is log p(x) as far as the kernel is
normalised, up to the order of t times the curvature: on 8x8 digits a trained prior's integral was 1.26, and so both
were 0.23 nats too high.

In stage 2 a step finds a geodesic for each code, by splines of few nodes: a few tens of passes through the decoder.

Before training the metric is so small that a step of the Brownian motion is longer than the scale's basis functions are
wide, and a hundred steps enlarge rounding up to a million times: in float32 a sample then depends on its batch. That
of a trained model did so by 3e-7, and in float64 by 3e-8.

Deviations from the paper and its authors' code, all undone by `training="paper"` but the last four:
  - stage 1 has a KL, without which q shrinks to a point, and s, which they fix at 1;
  - stage 2 is the bound, where they minimise -log p(x|z) + |log q - log p|, an absolute value for each example, with q
    drawn from a Gaussian and scored by a Brownian kernel: no bound of anything (test_models_riemannian_vae.py);
  - it is for all weights, where they freeze the encoder and the mean;
  - t starts from the codes, not from 1, and H0 = 1, see `tfzoo.distributions.brownian`;
  - networks have SiLU for softplus, with which small images leave nothing in the codes;
  - the basis functions have the width sqrt(D / 2), codes being about N(0, I), where theirs is 7;
  - t is a softplus, where theirs may become negative; t_q is in their bounds by a sigmoid, not cut off at them;
  - the squared distance is not short of the factor 2 (P - 1), and its gradient reaches the weights;
  - `training="paper"` freezes by Keras's `trainable`, and a new optimizer is not made;
  - the VAE to compare with, `prior="standard"`, has a whole KL from the first epoch on, where theirs has the weight
    epoch / 100 in stage 1.

References:
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
  Arvanitidis, Hansen, Hauberg, "Latent Space Oddity: on the Curvature of Deep Generative Models",
    https://arxiv.org/abs/1710.11379
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_choice, check_positive, check_whole
from tfzoo.compiled import Compiled
from tfzoo.distributions.brownian import RiemannianBrownian, check_motion
from tfzoo.distributions.brownian_prior import BrownianPrior
from tfzoo.distributions.posteriors import GaussianPosterior, IsotropicPosterior
from tfzoo.distributions.standard_normal import standard_normal
from tfzoo.models.decoder_manifold import JITTER, DecoderManifold
from tfzoo.models.two_stages import TwoStages, check_readable
from tfzoo.models.validation import as_latents, check_event_shape
from tfzoo.networks import mlp
from tfzoo.objectives import importance
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["RiemannianVAE"]

_TRAINING = ("bound", "paper")
_UNITS = (300, 300)
_PAPERS_BETA = 0.01
_ROWS = 500  # whose geodesics are found at once


@keras.saving.register_keras_serializable("tfzoo")
class RiemannianVAE(DecoderManifold):
    """VAE with a Brownian-motion prior on the manifold of its decoder (Kalatzis et al., arXiv:2002.05227).

    Example::

        model = tfzoo.create_model("riemannian_vae", event_shape=(28, 28, 1), latent_dim=2)
        model.compile(optimizer=keras.optimizers.Adam(1e-3))
        model.fit(tfzoo.data.load("fashion_mnist", "train", batch_size=100), epochs=200)

    Args:
      likelihood: "gaussian", or "bernoulli", whose manifold is that of the probabilities.
      training: "bound", or "paper" for the authors' losses.
      first_stage_epochs: epochs before the scale's centres are set; 0 trains all at once, with centres from N(0, I).
      beta: of the scale; None takes 1 / D, for "paper" 0.01.
      prior: None for the Brownian motion; "standard" for N(0, I), "vamp" for a mixture of posteriors, or another layer
        of `tfzoo.distributions`, with a diagonal Gaussian as q: the VAE to compare with, of the same decoder.
      h0: of the Brownian prior's kernel; None takes "one", for "paper" "paper". Not for a `prior` that is given.
      num_brownian_steps: of samples of the Brownian prior, likewise.
      encoder: None takes an MLP of two layers of 300 units.
      decoder: None takes the same, and a sigmoid for a Gaussian's means: images are in [0, 1] then.
      **kwargs: see `tfzoo.models.decoder_manifold.DecoderManifold`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 2,
        likelihood: str = "gaussian",
        training: str = "bound",
        first_stage_epochs: int = 100,
        beta: float | None = None,
        prior: keras.layers.Layer | str | None = None,
        h0: str | None = None,
        num_brownian_steps: int = 100,
        encoder: keras.layers.Layer | None = None,
        decoder: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        paper = check_choice("training", training, _TRAINING) == "paper"
        shape, size = check_event_shape(event_shape), check_positive("latent_dim", latent_dim)
        dtype = keras.dtype_policies.get(kwargs.get("dtype"))
        if prior is None:
            prior = BrownianPrior(
                size,
                h0=h0 or ("paper" if paper else "one"),
                drift=not paper,
                num_steps=num_brownian_steps,
                dtype=dtype.variable_dtype,
                name="prior",
            )
        elif h0 is not None:
            raise ValueError(f"h0 is of the Brownian prior that the model makes, without another one. Received: {h0!r}")
        activation = "softplus" if paper else "silu"
        if encoder is None:
            encoder = mlp.encoder(shape, units=_UNITS, activation=activation, dtype=dtype)
        if decoder is None:
            last = "sigmoid" if likelihood == "gaussian" else None
            decoder = mlp.decoder(shape, size, units=_UNITS, activation=activation, last_activation=last, dtype=dtype)
        super().__init__(
            1.0 if paper else None,
            event_shape=shape,
            latent_dim=size,
            likelihood=likelihood,
            beta=_PAPERS_BETA if paper and beta is None else beta,
            prior=prior,
            encoder=encoder,
            decoder=decoder,
            **kwargs,
        )
        self.first_stage_epochs = check_whole("first_stage_epochs", first_stage_epochs, 0)
        self.training = training
        self.is_brownian = isinstance(self.prior_layer, BrownianPrior)
        self.own_signatures = ("sample_brownian",) if self.is_brownian else ()
        posterior = IsotropicPosterior if self.is_brownian else GaussianPosterior
        self._set_posterior(posterior(self.latent_dim, dtype=self.variable_dtype, name="posterior"))
        # Weights, so that a training that is resumed goes on where it was.
        self.epochs_done = self._add_counter("epochs_done", 0.0)
        self._compiled_stage: float | None = None
        self.stage = self._add_counter("stage", 1.0 if self.first_stage_epochs else 2.0)
        self._source: Any = lambda: None
        self._frozen: list[keras.layers.Layer] = []
        self._compiled_kernel = Compiled(self._kernel)
        self._compiled_walk = Compiled(self._walk)
        self.build()

    def _add_counter(self, name: str, value: float) -> Any:
        return self.add_weight(
            name=name,
            shape=(),
            initializer=keras.initializers.Constant(value),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )

    # === The model ===

    def prior(self) -> tfd.Distribution:
        """Returns p(z), batch ``[]``, event ``[D]``; its density is one of dz."""
        if not self.is_brownian:
            return super().prior()
        return self.prior_layer.distribution(
            embedding_fn=self.embedding, squared_distance_fn=self._squared_distance, jitter=JITTER
        )

    def sample_brownian(self, z: TensorLike, seed: Seed = None, *, duration: TensorLike | None = None) -> Tensor:
        """Returns images where Brownian motions from the codes `z` are after some time, ``[B, *event_shape]``.

        Args:
          z: ``[B, D]``.
          seed: an int, a pair, or one pair per example ``[B, 2]``; None for fresh noise.
          duration: how long they go; None takes the prior's.

        Raises:
          ValueError: if the prior is no Brownian motion, `duration` is not positive, or rows are not equally many.
        """
        if not self.is_brownian:
            raise ValueError(f"the prior must be a Brownian motion. Received: {type(self.prior_layer).__name__}")
        z, seed = as_latents(z, self.latent_dim, self.variable_dtype), self._as_seed(seed)
        rows = z.shape[:1]
        if z.shape.rank != 2 or not (seed.shape.rank == 1 or seed.shape[:1].is_compatible_with(rows)):
            raise ValueError(
                f"z must be [B, {self.latent_dim}], with one seed or B. "
                f"Received: shape {tuple(z.shape)}, seed {tuple(seed.shape)}"
            )
        law = self.prior_layer.distribution(embedding_fn=self.embedding, loc=z, duration=duration)
        return self.decode(self._walk_from(z, law.duration, seed))

    def _prior_codes(self, prior: tfd.Distribution, num_samples: int, seed: Tensor) -> Tensor:
        if not self.is_brownian:
            return super()._prior_codes(prior, num_samples, seed)
        return self._walk_from(tf.broadcast_to(prior.loc, [num_samples, self.latent_dim]), prior.duration, seed)

    def _walk_from(self, z: Tensor, duration: Tensor, seed: Tensor) -> Tensor:
        """Returns where motions from `z` ``[B, D]`` are."""
        ends = self._compiled_walk(z, tf.broadcast_to(duration, tf.shape(z)[:1]), seed=seed)
        return check_motion(ends) if tf.executing_eagerly() else ends

    def _walk(self, z: Tensor, duration: Tensor, *, seed: Tensor) -> Tensor:
        law = self.prior_layer.distribution(embedding_fn=self.embedding, loc=z, duration=duration, jitter=JITTER)
        return random.sample(law, 1, seed)[0]

    def _log_prior(self, z: Tensor) -> Tensor:
        if not self.is_brownian:
            return super()._log_prior(z)
        log_prob = tf.reshape(self._compiled_kernel(tf.reshape(z, [-1, self.latent_dim])), tf.shape(z)[:-1])
        return tf.ensure_shape(log_prob, z.shape[:-1])

    def _kernel(self, z: Tensor) -> Tensor:
        return self.prior().log_prob(z)

    def estimate_log_prob(
        self, x: TensorLike, num_samples: int = 1000, seed: Seed = None, *, chunk_size: int | None = None
    ) -> importance.Estimate:
        """Returns `log_prob` with its standard error; arguments as `AmortisedModel.estimate_log_prob`.

        The default chunks are smaller: a geodesic is many rows for the decoder.
        """
        count = x["image"].shape[0] if isinstance(x, dict) and "image" in x else getattr(x, "shape", [None])[0]
        if chunk_size is None and self.is_brownian:
            chunk_size = max(1, min(num_samples, _ROWS // (count or 32)))
        return super().estimate_log_prob(x, num_samples, seed, chunk_size=chunk_size)

    # === Training ===

    def call(self, x: TensorLike, training: bool = False, seed: Seed = None) -> dict[str, Tensor]:
        """Returns the inference of a batch in the present stage: "z" ``[S, B, D]`` and "kl" ``[S, B]``."""
        posterior = self._posterior(self._as_images(x), training)
        z = random.sample(posterior, self.num_samples, self._as_seed(seed))
        if not self.is_brownian:
            return {"z": z, "kl": self._kl(posterior, z, self.estimator)}
        kl = self._in_stage(lambda: self._first_kl(posterior, z), lambda: self._second_kl(posterior, z), training)
        return {"z": z, "kl": kl}

    def _in_stage(self, first: Callable[[], Tensor], second: Callable[[], Tensor], training: bool) -> Tensor:
        if not self.first_stage_epochs:
            return second()
        if training and not tf.executing_eagerly() and self.jit_compile:
            # XLA has no gradient of such a branch: a step is compiled for its stage, and anew for the next one.
            with tf.init_scope():
                self._compiled_stage = float(tf.convert_to_tensor(self.stage))
            return second() if self._compiled_stage > 1.5 else first() + self._no_gradient()
        return tf.cond(tf.convert_to_tensor(self.stage) > 1.5, second, first)

    def _no_gradient(self) -> Tensor:
        """Returns 0, and a gradient of 0 for what the first stage leaves alone, as a branch would give."""
        idle = [part for part in (self.prior_layer, self.scale_network) if part is not None]
        weights = [weight for part in idle for weight in part.trainable_variables]
        return 0.0 * sum((tf.reduce_sum(tf.convert_to_tensor(weight)) for weight in weights), 0.0)

    def _first_kl(self, posterior: tfd.Distribution, z: Tensor) -> Tensor:
        if self.training == "paper":
            return tf.zeros_like(z[..., 0])
        standard = standard_normal([self.latent_dim], z.dtype)
        return tf.broadcast_to(tfd.kl_divergence(posterior, standard), tf.shape(z)[:-1])

    def _second_kl(self, posterior: tfd.Distribution, z: Tensor) -> Tensor:
        if self.training != "paper":
            return self._kl(posterior, z, self.estimator)
        kernel = RiemannianBrownian(
            posterior.mean(),
            tf.square(posterior.stddev()[..., 0]),
            embedding_fn=self.embedding,
            squared_distance_fn=self._squared_distance,
            jitter=JITTER,
            h0=self.prior_layer.h0,
        )
        return tf.abs(kernel.log_prob(z) - self._log_prior(z))

    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns what the present stage raises, ``[B]``: a bound, but for `training="paper"`."""
        if self.scale_network is None:
            return super().bound(x, inference, training)
        z = inference["z"]
        mean = self._decoder_outputs(z, training)
        unit = self._unit(mean.dtype)
        scale = self._in_stage(lambda: unit * tf.ones_like(mean), lambda: self._scale_at(z), training)
        log_likelihood = self._log_normal(x, mean, scale)
        return tf.reduce_mean(log_likelihood - inference["kl"], axis=0)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`, in two stages; between them the codes of all images are found.

        Raises:
          ValueError: as other models, or for data that cannot be read again, before the second stage.
        """
        if self.first_stage_epochs and float(tf.convert_to_tensor(self.stage)) < 2:
            check_readable(x)
        self._source = lambda: x
        try:
            return super().fit(x, *args, **kwargs)
        finally:
            self._source = lambda: None

    def _own_callbacks(self) -> list[keras.callbacks.Callback]:
        return [TwoStages(self._source)] if self.first_stage_epochs else []

    def begin_second_stage(self, batches: Iterator[Any]) -> None:
        """Sets the scale's centres, and mean and duration of the prior, by the codes of images, and enters stage 2.

        Args:
          batches: images ``[B, *event_shape]``.
        """
        codes = np.concatenate([self._sample_codes(batch) for batch in batches])
        paper = self.training == "paper"
        self._fit_scale(codes, to_unit=not paper)
        if self.is_brownian:
            self.prior_layer.set(np.mean(codes, axis=0))
            if not paper:
                some = tf.constant(codes[:_ROWS])
                mean = tf.broadcast_to(tf.convert_to_tensor(self.prior_layer.mean), tf.shape(some))
                squares = tf.function(self._squared_distance, autograph=False)(mean, some)
                self.prior_layer.set(np.mean(codes, axis=0), np.mean(squares) / self.latent_dim)
        self.stage.assign(2.0)

    def _sample_codes(self, images: TensorLike) -> np.ndarray:
        return np.asarray(self._posterior(self._as_images(images)).sample(seed=self._as_seed(None)))

    def enter_stage(self) -> None:
        """Freezes what the present stage does not train: in stage 2 of "paper" all but the scale and the prior."""
        if self._compiled_stage not in (None, float(tf.convert_to_tensor(self.stage))):
            self._compiled_stage = None
            self.make_train_function(force=True)
        if self.training != "paper" or float(tf.convert_to_tensor(self.stage)) < 2 or self._frozen:
            return
        self._frozen = [part for part in (self.encoder, self.decoder, self.posterior_layer) if part.trainable]
        self._set_trainable(False)
        self.make_train_function(force=True)

    def _set_trainable(self, value: bool) -> None:
        for part in self._frozen:
            part.trainable = value

    # === Saving ===

    def get_config(self) -> dict:
        # A file's model is not frozen: its optimizer has states of all weights. Training freezes it anew.
        self._set_trainable(True)
        config = super().get_config()
        self._set_trainable(False)
        return {**config, "training": self.training, "first_stage_epochs": self.first_stage_epochs}
