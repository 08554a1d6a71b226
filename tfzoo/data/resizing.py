"""Images brought to one size."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.data.sources import READ_BLOCK, Table
from tfzoo.types import EventShape

__all__ = ["image_size_pair", "resize", "resize_table", "resized_shape"]


def image_size_pair(image_size: Any) -> tuple[int, int] | None:
    """(height, width) of the argument `image_size`; None stays None.

    Raises:
      ValueError: if it is neither a positive int nor a pair of them.
    """
    if image_size is None:
        return None
    pair = (image_size, image_size) if isinstance(image_size, int | np.integer) else image_size
    if (
        not isinstance(pair, tuple | list)
        or len(pair) != 2
        or not all(isinstance(side, int | np.integer) and not isinstance(side, bool) and side > 0 for side in pair)
    ):
        raise ValueError(
            f"`image_size` must be a positive int or a pair (height, width) of them. Received: {image_size!r}"
        )
    return int(pair[0]), int(pair[1])


def resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes uint8 or float32 images `[..., H, W, C]`, dtype kept; bilinear and antialiased, as PIL does it."""
    resized = tf.image.resize(images, size, method="bilinear", antialias=True)
    if images.dtype == tf.uint8:
        return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
    return tf.clip_by_value(resized, 0.0, 1.0)  # rounding errors of the filter's weights


def resized_shape(event_shape: EventShape, size: tuple[int, int]) -> EventShape:
    """The shape of one image after resizing.

    Raises:
      ValueError: if the examples are not images `[H, W, C]`.
    """
    if len(event_shape) != 3:
        raise ValueError(f"`image_size` is for images [H, W, C]. Received: examples of shape {event_shape}")
    return (*size, event_shape[2])


def resize_table(table: Table, size: tuple[int, int]) -> Table:
    """Resizes every image of a table, block by block.

    Raises:
      ValueError: if the examples are not images `[N, H, W, C]`.
    """
    if table.images.shape[1:] == resized_shape(table.images.shape[1:], size):
        return table
    starts = range(0, len(table.images), READ_BLOCK)
    blocks = [resize(tf.constant(table.images[start : start + READ_BLOCK]), size).numpy() for start in starts]
    return table._replace(images=np.concatenate(blocks))
