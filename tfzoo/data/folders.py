"""A folder of images: PNG, JPEG, WebP, BMP, GIF and TIFF files, as Pillow reads them."""

import pathlib
from collections.abc import Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from tfzoo.data.listing import Folder, Listing, as_folder, in_canonical_order
from tfzoo.data.sources import PARALLEL_CALLS, Stream, Table, fits_in_memory
from tfzoo.types import EventShape

__all__ = ["load_images", "scan_images"]

CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}  # PIL's modes of 8 bits

_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and what it says of images on their side


def scan_images(listing: Listing, image_size: tuple[int, int] | None) -> Folder:
    """Reads the headers of a folder's images.

    Args:
      listing: the folder.
      image_size: (height, width) to which every image will be resized, or None if they share one size.

    Returns:
      the images' paths; images are grey if all are, else RGB.

    Raises:
      ValueError: if one is unreadable or holds several images, or if sizes differ and `image_size` is None.
    """
    names = in_canonical_order(listing.names)
    files = [listing.root / name for name in names]
    with futures.ThreadPoolExecutor() as pool:
        headers = list(pool.map(_header, files))  # (height, width, channels) each
    channels = max(header[2] for header in headers)
    sizes = {header[:2] for header in headers}
    if image_size is None and len(sizes) > 1:
        raise ValueError(
            f"Images of several sizes need `image_size`. Received: {len(sizes)} sizes, such as {sorted(sizes)[:3]}"
        )
    height, width = image_size or sizes.pop()
    return as_folder(names, files, (height, width, channels))


def load_images(listing: Listing, split: str, *, image_size: tuple[int, int] | None, cache: bool) -> Table | Stream:
    """Opens one split of a folder.

    Args:
      listing: the folder.
      split: one of `tfzoo.data.load`'s splits.
      image_size: (height, width), or None.
      cache: read all images now, unless they are too many.

    Returns:
      uint8 images: a table with `cache` where it fits, else a stream.

    Raises:
      ValueError: as `scan_images`, if the split is empty, or (with a table) if a file is corrupt.
    """
    folder = scan_images(listing, image_size)
    files, labels = folder.part(split, listing.root)
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
    """Reads one image as uint8 `[H, W, C]`, resized to `event_shape`, upright as its EXIF data have it, alpha dropped.

    Raises:
      ValueError: naming the file, if it cannot be read.
    """
    from PIL import Image, ImageOps

    height, width, channels = event_shape
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
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
            if mode == "P" and _is_grey(image.getpalette() or []):
                mode = "L"
            # Cameras hide previews and depth maps behind a JPEG (MPO); the image is the first one.
            count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            if image.getexif().get(_ORIENTATION, 1) in _LYING:
                width, height = height, width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from None
    if count > 1:
        raise ValueError(f"An image file must hold one image. Received: {count} in {str(file)!r}")
    if mode not in CHANNELS:
        raise ValueError(f"Images must have 8 bits a channel. Received: mode {mode!r} in {str(file)!r}")
    return height, width, CHANNELS[mode]


def _is_grey(palette: Sequence[int]) -> bool:
    red, green, blue = (palette[channel::3] for channel in range(3))
    return red == green == blue


def _read_all(files: Sequence[pathlib.Path], event_shape: EventShape) -> np.ndarray:
    """Reads files into one array, in threads: PIL decodes outside the interpreter lock."""
    images = np.empty((len(files), *event_shape), np.uint8)
    with futures.ThreadPoolExecutor() as pool:
        for row, image in enumerate(pool.map(lambda file: read_image(file, event_shape), files)):
            images[row] = image
    return images


def _unreadable(file: pathlib.Path, error: Exception) -> ValueError:
    return ValueError(f"An image file is corrupt or unreadable ({type(error).__name__}). Received: {str(file)!r}")
