"""Latent space energy-based model: a generator, and a prior that an energy makes of N(0, I).

    p(z) proportional to exp(-E(z)) N(z; 0, I),  x = g(z) + noise

Codes z+ of a batch are inferred by Langevin dynamics on log p(x|z) + log p(z), and the generator learns from them.
There are two ways for the energy:

    "chain"  maximum likelihood: it lowers mean E(z+) - mean E(z-), with z- the ends of the prior's own short chains
    "flow"   noise contrast: exp(-E(z) - c) N(z; 0, I) is told from a flow q by logistic regression, the codes z+ from
             samples z- of q; c is the learned logarithm of the normaliser. The flow follows the codes by maximum
             likelihood. No chain runs on the prior, neither in training nor for samples, which are q's, resampled

Gao et al. train the flow against the energy, so that it makes their contrast hard. Here the codes move with the
generator while the flow learns, and maximum likelihood has no game to lose; it keeps q wide where codes are, which the
contrast needs.

No gradient goes through a chain or a sample. What training raises is, for each example,

    "chain"  log p(x|z+) + log N(z+; 0, I) - E(z+) + E(z-)
    "flow"   log p(x|z+) + log sigmoid(r(z+)) + log sigmoid(-r(z-)) + log q(z+),  r = log p - log q, q fixed there

An energy that grows without limit throws its own chains out of reach. Chains beyond 5 sqrt(D) from the origin count as
diverged and are left out; training stops with an error where all of a batch are, or a twentieth of an epoch's, before
the epoch's checkpoint.

Deviations from Pang et al.: the network's last layer has no bias (`tfzoo.networks.energy`).

References:
  Pang, Han, Nijkamp, Zhu, Wu, "Learning Latent Space Energy-Based Prior Model", https://arxiv.org/abs/2006.08205
  Gao, Nijkamp, Kingma, Xu, Dai, Wu, "Flow Contrastive Estimation of Energy-Based Models",
    https://arxiv.org/abs/1912.00589
  Gutmann, Hyvarinen, "Noise-contrastive estimation", AISTATS 2010
"""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_choice, check_positive, check_positive_number
from tfzoo.compiled import Compiled
from tfzoo.distributions.energy_prior import EnergyPrior
from tfzoo.distributions.flow_prior import FlowPrior
from tfzoo.integrators import short_run
from tfzoo.integrators.arguments import check_num_steps
from tfzoo.models.mcmc import MCMCModel
from tfzoo.objectives import annealed
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["LatentEBM"]

_CONTRASTS = ("chain", "flow")
_NORMALIZER_CHAINS = 200
_NORMALIZER_SEED = 0
_FARTHEST = 5.0  # times sqrt(D) from the origin, where N(0, I) is within 1 +- 1 / sqrt(D): no sound chain is there


@keras.saving.register_keras_serializable("tfzoo")
class LatentEBM(MCMCModel):
    """Generator with an energy-based prior, learned by Langevin inference (Pang et al., arXiv:2006.08205).

    Example::

        model = tfzoo.create_model("latent_ebm", event_shape=(28, 28, 1), latent_dim=20)
        model.compile(optimizer=keras.optimizers.Adam(1e-4, 0.5), prior_optimizer=keras.optimizers.Adam(2e-5, 0.5))

    `prior().log_prob`, `log_joint` and `anomaly_score` are up to the constant of the energy's normaliser, the same for
    all images; `log_prob` estimates it.

    Args:
      contrast: "chain" (Pang et al.) or "flow" (after Gao et al., arXiv:1912.00589).
      prior_num_steps: of the prior's chain.
      prior_step_size: of the prior's chain.
      prior: a `tfzoo.distributions.EnergyPrior` in place of the one that these describe; with a proposal for "flow".
      chain: "noise" or "persistent" (the data needs an "index").
      num_steps: K, Langevin steps per training step.
      step_size: s, the deviation of the noise of a step.
      **kwargs: see `tfzoo.models.mcmc.MCMCModel`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    has_normalised_prior = False
    divergence_hint = (
        "look for NaN in the data, or lower the learning rate, first of all the energy's (prior_optimizer)"
    )

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 64,
        contrast: str = "chain",
        prior_num_steps: int = 60,
        prior_step_size: float = 0.4,
        prior: keras.layers.Layer | None = None,
        chain: str = "noise",
        num_steps: int = 20,
        step_size: float = 0.1,
        **kwargs: Any,
    ) -> None:
        check_choice("contrast", contrast, _CONTRASTS)
        if prior is None:
            dtype = keras.dtype_policies.get(kwargs.get("dtype")).variable_dtype
            prior = EnergyPrior(
                latent_dim,
                num_steps=prior_num_steps,
                step_size=prior_step_size,
                proposal=FlowPrior(latent_dim, dtype=dtype, name="proposal") if contrast == "flow" else None,
                dtype=dtype,
                name="prior",
            )
        if not isinstance(prior, EnergyPrior) or (prior.proposal is None) != (contrast == "chain"):
            raise ValueError(
                f"prior must be an EnergyPrior, with a proposal where contrast is flow and only there. "
                f"Received: {type(prior).__name__} for {contrast!r}"
            )
        super().__init__(
            event_shape=event_shape,
            latent_dim=latent_dim,
            prior=prior,
            chain=chain,
            num_steps=num_steps,
            step_size=step_size,
            **kwargs,
        )
        self.contrast = contrast
        self.prior_num_steps = check_num_steps(prior_num_steps)
        self.prior_step_size = check_positive_number("prior_step_size", prior_step_size)
        if contrast == "chain":
            self.prior_diverged = keras.metrics.Mean(name="prior_diverged")
        self._compiled_normalizer = Compiled(self._annealed_normalizer)
        self.build()

    # === Training ===

    def call(self, x: TensorLike, training: bool = False, seed: Seed = None) -> dict[str, Tensor]:
        """Returns the inference for a batch: "z" ``[1, B, D]``, the samples "negatives" ``[B, D]`` that it is told
        from, and which of these are "sound" ``[B]``: not where a chain diverged, or went where N(0, I) has no mass.
        """
        seed, negative_seed = random.split(self._as_seed(seed))
        inference = super().call(x, training, seed)
        size = inference["z"].shape[1]
        sizes = [tf.shape(inference["z"])[1] if size is None else size]
        negatives = self._negatives(sizes, negative_seed)
        sound = negatives.is_finite
        if self.contrast == "chain":
            sound &= tf.reduce_sum(tf.square(negatives.position), axis=-1) < _FARTHEST**2 * self.latent_dim
            if training:
                self.prior_diverged.update_state(1.0 - tf.cast(sound, tf.float32))
        return {**inference, "negatives": tf.stop_gradient(negatives.position), "sound": sound}

    def _negatives(self, sizes: list[int | Tensor], seed: Tensor) -> short_run.State:
        prior = self.prior_layer
        if self.contrast == "chain":
            return prior.run_chain(sizes, seed)
        noise = random.normal([*sizes, self.latent_dim], seed, self.variable_dtype)
        z = prior.proposal.flow.bijector().forward(noise)
        return short_run.State(z, tf.reduce_all(tf.math.is_finite(z), axis=-1))

    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns what training raises at the inferred codes, ``[B]``: no bound on log p(x); see the module."""
        prior, z, negatives = self.prior_layer, inference["z"][0], inference["negatives"]
        if self.contrast == "chain":
            # Diverged chains are left out. Where all of them are, the energy has diverged: 0 times infinity is a NaN,
            # which stops the training.
            sound = tf.cast(inference["sound"], negatives.dtype)
            # The energy itself may be infinite where a chain diverged.
            negatives = tf.where(inference["sound"][:, tf.newaxis], negatives, tf.zeros_like(negatives))
            energy = prior.energy(negatives) * sound / tf.reduce_mean(sound)
            return super().bound(x, inference, training) + energy

        def log_ratio(z: Tensor) -> Tensor:
            return prior.log_prob(z) - tf.stop_gradient(prior.proposal.log_prob(z))

        told_apart = tf.math.log_sigmoid(log_ratio(z)) + tf.math.log_sigmoid(-log_ratio(negatives))
        likelihood = self._log_likelihood(x, z, training, inference.get("mask"))
        return likelihood + told_apart + prior.proposal.log_prob(z)

    # === Using it ===

    def log_prob(
        self, x: TensorLike, num_samples: int = 16, seed: Seed = None, *, num_steps: int | None = None
    ) -> Tensor:
        """Returns an estimate of log p(x) in nats, ``[B]``, by annealed importance sampling from N(0, I).

        It is the difference of two estimates that are too low in the mean, that of log p(x, z) integrated over z and
        that of `log_normalizer`, so it bounds log p(x) from neither side. The second one has always the same noise:
        images are compared by the first.

        Args:
          x: images ``[B, *event_shape]``.
          num_samples: chains for each image.
          seed: an int, a pair, or one pair per example ``[B, 2]``; None for fresh noise.
          num_steps: temperatures of both; None takes `num_annealing_steps`.
        """
        integral = super().log_prob(x, num_samples, seed, num_steps=num_steps)
        return integral - self.log_normalizer(_NORMALIZER_CHAINS, _NORMALIZER_SEED, num_steps=num_steps)

    def served_log_prob(self, x: Tensor, num_samples: int, seed: Tensor) -> Tensor:
        """Returns `log_prob` with the normaliser as a number, estimated once: weights do not change in a server."""
        with tf.init_scope():
            normalizer = float(self.log_normalizer(_NORMALIZER_CHAINS, _NORMALIZER_SEED))
        return super().log_prob(x, num_samples, seed) - tf.constant(normalizer, self.variable_dtype)

    def log_normalizer(
        self, num_samples: int = _NORMALIZER_CHAINS, seed: Seed = None, *, num_steps: int | None = None
    ) -> Tensor:
        """Returns the logarithm of the integral of exp(`prior().log_prob`), ``[]``, annealed from N(0, I).

        Args:
          num_samples: chains.
          seed: an int or a pair; None for fresh noise.
          num_steps: temperatures; None takes `num_annealing_steps`.
        """
        check_positive("num_samples", num_samples)
        num_steps = self.num_annealing_steps if num_steps is None else check_positive("num_steps", num_steps)
        return self._compiled_normalizer(seed=self._as_seed(seed), num_samples=num_samples, num_steps=num_steps)

    def _annealed_normalizer(self, *, seed: Tensor, num_samples: int, num_steps: int) -> Tensor:
        options = {"num_steps": num_steps, "num_chains": num_samples, "seed": seed}
        return annealed.log_prob_bounds(self._log_prior, self.prior_layer.base(), **options).lower[0]

    annealing_origin = "N(0, I)"

    def annealing_start(self, x: TensorLike) -> tfd.Distribution:
        """Returns N(0, I): the energy's own density has no known constant."""
        return self.prior_layer.base()

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "contrast": self.contrast,
            "prior_num_steps": self.prior_num_steps,
            "prior_step_size": self.prior_step_size,
        }
