"""Models whose posterior has a density: the encoder's Gaussian, or a flow of it.

    z_0 ~ q_0(z|x),  z = f(z_0; context(x)),  log q(z|x) = log q_0(z_0|x) - log |det df/dz_0|

In training and in the bounds no flow is ever inverted; `posterior(x).log_prob(z)` of another z needs the inverse.

With the estimator "analytic_kl" the base's divergence from the prior is taken in closed form, and only what the flow
changes, log p(z_0) - log p(z) - log |det|, at the samples: the same mean.

References:
  Rezende, Mohamed, "Variational Inference with Normalizing Flows", https://arxiv.org/abs/1505.05770
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.bijectors import IAF, CouplingFlow, Flow, PCPMap
from tfzoo.checks import check_positive
from tfzoo.distributions.posteriors import FlowPosterior, GaussianPosterior
from tfzoo.models.amortised import AmortisedModel
from tfzoo.types import Tensor, TensorLike

__all__ = ["FLOWS", "FlowPosteriorModel", "FlowVAE"]

# What a posterior can be named, beside "gaussian".
FLOWS: dict[str, Callable[..., Flow]] = {
    "coupling": CouplingFlow,
    "iaf": IAF,
    "pcp_map": PCPMap,
    "spline": functools.partial(CouplingFlow, transformation="spline"),
}


class FlowPosteriorModel(AmortisedModel):
    """Base class of the VAE, the IWAE, and `FlowVAE`.

    Args:
      posterior: "gaussian", diagonal, by the encoder; the name of a flow ("coupling", "iaf", "pcp_map",
        "spline"), with that layer's defaults; or a layer of `tfzoo.bijectors` of the model's `latent_dim`.
      posterior_base: where a flow starts: "encoder", a Gaussian by the encoder; "standard", N(0, I).
      context_dim: width of what the encoder tells the flow; None for one flow for all images.
      **kwargs: see `tfzoo.models.amortised.AmortisedModel`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        posterior: str | Flow = "gaussian",
        posterior_base: str = "encoder",
        context_dim: int | None = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape=event_shape, **kwargs)
        self._posterior_name = posterior if isinstance(posterior, str) else None
        self.posterior_base = posterior_base
        self.context_dim = None if context_dim is None else check_positive("context_dim", context_dim)
        dtype = self.variable_dtype
        if posterior == "gaussian":
            self._set_posterior(GaussianPosterior(self.latent_dim, dtype=dtype, name="posterior"))
            return
        if isinstance(posterior, str) and posterior in FLOWS:
            posterior = FLOWS[posterior](self.latent_dim, dtype=dtype, name="flow")
        if not isinstance(posterior, Flow):
            names = ", ".join(["gaussian", *FLOWS])
            raise ValueError(f"posterior must be {names} or a layer of tfzoo.bijectors. Received: {posterior!r}")
        if posterior.latent_dim != self.latent_dim:
            raise ValueError(f"posterior must be over latent_dim = {self.latent_dim}. Received: {posterior.latent_dim}")
        self._set_posterior(
            FlowPosterior(posterior, context_dim=self.context_dim, base=posterior_base, dtype=dtype, name="posterior")
        )

    def _parts(self) -> dict[str, keras.layers.Layer]:
        parts, layer = super()._parts(), self.posterior_layer
        if isinstance(layer, FlowPosterior):
            # Its base can be a model's whose posterior is that base.
            parts["flow"] = layer.flow
            if layer.context is not None:
                parts["context"] = layer.context
            if layer.base == "encoder":
                parts["posterior_layer"] = layer.gaussian
            else:
                del parts["posterior_layer"]
        return parts

    @property
    def proposal_name(self) -> str:
        """What importance sampling draws from, in words."""
        if not isinstance(self.posterior_layer, FlowPosterior):
            return super().proposal_name
        return f"q(z|x) by {type(self.posterior_layer.flow).__name__}"

    def base_posterior(self, x: TensorLike) -> tfd.Distribution:
        """Returns the distribution of z from which inference starts; arguments as `posterior`."""
        return _base(self.posterior(x))

    def posterior(self, x: TensorLike) -> tfd.Distribution:
        """Returns q(z|x), batch ``[B]``, event ``[D]``, for images ``[B, *event_shape]``.

        A flow's is a `tfd.TransformedDistribution`: `experimental_sample_and_log_prob` is one pass; `log_prob` of
        another z goes through the inverse.
        """
        return self._posterior(self._as_images(x))

    def _encode(self, x: Tensor, seed: Tensor) -> Tensor:
        # A flow's mean is not known: the base's, moved.
        posterior = self._posterior(x)
        return _move(posterior, _base(posterior).mean())[0]

    def _draw(
        self, x: Tensor, posterior: tfd.Distribution, num_samples: int, seed: Tensor, estimator: str
    ) -> dict[str, Tensor]:
        base = _base(posterior)
        start = random.sample(base, num_samples, seed)
        kl = self._kl(base, start, estimator)
        z, log_det = _move(posterior, start)
        if posterior is not base:
            kl += self._log_prior(start) - self._log_prior(z) - log_det
        return {"z": z, "kl": kl}

    def get_config(self) -> dict:
        posterior = self._posterior_name or keras.saving.serialize_keras_object(self.posterior_layer.flow)
        return {
            **super().get_config(),
            "posterior": posterior,
            "posterior_base": self.posterior_base,
            "context_dim": self.context_dim,
        }


class FlowVAE(FlowPosteriorModel):
    """Base class of the VAEs that are named by their flow, whose options are options of the model.

    Args:
      flow_class: the flow's layer.
      flow_options: its arguments; those of a subclass's `__init__` by the same names.
      event_shape: the shape of one example.
      latent_dim: D.
      **kwargs: see `FlowPosteriorModel`, but for `posterior`.
    """

    def __init__(
        self,
        flow_class: type[Flow],
        flow_options: dict[str, Any],
        *,
        event_shape: tuple[int, ...],
        latent_dim: int = 64,
        **kwargs: Any,
    ) -> None:
        dtype = keras.dtype_policies.get(kwargs.get("dtype")).variable_dtype
        flow = flow_class(latent_dim, **flow_options, dtype=dtype, name="flow")
        super().__init__(event_shape=event_shape, latent_dim=latent_dim, posterior=flow, **kwargs)
        self._flow_options = tuple(flow_options)
        self.build()

    def get_config(self) -> dict:
        config, flow = super().get_config(), self.posterior_layer.flow.get_config()
        del config["posterior"]
        return {**config, **{name: flow[name] for name in self._flow_options}}


def _base(posterior: tfd.Distribution) -> tfd.Distribution:
    # By its attribute: TFP makes another class of one whose bijector is no CompositeTensor.
    return posterior.distribution if hasattr(posterior, "bijector") else posterior


def _move(posterior: tfd.Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z moved by the posterior's flow, and log |det|: both at once, where TFP would ask twice."""
    if not hasattr(posterior, "bijector"):
        return z, tf.zeros([], z.dtype)
    return posterior.bijector.flow.forward_and_log_det(z, posterior.bijector.context)
