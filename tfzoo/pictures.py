"""Images as grids that a person can look at."""

import os

import numpy as np
from PIL import Image

from tfzoo.atomic_file import replacing
from tfzoo.types import TensorLike

__all__ = ["grid", "recovery", "save", "seen"]

_LARGEST = 1024  # pixels of the longer side; small images are enlarged by a whole factor up to here
_MARGIN = 2


def grid(images: TensorLike, *, columns: int, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Lays out images row by row.

    Args:
      images: ``[N, H, W, C]`` with C = 1 or 3, ``[N, T, H, W, C]`` volumes, of which the three middle slices are
        shown, or ``[N, D]`` vectors, shown as a bar code each.
      columns: images in a row.
      value_range: what becomes black and white; values beyond are clipped.

    Returns:
      ``uint8 [height, width, C]``, with thin white lines between the images.
    """
    images = np.asarray(images, np.float32)
    if images.ndim == 5:
        images = _middle_slices(images, white=value_range[1])
    elif images.ndim == 2:
        images = np.repeat(images[:, np.newaxis, :, np.newaxis], 8, axis=1)
    low, high = value_range
    pixels = np.clip((images - low) / (high - low) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    if pixels.shape[-1] == 2:
        pixels = pixels[..., :1]
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    step_y, step_x = height + _MARGIN, width + _MARGIN
    canvas = np.full((rows * step_y + _MARGIN, columns * step_x + _MARGIN, channels), 255, np.uint8)
    for i, picture in enumerate(pixels):
        y, x = divmod(i, columns)
        y, x = y * step_y + _MARGIN, x * step_x + _MARGIN
        canvas[y : y + height, x : x + width] = picture
    return canvas


def seen(images: TensorLike, mask: TensorLike, *, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Returns images with grey in place of what a mask (1 = visible) hides; shapes as for the model."""
    images = np.asarray(images, np.float32)
    return np.where(np.asarray(mask) > 0, images, np.float32(sum(value_range) / 2))


def recovery(
    images: TensorLike,
    mask: TensorLike,
    *completed: TensorLike,
    value_range: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """Returns the `grid` of images, of what is seen of them, and of each of their completions, a row each."""
    rows = [images, seen(images, mask, value_range=value_range), *completed]
    rows = [np.asarray(row, np.float32) for row in rows]
    return grid(np.concatenate(rows), columns=len(rows[0]), value_range=value_range)


def _middle_slices(volumes: np.ndarray, white: float) -> np.ndarray:
    """The slices across T, H and W side by side, ``[N, max(T, H), 2 W + H + 2, C]``; T goes upwards.

    In the axes of `tfzoo.data`'s scans these are the axial, coronal and sagittal slices as a radiologist sees them.
    """
    count, depth, height, width, channels = volumes.shape
    slices = (
        volumes[:, depth // 2],  # [N, H, W, C]
        volumes[:, ::-1, height // 2],  # [N, T, W, C]
        volumes[:, ::-1, :, width // 2],  # [N, T, H, C]
    )
    tallest, widest = max(depth, height), 2 * width + height + 2
    picture = np.full((count, tallest, widest, channels), white, volumes.dtype)
    left = 0
    for part in slices:
        top = (tallest - part.shape[1]) // 2
        picture[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        left += part.shape[2] + 1
    return picture


def save(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes a picture ``uint8 [height, width, 1 or 3]`` as PNG, small ones enlarged without smoothing."""
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    factor = max(1, _LARGEST // max(image.size))
    with replacing(path) as file:
        image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST).save(file, format="png")
