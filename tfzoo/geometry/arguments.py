"""What geometry takes: points and decoders, and their checks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor, TensorLike

__all__ = ["EmbeddingFn", "as_points", "check_functions"]

EmbeddingFn = Callable[[Tensor], Any]  # points [N, D] -> outputs [N, ...], or a tuple of such


def as_points(name: str, value: TensorLike, *, dtype: tf.DType | None = None, like: Tensor | None = None) -> Tensor:
    """Returns `value` as points ``[..., D]`` of its own precision (integers as float32), or of `dtype`.

    Args:
      name: of the argument.
      value: points.
      dtype: what they must be, if it is known.
      like: points whose dtype and shape they must have.

    Raises:
      ValueError: if it is none, if D is 0 or unknown, or if the shape is not that of `like`; in eager code also for
        points that are not finite.
    """
    dtype = dtype if like is None else like.dtype
    try:
        points = tf.convert_to_tensor(value, dtype)
        if points.dtype.is_integer:
            points = tf.cast(points, tf.float32)
    except (TypeError, ValueError) as error:
        kind = "numbers" if dtype is None else dtype.name
        received = getattr(getattr(value, "dtype", None), "name", type(value).__name__)
        raise ValueError(f"{name} must be points [..., D] of {kind}. Received: {received}") from error
    if points.dtype not in (tf.float32, tf.float64) or not points.shape.rank or not points.shape[-1]:
        raise ValueError(
            f"{name} must be points [..., D] of float32 or float64. Received: {points.dtype.name} {points.shape}"
        )
    if like is not None and not points.shape.is_compatible_with(like.shape):
        raise ValueError(f"{name} must have the shape {like.shape}. Received: {points.shape}")
    if tf.executing_eagerly() and not np.all(np.isfinite(points.numpy())):
        raise ValueError(f"{name} must be finite. Received: {np.sum(~np.isfinite(points.numpy()))} values that are not")
    return points


def check_functions(embedding_fn: Any, metric_fn: Any) -> None:
    """Raises ValueError unless exactly one of both is a function, and the other None."""
    given = {"embedding_fn": embedding_fn, "metric_fn": metric_fn}
    if [callable(each) for each in given.values() if each is not None] != [True]:
        received = ", ".join(f"{name}={each!r}" for name, each in given.items())
        raise ValueError(f"either embedding_fn or metric_fn must be a function, the other None. Received: {received}")
