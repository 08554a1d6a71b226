import gzip
import sys

import nibabel
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tfzoo import data
from tfzoo.data import sources, volume_transforms

pytestmark = pytest.mark.fast

UNIT = {"window": (0, 1000)}
NOISE = np.random.default_rng(0).integers(0, 1001, (6, 7, 8)).astype(np.float32)  # [x, y, z], RAS+


def write(file, voxels, spacing=(1.0, 1.0, 1.0), affine=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)
    return file


def read(path, split="all", **options):
    return list(data.load(path, split, shuffle=False, **options).as_numpy_iterator())


def only(path, **options):
    (example,) = read(path, **options)
    return example["image"][..., 0]


@pytest.fixture
def folder(tmp_path):
    """20 volumes of two classes; all voxels of volume i are i, but for one of 1,000."""
    for number in range(20):
        voxels = np.full((4, 5, 6), number, np.int16)
        voxels[0, 0, 0] = 1000
        write(tmp_path / f"class{number // 10}" / f"{number}.nii{'.gz' if number % 2 else ''}", voxels)
    (tmp_path / "notes.txt").write_text("no volume")
    return tmp_path


def values(examples):
    return [round(1000 * float(np.median(example["image"]))) for example in examples]


# === What is loaded ===


def test_elements_are_those_of_folders_of_images(folder):
    dataset = data.load(folder, "train", batch_size=4, **UNIT)
    assert {key: (value.shape.as_list(), value.dtype) for key, value in dataset.element_spec.items()} == {
        "image": ([None, 6, 5, 4, 1], tf.float32),
        "label": ([None], tf.int32),
        "index": ([None], tf.int32),
    }
    examples = read(folder, **UNIT)
    assert sorted(values(examples)) == list(range(20))
    assert [example["label"] for example in examples] == [value // 10 for value in values(examples)]
    assert [example["index"] for example in examples] == list(range(20))


def test_splits_are_disjoint_and_in_a_fixed_order(folder):
    parts = [values(read(folder, split, **UNIT)) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert [*parts[0], *parts[1], *parts[2]] == values(read(str(folder), **UNIT))
    assert parts[2] == [0, 5]  # by SHA-256 of the names: on every machine


def test_info_agrees_with_load(folder):
    for options in ({}, {"spacing": 0.5}, {"spacing": (1, 2, 4)}, {"volume_shape": (9, 2, 5)}):
        facts = data.info(folder, **options)
        assert facts.num_classes == 2
        assert facts.num_examples == {"train": 16, "validation": 2, "train+validation": 18, "test": 2, "all": 20}
        assert read(folder, "test", **options, **UNIT)[0]["image"].shape == facts.event_shape
    assert data.info(folder).event_shape == (6, 5, 4, 1)
    assert data.info(folder, spacing=(1, 2, 4)).event_shape == (6, 2, 1, 1)


@pytest.mark.parametrize("binarize", [None, "static"])
def test_the_stream_from_disk_is_the_same_data_set_as_the_table(folder, binarize, monkeypatch):
    table = read(folder, "train", binarize=binarize, batch_size=10, **UNIT)
    from_disk = read(folder, "train", binarize=binarize, batch_size=10, cache=False, **UNIT)
    monkeypatch.setattr(sources, "TABLE_BYTES", 10)
    cached = read(folder, "train", binarize=binarize, batch_size=10, **UNIT)
    for other in (from_disk, cached):
        for mine, theirs in zip(table, other, strict=True):
            assert all(np.array_equal(mine[key], theirs[key]) for key in ("image", "label", "index"))


def test_a_shuffled_stream_that_does_not_fit_in_memory_keeps_its_indices(folder, monkeypatch):
    monkeypatch.setattr("tfzoo.data.pipeline.TABLE_BYTES", 3 * 6 * 5 * 4 * 4)  # three volumes in the buffer
    shuffled = data.load(folder, "train", cache=False, **UNIT).as_numpy_iterator()
    by_index = {int(example["index"]): values([example])[0] for example in shuffled}
    assert [by_index[index] for index in range(16)] == values(read(folder, "train", **UNIT))


# === Orientation ===


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "AIR", "PSR"])
def test_however_it_is_stored_a_volume_is_superior_posterior_left(tmp_path, codes):
    as_ras = nibabel.Nifti1Image(NOISE, np.diag([1.0, 2.0, 3.0, 1.0]))
    target = nibabel.orientations.axcodes2ornt(codes)
    stored = as_ras.as_reoriented(nibabel.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], target))
    assert "".join(nibabel.aff2axcodes(stored.affine)) == codes
    nibabel.save(stored, tmp_path / "x.nii.gz")
    expected = NOISE[::-1, ::-1].transpose(2, 1, 0) / np.float32(1000)
    np.testing.assert_allclose(only(tmp_path, **UNIT), expected, rtol=1e-6)
    assert data.info(tmp_path, spacing=1.0).event_shape == (24, 14, 6, 1)


def test_an_oblique_volume_keeps_its_own_axes(tmp_path):
    angle = np.deg2rad(20)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    write(tmp_path / "x.nii", NOISE, affine=affine)
    np.testing.assert_allclose(only(tmp_path, **UNIT), NOISE[::-1, ::-1].transpose(2, 1, 0) / 1000, rtol=1e-6)


# === Spacing ===


def ball(radius, spacing, shape):
    """A ball in the middle of a volume: the part of each voxel that lies inside, to a tenth of a voxel."""
    fine = [np.repeat((np.arange(side) - (side - 1) / 2) * s, 5) for side, s in zip(shape, spacing, strict=True)]
    offsets = (np.arange(5) - 2) / 5
    fine = [axis + np.tile(offsets, len(axis) // 5) * s for axis, s in zip(fine, spacing, strict=True)]
    inside = sum(axis**2 for axis in np.meshgrid(*fine, indexing="ij", sparse=True)) < radius**2
    return inside.reshape(shape[0], 5, shape[1], 5, shape[2], 5).mean((1, 3, 5)).astype(np.float32)


@pytest.mark.parametrize("new", [1.5, 1.0, 2.3, (4.0, 1.0, 1.7), (0.5, 3.0, 1.0)])
def test_a_ball_keeps_its_volume_and_its_place(tmp_path, new):
    old, radius = (1.0, 1.0, 1.5), 10.0  # x, y, z
    write(tmp_path / "ball.nii.gz", ball(radius, old, (32, 36, 24)), old)
    resampled = only(tmp_path, spacing=new, window=(0, 1))
    sides = np.array(new) * np.ones(3)
    assert abs(resampled.sum() * sides.prod() / (4 / 3 * np.pi * radius**3) - 1) < 0.01
    centre = np.array(ndimage.center_of_mass(resampled)) - (np.array(resampled.shape) - 1) / 2
    np.testing.assert_allclose(centre, 0, atol=1e-3)
    # its second moment, radius^2 / 5 along each axis, says that it stays a ball; a coarse voxel blurs it by its own
    for axis, side in enumerate(sides):
        places = (np.arange(resampled.shape[axis]) - (resampled.shape[axis] - 1) / 2) * side
        profile = resampled.sum(tuple({0, 1, 2} - {axis}))
        assert 0 < np.average(places**2, weights=profile) - radius**2 / 5 < 1.5 + side**2 / 3


def test_fine_stripes_become_grey_not_coarse_stripes(tmp_path):
    voxels = np.tile(np.float32([1, 0]), 20)[:, None, None] * np.ones((40, 8, 8), np.float32)
    write(tmp_path / "x.nii", voxels)
    stripes = only(tmp_path, spacing=(1, 1, 2.5), window=(0, 1))  # every second or third voxel, if not antialiased
    assert np.abs(stripes[..., 1:-1] - 0.5).max() < 0.1


def test_resampling_is_linear_interpolation_where_it_gets_finer():
    volume = np.random.default_rng(1).random((5, 6, 7), np.float32)
    fine = volume_transforms.resample(volume, (2.0, 1.0, 3.0), (1.0, 1.0, 1.0))
    grids = np.meshgrid(np.arange(10) / 2 - 0.25, np.arange(6), np.arange(21) / 3 - 1 / 3, indexing="ij")
    np.testing.assert_allclose(fine, ndimage.map_coordinates(volume, grids, order=1, mode="nearest"), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3, 8), (7, 9, 11), (30, 3, 40)])
def test_the_centre_alone_is_what_the_whole_has_in_its_centre(shape):
    volume = np.random.default_rng(1).random((9, 10, 11), np.float32)
    spacings = (2.0, 1.0, 1.0), (1.3, 2.2, 1.0)
    whole = volume_transforms.crop_or_pad(volume_transforms.resample(volume, *spacings), shape)
    part = volume_transforms.crop_or_pad(volume_transforms.resample(volume, *spacings, shape), shape)
    np.testing.assert_allclose(part, whole, atol=1e-6)  # sums of other lengths round otherwise


def test_a_spacing_that_is_there_already_changes_nothing(tmp_path):
    write(tmp_path / "x.nii", NOISE, (0.2, 0.2, 0.2))
    np.testing.assert_array_equal(only(tmp_path, spacing=0.2, **UNIT), only(tmp_path, **UNIT))


def test_micrometres_are_understood(tmp_path):
    image = nibabel.Nifti1Image(NOISE, np.diag([200.0, 200.0, 400.0, 1.0]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "x.nii")
    assert data.info(tmp_path, spacing=0.2).event_shape == (16, 7, 6, 1)


# === Intensities and shape ===


def test_a_window_maps_the_files_units_and_clips(tmp_path):
    voxels = np.linspace(-2000, 3000, 6 * 7 * 8).reshape(6, 7, 8).astype(np.int16)
    write(tmp_path / "x.nii", voxels)
    expected = np.clip((voxels[::-1, ::-1].transpose(2, 1, 0) + 1000.0) / 3000, 0, 1)
    np.testing.assert_allclose(only(tmp_path, window=(-1000, 2000)), expected, atol=1e-6)
    assert {float(edge) for edge in (expected.min(), expected.max())} == {0.0, 1.0}


def test_the_files_slope_and_intercept_are_applied(tmp_path):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(20, -1000)
    nibabel.save(image, tmp_path / "x.nii")
    stored = nibabel.load(tmp_path / "x.nii").get_fdata()
    unit = only(tmp_path, window=(-1000, 1000))
    np.testing.assert_allclose(unit, (stored[::-1, ::-1].transpose(2, 1, 0) + 1000) / 2000, atol=1e-6)


def test_without_a_window_half_a_percent_is_clipped_at_each_end(tmp_path):
    voxels = np.arange(4000, dtype=np.float32).reshape(10, 20, 20)
    voxels[0, 0, 0] = 1e6  # an outlier
    write(tmp_path / "x.nii", voxels)
    unit = only(tmp_path)
    assert [np.count_nonzero(unit == end) for end in (0, 1)] == [20, 20]
    assert abs(np.median(unit) - 0.5) < 1e-3


def test_without_a_window_a_mask_of_few_voxels_stays_zero_and_one(tmp_path):
    voxels = np.zeros((10, 20, 20), np.uint8)
    voxels[3, 4, 5:8] = 255
    write(tmp_path / "x.nii", voxels)
    assert np.unique(only(tmp_path), return_counts=True)[1].tolist() == [3997, 3]


def test_the_central_part_is_cropped_and_what_is_missing_is_padded_with_zeros(tmp_path):
    write(tmp_path / "x.nii", NOISE + 1)  # [T, H, W] = (8, 7, 6)
    whole, part = only(tmp_path, **UNIT), only(tmp_path, volume_shape=(3, 9, 6), **UNIT)
    np.testing.assert_array_equal(part[:, 1:-1], whole[2:5])
    assert part.shape == (3, 9, 6)
    assert not part[:, [0, -1]].any()


def test_volumes_of_several_shapes_need_a_shape(tmp_path):
    write(tmp_path / "a.nii", NOISE)
    write(tmp_path / "b.nii", NOISE[1:])
    for function in (data.load, data.info):
        with pytest.raises(ValueError, match=r"need `volume_shape`\. Received: 2 shapes, such as \[\(8, 7, 5\), "):
            function(tmp_path)
    assert read(tmp_path, volume_shape=(4, 4, 4), batch_size=2)[0]["image"].shape == (2, 4, 4, 4, 1)
    write(tmp_path / "b.nii", NOISE[:3], (2.0, 1.0, 1.0))
    assert data.info(tmp_path, spacing=1.0).event_shape == (8, 7, 6, 1)


# === Bad input ===


def broken(tmp_path, case):
    """Writes the one odd file of a case."""
    file = tmp_path / "odd.nii.gz"
    voxels = NOISE.copy()
    if case == "2-D":
        write(file, voxels[:, :, 0])
    elif case == "one slice":
        write(file, voxels[:, :, :1])
    elif case == "4-D":
        write(file, np.stack([voxels, voxels], -1))
    elif case in ("NaN", "infinite"):
        voxels[2, 3, 4:6] = np.nan if case == "NaN" else np.inf
        write(file, voxels)
    elif case == "constant":
        write(file, np.full_like(voxels, 7))
    elif case == "colour":
        write(file, np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    elif case == "complex":
        write(file, voxels.astype(np.complex64))
    elif case == "flat":
        write(file, voxels)
        change(file, 280, np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "<f4"))  # the sform: two axes the same
    elif case in ("zero spacing", "NaN spacing"):
        write(file, voxels)
        change(file, 252, np.array([0, 0], "<i2"))  # no qform, no sform: the spacing alone counts
        change(file, 80, np.array([0 if case == "zero spacing" else np.nan], "<f4"))
    elif case == "no volume":
        file.write_bytes(b"not a volume")
    elif case == "empty":
        file.write_bytes(b"")
    elif case == "cut":
        write(file, voxels)
        file.write_bytes(file.read_bytes()[:-200])
    elif case == "damaged":
        write(file, voxels)
        content = bytearray(file.read_bytes())
        content[400:420] = bytes(20)
        file.write_bytes(content)


def change(file, offset, values):
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[offset : offset + values.nbytes] = values.tobytes()
    file.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # from nibabel, about a spacing of NaN
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("2-D", r"^A volume must have three dimensions .* Received: shape \(6, 7\) in '.*odd\.nii\.gz'$"),
        ("one slice", r"^A volume must have three .* Received: shape \(6, 7, 1\) in '.*odd\.nii\.gz'$"),
        ("4-D", r"one point in time\. Received: shape \(6, 7, 8, 2\) in '.*odd\.nii\.gz'$"),
        ("NaN", r"^A volume's voxels must be finite\. Received: 2 NaN or infinite voxels in '.*odd\.nii\.gz'$"),
        ("infinite", r"^A volume's voxels must be finite\. Received: 2 NaN or infinite voxels in '.*odd\.nii\.gz'$"),
        ("constant", r"^A volume of one value needs a `window`\. Received: 7 in all voxels of '.*odd\.nii\.gz'$"),
        ("colour", r"^A volume's voxels must be real numbers\. Received: .* in '.*odd\.nii\.gz'$"),
        ("complex", r"^A volume's voxels must be real numbers\. Received: complex64 in '.*odd\.nii\.gz'$"),
        ("flat", r"^A volume's axes must not lie in one plane\. Received: '.*odd\.nii\.gz'$"),
        (
            "zero spacing",
            r"^A volume's spacing must be positive\. Received: \(0\.0, 1\.0, 1\.0\) mm in '.*odd\.nii\.gz'$",
        ),
        ("NaN spacing", r"^A volume's spacing must be positive\. Received: \(nan, .*\) mm in '.*odd\.nii\.gz'$"),
        ("no volume", r"^A NIfTI file is corrupt or unreadable \(\w+\)\. Received: '.*odd\.nii\.gz'$"),
        ("empty", r"^A NIfTI file is corrupt or unreadable \(\w+\)\. Received: '.*odd\.nii\.gz'$"),
        ("cut", r"^A NIfTI file is corrupt or unreadable \(\w+\)\. Received: '.*odd\.nii\.gz'$"),
        ("damaged", r"^A NIfTI file is corrupt or unreadable \(\w+\)\. Received: '.*odd\.nii\.gz'$"),
    ],
)
def test_an_odd_file_is_one_sentence_that_names_it(tmp_path, case, message):
    write(tmp_path / "good.nii.gz", NOISE)
    broken(tmp_path, case)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path, "all", volume_shape=(4, 4, 4))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    if case in ("NaN", "cut", "constant"):  # found when the voxels are read
        with pytest.raises(tf.errors.OpError, match=r"odd\.nii\.gz"):
            read(tmp_path, volume_shape=(4, 4, 4), cache=False)


def test_a_constant_volume_and_one_more_dimension_of_one_are_fine(tmp_path):
    write(tmp_path / "x.nii", np.full((3, 4, 5, 1), 250, np.int16))
    assert np.unique(only(tmp_path, window=(0, 1000))).tolist() == [0.25]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": 0}, r"^`spacing` must be a positive number .* Received: 0$"),
        ({"spacing": -0.2}, r"^`spacing` must be .* Received: -0\.2$"),
        ({"spacing": (1, 1)}, r"^`spacing` must be .* Received: \(1, 1\)$"),
        ({"spacing": float("nan")}, r"^`spacing` must be .* Received: nan$"),
        ({"spacing": "1mm"}, r"^`spacing` must be .* Received: '1mm'$"),
        ({"volume_shape": 60}, r"^`volume_shape` must be a triple .* Received: 60$"),
        ({"volume_shape": (60, 50)}, r"^`volume_shape` must be .* Received: \(60, 50\)$"),
        ({"volume_shape": (60, 50, 0)}, r"^`volume_shape` must be .* Received: \(60, 50, 0\)$"),
        ({"volume_shape": (60, 50, 49.5)}, r"^`volume_shape` must be .* Received: \(60, 50, 49\.5\)$"),
        ({"window": (1, 1)}, r"^`window` must be a pair .* Received: \(1, 1\)$"),
        ({"window": (0, float("inf"))}, r"^`window` must be .* Received: \(0, inf\)$"),
        ({"window": 400}, r"^`window` must be .* Received: 400$"),
        ({"image_size": 8}, r"^`image_size` is for images.* Received: .*$"),
    ],
)
def test_a_bad_option_is_one_sentence(folder, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(folder, **options)
    if "window" not in options:
        with pytest.raises(ValueError, match=message):
            data.info(folder, **options)


@pytest.mark.parametrize("name", ["digits", "mnist", np.zeros((3, 8, 8, 1), np.float32)])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"spacing": 1.0}, r"are for folders of NIfTI or DICOM volumes\. Received: spacing=\(1\.0, 1\.0, 1\.0\)$"),
        ({"window": (0, 1)}, r"are for folders of NIfTI or DICOM volumes\. Received: window=\(0\.0, 1\.0\)$"),
        ({"volume_shape": (8, 8, 8)}, r"volumes.* Received: .*$"),
    ],
)
def test_images_refuse_the_options_of_volumes(name, option, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, **option)
    if "window" not in option:
        with pytest.raises(ValueError, match=r"volumes.* Received: "):
            data.info(name, **option)


def test_a_folder_of_two_kinds_is_refused(folder):
    (folder / "class0" / "preview.png").write_bytes(b"whatever")
    for function in (data.load, data.info):
        with pytest.raises(ValueError, match=r"one kind of files\. Received: 1 images, 20 NIfTI files in '.*'$"):
            function(folder)


def test_an_empty_or_too_small_folder_is_one_sentence(tmp_path):
    (tmp_path / "empty.nii").mkdir()
    with pytest.raises(ValueError, match=r"^The folder has no images or volumes \(.*\)\. Received: "):
        data.load(tmp_path)
    write(tmp_path / "empty.nii" / "x.nii", NOISE)
    with pytest.raises(ValueError, match=r"too few volumes for split 'train'; .* Received: 1 volumes in "):
        data.load(tmp_path, "train")


@pytest.mark.parametrize("package", ["nibabel", "pydicom"])
def test_a_missing_package_is_one_sentence_that_says_what_to_install(tmp_path, monkeypatch, package):
    if package == "nibabel":
        write(tmp_path / "x.nii", NOISE)
    else:
        (tmp_path / "x.dcm").write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    for function in (data.load, data.info):
        with pytest.raises(ImportError, match=r'run: pip install "tfzoo\[volumes\]"\. Received: .*' + package):
            function(tmp_path)
