"""What every metric asks of its input: the right rank, something in it, no NaN; one sentence that ends in "Received".

Values can be looked at only where they are known: inside a tf.function shapes are checked and NaN runs on into the
result.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor, TensorLike

__all__ = [
    "as_array",
    "as_batch",
    "as_images",
    "as_label_batch",
    "as_labels",
    "as_row_batch",
    "check_range",
    "describe",
    "refuse_weights",
]

# Float32 rounding of an affine map onto the range, not a licence to leave it.
_RANGE_TOLERANCE = 1e-5


def refuse_weights(sample_weight: TensorLike | None) -> None:
    """Raises ValueError for sample weights: Keras offers them to every metric, and none of ours is defined for them."""
    if sample_weight is not None:
        raise ValueError(f"`sample_weight` must be None. Received: {describe(sample_weight)}")


def describe(value: TensorLike) -> str:
    """Returns what was received, in a few words."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"shape {tuple(value.shape)}, dtype {getattr(value.dtype, 'name', value.dtype)}"
    return repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."


def as_array(value: TensorLike, name: str, shape: str, dtype: type = np.float64) -> np.ndarray:
    """Returns `value` as a finite, non-empty NumPy array; `shape` is its letters, as in "[N, D]" or "[B, ...]".

    Raises:
      ValueError: for numbers that cannot be read, another rank, no elements, NaN or infinity.
    """
    try:
        array: np.ndarray = np.asarray(value, dtype)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be numbers {shape}. Received: {describe(value)}") from None
    _check_rank(array.shape, name, shape)
    if not np.isfinite(array).all():
        count = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"`{name}` must be finite. Received: {count} NaN or infinite of {array.size} values")
    return array


def as_labels(value: TensorLike, name: str, length: int) -> np.ndarray:
    """Returns class labels as an int64 array ``[length]``.

    Raises:
      ValueError: for another shape, or for numbers that are not whole.
    """
    array = as_array(value, name, "[N]")
    if len(array) != length:
        raise ValueError(f"`{name}` must have one entry per example, {length}. Received: {len(array)}")
    if (array != np.rint(array)).any():
        raise ValueError(f"`{name}` must be whole numbers. Received: {array[array != np.rint(array)][0]}")
    return array.astype(np.int64)


def as_batch(value: TensorLike, name: str, shape: str, dtype: tf.DType = tf.float64) -> Tensor:
    """Returns `value` as a tensor, checked as far as it is known (a metric's `update_state` runs in graphs too).

    Raises:
      ValueError: as `as_array`.
    """
    if not tf.is_symbolic_tensor(value):
        return tf.constant(as_array(value, name, shape, dtype.as_numpy_dtype))
    _check_rank(tuple(value.shape), name, shape)
    return tf.cast(value, dtype)


def as_row_batch(value: TensorLike, name: str) -> Tensor:
    """Returns one number per example as float64 ``[B]``; Keras hands such targets over as columns ``[B, 1]``.

    Raises:
      ValueError: as `as_array`.
    """
    if not tf.is_symbolic_tensor(value):
        value = np.asarray(value)
    column = len(value.shape) == 2 and value.shape[1] == 1
    return as_batch(value[:, 0] if column else value, name, "[N]")


def as_label_batch(value: TensorLike, name: str) -> Tensor:
    """Returns class labels as int64 ``[B]``, from ``[B]`` or ``[B, 1]``.

    Raises:
      ValueError: as `as_labels`.
    """
    row = as_row_batch(value, name)
    if not tf.is_symbolic_tensor(row):
        as_labels(row, name, len(row))
    return tf.cast(row, tf.int64)


def as_images(
    value: TensorLike,
    name: str,
    *,
    image_shape: Sequence[int | None] = (None, None, None),
    value_range: tuple[float, float] | None = (0.0, 1.0),
) -> Tensor:
    """Returns images as a float32 tensor ``[B, H, W, C]``.

    Raises:
      ValueError: for integers, another shape than ``[B, *image_shape]``, no images, NaN, or values out of
        `value_range` (None = any).
    """
    dtype = tf.as_dtype(getattr(value, "dtype", tf.float32))
    if not dtype.is_floating:
        raise ValueError(f"`{name}` must be floating point. Received: {describe(value)}")
    images = as_batch(value, name, "[B, H, W, C]", tf.float32)
    if any(
        want is not None and got not in (None, want) for got, want in zip(images.shape[1:], image_shape, strict=True)
    ):
        wanted = ", ".join(str(size or "any") for size in image_shape)
        raise ValueError(f"`{name}` must have shape [B, {wanted}]. Received: {describe(value)}")
    if value_range is not None and not tf.is_symbolic_tensor(images):
        check_range(images.numpy(), name, value_range)
    return images


def check_range(array: np.ndarray, name: str, value_range: tuple[float, float]) -> None:
    """Raises ValueError where values lie outside `value_range` by more than rounding."""
    low, high = value_range
    slack = _RANGE_TOLERANCE * (high - low)
    if array.min() < low - slack or array.max() > high + slack:
        raise ValueError(
            f"`{name}` must lie in [{low:g}, {high:g}]. Received: values from {array.min():g} to {array.max():g}"
        )


def _check_rank(got: Sequence[int | None], name: str, shape: str) -> None:
    letters = shape.strip("[]").split(", ")
    if len(got) < len(letters) - 1 if letters[-1] == "..." else len(got) != len(letters):
        raise ValueError(f"`{name}` must have shape {shape}. Received: shape {tuple(got)}")
    if 0 in got:
        raise ValueError(f"`{name}` must not be empty. Received: shape {tuple(got)}")
