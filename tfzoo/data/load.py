"""The one function that loads every kind of data."""

import difflib
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.data.array_files import is_array_file, read_array_file
from tfzoo.data.arrays import from_arrays, is_arrays
from tfzoo.data.catalogue import CATALOGUE, SPLITS, list_datasets
from tfzoo.data.digits import load_digits
from tfzoo.data.folders import load_images
from tfzoo.data.listing import list_folder, rows_of
from tfzoo.data.masks import Mask
from tfzoo.data.phantoms import load_spiral_tubes
from tfzoo.data.pipeline import build
from tfzoo.data.resizing import image_size_pair, resize_table
from tfzoo.data.selection import Selection
from tfzoo.data.sources import Stream, Table
from tfzoo.data.tfds_sets import load_tfds
from tfzoo.data.volume_transforms import VolumeOptions, crop_or_pad_table
from tfzoo.data.volumes import load_volumes

__all__ = ["is_folder", "load", "unknown_name"]

BINARIZE = (None, "static", "dynamic")
VALUE_RANGES = ((0.0, 1.0), (-1.0, 1.0))
GENERATED = {"digits": load_digits, "spiral_tubes": load_spiral_tubes}  # no download


def load(
    name: Any,
    split: str = "train",
    *,
    held_out: int | None = None,
    classes: Sequence[int] | None = None,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    binarize: str | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    mask: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    spacing: float | tuple[float, float, float] | None = None,
    volume_shape: tuple[int, int, int] | None = None,
    window: tuple[float, float] | None = None,
    data_dir: str | pathlib.Path | None = None,
    seed: int = 0,
    cache: bool = True,
    drop_remainder: bool = False,
    download: bool = True,
) -> tf.data.Dataset:
    """Loads a data set.

    Every element is a dict:

    - "image": float32 `[B, H, W, C]`, for volumes `[B, T, H, W, C]`, in `value_range`;
    - "label": int32 `[B]`, -1 where there is none;
    - "index": int32 `[B]`, the example's place in its split's canonical order, 0 to n - 1. It belongs to the same
      image at every epoch, and whatever the shuffling, the batch size and the seed;
    - with `mask`, "mask": float32 `[B, H, W, 1]`, 1 where a pixel is visible, 0 where it is hidden. The image is whole.

    `len()` of the result is known. Sets of up to 1 GiB are read into memory by this call; larger ones are read while
    they are iterated over.

    Args:
      name: one of
        - a name of `tfzoo.data.list_datasets()`. "digits" comes with scikit-learn, "spiral_tubes" is generated
          (`tfzoo.data.spiral_tubes`); the others are read by tensorflow-datasets (`pip install "tfzoo[data]"`).
          CelebA is cropped to rows 45-172 and columns 25-152, then resized;
        - the path of a folder of images (PNG, JPEG, WebP, BMP, GIF, TIFF; one in a file, of 8 bits a channel), whose
          sub-folders, sorted, are the labels. Its order is that of a hash of the files' names; 80 % are "train",
          10 % "validation", 10 % "test". A folder that has sub-folders for the splits is loaded by
          `load("folder/test", "all")`;
        - the path of a folder of volumes: NIfTI files (.nii, .nii.gz), or DICOM series, each in a folder or known by
          its SeriesInstanceUID (`pip install "tfzoo[volumes]"`). Labels (for a series, by the folders above its own),
          order and splits are as for images. The axes T, H, W become superior, posterior, left, so that slices are
          as a radiologist sees them; oblique volumes are not rotated;
        - the path of a file of arrays: `.npz` in MedMNIST's layout (2-D or 3-D), with its splits; `.npz` with "image"
          and perhaps "label", or `.npy`, divided as folders are. A channel axis may be missing;
        - NumPy arrays: images, a pair (images, labels), or a dict {"image", "label"}. Images are `[N, H, W, C]`
          (also vectors `[N, D]`, volumes `[N, T, H, W, C]`): uint8, which is divided by 255, bool, or floats in
          [0, 1]. All of them are the split "train" (and "all"): whoever holds arrays has split them already.
      split: "train", "validation", "test", "train+validation" or "all", these two being joined in this order.
        MNIST, Fashion-MNIST and KMNIST have 50,000, 10,000 and 10,000 images; `tfzoo.data.info` has the others.
      held_out: the label that a detector of anomalies is not to know (`tfzoo.data.selection`): "train" has 80 % of the
        images of all other labels, "test" the remaining 20 % and all images of this one. Both are of all images of the
        set, whatever their own split (of arrays: of all that are given), there is no "validation". Only for sets
        that are read into memory.
      classes: the labels to keep, such as (0, 1); None keeps all. "index" counts what is kept. Not with `held_out`.
      batch_size: examples in a batch; None for single examples, without the dimension B.
      shuffle: anew at each iteration; None means yes for "train" and "train+validation" only. In-memory sets are
        shuffled as a whole, larger ones in a buffer of 10,000.
      binarize: "dynamic" draws each pixel as a Bernoulli variable, anew at each iteration; "static" draws it once,
        as a function of `seed` and index.
      value_range: (0, 1) or (-1, 1); the latter cannot be binarised.
      mask: of images: "square:20", "patches:30", "box", "top", "bottom", "left" or "right"; see `tfzoo.data.masks`.
        Random masks are, like "static", a function of `seed` and index.
      image_size: int or (height, width) to resize to, bilinearly and antialiased; None keeps the size, which for
        CelebA is 64.
      spacing: of folders of volumes: millimetres between voxels, a number or (T, H, W), to which they are resampled
        linearly and antialiased; None keeps each file's own.
      volume_shape: (T, H, W) in voxels, to which volumes are cropped, or padded with zeros, centrally; None where
        they share one shape.
      window: of folders of volumes: the pair of intensities, in the files' units (for CT, Hounsfield), that become 0
        and 1, beyond which values are clipped; None for the 0.5 and 99.5 percentiles of each volume.
      data_dir: tensorflow-datasets' folder; None for its own default.
      seed: of the shuffling, the binarisation and the masks. The same seed repeats the same sequence of epochs. As
        everywhere in tf.data, `tf.random.set_seed` has its part in it (but not in "static", nor in masks).
      cache: keep the images in memory, as uint8 (volumes as float32) and before binarising; False reads
        tensorflow-datasets and folders from disk at each pass.
      drop_remainder: drop a last batch that is not full.
      download: try to download what is not on disk.

    Returns:
      a `tf.data.Dataset`, prefetched.

    Raises:
      FileNotFoundError: if the data are not on disk and cannot be downloaded; it says the command that prepares them.
      ImportError: if the package that reads a folder of volumes is missing.
      ValueError: on an unknown name, split or option, and on unusable images or volumes: wrong rank, dtype or range,
        NaN, none at all, a corrupt file, a spacing of zero, slices that make up no volume.
    """
    size, options = image_size_pair(image_size), VolumeOptions.of(spacing, volume_shape, window)
    interval = _check_options(split, batch_size, binarize, value_range, seed)
    selection, masks = Selection.of(held_out, classes), None if mask is None else Mask.of(mask)
    pool = selection.source_split(split)
    source: Table | Stream
    if isinstance(name, str) and name in CATALOGUE and name not in GENERATED:
        options.refuse("spacing", "volume_shape", "window")
        source = load_tfds(name, pool, image_size=size, data_dir=data_dir, cache=cache, download=download)
    elif not _is_in_memory(name) and isinstance(name, str | os.PathLike) and is_folder(name):
        source = _load_folder(name, pool, size, options, cache)
    elif not _is_in_memory(name):
        raise unknown_name(name)
    else:
        options.refuse("spacing", "window")
        source = _load_table(name, pool)
        source = source if size is None else resize_table(source, size)
        source = source if options.volume_shape is None else crop_or_pad_table(source, options.volume_shape)
    return build(
        selection.apply(source, split),
        batch_size=batch_size,
        shuffle=split in ("train", "train+validation") if shuffle is None else shuffle,
        binarize=binarize,
        value_range=interval,
        mask=masks,
        seed=int(seed),
        cache=cache,
        drop_remainder=drop_remainder,
    )


def _is_in_memory(name: Any) -> bool:
    """Whether `name` stands for examples that are in memory as a whole, at once."""
    return is_arrays(name) or is_array_file(name) or (isinstance(name, str) and name in GENERATED)


def _load_table(name: Any, split: str) -> Table:
    if is_arrays(name):
        if split not in ("train", "all"):
            raise ValueError(f'Arrays are one split, "train": load each part by itself. Received: split={split!r}')
        return from_arrays(name)
    if is_array_file(name):
        table, num_examples = read_array_file(name)
        rows = rows_of(num_examples, split)
        if rows.start == rows.stop:
            raise ValueError(f"The file has no examples for split {split!r}. Received: {str(name)!r}")
        return table._replace(images=table.images[rows], labels=table.labels[rows])
    return GENERATED[name](split)


def _load_folder(
    path: str | os.PathLike[str], split: str, size: tuple[int, int] | None, options: VolumeOptions, cache: bool
) -> Table | Stream:
    listing = list_folder(path)
    if listing.kind == "images":
        options.refuse("spacing", "volume_shape", "window")
        return load_images(listing, split, image_size=size, cache=cache)
    if size is not None:
        raise ValueError(f"`image_size` is for images; volumes take `volume_shape`. Received: image_size={size}")
    return load_volumes(listing, split, options, cache=cache)


def unknown_name(name: Any) -> ValueError:
    """The error for something that is neither a name, a folder nor arrays."""
    close = difflib.get_close_matches(str(name), list_datasets(), n=3) if isinstance(name, str) else []
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"the names are {', '.join(list_datasets())}."
    return ValueError(
        f"Not a data set's name, a folder or NumPy arrays; {hint} "
        f"Received: {repr(name) if isinstance(name, str) else type(name).__name__}"
    )


def is_folder(name: str | os.PathLike[str]) -> bool:
    """Whether a string is meant as a path; one with a separator is, even if nothing is there."""
    return not isinstance(name, str) or "/" in name or os.sep in name or pathlib.Path(name).is_dir()


def _check_options(split: Any, batch_size: Any, binarize: Any, value_range: Any, seed: Any) -> tuple[float, float]:
    """Checks what does not depend on the data, and returns the value range as floats."""
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}. Received: {split!r}")
    if batch_size is not None and (not _is_int(batch_size) or batch_size < 1):
        raise ValueError(f"`batch_size` must be a positive int or None. Received: {batch_size!r}")
    if binarize not in BINARIZE:
        raise ValueError(f"`binarize` must be None, 'static' or 'dynamic'. Received: {binarize!r}")
    if not isinstance(value_range, tuple | list) or tuple(value_range) not in VALUE_RANGES:
        raise ValueError(f"`value_range` must be (0, 1) or (-1, 1). Received: {value_range!r}")
    if binarize is not None and value_range[0] != 0:
        raise ValueError(f"`binarize` needs value_range (0, 1). Received: {value_range!r}")
    if not _is_int(seed) or not -(2**63) <= seed < 2**63:
        raise ValueError(f"`seed` must be an int of 64 bits. Received: {seed!r}")
    return float(value_range[0]), float(value_range[1])


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
