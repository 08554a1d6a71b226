"""The scale of a Gaussian decoder by radial basis functions: small near the data, large far away.

    v_k(z) = exp(-beta |z - c_k|^2),     precision(z) = softplus(W) v(z),     scale = (precision + 1e-9)^(-1/2)

Weights are positive, so away from all centres the precision falls to 0 and the scale grows, to 31,623 at the most:
finite, with finite derivatives, also in float32 where every v_k is 0. A geometry with this scale as a part of the
embedding keeps its geodesics where there are data.

Centres come from k-means of the codes, and are trained along; beta is fixed.

References:
  Que, Belkin, "Back to the Future: Radial Basis Function Networks Revisited", AISTATS 2016
  Arvanitidis, Hansen, Hauberg, "Latent Space Oddity: on the Curvature of Deep Generative Models",
    https://arxiv.org/abs/1710.11379, section 4
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
"""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.checks import check_positive, check_positive_number
from tfzoo.types import EventShape, Tensor, TensorLike

__all__ = ["RBFScale"]

_LEAST_PRECISION = 1e-9


@keras.saving.register_keras_serializable("tfzoo")
class RBFScale(keras.layers.Layer):
    """A layer from latents ``[B, D]`` to scales ``[B, *event_shape]``, all positive.

    Before `fit_centres` the centres are drawn from N(0, I).

    Attributes:
      centres: ``[num_centres, D]``, trainable.
      raw_weights: W, ``[num_centres, M]`` with M numbers in an event.
    """

    def __init__(self, event_shape: EventShape, *, num_centres: int = 350, beta: float = 0.01, **kwargs: Any) -> None:
        """Makes the layer; its weights come with the first call.

        Args:
          event_shape: of one example.
          num_centres: 350 as in the paper.
          beta: 1 / (2 width^2) of the basis functions, positive.
          **kwargs: of `keras.layers.Layer`.

        Raises:
          ValueError: if one of them is not positive.
        """
        super().__init__(**kwargs)
        self.event_shape = tuple(check_positive("event_shape", size) for size in event_shape)
        self.num_centres = check_positive("num_centres", num_centres)
        self.beta = check_positive_number("beta", beta)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        size = input_shape[-1]
        self.centres = self.add_weight(
            name="centres", shape=(self.num_centres, size), initializer=keras.initializers.RandomNormal(stddev=1.0)
        )
        self.raw_weights = self.add_weight(
            name="raw_weights",
            shape=(self.num_centres, math.prod(self.event_shape)),
            initializer=keras.initializers.RandomUniform(-(self.num_centres**-0.5), self.num_centres**-0.5),
        )

    def precision(self, z: Tensor) -> Tensor:
        """Returns 1 / scale^2, less 1e-9, at `z` ``[B, D]``: ``[B, *event_shape]``."""
        # Both from the middle of the centres: large squares would cancel.
        middle = tf.reduce_mean(tf.stop_gradient(self.centres), axis=0)
        z, centres = z - middle, self.centres - middle
        squares = tf.reduce_sum(z**2, axis=-1, keepdims=True) + tf.reduce_sum(centres**2, axis=-1)
        v = tf.exp(-self.beta * (squares - 2.0 * tf.matmul(z, centres, transpose_b=True)))
        precision = tf.matmul(v, tf.math.softplus(self.raw_weights))
        return tf.reshape(precision, [-1, *self.event_shape])

    def call(self, z: Tensor) -> Tensor:
        return tf.math.rsqrt(self.precision(z) + _LEAST_PRECISION)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.event_shape)

    def fit_centres(self, codes: TensorLike, seed: int = 0) -> None:
        """Sets the centres to those of k-means.

        With fewer codes than centres the codes themselves become the centres, some of them more than once.

        Args:
          codes: latents of the data, ``[N, D]``.
          seed: of k-means.

        Raises:
          ValueError: if `codes` are no finite points of the dimension of the layer.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or 0 in codes.shape or not np.issubdtype(codes.dtype, np.number):
            raise ValueError(f"codes must be points [N, D], at least one. Received: {codes.dtype} {codes.shape}")
        if not np.all(np.isfinite(codes)):
            raise ValueError(f"codes must be finite. Received: {np.sum(~np.isfinite(codes))} values that are not")
        if not hasattr(self, "centres"):
            self.build((None, codes.shape[1]))
        if codes.shape[1] != self.centres.shape[1]:
            raise ValueError(f"codes must have {self.centres.shape[1]} dimensions. Received: shape {codes.shape}")
        if len(codes) > self.num_centres:
            from sklearn.cluster import KMeans  # late: a second to import

            kmeans = KMeans(self.num_centres, n_init=1, random_state=seed).fit(codes)
            centres = kmeans.cluster_centers_
        else:
            centres = np.resize(codes, self.centres.shape)
        self.centres.assign(centres)

    def get_config(self) -> dict[str, Any]:
        options = {"event_shape": self.event_shape, "num_centres": self.num_centres, "beta": self.beta}
        return {**super().get_config(), **options}
