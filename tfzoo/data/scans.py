"""One volume on disk: its header is known, its voxels are read when they are needed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Scan", "checked_scan", "checked_voxels", "missing_package"]


class Scan(NamedTuple):
    """A volume as its file stores it.

    Attributes:
      path: the file, or for a DICOM series its folder (and UID).
      shape: of the stored array.
      affine: float64 `[4, 4]`, from indices of that array to millimetres to the right, anterior, superior (RAS+, as
        nibabel has it).
      read: returns the voxels, float32 of that shape, in the file's units (such as Hounsfield).
    """

    path: str
    shape: tuple[int, int, int]
    affine: np.ndarray
    read: Callable[[], np.ndarray]

    @property
    def spacing(self) -> np.ndarray:
        """Millimetres between voxels along each axis of the stored array."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def checked_scan(scan: Scan) -> Scan:
    """Returns a scan whose geometry can be worked with.

    Raises:
      ValueError: if it is not three-dimensional, or if its spacing is zero, NaN or degenerate.
    """
    if len(scan.shape) != 3 or min(scan.shape) < 2:
        raise ValueError(
            "A volume must have three dimensions of two voxels at least, and one point in time. "
            f"Received: shape {tuple(scan.shape)} in {scan.path!r}"
        )
    spacing = scan.spacing
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        received = tuple(round(float(value), 6) for value in spacing)
        raise ValueError(f"A volume's spacing must be positive. Received: {received} mm in {scan.path!r}")
    if abs(np.linalg.det(scan.affine[:3, :3] / spacing)) < 1e-3:
        raise ValueError(f"A volume's axes must not lie in one plane. Received: {scan.path!r}")
    return scan


def checked_voxels(scan: Scan) -> np.ndarray:
    """Reads a scan.

    Raises:
      ValueError: if the file is corrupt, or has voxels that are NaN or infinite.
    """
    voxels = scan.read()
    bad = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad:
        raise ValueError(f"A volume's voxels must be finite. Received: {bad} NaN or infinite voxels in {scan.path!r}")
    return voxels


def missing_package(what: str, error: ImportError) -> ImportError:
    """The error for files that a package reads which is not installed."""
    return ImportError(
        f'{what} are read by a package that cannot be imported; run: pip install "tfzoo[volumes]". Received: {error}'
    )
