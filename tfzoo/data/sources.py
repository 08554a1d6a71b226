"""The two forms in which every source hands over its examples: a table in memory, or a stream from disk."""

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import DTypeLike

from tfzoo.types import EventShape

__all__ = ["Stream", "Table", "as_table", "fits_in_memory", "rows_in"]

TABLE_BYTES = 2**30  # MNIST takes 45 MiB, SVHN 214 MiB, CelebA at 64x64 1.9 GiB
# Of maps over images; a number of our own, since tf.data's tuner is turned off (see pipeline.py).
PARALLEL_CALLS = os.cpu_count() or 1
READ_BLOCK = 1024


class Table(NamedTuple):
    """Examples in memory, in canonical order: the row is the index.

    Attributes:
      images: `[N, *event_shape]`, uint8 or float32; `images / scale` lies in [0, 1].
      labels: int32 `[N]`, -1 where there is none.
      scale: the value that stands for 1.
    """

    images: np.ndarray
    labels: np.ndarray
    scale: float


class Stream(NamedTuple):
    """Examples on disk.

    Attributes:
      dataset: pairs (image `[*event_shape]`, label int32 `[]`) in canonical order; uint8 images, float32 volumes.
      num_examples: how many there are.
      event_shape: the shape of one image.
      scale: the value that stands for 1.
    """

    dataset: tf.data.Dataset
    num_examples: int
    event_shape: EventShape
    scale: float


def fits_in_memory(num_examples: int, event_shape: EventShape, dtype: DTypeLike = np.uint8) -> bool:
    """Whether a set is small enough to be read at once; the larger ones start training while they are read."""
    return num_examples <= rows_in(TABLE_BYTES, event_shape, dtype)


def rows_in(num_bytes: int, event_shape: EventShape, dtype: DTypeLike) -> int:
    """How many examples take up so many bytes; volumes are large."""
    return num_bytes // (int(np.prod(event_shape)) * np.dtype(dtype).itemsize)


def as_table(stream: Stream) -> Table:
    """Reads a whole stream of uint8 images into memory."""
    images = np.empty((stream.num_examples, *stream.event_shape), np.uint8)
    labels = np.empty((stream.num_examples,), np.int32)
    stop = 0
    for image, label in stream.dataset.batch(READ_BLOCK).as_numpy_iterator():
        start, stop = stop, stop + len(label)
        images[start:stop], labels[start:stop] = image, label
    return Table(images, labels, stream.scale)
