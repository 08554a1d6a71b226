"""A folder of volumes: NIfTI files, or DICOM series."""

from collections.abc import Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from tfzoo.data.dicom import open_series
from tfzoo.data.listing import Folder, Listing, as_folder, in_canonical_order
from tfzoo.data.nifti import open_nifti
from tfzoo.data.scans import Scan, missing_package
from tfzoo.data.sources import PARALLEL_CALLS, Stream, Table, fits_in_memory
from tfzoo.data.volume_transforms import VolumeOptions, read_volume, shape_of

__all__ = ["load_volumes", "scan_volumes"]

READERS = min(4, PARALLEL_CALLS)  # each holds a whole scan, hundreds of megabytes, before it is cropped


def scan_volumes(listing: Listing, options: VolumeOptions) -> Folder:
    """Reads the headers of a folder's volumes.

    Args:
      listing: the folder.
      options: what will be done to every volume.

    Returns:
      the scans, in canonical order.

    Raises:
      ImportError: if nibabel or pydicom is missing.
      ValueError: naming the file, if one is unreadable or no volume, or if shapes differ and `volume_shape` is None.
    """
    try:
        import nibabel  # noqa: F401  for the orientation, of DICOM series too
    except ImportError as error:
        raise missing_package("Volumes", error) from None
    if listing.kind == "dicom":
        scans = open_series(listing)
    else:
        with futures.ThreadPoolExecutor() as pool:
            opened = pool.map(lambda name: open_nifti(listing.root / name), listing.names)
            scans = dict(zip(listing.names, opened, strict=True))
    names = in_canonical_order(scans)
    shapes = sorted({shape_of(scan, options) for scan in scans.values()})
    if len(shapes) > 1:
        raise ValueError(
            f"Volumes of several shapes need `volume_shape`. Received: {len(shapes)} shapes, such as {shapes[:3]}"
        )
    return as_folder(names, [scans[name] for name in names], (*shapes[0], 1))


def load_volumes(listing: Listing, split: str, options: VolumeOptions, *, cache: bool) -> Table | Stream:
    """Opens one split of a folder.

    Args:
      listing: the folder.
      split: one of `tfzoo.data.load`'s splits.
      options: what is done to every volume.
      cache: read all volumes now, unless they are too many.

    Returns:
      float32 volumes in [0, 1]: a table with `cache` where it fits, else a stream.

    Raises:
      ImportError: if nibabel or pydicom is missing.
      ValueError: as `scan_volumes`, if the split is empty, or (with a table) if a volume cannot be used.
    """
    folder = scan_volumes(listing, options)
    scans, labels = folder.part(split, listing.root)
    if cache and fits_in_memory(len(scans), folder.event_shape, np.float32):
        return Table(_read_all(scans, options, folder.event_shape), labels, 1.0)

    def read(row: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        volume = tf.numpy_function(lambda i: read_volume(scans[i], options), [row], tf.float32)
        return tf.ensure_shape(volume, folder.event_shape), label

    rows = tf.data.Dataset.from_tensor_slices((np.arange(len(scans)), labels))
    stream = rows.map(read, num_parallel_calls=READERS, deterministic=True)
    return Stream(stream, len(scans), folder.event_shape, 1.0)


def _read_all(scans: Sequence[Scan], options: VolumeOptions, event_shape: tuple[int, ...]) -> np.ndarray:
    """Reads scans into one array, in threads: decompression and arithmetic are done outside the interpreter lock."""
    volumes = np.empty((len(scans), *event_shape), np.float32)
    with futures.ThreadPoolExecutor(READERS) as pool:
        for row, volume in enumerate(pool.map(lambda scan: read_volume(scan, options), scans)):
            volumes[row] = volume
    return volumes
