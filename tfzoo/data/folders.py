"""A folder of PNG and JPEG images.

The order is that of the SHA-256 sums of the files' paths below the folder: it does not depend on the file system, and
classes come mixed. The first 80 % are the split "train", the next 10 % "validation", the rest "test"; a file that is
added moves hardly any other from one split to another.
"""

import hashlib
import pathlib
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.data.catalogue import with_unions
from tfzoo.data.sources import PARALLEL_CALLS, Stream, Table, fits_in_memory
from tfzoo.types import EventShape

__all__ = ["Folder", "load_folder", "scan_folder"]

SUFFIXES = (".jpeg", ".jpg", ".png")
CHANNELS = {"1": 1, "L": 1, "LA": 3, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}  # PIL's modes of 8 bits


class Folder(NamedTuple):
    """What a folder holds, in canonical order.

    Attributes:
      files: the image files.
      labels: int32 `[N]`: the place of a file's first sub-folder among the sorted sub-folders, -1 outside any.
      classes: names of the sub-folders that hold images, sorted.
      event_shape: the shape every image has once read.
      num_examples: split -> count.
    """

    files: list[pathlib.Path]
    labels: np.ndarray
    classes: list[str]
    event_shape: EventShape
    num_examples: dict[str, int]

    def rows(self, split: str) -> slice:
        """The rows of a split."""
        train, tail = self.num_examples["train"], self.num_examples["train+validation"]
        starts = {"validation": train, "test": tail}
        start = starts.get(split, 0)
        return slice(start, start + self.num_examples[split])


def scan_folder(path: str | pathlib.Path, image_size: tuple[int, int] | None) -> Folder:
    """Lists a folder's images and reads their headers.

    Args:
      path: the folder.
      image_size: (height, width) to which every image will be resized, or None if they share one size.

    Returns:
      the listing; images are grey if all are, else RGB.

    Raises:
      FileNotFoundError: if the folder is missing.
      ValueError: if it has no images, if one is unreadable, or if sizes differ and `image_size` is None.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no such folder of images. Received: {str(path)!r}")
    names = sorted(
        (file.relative_to(root).as_posix() for file in root.rglob("*") if file.suffix.lower() in SUFFIXES),
        key=lambda name: hashlib.sha256(name.encode()).digest(),
    )
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    if not names:
        raise ValueError(f"The folder has no images ({', '.join(SUFFIXES)}). Received: {str(path)!r}")
    tops = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({top for top in tops if top is not None})
    labels = np.array([-1 if top is None else classes.index(top) for top in tops], np.int32)
    files = [root / name for name in names]

    with futures.ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, files))  # (height, width, channels) each
    channels = max(header[2] for header in headers)
    sizes = {header[:2] for header in headers}
    if image_size is None and len(sizes) > 1:
        raise ValueError(
            f"Images of several sizes need `image_size`. Received: {len(sizes)} sizes, such as {sorted(sizes)[:3]}"
        )
    height, width = image_size or sizes.pop()
    train = len(files) * 8 // 10
    validation = len(files) * 9 // 10 - train
    counts = with_unions(train, validation, len(files) - train - validation)
    return Folder(files, labels, classes, (height, width, channels), counts)


def load_folder(
    path: str | pathlib.Path, split: str, *, image_size: tuple[int, int] | None, cache: bool
) -> Table | Stream:
    """Opens one split of a folder.

    Args:
      path: the folder.
      split: one of `tfzoo.data.load`'s splits.
      image_size: (height, width), or None.
      cache: read all images now, unless they are too many.

    Returns:
      uint8 images: a table with `cache` where it fits, else a stream.

    Raises:
      FileNotFoundError: if the folder is missing.
      ValueError: as `scan_folder`, if the split is empty, or (with a table) if a file is corrupt.
    """
    folder = scan_folder(path, image_size)
    rows = folder.rows(split)
    files, labels = folder.files[rows], folder.labels[rows]
    if not files:
        raise ValueError(
            f"The folder has too few images for split {split!r}; "
            f"use split='all'. Received: {len(folder.files)} images in {str(path)!r}"
        )
    if cache and fits_in_memory(len(files), folder.event_shape):
        return Table(_read_all(files, folder.event_shape), labels, 255.0)

    def read(name: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.numpy_function(
            lambda encoded: read_image(pathlib.Path(encoded.decode()), folder.event_shape), [name], tf.uint8
        )
        return tf.ensure_shape(image, folder.event_shape), label

    # PIL on both ways, not tf.io here: two JPEG decoders would give two data sets.
    names = tf.data.Dataset.from_tensor_slices(([str(file) for file in files], labels))
    stream = names.map(read, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
    return Stream(stream, len(files), folder.event_shape, 255.0)


def read_image(file: pathlib.Path, event_shape: EventShape) -> np.ndarray:
    """Reads one image as uint8 `[H, W, C]`, resized to `event_shape`, alpha dropped.

    Raises:
      ValueError: naming the file, if it cannot be read.
    """
    from PIL import Image

    height, width, channels = event_shape
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL's errors for bad files
        raise _unreadable(file, error) from None
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).reshape(event_shape)


def _header(file: pathlib.Path) -> tuple[int, int, int]:
    """Height, width and channels of an image file, whose pixels are not decoded."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode, (width, height) = image.mode, image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from None
    if mode not in CHANNELS:
        raise ValueError(f"Images must have 8 bits a channel. Received: mode {mode!r} in {str(file)!r}")
    return height, width, CHANNELS[mode]


def _read_all(files: Sequence[pathlib.Path], event_shape: EventShape) -> np.ndarray:
    """Reads files into one array, in threads: PIL decodes outside the interpreter lock."""
    images = np.empty((len(files), *event_shape), np.uint8)
    with futures.ThreadPoolExecutor() as pool:
        for row, image in enumerate(pool.map(lambda file: read_image(file, event_shape), files)):
            images[row] = image
    return images


def _unreadable(file: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(f"An image file is corrupt or unreadable ({type(error).__name__}). Received: {str(file)!r}")
