"""Mean squared error per pixel, on a stated range of pixel values.

Papers report it on [0, 1] or on [-1, 1], a factor of 4 apart: an error on a range of width w is w^2 times that on
[0, 1]. So the range is an argument, images are checked against it, and `convert_mse` goes from one to another.
"""

from typing import Any

import keras
import tensorflow as tf

from tfzoo.metrics.validation import as_batch, check_range, describe, refuse_weights
from tfzoo.types import Tensor, TensorLike

__all__ = ["MeanSquaredError", "convert_mse", "mse"]

UNIT_RANGE = (0.0, 1.0)


def mse(
    x: TensorLike,
    reconstruction: TensorLike,
    *,
    value_range: tuple[float, float] = UNIT_RANGE,
    where: TensorLike | None = None,
) -> float:
    """Returns the squared error, averaged over examples, pixels and channels, on `value_range`.

    Args:
      x: float ``[B, ...]`` in `value_range`.
      reconstruction: float, same shape; not clipped, and may leave the range.
      value_range: (low, high) of the pixels, and of the number returned.
      where: boolean, or 0 and 1, broadcastable to `x`: which pixels count. None = all. For the hidden pixels of an
        inpainting mask (1 = visible), ``where=mask == 0``.

    Raises:
      ValueError: for integer images, NaN, values of `x` outside the range, mismatching shapes, or nothing to count.
    """
    _width(value_range)
    x, reconstruction = _check_pair(x, reconstruction)
    check_range(x.numpy(), "x", value_range)
    total, count = _sums(x, reconstruction, where)
    if count == 0.0:
        raise ValueError("`where` must select at least one pixel. Received: none")
    return float(total / count)


def convert_mse(
    value: float, *, source_range: tuple[float, float], target_range: tuple[float, float] = UNIT_RANGE
) -> float:
    """Returns what a mean squared error on `source_range` is on `target_range`: MSE[-1, 1] = 4 MSE[0, 1].

    Raises:
      ValueError: for a range that is not (low, high).
    """
    return value * (_width(target_range) / _width(source_range)) ** 2


def _width(value_range: tuple[float, float]) -> float:
    low, high = value_range
    if not low < high:
        raise ValueError(f"A range must be (low, high) with low < high. Received: {value_range}")
    return high - low


def _check_pair(x: TensorLike, reconstruction: TensorLike) -> tuple[Tensor, Tensor]:
    pair = []
    for value, name in ((x, "x"), (reconstruction, "reconstruction")):
        if not tf.as_dtype(getattr(value, "dtype", tf.float32)).is_floating:
            raise ValueError(f"`{name}` must be floating point. Received: {describe(value)}")
        pair.append(as_batch(value, name, "[B, ...]"))
    if not pair[0].shape.is_compatible_with(pair[1].shape):
        shapes = f"{tuple(pair[0].shape)} and {tuple(pair[1].shape)}"
        raise ValueError(f"`x` and `reconstruction` must have one shape. Received: {shapes}")
    return pair[0], pair[1]


def _sums(x: Tensor, reconstruction: Tensor, where: TensorLike | None) -> tuple[Tensor, Tensor]:
    """Returns the sum of squared errors over counted pixels, and their number."""
    errors = (x - reconstruction) ** 2
    if where is None:
        return tf.reduce_sum(errors), tf.cast(tf.size(errors), tf.float64)
    selected = tf.cast(tf.convert_to_tensor(where), tf.bool)
    try:
        selected = tf.broadcast_to(selected, tf.shape(errors))
    except (ValueError, tf.errors.InvalidArgumentError):
        raise ValueError(
            f"`where` must broadcast to {tuple(errors.shape)}. Received: {tuple(selected.shape)}"
        ) from None
    counted = tf.cast(selected, tf.float64)
    return tf.reduce_sum(counted * errors), tf.reduce_sum(counted)


@keras.saving.register_keras_serializable("tfzoo")
class MeanSquaredError(keras.metrics.Metric):
    """`mse` over batches: ``update_state(x, reconstruction, where=None)``; each pixel weighs the same.

    Args:
      value_range: (low, high) of the pixels, and of the result.
      name: of the metric.
      dtype: of the result; sums are float64 whatever it is.
    """

    def __init__(
        self, value_range: tuple[float, float] = UNIT_RANGE, *, name: str = "mse", dtype: str = "float64"
    ) -> None:
        _width(value_range)
        super().__init__(name=name, dtype=dtype)
        self.value_range = (float(value_range[0]), float(value_range[1]))
        self._total = self.add_variable((), "zeros", dtype="float64", name="total")
        self._count = self.add_variable((), "zeros", dtype="float64", name="count")

    def update_state(
        self, x: TensorLike, reconstruction: TensorLike, where: TensorLike | None = None, sample_weight: None = None
    ) -> None:
        """Adds a batch, shapes as `mse`; values are checked outside a tf.function only."""
        refuse_weights(sample_weight)
        x, reconstruction = _check_pair(x, reconstruction)
        if not tf.is_symbolic_tensor(x):
            check_range(x.numpy(), "x", self.value_range)
        total, count = _sums(x, reconstruction, where)
        self._total.assign_add(total)
        self._count.assign_add(count)

    def result(self) -> Tensor:
        """Returns the error over everything seen since the last reset; NaN before any."""
        return tf.cast(tf.convert_to_tensor(self._total) / tf.convert_to_tensor(self._count), self.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "value_range": list(self.value_range)}
