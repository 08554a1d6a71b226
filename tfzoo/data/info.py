"""Facts about a data set, by the same names, folders and arrays that `load` takes."""

import os
import pathlib
from typing import Any

import numpy as np

from tfzoo.data.arrays import from_arrays, is_arrays
from tfzoo.data.catalogue import CATALOGUE, DatasetInfo
from tfzoo.data.folders import scan_folder
from tfzoo.data.load import is_folder, unknown_name
from tfzoo.data.resizing import image_size_pair, resized_shape

__all__ = ["info"]


def info(name: Any, *, image_size: int | tuple[int, int] | None = None) -> DatasetInfo:
    """Says what a data set holds. A named set need not be on disk for this.

    Args:
      name: as for `tfzoo.data.load`.
      image_size: as for `tfzoo.data.load`; it changes `event_shape`.

    Returns:
      the facts; `num_examples` has every split that can be loaded.

    Raises:
      FileNotFoundError: if a folder is missing.
      ValueError: on an unknown name and on unusable images.
    """
    size = image_size_pair(image_size)
    if is_arrays(name):
        table = from_arrays(name)
        classes = int(np.unique(table.labels[table.labels >= 0]).size)
        counts = {"train": len(table.images), "all": len(table.images)}
        facts = DatasetInfo("arrays", table.images.shape[1:], classes, counts, "unknown", "the caller", "")
    elif isinstance(name, str) and name in CATALOGUE:
        facts = CATALOGUE[name]
    elif isinstance(name, str | os.PathLike) and is_folder(name):
        folder = scan_folder(pathlib.Path(name), size)
        facts = DatasetInfo(
            str(name), folder.event_shape, len(folder.classes), folder.num_examples, "unknown", str(name), ""
        )
    else:
        raise unknown_name(name)
    return facts if size is None else facts._replace(event_shape=resized_shape(facts.event_shape, size))
