import numpy as np
import pytest
from sklearn import datasets

from tfzoo import data
from tfzoo.data.digits import load_digits

FIRST_LABELS = [0, 7, 9, 5, 8, 1, 3, 3, 7, 0, 9, 4]


@pytest.mark.fast
def test_splits_have_the_documented_sizes_and_labels():
    sizes = {split: len(data.load("digits", split)) for split in data.info("digits").num_examples}
    assert sizes == data.info("digits").num_examples
    assert sizes == {"train": 1297, "validation": 200, "train+validation": 1497, "test": 300, "all": 1797}


@pytest.mark.fast
def test_the_three_parts_are_scikit_learns_set_without_overlap():
    original, labels = datasets.load_digits(return_X_y=True)
    parts = [load_digits(split) for split in ("train", "validation", "test")]
    images = np.concatenate([part.images for part in parts]).reshape(1797, 64)
    both = np.column_stack([images, np.concatenate([part.labels for part in parts])])
    reference = np.column_stack([original, labels])
    assert np.array_equal(both[np.lexsort(both.T)], reference[np.lexsort(reference.T)])  # equal as multisets
    assert np.array_equal(load_digits("all").images.reshape(1797, 64), images)


def test_the_permutation_is_frozen():
    # A change here would move test images into the training sets of everybody's old runs.
    assert load_digits("all").labels[:12].tolist() == FIRST_LABELS


def test_every_class_is_in_every_part():
    for split in ("train", "validation", "test"):
        assert np.bincount(load_digits(split).labels, minlength=10).min() >= 10


def test_grey_values_are_sixteenths():
    image = next(data.load("digits", "all", batch_size=1797).as_numpy_iterator())["image"]
    assert image.dtype == np.float32
    assert image.shape == (1797, 8, 8, 1)
    assert np.array_equal(np.unique(image), np.arange(17) / 16)
