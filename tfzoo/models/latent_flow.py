"""Latent flow-based model: a generator and a flow prior, learned together by short-run Langevin inference.

    z = f(z_0),  z_0 ~ N(0, I),  x = g(z) + noise

Each training step infers codes by K steps of Langevin dynamics on log p(x|z) + log p(z), from N(0, I) anew, and raises
log p(x|z) in the generator and log p(z) in the flow at these codes. With an optimizer for each, as in the paper::

    model.compile(optimizer=keras.optimizers.Adam(4e-4, 0.5), prior_optimizer=keras.optimizers.Adam(4e-4, 0.5))

With the prior N(0, I) it is alternating back-propagation (`tfzoo.models.abp`) with chains from noise.

Deviations from the authors' code:
  - the generator's gradient has the likelihood's factor 1 / (2 scale^2), which the code leaves out: to Adam it is the
    same;
  - `tfzoo.distributions.flow_prior` and `tfzoo.networks.generator` name those of the prior and of the generator.

References:
  Xie et al., "A Tale of Two Latent Flows: Learning Latent Space Normalizing Flow with Short-run Langevin Flow for
    Approximate Inference", https://arxiv.org/abs/2301.09300
"""

from typing import Any

import keras

from tfzoo.checks import check_positive
from tfzoo.models import top_down
from tfzoo.models.mcmc import MCMCModel

__all__ = ["LatentFlow"]


@keras.saving.register_keras_serializable("tfzoo")
class LatentFlow(MCMCModel):
    """Generator with a normalizing-flow prior, learned by Langevin inference (Xie et al., arXiv:2301.09300).

    Example::

        model = tfzoo.create_model("latent_flow", event_shape=(28, 28, 1), latent_dim=20)
        model.compile(optimizer=keras.optimizers.Adam(4e-4), prior_optimizer=keras.optimizers.Adam(4e-4))
        model.fit(tfzoo.data.load("mnist", "train", batch_size=100, value_range=(-1, 1)), epochs=20)
        model.prior().sample(10, seed=[0, 0])  # a tfd.TransformedDistribution

    Args:
      flow: "glow", "real_nvp" or "spline".
      flow_steps: of the flow.
      flow_width: of the hidden layers of its networks.
      prior: a layer of `tfzoo.distributions` in place of the flow that these three describe.
      chain: "noise" or "persistent" (the data needs an "index").
      num_steps: K, Langevin steps per training step.
      step_size: s, the deviation of the noise of a step.
      **kwargs: see `tfzoo.models.mcmc.MCMCModel`.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 64,
        flow: str = "glow",
        flow_steps: int = 5,
        flow_width: int = 64,
        prior: keras.layers.Layer | None = None,
        chain: str = "noise",
        num_steps: int = 20,
        step_size: float = 0.1,
        **kwargs: Any,
    ) -> None:
        options = {"flow": flow, "num_steps": flow_steps, "width": flow_width}
        prior = top_down.flow_prior(prior, latent_dim, kwargs.get("dtype"), **options)
        super().__init__(
            event_shape=event_shape,
            latent_dim=latent_dim,
            prior=prior,
            chain=chain,
            num_steps=num_steps,
            step_size=step_size,
            **kwargs,
        )
        self.flow = flow
        self.flow_steps = check_positive("flow_steps", flow_steps)
        self.flow_width = check_positive("flow_width", flow_width)
        self.build()

    def get_config(self) -> dict:
        config = {"flow": self.flow, "flow_steps": self.flow_steps, "flow_width": self.flow_width}
        return {**super().get_config(), **config}
