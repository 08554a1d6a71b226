"""NIfTI files, read by nibabel."""

import pathlib
import zlib
from typing import Any

import numpy as np

from tfzoo.data.scans import Scan, checked_scan, missing_package

__all__ = ["open_nifti"]

MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}


def open_nifti(file: pathlib.Path) -> Scan:
    """Reads a header; the voxels, scaled by the file's slope and intercept, are read on demand.

    Raises:
      ImportError: if nibabel is missing.
      ValueError: naming the file, if it cannot be read, is no volume, or has no usable spacing.
    """
    try:
        import nibabel
    except ImportError as error:
        raise missing_package("NIfTI files", error) from None
    # What nibabel and the decompressors raise for bad files.
    failures = (
        *(OSError, EOFError, ValueError, KeyError, OverflowError, zlib.error, np.linalg.LinAlgError),
        *(nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError),
    )

    def unreadable(error: Exception) -> ValueError:
        return ValueError(f"A NIfTI file is corrupt or unreadable ({type(error).__name__}). Received: {str(file)!r}")

    try:
        image: Any = nibabel.load(file)
        header = image.header
        with nibabel.openers.ImageOpener(str(file)) as opened:
            spacing = type(header).from_fileobj(opened, check=False)["pixdim"][1:4]
        scale = MILLIMETRES[header.get_xyzt_units()[0]]
        affine = np.diag([scale, scale, scale, 1.0]) @ image.affine
        shape, dtype = image.shape, image.get_data_dtype()
    except failures as error:
        raise unreadable(error) from None
    if dtype.kind not in "iufb":
        raise ValueError(f"A volume's voxels must be real numbers. Received: {dtype} in {str(file)!r}")
    if header["sform_code"] == 0 and 0 in spacing:
        affine = np.diag([*(spacing * scale), 1.0])  # nibabel has mended a spacing of 0 to 1 mm
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]

    def read() -> np.ndarray:
        try:
            return image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
        except (*failures, MemoryError) as error:
            raise unreadable(error) from None

    return checked_scan(Scan(str(file), shape, affine, read))
