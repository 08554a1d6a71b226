"""Approximate posteriors: Keras layers from an encoder's features to a distribution over latents.

The layer owns the weights; `distribution(features)` returns a fresh TFP distribution with batch ``[B]``, event
``[D]``. A `FlowPosterior`'s is a `tfd.TransformedDistribution`, whose base is where the flow starts.

References:
  Kingma, Welling, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114
  Rezende, Mohamed, "Variational Inference with Normalizing Flows", https://arxiv.org/abs/1505.05770
"""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.bijectors.flow import Flow
from tfzoo.checks import check_choice, check_positive
from tfzoo.distributions.standard_normal import standard_normal
from tfzoo.types import Tensor

__all__ = ["FlowPosterior", "GaussianPosterior", "IsotropicPosterior"]

# Far below any useful deviation; keeps log q finite where softplus underflows.
_MIN_SCALE = 1e-6


@keras.saving.register_keras_serializable("tfzoo")
class GaussianPosterior(keras.layers.Layer):
    """q(z|x) = N(mean, diag(scale^2)) with two linear heads, the scale through a softplus.

    The heads compute in the weights' precision, so that mixed precision never reaches a density.

    Args:
      latent_dim: D.
    """

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.loc = keras.layers.Dense(latent_dim, dtype=self.variable_dtype, name="loc")
        self.scale = keras.layers.Dense(latent_dim, "softplus", dtype=self.variable_dtype, name="scale")

    def build(self, input_shape: tuple) -> None:
        self.loc.build(input_shape)
        self.scale.build(input_shape)
        self.built = True

    def distribution(self, features: Tensor) -> tfd.Distribution:
        """Returns q(z|x), batch ``[B]``, event ``[D]``, for features ``[B, E]``."""
        features = tf.cast(features, self.variable_dtype)
        # Independent(Normal), not MultivariateNormalDiag: only this one survives a differentiated while_loop under XLA.
        return tfd.Independent(tfd.Normal(self.loc(features), self.scale(features) + _MIN_SCALE), 1)

    def get_config(self) -> dict:
        return {**super().get_config(), "latent_dim": self.latent_dim}


@keras.saving.register_keras_serializable("tfzoo")
class IsotropicPosterior(keras.layers.Layer):
    """q(z|x) = N(mean, t I): a Gaussian whose variance, or duration, is one number, between 1e-4 and 5.

    The logarithm of t is a sigmoid's between the logarithms of these bounds: a clipped one would have no gradient
    beyond them.

    Args:
      latent_dim: D.
    """

    bounds = (1e-4, 5.0)

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.loc = keras.layers.Dense(latent_dim, dtype=self.variable_dtype, name="loc")
        self.duration = keras.layers.Dense(1, "sigmoid", dtype=self.variable_dtype, name="duration")

    def build(self, input_shape: tuple) -> None:
        self.loc.build(input_shape)
        self.duration.build(input_shape)
        self.built = True

    def distribution(self, features: Tensor) -> tfd.Distribution:
        """Returns q(z|x), batch ``[B]``, event ``[D]``, for features ``[B, E]``."""
        features = tf.cast(features, self.variable_dtype)
        low, high = self.bounds
        scale = low**0.5 * (high / low) ** (0.5 * self.duration(features))  # [B, 1]
        loc = self.loc(features)
        return tfd.Independent(tfd.Normal(loc, scale * tf.ones_like(loc)), 1)

    def get_config(self) -> dict:
        return {**super().get_config(), "latent_dim": self.latent_dim}


@keras.saving.register_keras_serializable("tfzoo")
class FlowPosterior(keras.layers.Layer):
    """q(z|x): a distribution moved by a flow, with a linear head of the features as the flow's context.

    Args:
      flow: a layer of `tfzoo.bijectors`, not built yet, or built for contexts of `context_dim`.
      context_dim: E of the flow's context; None for a flow that takes none, one for all images.
      base: where the flow starts: "encoder", N(mean, diag(scale^2)) by two more heads; "standard", N(0, I), so that all
        that depends on the image goes through the context.

    Raises:
      ValueError: if `base` or `context_dim` is out of its range, or nothing depends on the image.
    """

    def __init__(self, flow: Flow, *, context_dim: int | None = 64, base: str = "encoder", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice("base", base, ("encoder", "standard"))
        if context_dim is None and base == "standard":
            raise ValueError("context_dim must be a width where base is standard. Received: None")
        self.flow = flow
        self.context_dim = None if context_dim is None else check_positive("context_dim", context_dim)
        self.base = base
        self.context = None
        if context_dim is not None:
            self.context = keras.layers.Dense(self.context_dim, dtype=self.variable_dtype, name="context")
        if base == "encoder":
            self.gaussian = GaussianPosterior(flow.latent_dim, dtype=self.variable_dtype, name="base")

    def build(self, input_shape: tuple) -> None:
        if self.context is not None:
            self.context.build(input_shape)
        if self.base == "encoder":
            self.gaussian.build(input_shape)
        if not self.flow.built:
            self.flow.build(None if self.context is None else (None, self.context_dim))
        self.built = True

    def distribution(self, features: Tensor) -> tfd.TransformedDistribution:
        """Returns q(z|x), batch ``[B]``, event ``[D]``, for features ``[B, E]``."""
        features = tf.cast(features, self.variable_dtype)
        context = None if self.context is None else self.context(features)
        if self.base == "encoder":
            base = self.gaussian.distribution(features)
        else:
            base = standard_normal([tf.shape(features)[0], self.flow.latent_dim], features.dtype)
        return tfd.TransformedDistribution(base, self.flow.bijector(context))

    def get_config(self) -> dict:
        own = {"flow": keras.saving.serialize_keras_object(self.flow), "context_dim": self.context_dim}
        return {**super().get_config(), **own, "base": self.base}

    @classmethod
    def from_config(cls, config: dict) -> "FlowPosterior":
        return cls(**{**config, "flow": keras.saving.deserialize_keras_object(config["flow"])})
