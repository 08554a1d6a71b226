"""Facts about a data set, by the same names, folders and arrays that `load` takes."""

import os
from typing import Any

import numpy as np

from tfzoo.data.array_files import is_array_file, read_array_file
from tfzoo.data.arrays import from_arrays, is_arrays
from tfzoo.data.catalogue import CATALOGUE, DatasetInfo
from tfzoo.data.folders import scan_images
from tfzoo.data.listing import list_folder
from tfzoo.data.load import is_folder, unknown_name
from tfzoo.data.resizing import image_size_pair, resized_shape
from tfzoo.data.sources import Table
from tfzoo.data.volume_transforms import VolumeOptions, cropped_shape
from tfzoo.data.volumes import scan_volumes

__all__ = ["info"]


def info(
    name: Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    spacing: float | tuple[float, float, float] | None = None,
    volume_shape: tuple[int, int, int] | None = None,
) -> DatasetInfo:
    """Says what a data set holds. A named set need not be on disk for this.

    Args:
      name: as for `tfzoo.data.load`.
      image_size: as for `tfzoo.data.load`; it changes `event_shape`.
      spacing: as for `tfzoo.data.load`; it changes `event_shape`.
      volume_shape: as for `tfzoo.data.load`; it changes `event_shape`.

    Returns:
      the facts; `num_examples` has every split that can be loaded.

    Raises:
      FileNotFoundError: if a folder or file is missing.
      ImportError: if the package that reads a folder of volumes is missing.
      ValueError: on an unknown name and on unusable images or volumes.
    """
    size, options = image_size_pair(image_size), VolumeOptions.of(spacing, volume_shape, None)
    if is_arrays(name):
        table = from_arrays(name)
        facts = _of_table("arrays", "the caller", table, {"train": len(table.images), "all": len(table.images)})
    elif isinstance(name, str) and name in CATALOGUE:
        facts = CATALOGUE[name]
    elif is_array_file(name):
        facts = _of_table(str(name), str(name), *read_array_file(name))
    elif isinstance(name, str | os.PathLike) and is_folder(name):
        listing = list_folder(name)
        folder = scan_images(listing, size) if listing.kind == "images" else scan_volumes(listing, options)
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
    return facts


def _of_table(name: str, source: str, table: Table, num_examples: dict[str, int]) -> DatasetInfo:
    classes = int(np.unique(table.labels[table.labels >= 0]).size)
    return DatasetInfo(name, table.images.shape[1:], classes, num_examples, "unknown", source, "")
