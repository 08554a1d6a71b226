"""Training that raises a bound: the loss, and Keras's `fit`, `evaluate` and `predict` on images that are checked.

Keras's own `train_step` minimises the loss. Data that no step could take is one sentence before the first of them, and
what the likelihood cannot take one at the step that meets it.
"""

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.models import divergence, sample_weights
from tfzoo.models.masked import not_for_masks
from tfzoo.models.prior_optimizer import PriorOptimizer
from tfzoo.models.replicas import mean_or_zero, num_replicas
from tfzoo.models.validation import check_images, check_mask, values_in_range
from tfzoo.types import Tensor, TensorLike

__all__ = ["BoundTraining"]


class BoundTraining(PriorOptimizer, abc.ABC):
    """A `keras.Model` of images of an `event_shape` whose loss is minus a bound of each."""

    event_shape: tuple[int, ...]
    likelihood_layer: Any

    # Whether inference and learning can do with a part of the pixels: data may have a "mask".
    takes_masks = False

    @abc.abstractmethod
    def _as_images(self, x: TensorLike, name: str = "images") -> Tensor:
        """Returns images ``[B, *event_shape]`` as the weights' dtype, or raises ValueError for what are none."""

    @abc.abstractmethod
    def reconstruct(self, x: TensorLike) -> Tensor:
        """Returns images of the codes of `x`, ``[B, *event_shape]``."""

    @abc.abstractmethod
    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns what training raises, in nats ``[B]``, for images and what `call` made of them."""

    def compute_loss(
        self,
        x: TensorLike = None,
        y: TensorLike = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Returns minus the mean bound plus the networks' own losses; `y` is not used."""
        x = self._asserted(self._as_images(x))
        return self._loss(self.bound(x, y_pred, training), sample_weight)

    def _loss(self, bound: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Returns the loss of a batch, ``[]``, from its bounds ``[B]``."""
        if sample_weight is not None:
            weight = tf.reshape(tf.cast(sample_weight, bound.dtype), tf.shape(bound))  # from [B] or [B, 1]
            bound = tf.math.multiply_no_nan(bound, weight)  # a weight of 0 leaves out, whatever the bound is
        loss = -self._mean_bound(bound) + sum(tf.cast(loss, bound.dtype) for loss in self.losses)
        # Gradients are summed over replicas, and Keras does not scale a model's own loss.
        return loss / num_replicas()

    def _mean_bound(self, bound: Tensor) -> Tensor:
        return mean_or_zero(bound)

    def predict_step(self, data: TensorLike) -> Tensor:
        """Returns reconstructions: what `predict` gives for each batch."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.reconstruct(self._asserted(self._as_images(x)))

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`, and stops with a ValueError where the data or the loss is not finite.

        `x` is images, a dict with the key "image", or a `tf.data.Dataset` of either; `sample_weight` needs no labels.
        """
        self._check_data(x)
        return divergence.fit(super().fit, self._own_callbacks(), x, *args, **kwargs)

    def _own_callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns the callbacks that training needs, beside the user's."""
        return []

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the loss as `keras.Model.evaluate`; data as in `fit`."""
        self._check_data(x)
        call = sample_weights.bind(super().evaluate, x, *args, **kwargs)
        with divergence.one_sentence():
            return super().evaluate(*call.args, **call.kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> np.ndarray:
        """Returns reconstructions ``[N, *event_shape]`` as `keras.Model.predict`; data as in `fit`."""
        self._check_data(x)
        with divergence.one_sentence():
            return super().predict(x, *args, **kwargs)

    def _check_data(self, x: Any) -> None:
        """Raises ValueError for data that no training step could take, as far as it can be seen before the first."""
        if isinstance(x, tf.data.Dataset):
            x, _, _ = keras.utils.unpack_x_y_sample_weight(x.element_spec)
        if isinstance(x, (dict, np.ndarray, tf.TensorSpec)) or tf.is_tensor(x):
            check_images(x, self.event_shape, self.likelihood_layer.value_range)
        if isinstance(x, dict) and "mask" in x:
            if not self.takes_masks:
                raise not_for_masks(x)
            check_mask(x["mask"], self.event_shape)

    def _asserted(self, x: Tensor) -> Tensor:
        """Returns `x`, which fails at run time where it holds what the likelihood cannot take."""
        value_range = self.likelihood_layer.value_range
        message = f"images must be numbers in {value_range}, the range of the likelihood. Received: others, or NaN"
        check = tf.debugging.Assert(values_in_range(x, value_range), [message])
        # XLA leaves the check out; a NaN is then caught in the loss.
        with tf.control_dependencies([check] if check is not None else []):
            return tf.identity(x)
