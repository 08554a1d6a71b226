"""Importance weighted autoencoder.

    bound = log (1/S) sum_s p(x, z_s) / q(z_s|x),  z_s ~ q(z|x)

Tighter than the ELBO for S > 1, at S passes through the decoder.

References:
  Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", https://arxiv.org/abs/1509.00519
"""

from typing import Any

import keras

from tfzoo.models.flow_posterior import FlowPosteriorModel
from tfzoo.objectives.bounds import log_mean_exp
from tfzoo.types import Tensor

__all__ = ["IWAE"]


@keras.saving.register_keras_serializable("tfzoo")
class IWAE(FlowPosteriorModel):
    """Importance weighted autoencoder with one stochastic layer (Burda et al., arXiv:1509.00519).

    Args:
      num_samples: S of the training bound.
      **kwargs: see `tfzoo.models.flow_posterior.FlowPosteriorModel`; its estimator is always "sampled", since the
        bound is a function of each sample's weight.
    """

    def __init__(self, *, event_shape: tuple[int, ...], num_samples: int = 5, **kwargs: Any) -> None:
        if kwargs.setdefault("estimator", "sampled") not in ("sampled", None):
            raise ValueError(f'estimator of the IWAE must be "sampled". Received: {kwargs["estimator"]!r}')
        kwargs["estimator"] = "sampled"
        super().__init__(event_shape=event_shape, num_samples=num_samples, **kwargs)
        self.build()

    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns the importance-weighted bound, ``[B]``."""
        return log_mean_exp(self._log_weights(x, inference, training))
