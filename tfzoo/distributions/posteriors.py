"""Approximate posteriors: Keras layers from an encoder's features to a distribution over latents.

The layer owns the weights; `distribution(features)` returns a fresh TFP distribution with batch ``[B]``, event
``[D]``.
"""

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.types import Tensor

__all__ = ["GaussianPosterior"]

# Far below any useful deviation; keeps log q finite where softplus underflows.
_MIN_SCALE = 1e-6


@keras.saving.register_keras_serializable("tfzoo")
class GaussianPosterior(keras.layers.Layer):
    """q(z|x) = N(mean, diag(scale^2)) with two linear heads, the scale through a softplus.

    The heads compute in the weights' precision, so that mixed precision never reaches a density.

    Args:
      latent_dim: D.

    References:
      Kingma, Welling, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114
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
