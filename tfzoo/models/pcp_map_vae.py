"""Variational autoencoder whose posterior is the gradient of a partially convex potential.

    z_0 ~ N(mean(x), scale(x)^2),  z = grad_z G(z_0, context(x)),  bound = E [log p(x, z) - log q(z|x)]

G is convex in z, so the map is invertible whatever its weights; no training step inverts it. Its log-determinant needs
the Hessian of G: see `tfzoo.bijectors.pcp_map`, also for what differs from the poster and from PCP-Map's authors, whose
maps go from the data to the base.

Deviations:
  The bound takes the divergence of the encoder's Gaussian in closed form, and what the map changes at the samples (see
  `tfzoo.models.flow_posterior`); `estimator="sampled"` is the poster's.

References:
  Wang, Baptista, Marzouk, Ruthotto, Verma, "Efficient Neural Network Approaches for Conditional Optimal Transport with
    Applications in Bayesian Inference", https://arxiv.org/abs/2310.16975
"""

from collections.abc import Sequence
from typing import Any

import keras

from tfzoo.bijectors import PCPMap
from tfzoo.models.flow_posterior import FlowVAE

__all__ = ["PCPMapVAE"]


@keras.saving.register_keras_serializable("tfzoo")
class PCPMapVAE(FlowVAE):
    """VAE with a partially convex potential map (arXiv:2310.16975) as its posterior.

    Example::

        model = tfzoo.create_model("pcp_map_vae", event_shape=(28, 28, 1), latent_dim=2)

    Args:
      hidden_units: widths of the convex network.
      context_units: widths of the context's; None for the same ones.
      nonnegative: how its weights stay so, "softplus" or "projection".
      strong_convexity: the least slope of the map, between 0 and 1.
      log_det_dtype: "float64" to take the map and its log-determinant in that precision.
      **kwargs: see `tfzoo.models.flow_posterior.FlowPosteriorModel`, but for `posterior`.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 64,
        hidden_units: Sequence[int] = (128, 128),
        context_units: Sequence[int] | None = None,
        nonnegative: str = "softplus",
        strong_convexity: float = 0.01,
        log_det_dtype: str | None = None,
        **kwargs: Any,
    ) -> None:
        options = {
            "hidden_units": hidden_units,
            "context_units": context_units,
            "nonnegative": nonnegative,
            "strong_convexity": strong_convexity,
            "log_det_dtype": log_det_dtype,
        }
        super().__init__(PCPMap, options, event_shape=event_shape, latent_dim=latent_dim, **kwargs)
