import numpy as np
import pytest

from tfzoo import data

pytestmark = pytest.mark.fast

PARTS = {"train": 7, "val": 2, "test": 3}


@pytest.fixture
def medmnist(tmp_path):
    """Volumes of 4 x 5 x 6 in MedMNIST's layout; image i of the file is i, its label i % 3."""
    arrays, first = {}, 0
    for part, count in PARTS.items():
        numbers = np.arange(first, first + count, dtype=np.uint8)
        arrays[f"{part}_images"] = np.tile(numbers[:, None, None, None], (1, 4, 5, 6))
        arrays[f"{part}_labels"] = (numbers % 3)[:, None]
        first += count
    np.savez(tmp_path / "medmnist3d.npz", **arrays)
    return tmp_path / "medmnist3d.npz"


def values(path, split, **options):
    examples = list(data.load(path, split, shuffle=False, **options).as_numpy_iterator())
    numbers = [round(float(example["image"].max()) * 255) for example in examples]
    assert [int(example["index"]) for example in examples] == list(range(len(examples)))
    return numbers


def test_medmnists_splits_are_the_splits(medmnist):
    assert values(medmnist, "train") == list(range(7))
    assert values(str(medmnist), "validation") == [7, 8]
    assert values(medmnist, "test") == [9, 10, 11]
    assert values(medmnist, "train+validation") == list(range(9))
    assert values(medmnist, "all") == list(range(12))
    facts = data.info(medmnist)
    assert (facts.event_shape, facts.num_classes) == ((4, 5, 6, 1), 3)
    assert facts.num_examples == {"train": 7, "validation": 2, "train+validation": 9, "test": 3, "all": 12}
    labels = [int(example["label"]) for example in data.load(medmnist, "test").as_numpy_iterator()]
    assert labels == [0, 1, 2]


def test_volumes_in_a_file_are_cropped_and_padded(medmnist):
    batch = next(data.load(medmnist, "test", batch_size=3, volume_shape=(2, 7, 6)).as_numpy_iterator())
    assert batch["image"].shape == (3, 2, 7, 6, 1)
    assert not batch["image"][:, :, [0, -1]].any()
    assert batch["image"][:, :, 1:-1].min() > 0
    assert data.info(medmnist, volume_shape=(2, 7, 6)).event_shape == (2, 7, 6, 1)


@pytest.mark.parametrize(
    ("shape", "event_shape"),
    [
        ((20, 8, 6), (8, 6, 1)),
        ((20, 8, 6, 3), (8, 6, 3)),
        ((20, 4, 8, 6), (4, 8, 6, 1)),
        ((20, 4, 8, 6, 1), (4, 8, 6, 1)),
    ],
)
def test_a_missing_channel_axis_is_added(tmp_path, shape, event_shape):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    assert data.info(tmp_path / "x.npy").event_shape == event_shape
    assert next(data.load(tmp_path / "x.npy", "test").as_numpy_iterator())["image"].shape == event_shape


def test_other_files_are_divided_as_folders_are(tmp_path):
    images, labels = np.arange(20, dtype=np.uint8)[:, None, None] * np.ones((3, 3), np.uint8), np.arange(20)
    np.save(tmp_path / "x.npy", images)
    np.savez_compressed(tmp_path / "x.npz", image=images, label=labels)
    parts = [values(tmp_path / "x.npz", split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    together = [*parts[0], *parts[1], *parts[2]]
    assert sorted(together) == list(range(20))
    assert together == values(tmp_path / "x.npz", "all") == values(tmp_path / "x.npy", "all")
    assert parts[2] == [6, 5]  # by SHA-256 of the rows' numbers: on every machine
    for example in data.load(tmp_path / "x.npz", "train").as_numpy_iterator():
        assert round(float(example["image"].max()) * 255) == example["label"]


def test_a_missing_file_is_one_sentence(tmp_path):
    for function in (data.load, data.info):
        with pytest.raises(FileNotFoundError, match=r"no such file of arrays\. Received: '.*nowhere\.npz'$"):
            function(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"hu": np.zeros((9, 9, 9))}, r'must have "image" and .* Received: hu in \'.*x\.npz\'$'),
        (
            {"image": np.zeros((4, 3, 3)), "labels": np.arange(4)},
            r'perhaps "label", or .* Received: image, labels in \'.*x\.npz\'$',
        ),
        (
            {"image": np.zeros((2, 3, 3)), "label": np.array([0, 2**32 - 1], np.uint32)},
            r"^Labels must be numbers of int32\. Received: values in \[0, 4294967295\] in '.*x\.npz'$",
        ),
        ({"image": np.full((4, 3, 3), 7.0)}, r"must lie in \[0, 1\]\. Received: values in \[7, 7\] in '.*x\.npz'$"),
        ({"image": np.zeros((4, 3, 3), int)}, r"must be uint8 .* Received: dtype int64 in '.*x\.npz'$"),
        ({"image": np.array([None])}, r"^A file of arrays is corrupt or unreadable \(ValueError\)\. Received: "),
        (
            {f"{part}_images": np.zeros((4, 3, 3 + (part == "val")), np.uint8) for part in PARTS},
            r"^The splits of a file must be alike\. Received: .* in '.*x\.npz'$",
        ),
        (
            {f"{part}_images": np.zeros((4, 3, 3), np.uint8) for part in PARTS}
            | {"train_labels": np.zeros((4, 2), int)},
            r"^Labels must be integers .* in '.*x\.npz'$",
        ),
    ],
)
def test_unusable_arrays_are_one_sentence_that_names_the_file(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    for function in (data.load, data.info):
        with pytest.raises(ValueError, match=message):
            function(tmp_path / "x.npz")


@pytest.mark.parametrize("kept", [0, 10, -30])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_truncated_file_is_one_sentence_that_names_it(tmp_path, kept, suffix):
    file = tmp_path / f"x.{suffix}"
    (np.save if suffix == "npy" else np.savez)(file, np.zeros((20, 3, 3), np.uint8))
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"^A file of arrays is corrupt or unreadable \(\w+\)\. .*x\.{suffix}'$"):
        data.load(file)


def test_an_empty_split_is_one_sentence(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"no examples for split 'train'\. Received: '.*x\.npy'$"):
        data.load(tmp_path / "x.npy")
