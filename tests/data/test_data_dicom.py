import copy

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from tfzoo import data

pytestmark = pytest.mark.fast

WINDOW = (-1000, 1000)
HOUNSFIELD = np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7))  # [slices, rows, columns]
BASIC_TEXT_REPORT = UID("1.2.840.10008.5.1.4.1.1.88.11")
AXIAL = [1, 0, 0, 0, 1, 0]  # columns grow to the left, rows to posterior


def slice_at(voxels, position, *, series="1.2.3", orientation=AXIAL, slope=2.0, intercept=-1024.0, spacing=(0.5, 0.25)):
    """One CT slice; its pixels are the stored values of `voxels` in Hounsfield units."""
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = CTImageStorage
    file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = file_meta
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = file_meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = series
    dataset.Modality = "CT"
    dataset.ImagePositionPatient = [float(value) for value in position]
    dataset.ImageOrientationPatient = [float(value) for value in orientation]
    dataset.PixelSpacing = list(spacing)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    return with_pixels(dataset, np.rint((voxels - intercept) / slope))


def with_pixels(dataset, stored):
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = stored.astype("<u2").tobytes()
    return dataset


def save(dataset, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)


def slices(voxels=HOUNSFIELD, **options):
    """The slices of one series, from the feet up, 1.5 mm apart."""
    return [slice_at(plane, (10, 20, 30 + 1.5 * i), **options) for i, plane in enumerate(voxels)]


def write_series(folder, voxels=HOUNSFIELD, **options):
    for i, dataset in enumerate(slices(voxels, **options)):
        save(dataset, folder / f"{(7 * i + 3) % 11:04d}.dcm")  # file names in another order than the slices


def only(path, **options):
    (example,) = data.load(path, "all", window=WINDOW, **options).as_numpy_iterator()
    return example["image"][..., 0]


def stored(voxels=HOUNSFIELD):
    """What pixels of two Hounsfield units keep of the volume, in [0, 1]."""
    return np.clip((2 * np.rint((voxels + 1024) / 2) - 1024 + 1000) / 2000, 0, 1)


def test_slices_shuffled_on_disk_are_in_order_and_in_hounsfield_units(tmp_path):
    write_series(tmp_path / "patient")
    (tmp_path / "patient" / "notes.txt").write_text("no slice")
    np.testing.assert_allclose(only(tmp_path), stored(), atol=1e-6)
    assert data.info(tmp_path).event_shape == (5, 6, 7, 1)
    assert data.info(tmp_path, spacing=0.5).event_shape == (15, 6, 4, 1)  # 1.5, 0.5 and 0.25 mm


def test_each_slice_has_its_own_slope_and_intercept(tmp_path):
    for i, plane in enumerate(HOUNSFIELD):
        save(slice_at(plane, (0, 0, i), slope=1.0 + i, intercept=-1000.0 - i), tmp_path / f"{i}.dcm")
    np.testing.assert_allclose(
        only(tmp_path), (HOUNSFIELD + 1000) / 2000, atol=2.51 / 2000
    )  # half a step of the coarsest slice


@pytest.mark.parametrize("reverse", [False, True])
def test_a_coronal_series_is_superior_posterior_left_too(tmp_path, reverse):
    # Columns to the left, rows to inferior, slices along posterior (or recorded from the back).
    for i in range(6):
        where = 5 - i if reverse else i
        save(slice_at(HOUNSFIELD[::-1, where], (0, where, 0), orientation=[1, 0, 0, 0, 0, -1]), tmp_path / f"{i}.dcm")
    np.testing.assert_allclose(only(tmp_path), stored(), atol=1e-6)


def test_a_nifti_file_of_the_same_scan_is_the_same_volume(tmp_path):
    import nibabel

    write_series(tmp_path / "dicom")
    affine = np.diag([-0.25, -0.5, 1.5, 1.0])  # [x, y, z] to left, posterior, superior
    voxels = 2 * np.rint((HOUNSFIELD + 1024) / 2) - 1024
    (tmp_path / "nifti").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels.T.astype(np.int16), affine), tmp_path / "nifti" / "x.nii.gz")
    for options in ({}, {"spacing": 0.4}, {"spacing": (1, 1, 0.7), "volume_shape": (6, 5, 4)}):
        np.testing.assert_allclose(only(tmp_path / "dicom", **options), only(tmp_path / "nifti", **options), atol=1e-6)


def test_series_are_told_apart_by_folder_and_by_uid(tmp_path):
    for i in range(4):
        write_series(tmp_path / f"class{i % 2}" / f"scan{i}", HOUNSFIELD + i)
    for i in range(3):
        for j, dataset in enumerate(slices(HOUNSFIELD + 10 + i, series=f"1.2.{i}")):
            save(dataset, tmp_path / "class1" / f"IM{100 * i + j}")  # three series in one folder, without suffixes
    facts = data.info(tmp_path)
    assert facts.num_examples["all"] == 7
    assert facts.num_classes == 2
    examples = list(data.load(tmp_path, "all", window=WINDOW).as_numpy_iterator())
    assert sorted(int(example["label"]) for example in examples) == [0, 0, 1, 1, 1, 1, 1]
    assert len({example["image"].tobytes() for example in examples}) >= 4
    again = list(data.load(tmp_path, "all", window=WINDOW).as_numpy_iterator())
    assert all(np.array_equal(mine["image"], other["image"]) for mine, other in zip(examples, again, strict=True))


def test_one_series_alone_has_no_label(tmp_path):
    write_series(tmp_path)
    assert [int(example["label"]) for example in data.load(tmp_path, "all", window=WINDOW)] == [-1]


def test_reports_and_directories_are_passed_over(tmp_path):
    write_series(tmp_path / "scan")
    report = slices()[0]
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = BASIC_TEXT_REPORT
    del report.PixelData, report.Rows
    save(report, tmp_path / "scan" / "report.dcm")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    np.testing.assert_allclose(only(tmp_path), stored(), atol=1e-6)
    for file in (tmp_path / "scan").glob("0*.dcm"):
        file.unlink()
    with pytest.raises(ValueError, match=r"^The folder's DICOM files hold no images\. Received: "):
        data.load(tmp_path)


def test_one_file_may_hold_many_frames(tmp_path):
    shuffle = [3, 0, 4, 1, 2]
    dataset = with_pixels(slices()[0], np.rint((HOUNSFIELD[shuffle] + 1024) / 2))
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = 5
    frames = []
    for place in shuffle:
        frame, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = [0.0, 0.0, 1.5 * place]
        frame.PlanePositionSequence = [plane]
        frames.append(frame)
    shared, orientation, measures, units = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = AXIAL
    measures.PixelSpacing = [0.5, 0.25]
    units.RescaleSlope, units.RescaleIntercept = 2.0, -1024.0
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [units]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(dataset, keyword)
    save(dataset, tmp_path / "enhanced.dcm")
    np.testing.assert_allclose(only(tmp_path), stored(), atol=1e-6)
    assert data.info(tmp_path, spacing=0.5).event_shape == (15, 6, 4, 1)


# === Bad input ===


def spoil(datasets, case):
    first, last = datasets[0], datasets[-1]
    if case == "missing slice":
        del datasets[2]
    elif case == "doubled slice":
        datasets.append(copy.deepcopy(datasets[2]))
    elif case == "two points in time":
        datasets.extend(copy.deepcopy(datasets))
    elif case == "tilted gantry":
        for i, dataset in enumerate(datasets):
            dataset.ImagePositionPatient = [0.0, 0.5 * i, 1.5 * i]
    elif case == "one slice":
        del datasets[1:]
    elif case == "no position":
        del last.ImagePositionPatient
    elif case == "no spacing":
        del last.PixelSpacing
    elif case == "zero spacing":
        for dataset in datasets:
            dataset.PixelSpacing = [0.0, 0.25]
    elif case == "other spacing":
        last.PixelSpacing = [0.6, 0.25]
    elif case == "other shape":
        with_pixels(last, np.zeros((6, 6)))
    elif case == "other direction":
        first.ImageOrientationPatient = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    elif case == "colour":
        last.SamplesPerPixel, last.PhotometricInterpretation, last.PlanarConfiguration = 3, "RGB", 0
        last.BitsAllocated, last.BitsStored, last.HighBit = 8, 8, 7
        last.PixelData = bytes(6 * 7 * 3 + 6 * 7 * 3 % 2)
    elif case == "short pixels":
        last.PixelData = last.PixelData[:-20]


@pytest.mark.filterwarnings("ignore::UserWarning")  # from pydicom, about the values that these tests spoil
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("missing slice", r"^The slices .* evenly .* Received: distances of 1\.5 to 3\.0 mm in '.*scan'$"),
        ("doubled slice", r"^The slices .* evenly .* Received: distances of 0\.0 to 1\.5 mm in '.*scan'$"),
        ("two points in time", r"^The slices .* evenly .* Received: distances of 0\.0 to 1\.5 mm in '.*scan'$"),
        ("tilted gantry", r"^The slices .* evenly .* no tilted gantry\. Received: distances of 1\.5 to 1\.5 mm in "),
        ("one slice", r"^A volume must have three dimensions .* Received: shape \(1, 6, 7\) in '.*scan'$"),
        ("no position", r"^A DICOM file lacks ImagePositionPatient\. Received: '.*4\.dcm'$"),
        ("no spacing", r"^A DICOM file lacks PixelSpacing\. Received: '.*4\.dcm'$"),
        ("zero spacing", r"^A volume's spacing must be positive\. Received: \(1\.5, 0\.0, 0\.25\) mm in '.*scan'$"),
        ("other spacing", r"^The slices of a series must have one shape, .* Received: '.*scan'$"),
        ("other shape", r"^The slices of a series must have one shape, .* Received: '.*scan'$"),
        ("other direction", r"^The slices of a series must have one shape, .* Received: '.*scan'$"),
        ("colour", r"^A volume's voxels must be real numbers\. Received: 3 colours in '.*4\.dcm'$"),
        ("short pixels", r"^A DICOM file is corrupt or unreadable \(ValueError: .*\)\. Received: '.*4\.dcm'$"),
    ],
)
def test_an_odd_series_is_one_sentence_that_names_it(tmp_path, case, message):
    datasets = slices()
    spoil(datasets, case)
    for i, dataset in enumerate(datasets):
        save(dataset, tmp_path / "scan" / f"{i}.dcm")
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path, "all", window=WINDOW)


@pytest.mark.parametrize("kept", [0, 100, 300, 700, -50])
def test_a_truncated_or_empty_file_is_one_sentence_that_names_it(tmp_path, kept):
    write_series(tmp_path / "scan")
    file = next((tmp_path / "scan").glob("*.dcm"))
    content = file.read_bytes()
    file.write_bytes(content[:kept])
    with pytest.raises(ValueError, match=rf"^A DICOM file (is corrupt|lacks) .* Received: '.*{file.name}'$"):
        data.load(tmp_path, "all", window=WINDOW)
    assert file.read_bytes() == content[:kept]


def test_what_is_called_dicom_and_is_not_is_one_sentence(tmp_path):
    (tmp_path / "x.dcm").write_text("not DICOM" * 100)
    with pytest.raises(ValueError, match=r"^A DICOM file is corrupt or unreadable \(InvalidDicomError.* '.*x\.dcm'$"):
        data.load(tmp_path, "all")
