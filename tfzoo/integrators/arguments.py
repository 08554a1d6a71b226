"""What the integrators take: step sizes, damping, and their checks."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfzoo.checks import check_whole
from tfzoo.types import Tensor, TensorLike

__all__ = ["as_non_negative", "as_positive", "as_step_sizes", "as_tensor", "check_num_steps", "step_size_at"]


def as_tensor(name: str, value: TensorLike, dtype: tf.DType) -> Tensor:
    """Returns `value` as a tensor of `dtype`.

    Raises:
      ValueError: if it is none.
    """
    try:
        return tf.convert_to_tensor(value, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be of {dtype.name}, or Python numbers. Received: {value!r}") from error


def as_non_negative(name: str, value: TensorLike, dtype: tf.DType, shape: Sequence[int] | None = ()) -> Tensor:
    """Returns a number, or an array of `shape` (None for any), as a tensor, checked where its value is known.

    Raises:
      ValueError: for another shape, or a number that is negative or not finite.
    """
    tensor = _check_shape(name, as_tensor(name, value, dtype), shape)
    known = tf.get_static_value(tensor)
    if known is not None and not (np.all(np.isfinite(known)) and np.all(known >= 0)):
        raise ValueError(f"{name} must be finite and not negative. Received: {known}")
    return tensor


def as_positive(name: str, value: TensorLike, dtype: tf.DType, shape: Sequence[int] | None = ()) -> Tensor:
    """Returns a number, or an array of `shape` (None for any), as a tensor, checked where its value is known.

    Raises:
      ValueError: for another shape, or a number that is not positive or not finite.
    """
    tensor = _check_shape(name, as_tensor(name, value, dtype), shape)
    known = tf.get_static_value(tensor)
    if known is not None and not (np.all(np.isfinite(known)) and np.all(known > 0)):
        raise ValueError(f"{name} must be finite and positive. Received: {known}")
    return tensor


def _check_shape(name: str, tensor: Tensor, shape: Sequence[int] | None) -> Tensor:
    if not tensor.shape.is_compatible_with(shape):
        raise ValueError(f"{name} must have the shape {list(shape or ())}. Received: shape {tensor.shape}")
    return tensor


def as_step_sizes(step_size: TensorLike, position: Tensor, num_steps: int | None = None) -> Tensor:
    """Returns step sizes as a tensor ``[]``, ``[D]``, or (with `num_steps`) ``[num_steps, D]``.

    Raises:
      ValueError: for another shape, or a number that is negative or not finite.
    """
    steps = as_non_negative("step_size", step_size, position.dtype, shape=None)
    size = position.shape[-1]
    shapes = [[], [1], [size]] + ([[num_steps, 1], [num_steps, size]] if num_steps is not None else [])
    if not any(steps.shape.is_compatible_with(shape) for shape in shapes):
        raise ValueError(
            f"step_size must be a number, one per dimension [{size}]"
            f"{'' if num_steps is None else f', or one per step and dimension [{num_steps}, {size}]'}. "
            f"Received: shape {steps.shape}"
        )
    return steps


def step_size_at(steps: Tensor, k: Tensor) -> Tensor:
    """Returns the step sizes ``[]`` or ``[D]`` of step `k`."""
    return steps[k] if steps.shape.rank == 2 else steps


def check_num_steps(num_steps: int) -> int:
    """Returns `num_steps`.

    Raises:
      ValueError: if it is not a whole number of at least 0.
    """
    return check_whole("num_steps", num_steps, 0)
