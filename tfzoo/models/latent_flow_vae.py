"""Latent flow-based model with an encoder: the generator and flow prior of `latent_flow`, learned variationally.

    bound = E_q [log p(x|z) + log p(z) - log q(z|x)],  q(z|x) the encoder's Gaussian moved by an IAF

Missing pixels are found as the MCMC models find them: chains from the prior go up log p(z) + log p(x_visible|z), the
encoder is not asked.

Deviations: the paper has no code for it, and does not give the encoder, which is `tfzoo.networks.default`'s here.
Chains that inpaint take 400 steps as in the paper, of 0.1 and not 0.002: with that they hardly leave the prior
(test_chains_that_inpaint_find_the_codes_of_what_is_visible).

References:
  Xie et al., "A Tale of Two Latent Flows: Learning Latent Space Normalizing Flow with Short-run Langevin Flow for
    Approximate Inference", https://arxiv.org/abs/2301.09300 (LFBM with variational inference)
  Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", https://arxiv.org/abs/1606.04934
"""

import functools
from typing import Any

import keras
import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive, check_positive_number
from tfzoo.compiled import Compiled
from tfzoo.models import inpainting, top_down
from tfzoo.models.iaf_vae import IAFVAE
from tfzoo.models.validation import as_mask
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["LatentFlowVAE"]


@keras.saving.register_keras_serializable("tfzoo")
class LatentFlowVAE(IAFVAE):
    """VAE with a normalizing-flow prior and an IAF posterior (Xie et al., arXiv:2301.09300).

    Example::

        model = tfzoo.create_model("latent_flow_vae", event_shape=(28, 28, 1), latent_dim=20)

    Args:
      likelihood: "gaussian", with images in [-1, 1], or "bernoulli".
      scale: of the Gaussian; None learns it.
      flow: the prior's: "glow", "real_nvp" or "spline".
      flow_steps: of the prior's flow.
      flow_width: of the hidden layers of its networks.
      prior: a layer of `tfzoo.distributions` in place of the flow that these three describe.
      width: factor of the widths of the default generators of 28x28, 32x32 and 64x64 images.
      first_size: of the first maps of those of 32x32 and 64x64 images: 4, or 8 as the paper's for CIFAR-10.
      decoder: None takes `tfzoo.networks.default.generator`.
      **kwargs: see `tfzoo.models.iaf_vae.IAFVAE`, whose options are the posterior's.
    """

    own_signatures = ("inpaint",)

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 64,
        likelihood: str = "gaussian",
        scale: float | None = top_down.SCALE,
        flow: str = "glow",
        flow_steps: int = 5,
        flow_width: int = 64,
        prior: keras.layers.Layer | None = None,
        width: float = 1.0,
        first_size: int = 4,
        decoder: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        dtype = kwargs.get("dtype")
        sizes = {"width": width, "first_size": first_size, "dtype": dtype}
        own = top_down.generator(decoder, event_shape, latent_dim, scale, likelihood=likelihood, **sizes)
        prior = top_down.flow_prior(prior, latent_dim, dtype, flow=flow, num_steps=flow_steps, width=flow_width)
        own |= {"likelihood": likelihood, "prior": prior}
        super().__init__(event_shape=event_shape, latent_dim=latent_dim, **own, **kwargs)
        self.flow = flow
        self.flow_steps = check_positive("flow_steps", flow_steps)
        self.flow_width = check_positive("flow_width", flow_width)
        self.width = check_positive_number("width", width)
        self.first_size = check_positive("first_size", first_size)
        self._compiled_chains = Compiled(functools.partial(top_down.posterior_chains, self))

    def inpaint(
        self,
        x: TensorLike,
        mask: TensorLike,
        num_samples: int = 1,
        seed: Seed = None,
        *,
        num_steps: int = 400,
        step_size: float = 0.1,
        noise: bool = False,
    ) -> Tensor:
        """Returns completions of partly seen images, ``[num_samples, B, *event_shape]``, the visible pixels kept.

        Each is decoded from the end of a chain of its own: from a sample of the prior up log p(z) + log p(x_visible|z).
        More than 500 chains go in turns, with one seed for all by other noise.

        Args:
          x: images ``[B, *event_shape]``; what the mask hides is not looked at, but must be numbers in range.
          mask: 1 = visible, 0 = missing; broadcast to the images. A pixel of each must be visible.
          num_samples: chains for each image.
          seed: of where the chains start: an int, a pair, or one pair per example ``[B, 2]``; None for a fresh one.
          num_steps: of a chain.
          step_size: s; a step goes s^2 / 2 times the gradient.
          noise: True for samples of p(z | visible pixels), but for the steps' error.
        """
        check_positive("num_samples", num_samples)
        check_positive("num_steps", num_steps)
        x = self._as_images(x)

        def start(x: Tensor, seed: Tensor) -> Tensor:
            if seed.shape.rank == 1:
                return random.sample(self.prior(), tf.shape(x)[0], seed)
            return random.sample(self.prior(), 1, seed)[0]

        def move(x: Tensor, mask: Tensor, z: Tensor, seed: Tensor) -> Tensor:
            options = {"num_steps": num_steps, "step_size": step_size, "noise": noise}
            chunk_size = top_down.chunk_size(self, x)
            return self._compiled_chains(x, z, mask, seed=seed, chunk_size=chunk_size, **options).position

        return inpainting.from_chains(
            x,
            as_mask(mask, x),
            start=start,
            move=move,
            decode=self.decode,
            num_samples=num_samples,
            seed=self._as_seed(seed, x.shape[0]),
        )

    def get_config(self) -> dict:
        config = {"flow": self.flow, "flow_steps": self.flow_steps, "flow_width": self.flow_width}
        return {**super().get_config(), **config, "width": self.width, "first_size": self.first_size}
