"""What a folder of examples holds, in what order, and how it is divided.

The order is that of the SHA-256 sums of the examples' names, which are paths below the folder: it does not depend on
the file system, and classes come mixed. The first 80 % are the split "train", the next 10 % "validation", the rest
"test"; an example that is added moves hardly any other from one split to another.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tfzoo.data.catalogue import with_unions
from tfzoo.types import EventShape

__all__ = ["Folder", "Listing", "as_folder", "divide", "in_canonical_order", "list_folder", "rows_of"]

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".dicom", ".ima")
DICOM_MARK = slice(128, 132)  # the bytes "DICM", by which files without a suffix are known
KINDS = {"images": "images", "nifti": "NIfTI files", "dicom": "DICOM files"}


class Listing(NamedTuple):
    """The files of a folder that are of its kind.

    Attributes:
      root: the folder.
      kind: "images", "nifti" or "dicom".
      names: their paths below the folder, with slashes, sorted.
    """

    root: pathlib.Path
    kind: str
    names: list[str]


class Folder(NamedTuple):
    """The examples of a folder, in canonical order.

    Attributes:
      items: what reads each example: an image's path, or a `Scan`.
      labels: int32 `[N]`: the place of an example's first sub-folder among the sorted sub-folders, -1 outside any.
      classes: names of the sub-folders that hold examples, sorted.
      event_shape: the shape every example has once read.
      num_examples: split -> count.
    """

    items: list[Any]
    labels: np.ndarray
    classes: list[str]
    event_shape: EventShape
    num_examples: dict[str, int]

    def part(self, split: str, path: pathlib.Path) -> tuple[list[Any], np.ndarray]:
        """The items and labels of a split.

        Raises:
          ValueError: if there are none; it names `path`.
        """
        rows = rows_of(self.num_examples, split)
        if rows.start == rows.stop:
            what = "images" if len(self.event_shape) == 3 else "volumes"
            raise ValueError(
                f"The folder has too few {what} for split {split!r}; "
                f"use split='all'. Received: {len(self.items)} {what} in {str(path)!r}"
            )
        return self.items[rows], self.labels[rows]


def list_folder(path: str | os.PathLike[str]) -> Listing:
    """Lists a folder and all folders below it, links followed; what has a name that begins with a dot is left out.

    Raises:
      FileNotFoundError: if the folder is missing.
      ValueError: if it holds neither images nor volumes, or several kinds of files.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no such folder of images. Received: {str(path)!r}")
    names: dict[str, list[str]] = {}
    for file in _files(root):
        kind = _kind(file)
        if kind:
            names.setdefault(kind, []).append(file.relative_to(root).as_posix())
    if not names:
        suffixes = ", ".join((*IMAGES, *NIFTI, *DICOM))
        raise ValueError(f"The folder has no images or volumes ({suffixes}). Received: {str(path)!r}")
    if len(names) > 1:
        found = ", ".join(f"{len(files)} {KINDS[kind]}" for kind, files in sorted(names.items()))
        raise ValueError(f"A folder must hold one kind of files. Received: {found} in {str(path)!r}")
    ((kind, found_names),) = names.items()
    return Listing(root, kind, sorted(found_names))


def _files(folder: pathlib.Path, above: tuple[pathlib.Path, ...] = ()) -> Iterator[pathlib.Path]:
    """Yields what is below a folder; links that lead back to a folder `above` are passed over."""
    here = folder.resolve()
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(pathlib.Path(entry.path), (*above, here))
            else:
                yield pathlib.Path(entry.path)


def _kind(file: pathlib.Path) -> str | None:
    """The kind of one file, None for what is no example."""
    name, suffix = file.name.lower(), file.suffix.lower()
    by_suffix = {**dict.fromkeys(IMAGES, "images"), **dict.fromkeys(DICOM, "dicom")}
    kind = "nifti" if name.endswith(NIFTI) else by_suffix.get(suffix)
    # Scanners write files without a suffix, or named by a UID, whose last number then looks like one.
    unmarked = not kind and (not suffix or suffix[1:].isdigit()) and name != "dicomdir"
    if not (kind or unmarked) or not file.is_file():
        return None
    if unmarked:
        with file.open("rb") as opened:
            kind = "dicom" if opened.read(DICOM_MARK.stop)[DICOM_MARK] == b"DICM" else None
    return kind


def in_canonical_order(names: Iterable[str]) -> list[str]:
    """Sorts names by their SHA-256 sums."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def divide(count: int) -> dict[str, int]:
    """The sizes of all splits of `count` examples."""
    train = count * 8 // 10
    validation = count * 9 // 10 - train
    return with_unions(train, validation, count - train - validation)


def rows_of(num_examples: Mapping[str, int], split: str) -> slice:
    """The rows of a split, where the parts follow each other: train, validation, test."""
    before = {"validation": "train", "test": "train+validation"}.get(split)
    start = num_examples[before] if before else 0
    return slice(start, start + num_examples[split])


def as_folder(names: list[str], items: list[Any], event_shape: EventShape) -> Folder:
    """Labels and divides examples whose names are in canonical order."""
    tops = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({top for top in tops if top is not None})
    labels = np.array([-1 if top is None else classes.index(top) for top in tops], np.int32)
    return Folder(items, labels, classes, event_shape, divide(len(names)))
