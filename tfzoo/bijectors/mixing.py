"""What stands between two couplings, so that each number has its turn: a reversal, or a learned dense matrix.

References:
  Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", https://arxiv.org/abs/1807.03039
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.bijectors.flow import Flow
from tfzoo.types import Tensor

__all__ = ["LUMixing", "Reverse"]


@keras.saving.register_keras_serializable("tfzoo")
class Reverse(Flow):
    """The D numbers in the opposite order; nothing to learn.

    Args:
      latent_dim: D.
    """

    def _make_weights(self, context_dim: int | None) -> None:
        pass

    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return tf.reverse(z, axis=[-1]), tf.zeros_like(z[..., 0])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return tf.reverse(y, axis=[-1])

    def _inverse_and_log_det(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._forward(y, context)


@keras.saving.register_keras_serializable("tfzoo")
class LUMixing(Flow):
    """A learned invertible matrix W = P L U, the same for every context.

    The inverse, latents to base, is ``W y``: P is a permutation, fixed at the start; L has ones on its diagonal; U has
    ``sign * exp(d)`` there, the signs fixed at the start, so that W stays invertible and log |det W| = sum(d). The
    forward map takes two triangular solves.

    Args:
      latent_dim: D.
      initializer: of W, a Keras initializer or its name. The default is a random orthogonal matrix.

    Raises:
      ValueError: on `build`, if the initial W is singular.

    References:
      Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", https://arxiv.org/abs/1807.03039,
      section 3.2
    """

    def __init__(self, latent_dim: int, *, initializer: str | Callable = "orthogonal", **kwargs: Any) -> None:
        super().__init__(latent_dim, **kwargs)
        self.initializer = keras.initializers.get(initializer)

    def _make_weights(self, context_dim: int | None) -> None:
        size = self.latent_dim
        with tf.init_scope():
            start = tf.cast(self.initializer((size, size), dtype=self.variable_dtype), tf.float64)
            if np.linalg.matrix_rank(start) < size:
                raise ValueError(f"initializer must give an invertible matrix. Received: {self.initializer}")
            packed, order = (part.numpy() for part in tf.linalg.lu(start))
        scales = np.diag(packed).copy()
        # One matrix, as LAPACK packs it: L below the diagonal, U above it; log |s| on it.
        np.fill_diagonal(packed, np.log(np.abs(scales)))
        self.triangles = self._weight(packed, "triangles", trainable=True)
        self.signs = self._weight(np.sign(scales), "signs", trainable=False)
        self.permutation = self._weight(np.eye(size)[:, order], "permutation", trainable=False)

    def _weight(self, start: np.ndarray, name: str, *, trainable: bool) -> keras.Variable:
        def initial(shape: Any, dtype: Any = None) -> Tensor:
            return tf.constant(start, dtype)

        # Not cast in the scope of a model of mixed precision, like everything that a density is made of.
        return self.add_weight(shape=start.shape, initializer=initial, trainable=trainable, autocast=False, name=name)

    def matrix(self) -> Tensor:
        """Returns W, ``[D, D]``."""
        lower, upper = self._factors()
        return tf.matmul(tf.convert_to_tensor(self.permutation), tf.matmul(lower, upper))

    def _factors(self) -> tuple[Tensor, Tensor]:
        # By constant masks: in a differentiated loop the gradient of TensorFlow's diagonal fails for D = 1.
        triangles = tf.convert_to_tensor(self.triangles)
        identity = tf.eye(self.latent_dim, dtype=triangles.dtype)
        scales = tf.convert_to_tensor(self.signs) * tf.exp(self._log_scales())
        lower, upper = (tf.linalg.band_part(triangles, *ends) * (1.0 - identity) for ends in ((-1, 0), (0, -1)))
        return lower + identity, upper + scales * identity

    def _log_scales(self) -> Tensor:
        triangles = tf.convert_to_tensor(self.triangles)
        return tf.reduce_sum(triangles * tf.eye(self.latent_dim, dtype=triangles.dtype), axis=0)

    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        columns = tf.transpose(tf.reshape(z, [-1, self.latent_dim]))
        columns = tf.matmul(tf.convert_to_tensor(self.permutation), columns, transpose_a=True)
        columns = tf.linalg.triangular_solve(lower, columns, lower=True)
        columns = tf.linalg.triangular_solve(upper, columns, lower=False)
        log_det = -tf.reduce_sum(self._log_scales())
        return tf.reshape(tf.transpose(columns), tf.shape(z)), tf.broadcast_to(log_det, tf.shape(z)[:-1])

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return tf.tensordot(y, self.matrix(), axes=[[-1], [1]])

    def _inverse_and_log_det(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = tf.reduce_sum(self._log_scales())
        return self._inverse(y, context), tf.broadcast_to(log_det, tf.shape(y)[:-1])

    def get_config(self) -> dict:
        return {**super().get_config(), "initializer": keras.initializers.serialize(self.initializer)}
