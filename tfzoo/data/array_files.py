"""Files of NumPy arrays: `.npz` in the layout of MedMNIST or with "image" and "label", and `.npy`."""

import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from tfzoo.data.arrays import from_arrays
from tfzoo.data.catalogue import with_unions
from tfzoo.data.listing import divide, in_canonical_order
from tfzoo.data.sources import Table

__all__ = ["is_array_file", "read_array_file"]

SUFFIXES = (".npy", ".npz")
PARTS = ("train", "val", "test")  # MedMNIST's names


def is_array_file(name: Any) -> bool:
    """Whether `name` is the path of such a file."""
    return isinstance(name, str | os.PathLike) and pathlib.Path(name).suffix.lower() in SUFFIXES


def read_array_file(path: str | os.PathLike[str]) -> tuple[Table, dict[str, int]]:
    """Reads all examples of a file.

    Args:
      path: a file with the arrays "train_images", "val_images", "test_images" and perhaps "train_labels" and so on,
        which are the splits (the layout of MedMNIST, 2-D or 3-D); or with "image" and perhaps "label", or `.npy` with
        one array, which are divided as folders are. Arrays are as for `tfzoo.data.load`, but a channel axis may be
        missing: `[N, H, W]` are grey images, `[N, T, H, W]` volumes unless the last axis is 1 or 3.

    Returns:
      the examples, train, validation and test following each other, and the sizes of the splits.

    Raises:
      FileNotFoundError: if the file is missing.
      ValueError: naming the file, if it is corrupt, of another layout, or if its arrays cannot be used.
    """
    file = pathlib.Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"There is no such file of arrays. Received: {str(path)!r}")
    arrays = _read(file)
    medmnist = {part: f"{part}_images" for part in PARTS}
    if set(medmnist.values()) <= set(arrays):
        tables = [_as_table(file, arrays[name], arrays.get(f"{part}_labels")) for part, name in medmnist.items()]
        if len({(table.images.shape[1:], table.images.dtype) for table in tables}) > 1:
            shapes = [table.images.shape for table in tables]
            raise ValueError(f"The splits of a file must be alike. Received: shapes {shapes} in {str(path)!r}")
        images, labels = (np.concatenate(parts) for parts in zip(*(table[:2] for table in tables), strict=True))
        return Table(images, labels, tables[0].scale), with_unions(*(len(table.images) for table in tables))
    if "image" not in arrays or not set(arrays) <= {"image", "label", "index"}:
        raise ValueError(
            'A file of arrays must have "image" and perhaps "label", or "train_images", "val_images" and '
            f'"test_images". Received: {", ".join(sorted(arrays))} in {str(path)!r}'
        )
    table = _as_table(file, arrays["image"], arrays.get("label"))
    order = [int(row) for row in in_canonical_order(map(str, range(len(table.images))))]
    return Table(table.images[order], table.labels[order], table.scale), divide(len(order))


def _read(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as opened:  # NumPy itself leaves a file open that it cannot read
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"image": loaded}
            return {name: loaded[name] for name in loaded.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"A file of arrays is corrupt or unreadable ({type(error).__name__}). Received: {str(file)!r}"
        ) from None


def _as_table(file: pathlib.Path, images: np.ndarray, labels: np.ndarray | None) -> Table:
    if images.ndim == 3 or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        images = images[..., np.newaxis]
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # as MedMNIST has them
    try:
        return from_arrays(images if labels is None else (images, labels))
    except ValueError as error:
        raise ValueError(f"{error} in {str(file)!r}") from None
