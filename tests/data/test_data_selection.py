"""Parts of a data set by label, and the protocol of anomaly detection."""

import numpy as np
import pytest

from tfzoo import data
from tfzoo.data import digits
from tfzoo.data.selection import Selection
from tfzoo.data.sources import Table
from tfzoo.metrics import auprc_floor

pytestmark = pytest.mark.fast

# Every image tells its row; labels 3, 3, 3, 5, 8, 3, ...
ROWS = 50
LABELS = np.tile([3, 3, 3, 5, 8], ROWS // 5)
NUMBERED = (np.broadcast_to(np.arange(ROWS, dtype=np.uint8)[:, None, None, None], (ROWS, 2, 2, 1)), LABELS)


def examples(name, split, **options):
    """One split as arrays, in its order: label, index, and the images in 0 to 255."""
    batches = list(data.load(name, split, batch_size=500, shuffle=False, **options).as_numpy_iterator())
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in ("image", "label", "index")}
    assert np.array_equal(joined["index"], np.arange(len(joined["index"])))
    return joined


def rows(name, split, **options):
    return np.rint(examples(name, split, **options)["image"][:, 0, 0, 0] * 255).astype(int)


def test_training_has_four_fifths_of_the_normal_images_and_the_test_all_others():
    train, test = (rows(NUMBERED, split, held_out=5) for split in ("train", "test"))
    assert (len(train), len(test)) == (32, 8 + 10)  # of 40 normal images
    assert sorted([*train, *test]) == list(range(ROWS))
    assert set(LABELS[train]) == {3, 8}
    assert np.count_nonzero(LABELS[test] == 5) == 10
    labels = examples(NUMBERED, "test", held_out=5)["label"]
    assert np.array_equal(labels, LABELS[test])
    assert not np.array_equal(np.sort(labels == 5), labels == 5)  # mixed
    assert np.array_equal(rows(NUMBERED, "train", held_out=5, seed=9), train)  # whatever the seed


def test_the_permutation_is_the_one_of_the_protocol():
    normal = np.flatnonzero(LABELS != 5)
    expected = normal[np.random.RandomState(42).permutation(40)]
    assert np.array_equal(rows(NUMBERED, "train", held_out=5), expected[:32])
    assert set(expected[32:]) < set(rows(NUMBERED, "test", held_out=5))


def test_classes_keep_their_order_and_are_numbered_anew():
    assert np.array_equal(rows(NUMBERED, "train", classes=(8, 5)), np.flatnonzero(LABELS != 3))
    shuffled = data.load(NUMBERED, "train", classes=[8], batch_size=4)
    assert len(shuffled) == 3
    (order,) = {tuple(sorted(np.concatenate([batch["index"] for batch in shuffled.as_numpy_iterator()])))}
    assert order == tuple(range(10))


def test_the_embedded_digits_are_one_pool():
    table = digits.load_digits("all")
    train, test = (examples("digits", split, held_out=4) for split in ("train", "test"))
    fours = np.count_nonzero(table.labels == 4)
    normal = len(table.labels) - fours
    assert len(train["label"]) == normal * 8 // 10
    assert 4 not in train["label"]
    assert np.count_nonzero(test["label"] == 4) == fours == 181
    assert len(train["label"]) + len(test["label"]) == len(table.labels)
    pool = np.concatenate([train["image"], test["image"]]) * 16
    assert pool.sum() == pytest.approx(table.images.sum(dtype=np.float64), rel=1e-6)


def test_facts_count_what_is_loaded():
    for name in ("digits", NUMBERED):
        for options in ({"held_out": 8}, {"classes": (3, 8)}):
            facts = data.info(name, **options)
            assert facts.num_classes == len(options.get("classes", range(data.info(name).num_classes)))
            for split, count in facts.num_examples.items():
                assert len(data.load(name, split, **options)) == count
    assert set(data.info("digits", held_out=8).num_examples) == {"train", "test"}
    assert set(data.info("digits", classes=(8,)).num_examples) == set(data.info("digits").num_examples)


def test_a_file_of_arrays_and_a_folder_are_pools_too(tmp_path):
    from PIL import Image

    images, labels = NUMBERED
    np.savez(tmp_path / "all.npz", image=images, label=labels)
    for row, label in enumerate(labels[:20]):
        (tmp_path / "folder" / f"{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row, ..., 0]).save(tmp_path / "folder" / f"{label}" / f"{row}.png")
    for name, count, held_out in ((tmp_path / "all.npz", 50, 5), (tmp_path / "folder", 20, 1)):
        train, test = (rows(name, split, held_out=held_out) for split in ("train", "test"))
        assert sorted([*train, *test]) == list(range(count))
        assert 5 not in LABELS[train]
        sizes = data.info(name, held_out=held_out).num_examples
        assert sizes == {"train": len(train), "test": len(test)}
        kept = rows(name, "all", classes=(held_out,))
        assert sorted(kept) == np.flatnonzero(LABELS[:count] == 5).tolist()


def test_unlabelled_images_are_of_no_class():
    images, labels = NUMBERED
    labels = np.where(np.arange(ROWS) % 5 == 0, -1, labels)
    found = [rows((images, labels), split, held_out=5) for split in ("train", "test")]
    assert sorted(np.concatenate(found)) == np.flatnonzero(labels >= 0).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": 4}, r"^`held_out` and `classes` must be of the labels 3, 5, 8\. Received: 4$"),
        ({"classes": (3, 4)}, r"must be of the labels 3, 5, 8\. Received: 4$"),
        ({"held_out": True}, r"^`held_out` must be a label, 0 or more, or None\. Received: True$"),
        ({"held_out": -1}, r"^`held_out` must be a label, 0 or more, or None\. Received: -1$"),
        ({"classes": ()}, r"^`classes` must be distinct labels, such as \(0, 1\), or None\. Received: \(\)$"),
        ({"classes": (3, 3)}, r"^`classes` must be distinct labels, .* Received: \(3, 3\)$"),
        ({"classes": 3}, r"^`classes` must be distinct labels, .* Received: 3$"),
        ({"classes": "35"}, r"^`classes` must be distinct labels, .* Received: '35'$"),
        ({"held_out": 3, "classes": (5,)}, r"one of them must be None\. Received: held_out=3, classes=\(5,\)$"),
    ],
)
@pytest.mark.parametrize("function", [data.load, data.info])
def test_a_bad_selection_is_one_sentence(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(NUMBERED, **options)


@pytest.mark.parametrize("split", ["validation", "train+validation", "all"])
def test_a_held_out_class_has_two_splits(split):
    with pytest.raises(
        ValueError, match=rf"`split` must be one of train, test\. Received: '{split.replace('+', '.')}'$"
    ):
        data.load("digits", split, held_out=4)


def test_nothing_is_learned_without_other_classes():
    with pytest.raises(ValueError, match=r"^`held_out` must leave other classes to learn\. Received: 1, the only one$"):
        data.load((NUMBERED[0], np.ones(ROWS, int)), held_out=1)
    with pytest.raises(ValueError, match=r"labels \(there are none\)\. Received: 1$"):
        data.load(NUMBERED[0], held_out=1)


def test_what_is_read_from_disk_cannot_be_selected_from(tmp_path):
    from PIL import Image

    for row in range(10):
        Image.fromarray(NUMBERED[0][row, ..., 0]).save(tmp_path / f"{row}.png")
    with pytest.raises(ValueError, match=r"one of up to 1 GiB, and cache=True\. Received: 8 examples .* on disk$"):
        data.load(tmp_path, classes=(0,), cache=False)


def test_sets_of_the_size_of_mnist_have_the_base_rates_of_the_protocol():
    labels = np.repeat(np.arange(10), [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958])
    for digit, base_rate, floor in [(1, 0.388, 0.225), (4, 0.351, 0.200), (5, 0.331, 0.188), (9, 0.356, 0.204)]:
        selected = Selection.of(digit, None).apply(Table(labels[:, None], labels, 1.0), "test")
        share = float(np.mean(selected.labels == digit))
        assert share == pytest.approx(base_rate, abs=5e-4)
        assert auprc_floor(share) == pytest.approx(floor, abs=6e-4)
