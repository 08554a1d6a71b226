"""A learned prior that is a normalizing flow of N(0, I): its density is exact, and so are its samples.

    z = f(z_0),  z_0 ~ N(0, I),  log p(z) = log N(f^-1(z); 0, I) + log |det df^-1/dz|

"glow" is the flow of Xie et al.: steps of ActNorm, a dense invertible matrix and an affine coupling, see
`tfzoo.bijectors.coupling`. It works in any number of dimensions: halves of an odd one are uneven.

Deviations from the authors' code:
  - the last layer of a coupling's network starts near 0, not at 0, so that a gradient reaches the layers before it;
  - the matrix is held by its factors L and U, whose determinant costs nothing;
  - log N has its constant, -D/2 log(2 pi), so that densities are in nats (test_distributions_flow_prior.py: it
    integrates to 1).

References:
  Xie et al., "A Tale of Two Latent Flows: Learning Latent Space Normalizing Flow with Short-run Langevin Flow for
    Approximate Inference", https://arxiv.org/abs/2301.09300
  Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", https://arxiv.org/abs/1807.03039
"""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.bijectors import CouplingFlow
from tfzoo.checks import check_choice, check_positive
from tfzoo.distributions.standard_normal import standard_normal
from tfzoo.types import Tensor

__all__ = ["FlowPrior"]

_INITIAL_NOISE = 0.05  # the authors', of ActNorms and of the kernels of hidden layers
_FLOWS: dict[str, dict[str, Any]] = {
    "glow": {
        "actnorm": True,
        "mixing": "lu",
        "transformation": "sigmoid_affine",
        "activation": "relu",
        "initial_noise": _INITIAL_NOISE,
    },
    "real_nvp": {},
    "spline": {"actnorm": True, "mixing": "lu", "transformation": "spline"},
}


@keras.saving.register_keras_serializable("tfzoo")
class FlowPrior(keras.layers.Layer):
    """p(z), a flow of N(0, I) whose distribution is a plain `tfd.TransformedDistribution`.

    Use it as any model's prior, or alone::

        prior = FlowPrior(16)
        model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=16, prior=prior)
        prior.distribution().sample(10, seed=[0, 0])

    Args:
      latent_dim: D, also odd, also 1.
      flow: "glow" (the paper's), "real_nvp" or "spline", see `tfzoo.bijectors.CouplingFlow`.
      num_steps: steps of the flow.
      width: of the two hidden layers of each step's network.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
      ValueError: if an argument is none of these.

    References:
      Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300
    """

    def __init__(
        self, latent_dim: int, *, flow: str = "glow", num_steps: int = 5, width: int = 64, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.flow_name = check_choice("flow", flow, tuple(_FLOWS))
        self.num_steps = check_positive("num_steps", num_steps)
        self.width = check_positive("width", width)
        self.flow = CouplingFlow(
            self.latent_dim,
            num_steps=self.num_steps,
            hidden_units=(self.width, self.width),
            dtype=self.variable_dtype,
            name="flow",
            **_FLOWS[flow],
        )
        self.build()

    def build(self, input_shape: object = None) -> None:
        if not self.flow.built:
            self.flow.build(None)
        self.built = True

    def distribution(self, temperature: float = 1.0) -> tfd.TransformedDistribution:
        """Returns p(z), batch ``[]``, event ``[D]``.

        Args:
          temperature: deviation of the flow's base; below 1, samples lie nearer to what is most probable.
        """
        return tfd.TransformedDistribution(self._base(temperature), self.flow.bijector())

    def log_prob(self, z: Tensor) -> Tensor:
        """Returns log p(z) ``[...]`` for ``[..., D]``: the distribution's, by one pass where TFP takes two."""
        # Flat, so that it works where the rank is not known yet.
        start, log_det = self.flow.inverse_and_log_det(tf.reshape(z, [-1, self.latent_dim]))
        log_prob = tf.reshape(self._base().log_prob(start) + log_det, tf.shape(z)[:-1])
        return tf.ensure_shape(log_prob, z.shape[:-1])

    def _base(self, temperature: float = 1.0) -> tfd.Distribution:
        return standard_normal([self.latent_dim], self.variable_dtype, temperature)

    def get_config(self) -> dict:
        config = {"latent_dim": self.latent_dim, "flow": self.flow_name, "num_steps": self.num_steps}
        return {**super().get_config(), **config, "width": self.width}
