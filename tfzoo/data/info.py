"""Facts about a data set, by the same names, folders and arrays that `load` takes."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfzoo.data.array_files import is_array_file, read_array_file
from tfzoo.data.arrays import from_arrays, is_arrays
from tfzoo.data.catalogue import CATALOGUE, DatasetInfo
from tfzoo.data.folders import scan_images
from tfzoo.data.listing import list_folder
from tfzoo.data.load import GENERATED, is_folder, unknown_name
from tfzoo.data.resizing import image_size_pair, resized_shape
from tfzoo.data.selection import Selection
from tfzoo.data.sources import Table
from tfzoo.data.tfds_sets import load_tfds
from tfzoo.data.volume_transforms import VolumeOptions, cropped_shape
from tfzoo.data.volumes import scan_volumes

__all__ = ["info"]


def info(
    name: Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    spacing: float | tuple[float, float, float] | None = None,
    volume_shape: tuple[int, int, int] | None = None,
    held_out: int | None = None,
    classes: Sequence[int] | None = None,
    data_dir: str | pathlib.Path | None = None,
) -> DatasetInfo:
    """Says what a data set holds. A named set need not be on disk for this, but where its labels have to be counted.

    Args:
      name: as for `tfzoo.data.load`.
      image_size: as for `tfzoo.data.load`; it changes `event_shape`.
      spacing: as for `tfzoo.data.load`; it changes `event_shape`.
      volume_shape: as for `tfzoo.data.load`; it changes `event_shape`.
      held_out: as for `tfzoo.data.load`; it changes `num_examples`, for which all labels are read.
      classes: as for `tfzoo.data.load`; they change `num_classes` and `num_examples`, for which all labels are read.
      data_dir: as for `tfzoo.data.load`; where labels are read from.

    Returns:
      the facts; `num_examples` has every split that can be loaded.

    Raises:
      FileNotFoundError: if a folder or file is missing, or labels to count are not on disk.
      ImportError: if the package that reads a folder of volumes is missing.
      ValueError: on an unknown name or label, and on unusable images or volumes.
    """
    size, options = image_size_pair(image_size), VolumeOptions.of(spacing, volume_shape, None)
    selection = Selection.of(held_out, classes)
    labels: np.ndarray | None = None
    if is_arrays(name):
        table = from_arrays(name)
        labels = table.labels
        facts = _of_table("arrays", "the caller", table, {"train": len(table.images), "all": len(table.images)})
    elif isinstance(name, str) and name in CATALOGUE:
        facts = CATALOGUE[name]
    elif is_array_file(name):
        table, num_examples = read_array_file(name)
        labels = table.labels
        facts = _of_table(str(name), str(name), table, num_examples)
    elif isinstance(name, str | os.PathLike) and is_folder(name):
        listing = list_folder(name)
        folder = scan_images(listing, size) if listing.kind == "images" else scan_volumes(listing, options)
        labels = folder.labels
        facts = DatasetInfo(
            str(name), folder.event_shape, len(folder.classes), folder.num_examples, "unknown", str(name), ""
        )
        options = options if listing.kind == "images" else options._replace(spacing=None)  # done
    else:
        raise unknown_name(name)
    options.refuse("spacing")
    if size is not None:
        facts = facts._replace(event_shape=resized_shape(facts.event_shape, size))
    if options.volume_shape is not None:
        facts = facts._replace(event_shape=cropped_shape(facts.event_shape, options.volume_shape))
    # A folder of few images has splits without any, which cannot be loaded.
    facts = facts._replace(num_examples={split: count for split, count in facts.num_examples.items() if count})
    if selection == (None, None):
        return facts
    counts = selection.sizes(_named_labels(name, data_dir) if labels is None else labels, facts.num_examples)
    return facts._replace(num_examples=counts, num_classes=facts.num_classes if classes is None else len(classes))


def _named_labels(name: str, data_dir: str | pathlib.Path | None) -> np.ndarray:
    """The labels of a named set in canonical order."""
    if name in GENERATED:
        return GENERATED[name]("all").labels
    source = load_tfds(name, "all", image_size=None, data_dir=data_dir, cache=True, download=False)
    return Selection.in_memory(source).labels


def _of_table(name: str, source: str, table: Table, num_examples: dict[str, int]) -> DatasetInfo:
    classes = int(np.unique(table.labels[table.labels >= 0]).size)
    return DatasetInfo(name, table.images.shape[1:], classes, num_examples, "unknown", source, "")
