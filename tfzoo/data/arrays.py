"""Examples that the caller already holds in NumPy arrays."""

from typing import Any

import numpy as np

from tfzoo.data.sources import Table

__all__ = ["from_arrays", "is_arrays"]

RANKS = {2: "[N, D] vectors", 4: "[N, H, W, C] images", 5: "[N, T, H, W, C] volumes"}


def is_arrays(data: Any) -> bool:
    """Whether `data` is an array, a pair, or a dict, and so meant for `from_arrays`."""
    return isinstance(data, np.ndarray | tuple | dict)


def from_arrays(data: Any) -> Table:
    """Checks and wraps arrays; see `tfzoo.data.load` for what is taken.

    Args:
      data: images, a pair (images, labels) or a dict with "image" and, if there are labels, "label". Images are
        `[N, H, W, C]` (vectors `[N, D]` and volumes `[N, T, H, W, C]` are taken too): uint8 (divided by 255), bool,
        or floats in [0, 1]. Labels are integers `[N]`.

    Returns:
      the table; rows stay in their order.

    Raises:
      ValueError: on a wrong structure, rank, dtype or range, on NaN, and on empty arrays.
    """
    images, labels = _parts(data)
    images = np.asarray(images)
    if images.ndim not in RANKS:
        hint = "; a channel axis is missing: images[..., None]" if images.ndim == 3 else ""
        raise ValueError(f"Images must be {', '.join(RANKS.values())}{hint}. Received: shape {images.shape}")
    if 0 in images.shape:
        raise ValueError(f"Images must not be empty. Received: shape {images.shape}")
    images, scale = _values(images)
    if labels is None:
        return Table(images, np.full(len(images), -1, np.int32), scale)
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"Labels must be integers of shape ({len(images)},). Received: {labels.dtype} of shape {labels.shape}"
        )
    if labels.max() > np.iinfo(np.int32).max or labels.min() < np.iinfo(np.int32).min:
        raise ValueError(f"Labels must be numbers of int32. Received: values in [{labels.min()}, {labels.max()}]")
    return Table(images, labels.astype(np.int32), scale)


def _parts(data: Any) -> tuple[Any, Any]:
    """Splits `data` into images and labels, None where there are none."""
    if isinstance(data, dict):
        if "image" not in data or not set(data) <= {"image", "label"}:
            raise ValueError(f'A dict must have the keys "image" and perhaps "label". Received: keys {sorted(data)}')
        return data["image"], data.get("label")
    if isinstance(data, tuple):
        if len(data) != 2:
            raise ValueError(f"A tuple must be a pair (images, labels). Received: {len(data)} parts")
        return data
    return data, None


def _values(images: np.ndarray) -> tuple[np.ndarray, float]:
    """Brings images to uint8 or float32, and says which value stands for 1."""
    if images.dtype == np.uint8:
        return images, 255.0
    if images.dtype == np.bool_:
        return images.astype(np.uint8), 1.0
    if images.dtype.kind != "f":
        raise ValueError(f"Images must be uint8 in [0, 255], bool, or floats in [0, 1]. Received: dtype {images.dtype}")
    low, high = float(images.min()), float(images.max())  # NaN if there is one
    if not (low >= 0.0 and high <= 1.0):
        what = f"{np.count_nonzero(np.isnan(images))} NaN" if np.isnan(low) else f"values in [{low:g}, {high:g}]"
        raise ValueError(f"Float images must lie in [0, 1]. Received: {what}")
    return images.astype(np.float32), 1.0
