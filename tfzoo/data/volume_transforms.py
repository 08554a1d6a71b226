"""A volume's way from its file to the network: orientation, spacing, intensities, shape.

    orient             axes in one order and direction, whatever the file's
    resample           to a spacing: linear, and antialiased where it gets coarser
    rescale_intensity  to [0, 1], by a window or by the volume's own percentiles
    crop_or_pad        to a shape, centrally

The axes T, H, W are superior, posterior, left: slices from the feet upwards, each as a radiologist sees it (anterior at
the top, the patient's right on the left side). This is DICOM's and ITK's patient coordinate system with the array
indexed [z, y, x]. An oblique volume is not rotated: each of its axes takes the place of the nearest anatomical one.

The names are those of TorchIO (Resample, RescaleIntensity, CropOrPad). Resampling is a matrix an axis, whose triangular
weights are as wide as a voxel of the coarser grid, which is what PIL and TensorFlow do to images; `scipy.ndimage.zoom`
would not antialias, and would compute what is then cropped.
"""

from typing import Any, NamedTuple

import numpy as np

from tfzoo.data.scans import Scan, checked_voxels
from tfzoo.data.sources import Table
from tfzoo.types import EventShape

__all__ = [
    "VolumeOptions",
    "crop_or_pad",
    "crop_or_pad_table",
    "cropped_shape",
    "orient",
    "read_volume",
    "resample",
    "rescale_intensity",
    "shape_of",
]

AXES, SIGNS = (2, 1, 0), (1, -1, -1)  # superior, posterior, left, as axes and directions of RAS+
PERCENTILES = (0.5, 99.5)  # a few bright voxels of an MRI would else leave the rest dark
SAME = 1e-4  # spacings that differ by less, relatively, are the same


class VolumeOptions(NamedTuple):
    """The arguments of `tfzoo.data.load` for volumes; each None where it was not given.

    Attributes:
      spacing: millimetres between voxels, (T, H, W).
      volume_shape: voxels, (T, H, W).
      window: the intensities that become 0 and 1.
    """

    spacing: tuple[float, float, float] | None
    volume_shape: tuple[int, int, int] | None
    window: tuple[float, float] | None

    @classmethod
    def of(cls, spacing: Any, volume_shape: Any, window: Any) -> "VolumeOptions":
        """Checks the arguments.

        Raises:
          ValueError: if one is of another kind.
        """
        if spacing is not None:
            triple = _numbers((spacing,) * 3 if _is_number(spacing) else spacing, 3)
            if triple is None or min(triple) <= 0:
                raise ValueError(
                    "`spacing` must be a positive number of millimetres or a triple (T, H, W) of them. "
                    f"Received: {spacing!r}"
                )
            spacing = triple
        if volume_shape is not None:
            triple = _numbers(volume_shape, 3)
            if triple is None or min(triple) < 1 or any(side != int(side) for side in triple):
                raise ValueError(
                    f"`volume_shape` must be a triple (T, H, W) of positive ints. Received: {volume_shape!r}"
                )
            volume_shape = tuple(int(side) for side in triple)
        if window is not None:
            pair = _numbers(window, 2)
            if pair is None or pair[0] >= pair[1]:
                raise ValueError(f"`window` must be a pair (low, high), low < high. Received: {window!r}")
            window = pair
        return cls(spacing, volume_shape, window)

    def refuse(self, *names: str) -> None:
        """Raises a ValueError if any of the arguments `names` was given."""
        given = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None]
        if given:
            listed = " and ".join(f"`{name}`" for name in names)
            raise ValueError(f"{listed} are for folders of NIfTI or DICOM volumes. Received: {', '.join(given)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _numbers(values: Any, count: int) -> tuple[Any, ...] | None:
    """A tuple of `count` finite floats, None if `values` is anything else."""
    if not isinstance(values, tuple | list) or len(values) != count or not all(map(_is_number, values)):
        return None
    return tuple(float(value) for value in values) if np.isfinite(values).all() else None


def _canonical(affine: np.ndarray) -> tuple[list[int], list[int]]:
    """The stored axes in the order T, H, W, and those of T, H, W that are to be reversed."""
    import nibabel

    orientation = nibabel.orientations.io_orientation(affine)  # [3, 2]: for each stored axis its RAS axis and direction
    order = [int(np.flatnonzero(orientation[:, 0] == axis)[0]) for axis in AXES]
    reversed_axes = [i for i in range(3) if orientation[order[i], 1] != SIGNS[i]]
    return order, reversed_axes


def orient(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Returns an array `[T, H, W]` with the axes superior, posterior, left.

    Args:
      voxels: as stored, three axes in any order.
      affine: `[4, 4]`, from its indices to RAS+.
    """
    order, reversed_axes = _canonical(affine)
    return np.flip(np.transpose(voxels, order), tuple(reversed_axes))


def _resampled_length(length: int, ratio: float) -> int:
    """Voxels along an axis, if a new voxel is `ratio` old ones wide; never none."""
    return length if abs(ratio - 1) < SAME else max(1, round(length / ratio))


def resample(
    volume: np.ndarray,
    old: tuple[float, ...] | np.ndarray,
    new: tuple[float, ...],
    volume_shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Resamples a volume about its centre.

    Args:
      volume: float32 `[T, H, W]`.
      old: its spacing along T, H, W.
      new: the spacing wanted.
      volume_shape: no more than the central part of this shape is computed.

    Returns:
      float32, of the shape `old / new * volume.shape`, rounded, or its central part. Beyond the outermost voxels'
      centres they go on.
    """
    for axis in range(3):
        ratio, length = new[axis] / old[axis], volume.shape[axis]
        if abs(ratio - 1) < SAME:
            continue
        whole = _resampled_length(length, ratio)
        wanted = whole if volume_shape is None else min(whole, volume_shape[axis])
        places = np.arange(wanted) + (whole - wanted) // 2 - (whole - 1) / 2  # from the centre, in new voxels
        positions = np.clip((length - 1) / 2 + places * ratio, 0, length - 1)  # in old ones
        distances = np.abs(positions[:, None] - np.arange(length)) / max(1.0, ratio)
        weights = np.maximum(1 - distances, 0)  # [wanted, length]
        weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        volume = np.moveaxis(np.tensordot(weights, volume, (1, axis)), 0, axis)
    return volume


def rescale_intensity(volume: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps `low` to 0 and `high` to 1, and clips what lies beyond; float32."""
    return np.clip((volume - np.float32(low)) / np.float32(high - low), 0, 1).astype(np.float32)


def crop_or_pad(array: np.ndarray, volume_shape: tuple[int, ...], first_axis: int = 0) -> np.ndarray:
    """Crops centrally where an array is longer than `volume_shape`, and pads with zeros where it is shorter.

    Where the difference is odd, the larger half is cut, or added, at the end.

    Args:
      array: with axes T, H, W from `first_axis` on.
      volume_shape: what these axes are to be.
      first_axis: where they begin.
    """
    cut, pad = [slice(None)] * array.ndim, [(0, 0)] * array.ndim
    for axis, wanted in enumerate(volume_shape, start=first_axis):
        surplus = array.shape[axis] - wanted
        start = max(surplus, 0) // 2
        cut[axis] = slice(start, start + wanted)
        pad[axis] = (max(-surplus, 0) // 2, max(-surplus, 0) - max(-surplus, 0) // 2)
    return np.pad(array[tuple(cut)], pad)


def shape_of(scan: Scan, options: VolumeOptions) -> tuple[int, ...]:
    """The shape `[T, H, W]` that `read_volume` gives."""
    if options.volume_shape is not None:
        return options.volume_shape
    order, _ = _canonical(scan.affine)
    shape = [scan.shape[axis] for axis in order]
    if options.spacing is None:
        return tuple(shape)
    ratios = np.array(options.spacing) / scan.spacing[order]
    return tuple(_resampled_length(side, ratio) for side, ratio in zip(shape, ratios, strict=True))


def read_volume(scan: Scan, options: VolumeOptions) -> np.ndarray:
    """Reads one scan, oriented, resampled, in [0, 1] and of the shape asked for.

    Returns:
      float32 `[T, H, W, 1]`.

    Raises:
      ValueError: naming the file, if it is corrupt, if voxels are NaN or infinite, or if all have one value and no
        window says what it stands for.
    """
    voxels = checked_voxels(scan)
    low, high = options.window or _limits(voxels, scan.path)
    order, _ = _canonical(scan.affine)
    volume = orient(voxels, scan.affine)
    if options.spacing is not None:
        volume = resample(volume, scan.spacing[order], options.spacing, options.volume_shape)
    volume = rescale_intensity(volume, low, high)
    return crop_or_pad(volume, options.volume_shape or volume.shape)[..., np.newaxis]


def _limits(voxels: np.ndarray, path: str) -> tuple[float, float]:
    """The volume's percentiles, or where these are equal, as in a mask with few ones, its least and largest value."""
    low, high = (float(value) for value in np.percentile(voxels, PERCENTILES))
    if low == high:
        low, high = float(voxels.min()), float(voxels.max())
    if low == high:
        raise ValueError(f"A volume of one value needs a `window`. Received: {low:g} in all voxels of {path!r}")
    return low, high


def cropped_shape(event_shape: EventShape, volume_shape: tuple[int, int, int]) -> EventShape:
    """The shape of one example after `crop_or_pad`.

    Raises:
      ValueError: if the examples are not volumes `[T, H, W, C]`.
    """
    if len(event_shape) != 4:
        raise ValueError(f"`volume_shape` is for volumes [T, H, W, C]. Received: examples of shape {event_shape}")
    return (*volume_shape, event_shape[3])


def crop_or_pad_table(table: Table, volume_shape: tuple[int, int, int]) -> Table:
    """Crops or pads every volume of a table.

    Raises:
      ValueError: if the examples are not volumes `[N, T, H, W, C]`.
    """
    cropped_shape(table.images.shape[1:], volume_shape)
    return table._replace(images=crop_or_pad(table.images, volume_shape, first_axis=1))
