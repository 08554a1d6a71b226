"""DICOM series, read by pydicom: one file a slice, or one file with many frames.

A series is what shares a folder and a SeriesInstanceUID. Its slices are sorted by where ImagePositionPatient lies along
the normal of ImageOrientationPatient, never by the files' names. They must lie evenly on that normal, to 5 % of their
distance: one that is missing or doubled, several points in time and a tilted gantry are errors, not another geometry.
Reports, contours and other objects without pixels are passed over.

References:
  DICOM PS3.3, C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups), C.11.1 (Modality LUT):
  https://dicom.nema.org/medical/dicom/current/output/html/part03.html
"""

import pathlib
import struct
import zlib
from collections.abc import Sequence
from concurrent import futures
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from tfzoo.data.listing import Listing
from tfzoo.data.scans import Scan, checked_scan, missing_package

__all__ = ["open_series"]

EVENNESS = 0.05  # of the distance between slices
# Where a file with many frames keeps what a file with one has at its top.
GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
TAGS = [
    *("SOPClassUID", "SeriesInstanceUID", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *GROUPS),
]
# What pydicom raises for bad files, and where no decoder for their compression is installed.
FAILURES = (
    *(OSError, EOFError, ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError),
    *(RuntimeError, struct.error, zlib.error),
)


class _Slices(NamedTuple):
    """What the header of one file says of its F frames."""

    file: pathlib.Path
    series: str
    shape: tuple[int, int]
    positions: np.ndarray  # [F, 3], millimetres to the left, posterior, superior (DICOM's LPS)
    orientations: np.ndarray  # [F, 6], the directions of growing column and of growing row
    spacings: np.ndarray  # [F, 2], millimetres between rows and between columns
    slopes: np.ndarray  # [F]
    intercepts: np.ndarray  # [F]


def open_series(listing: Listing) -> dict[str, Scan]:
    """Reads all headers of a folder of DICOM files.

    Returns:
      name -> series. The name is the series' folder; where that holds several, the UID follows, as if it were a file.

    Raises:
      ImportError: if pydicom is missing.
      ValueError: naming the file or folder, if a file cannot be read, or if slices do not make up a volume.
    """
    pydicom = _import_pydicom()
    files = [listing.root / name for name in listing.names]
    with futures.ThreadPoolExecutor() as pool:
        headers = list(pool.map(lambda file: _read_header(pydicom, file), files))
    found: dict[str, dict[str, list[_Slices]]] = {}
    for header in headers:
        if header is not None:
            folder = header.file.parent.relative_to(listing.root).as_posix()
            found.setdefault(folder, {}).setdefault(header.series, []).append(header)
    if not found:
        raise ValueError(f"The folder's DICOM files hold no images. Received: {str(listing.root)!r}")
    scans = {}
    for folder, series in found.items():
        for uid, parts in series.items():
            if len(series) == 1:
                name, path = folder, listing.root / folder
            else:
                name, path = uid if folder == "." else f"{folder}/{uid}", listing.root / folder / uid
            scans[name] = checked_scan(_as_scan(pydicom, str(path), parts))
    return scans


def _import_pydicom() -> ModuleType:
    try:
        import pydicom
    except ImportError as error:
        raise missing_package("DICOM files", error) from None
    return pydicom


def _read_header(pydicom: ModuleType, file: pathlib.Path) -> _Slices | None:
    """Reads one header; None for an object that is no image."""
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS)
        kind = pydicom.uid.UID(dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID", ""))
        if kind.name != kind and "Image Storage" not in kind.name:
            return None
        values = {keyword: _of_frames(dataset, keyword) for keyword in GROUPS}
        missing = [keyword for keyword in list(GROUPS)[:3] if None in values[keyword]]
        missing += [keyword for keyword in ("Rows", "Columns", "SeriesInstanceUID") if not dataset.get(keyword)]
        samples = int(dataset.get("SamplesPerPixel") or 1)
        if not missing and samples == 1:
            return _Slices(
                file,
                str(dataset.SeriesInstanceUID),
                (int(dataset.Rows), int(dataset.Columns)),
                np.array(values["ImagePositionPatient"], np.float64).reshape(-1, 3),
                np.array(values["ImageOrientationPatient"], np.float64).reshape(-1, 6),
                np.array(values["PixelSpacing"], np.float64).reshape(-1, 2),
                np.array([1.0 if value is None else value for value in values["RescaleSlope"]], np.float64),
                np.array([0.0 if value is None else value for value in values["RescaleIntercept"]], np.float64),
            )
    except (*FAILURES, pydicom.errors.InvalidDicomError) as error:
        raise _unreadable(file, error) from None
    if missing:
        raise ValueError(f"A DICOM file lacks {', '.join(missing)}. Received: {str(file)!r}")
    raise ValueError(f"A volume's voxels must be real numbers. Received: {samples} colours in {str(file)!r}")


def _of_frames(dataset: Any, keyword: str) -> list[Any]:
    """The value of an attribute for each frame, None where it is missing."""
    count = int(dataset.get("NumberOfFrames") or 1)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    frames = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    values = []
    for i in range(count):
        groups = [group.get(GROUPS[keyword]) for group in (*frames[i : i + 1], *shared)]
        holders = [*(group[0] for group in groups if group), dataset]
        values.append(next((holder.get(keyword) for holder in holders if holder.get(keyword) is not None), None))
    return values


def _as_scan(pydicom: ModuleType, path: str, parts: Sequence[_Slices]) -> Scan:
    """Puts the slices of a series in order."""

    def alike(arrays: np.ndarray, tolerance: float) -> bool:
        return bool(np.allclose(arrays, arrays[:1], rtol=0, atol=tolerance))

    parts = sorted(parts, key=lambda part: part.file)
    positions, orientations, spacings = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("positions", "orientations", "spacings")
    )
    shapes = np.array([part.shape for part in parts])
    if not (alike(shapes, 0) and alike(orientations, 1e-3) and alike(spacings, 1e-3)):
        raise ValueError(f"The slices of a series must have one shape, spacing and orientation. Received: {path!r}")
    right, down = orientations[0, :3], orientations[0, 3:]
    normal = np.cross(right, down)
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)  # [F - 1, 3]
    step = np.median(steps @ normal) if len(steps) else 0.0
    if len(steps) and not np.allclose(steps, step * normal, rtol=0, atol=EVENNESS * abs(step)):
        distances = sorted({round(float(distance), 2) for distance in steps @ normal})
        raise ValueError(
            "The slices of a series must lie evenly along their normal: none missing, none twice, no tilted gantry. "
            f"Received: distances of {distances[0]} to {distances[-1]} mm in {path!r}"
        )
    row_spacing, column_spacing = spacings[0]
    affine = np.eye(4)
    affine[:3, :3] = np.stack([normal * step, down * row_spacing, right * column_spacing], axis=1)
    affine[:3, 3] = positions[order[0]]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # from DICOM's LPS to RAS

    def read() -> np.ndarray:
        frames = np.concatenate([_read_frames(pydicom, part) for part in parts])
        return frames[order]

    return Scan(path, (len(order), *parts[0].shape), affine, read)


def _read_frames(pydicom: ModuleType, part: _Slices) -> np.ndarray:
    """Reads the pixels of one file in the units of its rescale slope and intercept, `[F, rows, columns]`."""
    try:
        pixels = pydicom.dcmread(part.file).pixel_array.reshape(-1, *part.shape).astype(np.float32)
        scaled = pixels * part.slopes[:, None, None] + part.intercepts[:, None, None]
    except (*FAILURES, pydicom.errors.InvalidDicomError) as error:
        raise _unreadable(part.file, error) from None
    return scaled.astype(np.float32)


def _unreadable(file: pathlib.Path, error: Exception) -> ValueError:
    # The reason may be a compression for which no decoder is installed; pydicom goes on for several lines then.
    reason = f"{type(error).__name__}: {error!s}".splitlines()[0].split(". ")[0].rstrip(" .:")
    return ValueError(f"A DICOM file is corrupt or unreadable ({reason}). Received: {str(file)!r}")
