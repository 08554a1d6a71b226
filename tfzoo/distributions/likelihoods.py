"""Likelihoods: Keras layers that turn a decoder's output into a distribution over one example.

A layer owns what is learned (the scale); the distribution is made fresh at each use and forgotten, since Keras does
not track the variables inside of TFP's objects.
"""

import math
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.checks import check_positive_number
from tfzoo.types import EventShape, Tensor

__all__ = ["BernoulliLikelihood", "GaussianLikelihood", "get"]


@keras.saving.register_keras_serializable("tfzoo")
class BernoulliLikelihood(keras.layers.Layer):
    """Independent Bernoulli pixels; the decoder's output is their logits.

    Images lie in [0, 1]. For grey values in between, log p is the cross-entropy (the usual practice, though no
    normalised density); bounds and likelihoods in nats mean something for binary images only.
    """

    value_range = (0.0, 1.0)

    def distribution(self, outputs: Tensor, event_shape: EventShape) -> tfd.Distribution:
        """Returns the distribution with batch ``[...]`` for decoder outputs ``[..., *event_shape]``."""
        # `dtype` makes samples floating point, as images are.
        return tfd.Independent(tfd.Bernoulli(logits=outputs, dtype=outputs.dtype), len(event_shape))

    def log_prob(self, images: Tensor, outputs: Tensor, event_shape: EventShape, mask: Tensor | None = None) -> Tensor:
        """Returns ``log p(x|z)`` ``[...]``: the distribution's, with one softplus a pixel.

        `images` and `outputs` broadcast against each other, as in the distribution. With a mask (1 = visible), of the
        images' shape, it is the density of the visible pixels.
        """
        # tfd.Bernoulli evaluates two softplus and weighs them: 1.5 to 1.9 times the time of this, gradient included.
        log_probs = images * outputs - tf.nn.softplus(outputs)
        if mask is not None:
            log_probs *= mask
        return tf.reduce_sum(log_probs, axis=list(range(-len(event_shape), 0)))


@keras.saving.register_keras_serializable("tfzoo")
class GaussianLikelihood(keras.layers.Layer):
    """Independent Gaussian pixels around the decoder's output, with one scale for all.

    Args:
      scale: the standard deviation; None learns it, from 1 on.

    References:
      Dai, Wipf, "Diagnosing and Enhancing VAE Models", https://arxiv.org/abs/1903.05789 (the learned scale)
    """

    value_range = (-math.inf, math.inf)

    def __init__(self, scale: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = None if scale is None else check_positive_number("scale", scale)
        self.log_scale = None

    def build(self, input_shape: object = None) -> None:
        if self.scale is None:
            self.log_scale = self.add_weight(name="log_scale", shape=(), initializer="zeros")
        self.built = True

    def _scale(self, dtype: tf.DType) -> Tensor:
        return tf.exp(tf.cast(self.log_scale, dtype)) if self.scale is None else tf.constant(self.scale, dtype)

    def distribution(self, outputs: Tensor, event_shape: EventShape) -> tfd.Distribution:
        """Returns the distribution with batch ``[...]`` for decoder outputs ``[..., *event_shape]``."""
        return tfd.Independent(tfd.Normal(outputs, self._scale(outputs.dtype)), len(event_shape))

    def log_prob(self, images: Tensor, outputs: Tensor, event_shape: EventShape, mask: Tensor | None = None) -> Tensor:
        """Returns ``log p(x|z)`` ``[...]``: the distribution's, with one square a pixel.

        `images`, `outputs` and `mask` as for `BernoulliLikelihood.log_prob`.
        """
        # tfd.Normal divides and adds the constant pixel by pixel; here once for an image.
        scale = self._scale(outputs.dtype)
        axes = list(range(-len(event_shape), 0))
        squares, count = tf.math.squared_difference(images, outputs), math.prod(event_shape)
        if mask is not None:
            squares, count = squares * mask, tf.reduce_sum(mask, axis=axes)
        constant = count * (tf.math.log(scale) + 0.5 * math.log(2.0 * math.pi))
        return -0.5 * tf.reduce_sum(squares, axis=axes) / scale**2 - constant

    def get_config(self) -> dict:
        return {**super().get_config(), "scale": self.scale}


def get(name: str, scale: float | None, dtype: Any = None) -> keras.layers.Layer:
    """Returns the likelihood called "bernoulli" or "gaussian"."""
    if name == "gaussian":
        return GaussianLikelihood(scale, dtype=dtype, name="likelihood")
    if name != "bernoulli":
        raise ValueError(f'likelihood must be "bernoulli" or "gaussian". Received: {name!r}')
    if scale is not None:
        raise ValueError(f"scale belongs to the Gaussian likelihood; a Bernoulli has none. Received: scale={scale}")
    return BernoulliLikelihood(dtype=dtype, name="likelihood")
