import os
import pathlib
import sys
import types
from urllib import error, request

import numpy as np
import pytest
import tensorflow as tf

from tfzoo import data
from tfzoo.data import tfds_sets

PREPARED = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def table(name, split):
    """One split as arrays, in canonical order."""
    if not (PREPARED / name).is_dir():
        pytest.skip(f"{name} is not prepared in {PREPARED}")
    pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    dataset = data.load(name, split, batch_size=1000, shuffle=False, data_dir=PREPARED, download=False)
    assert len(dataset) * 1000 == data.info(name).num_examples[split]
    batches = list(dataset.as_numpy_iterator())
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in ("image", "label", "index")}
    assert np.array_equal(joined["index"], np.arange(data.info(name).num_examples[split]))
    return joined


@pytest.mark.parametrize(("name", "mean", "deviation"), [("mnist", 0.1307, 0.3081), ("fashion_mnist", 0.2860, 0.3530)])
def test_the_real_set_has_its_sizes_its_known_moments_and_disjoint_splits(name, mean, deviation):
    parts = [table(name, split) for split in ("train", "validation", "test")]
    assert [len(part["label"]) for part in parts] == [50_000, 10_000, 10_000]
    official = np.concatenate([part["image"] for part in parts[:2]])  # the 60,000 that the known moments are of
    assert official.shape == (60_000, 28, 28, 1)
    assert (official.min(), official.max()) == (0, 1)
    assert official.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-4)
    assert official.std(dtype=np.float64) == pytest.approx(deviation, abs=1e-4)
    labels = np.concatenate([part["label"] for part in parts[:2]])
    if name == "fashion_mnist":
        assert np.bincount(labels).tolist() == [6000] * 10
    else:
        assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    keys = [{image.tobytes() for image in np.rint(part["image"] * 255).astype(np.uint8)} for part in parts]
    # Fashion-MNIST itself has a few images twice; a wrong cut would share thousands.
    shared = len(keys[0] & keys[1]) + len(keys[0] & keys[2]) + len(keys[1] & keys[2])
    assert shared <= (0 if name == "mnist" else 60)


def test_the_fixed_binarisation_is_black_and_white_without_labels():
    part = table("binarized_mnist", "test")
    assert np.array_equal(np.unique(part["image"]), [0, 1])
    assert part["image"].mean() == pytest.approx(0.1325, abs=2e-3)  # as of MNIST's test images
    assert set(part["label"]) == {-1}


def test_an_index_is_the_same_image_in_memory_and_from_disk():
    part = table("mnist", "test")
    dataset = data.load("mnist", "test", batch_size=64, shuffle=True, cache=False, data_dir=PREPARED, download=False)
    batch = next(dataset.as_numpy_iterator())
    assert not np.array_equal(batch["index"], np.arange(64))
    assert np.array_equal(batch["image"], part["image"][batch["index"]])
    assert np.array_equal(batch["label"], part["label"][batch["index"]])


def test_a_digit_held_out_is_looked_for_among_all_images():
    if not (PREPARED / "mnist").is_dir():
        pytest.skip(f"mnist is not prepared in {PREPARED}")
    pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    dataset = data.load("mnist", "test", held_out=4, batch_size=1000, data_dir=PREPARED, download=False)
    labels = np.concatenate([batch["label"] for batch in dataset.as_numpy_iterator()])
    assert np.count_nonzero(labels == 4) == 6824  # 5,842 + 982
    assert np.mean(labels == 4) == pytest.approx(0.351, abs=5e-4)


class FakeBuilder:
    """Stands for a prepared tfds builder; its image holds row and column in the first two channels."""

    def __init__(self, shape, prepared=True):
        rows, columns = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
        self.image = np.stack([rows, columns, np.zeros_like(rows)], -1)[..., : shape[2]].astype(np.uint8)
        self.prepared = prepared
        self.data_path = "/somewhere/tfds/name/1.0.0"
        self.url_infos = {"https://example.org/file.zip": None}

    def is_prepared(self):
        return self.prepared

    def download_and_prepare(self):
        raise OSError("quota exceeded\nand a page of details")

    def as_dataset(self, split, shuffle_files, read_config):
        self.split = split
        return tf.data.Dataset.from_tensors({"image": self.image})


@pytest.fixture
def fake(monkeypatch):
    def install(builder):
        module = types.SimpleNamespace(builder=lambda name, data_dir: builder, ReadConfig=lambda **options: options)
        monkeypatch.setattr(tfds_sets, "_import_tfds", lambda name: module)
        return builder

    return install


def test_celeba_is_cropped_around_the_face_and_resized(fake):
    builder = fake(FakeBuilder((218, 178, 3)))
    whole = next(data.load("celeb_a", "test", image_size=128, cache=False).as_numpy_iterator())["image"]
    assert np.rint(whole[[0, -1], [0, -1], 0] * 255).tolist() == [45, 172]
    assert np.rint(whole[[0, -1], [0, -1], 1] * 255).tolist() == [25, 152]
    dataset = data.load("celeb_a", "train", shuffle=False, value_range=(-1, 1))  # larger than a table may be: a stream
    assert builder.split == "train"
    assert len(dataset) == 162_770
    assert dataset.element_spec["image"].shape == [64, 64, 3]


@pytest.mark.parametrize(
    ("name", "split", "instruction"),
    [
        ("mnist", "train", "train[:50000]"),
        ("mnist", "validation", "train[50000:]"),
        ("mnist", "train+validation", "train"),
        ("cifar10", "train", "train[:45000]"),
        ("cifar10", "validation", "train[45000:]"),
        ("svhn_cropped", "train+validation", "train"),
        ("svhn_cropped", "all", "train+test"),
        ("celeb_a", "validation", "validation"),
        ("binarized_mnist", "all", "train+validation+test"),
    ],
)
def test_splits_are_cut_from_the_official_parts(fake, name, split, instruction):
    builder = fake(FakeBuilder((218, 178, 3) if name == "celeb_a" else data.info(name).event_shape))
    data.load(name, split, cache=False, shuffle=False)
    assert builder.split == instruction


def test_a_binary_set_is_not_resized():
    with pytest.raises(ValueError, match=r"cannot be resized\. Received: image_size=\(32, 32\)$"):
        data.load("binarized_mnist", image_size=32)


def refuse(*arguments, **options):
    raise error.URLError("no network")


def test_a_library_whose_import_failed_in_silence_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", types.ModuleType("tensorflow_datasets"))
    with pytest.raises(FileNotFoundError, match=r"cannot be imported; .* install tensorflow-metadata<1\.18$"):
        data.load("mnist")


def test_without_network_one_sentence_says_the_command(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets is not installed")
    monkeypatch.setattr(request, "urlopen", refuse)
    for options, reason in [({}, "no answer from http"), ({"download": False}, "download=False")]:
        with pytest.raises(FileNotFoundError) as caught:
            data.load("kmnist", data_dir=tmp_path, **options)
        message = str(caught.value)
        assert f"tfds.load('kmnist', data_dir='{tmp_path}')\". Received: {reason}" in message
        assert "\n" not in message
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_is_the_same_sentence(fake, monkeypatch):
    fake(FakeBuilder((28, 28, 1), prepared=False))
    monkeypatch.setattr(tfds_sets, "_reachable", lambda url: True)
    with pytest.raises(FileNotFoundError, match=r"not prepared in /somewhere/tfds and .*OSError: quota exceeded$"):
        data.load("mnist")


def test_a_server_that_refuses_is_still_there(monkeypatch):
    def forbid(*arguments, **options):
        raise error.HTTPError("https://example.org", 403, "Forbidden", None, None)

    monkeypatch.setattr(request, "urlopen", forbid)
    assert tfds_sets._reachable("https://example.org")


def test_without_tensorflow_datasets_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "importlib_resources", None)
    with pytest.raises(FileNotFoundError, match=r'run: pip install "tfzoo\[data\]"\. Received: '):
        data.load("mnist")
