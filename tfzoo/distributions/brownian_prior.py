"""A learned prior that is a Riemannian Brownian motion on the manifold of a decoder.

    p(z): where a Brownian motion from `mean` is after `duration`

Both are learned. The manifold is not the prior's but the decoder's, so `distribution` takes it.

References:
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
"""

import math
from typing import Any

import keras
import tensorflow as tf

from tfzoo.checks import check_positive
from tfzoo.distributions.brownian import RiemannianBrownian, check_h0
from tfzoo.types import Tensor, TensorLike

__all__ = ["BrownianPrior"]

_LEAST_DURATION = 1e-6


@keras.saving.register_keras_serializable("tfzoo")
class BrownianPrior(keras.layers.Layer):
    """Mean and duration of a Brownian motion; the duration through a softplus, from 1 on.

    Args:
      latent_dim: D.
      h0: of `tfzoo.distributions.RiemannianBrownian`.
      drift: likewise.
      num_steps: likewise.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.
    """

    def __init__(
        self, latent_dim: int, *, h0: str = "one", drift: bool = True, num_steps: int = 100, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.h0 = check_h0(h0)
        self.drift = drift
        self.num_steps = check_positive("num_steps", num_steps)
        self.mean: Any = None
        self.raw_duration: Any = None
        self.build()

    def build(self, input_shape: object = None) -> None:
        if self.mean is not None:
            return
        self.mean = self.add_weight(name="mean", shape=(self.latent_dim,), initializer="zeros", autocast=False)
        one = keras.initializers.Constant(math.log(math.expm1(1.0)))
        self.raw_duration = self.add_weight(name="raw_duration", shape=(), initializer=one, autocast=False)
        self.built = True

    def duration(self) -> Tensor:
        """Returns t ``[]``, positive."""
        return tf.math.softplus(tf.convert_to_tensor(self.raw_duration)) + _LEAST_DURATION

    def set(self, mean: TensorLike, duration: float | None = None) -> None:
        """Sets the mean ``[D]`` and, where it is given, the duration."""
        self.mean.assign(mean)
        if duration is not None:
            duration = max(float(duration), 2.0 * _LEAST_DURATION) - _LEAST_DURATION
            # The inverse of softplus, where the exponential of a large one would overflow.
            self.raw_duration.assign(duration + math.log(-math.expm1(-duration)))

    def distribution(
        self, *, loc: TensorLike | None = None, duration: TensorLike | None = None, **geometry: Any
    ) -> RiemannianBrownian:
        """Returns p(z), batch ``[]``, event ``[D]``, or the law of the same motion from elsewhere, of another time.

        Args:
          loc: ``[..., D]``; None takes the mean.
          duration: ``[...]``; None takes the learned one.
          **geometry: the manifold, as `tfzoo.distributions.RiemannianBrownian` takes it.
        """
        loc = tf.convert_to_tensor(self.mean if loc is None else loc)
        duration = self.duration() if duration is None else duration
        options: dict[str, Any] = {"h0": self.h0, "drift": self.drift, "num_steps": self.num_steps}
        return RiemannianBrownian(loc, duration, **options, **geometry)

    def get_config(self) -> dict:
        own = {"latent_dim": self.latent_dim, "h0": self.h0, "drift": self.drift, "num_steps": self.num_steps}
        return {**super().get_config(), **own}
