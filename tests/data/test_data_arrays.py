import numpy as np
import pytest

from tfzoo import data

pytestmark = pytest.mark.fast

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)


def first(*arguments, **options):
    return next(data.load(*arguments, batch_size=10, shuffle=False, **options).as_numpy_iterator())


def test_bytes_are_divided_by_255():
    assert np.array_equal(first(IMAGES)["image"], IMAGES.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_taken_as_they_are(dtype):
    images = (IMAGES / 255).astype(dtype)
    assert np.array_equal(first(images)["image"], images.astype(np.float32))


def test_bools_are_zero_and_one():
    assert np.array_equal(first(IMAGES > 99)["image"], (IMAGES > 99).astype(np.float32))


def test_labels_come_from_a_pair_or_a_dict_and_are_minus_one_else():
    labels = np.array([5, 0, 2, 2, 1, 9], np.int64)
    assert first((IMAGES, labels))["label"].tolist() == labels.tolist()
    assert first({"image": IMAGES, "label": labels})["label"].tolist() == labels.tolist()
    assert first({"image": IMAGES})["label"].tolist() == first(IMAGES)["label"].tolist() == [-1] * 6


@pytest.mark.parametrize("shape", [(6, 10), (6, 5, 4, 4, 1)])
def test_vectors_and_volumes_are_examples_too(shape):
    assert first(np.full(shape, 0.5), binarize="dynamic")["image"].shape == shape
    assert data.info(np.full(shape, 0.5)).event_shape == shape[1:]


def test_all_is_train_and_the_other_splits_are_refused():
    assert np.array_equal(first(IMAGES, "all")["image"], first(IMAGES, "train")["image"])
    with pytest.raises(ValueError, match=r"Arrays are one split.* Received: split='test'$"):
        data.load(IMAGES, "test")


def test_the_callers_array_may_change_afterwards():
    images = IMAGES.copy()
    dataset = data.load(images, batch_size=6, shuffle=False)
    images[:] = 0
    assert np.array_equal(next(dataset.as_numpy_iterator())["image"], IMAGES.astype(np.float32) / np.float32(255))


FLOATS = np.full((6, 4, 4, 1), 0.5)


def with_value(value):
    images = FLOATS.copy()
    images[2, 1, 1, 0] = value
    return images


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (FLOATS[..., 0], r"a channel axis is missing: images\[..., None\]\. Received: shape \(6, 4, 4\)$"),
        (np.zeros(4), r"^Images must be .* Received: shape \(4,\)$"),
        (FLOATS[:0], r"^Images must not be empty\. Received: shape \(0, 4, 4, 1\)$"),
        (FLOATS.astype(np.int64), r"^Images must be uint8 .* Received: dtype int64$"),
        (FLOATS.astype(str), r"^Images must be uint8 .* Received: dtype <U32$"),
        (with_value(np.nan), r"^Float images must lie in \[0, 1\]\. Received: 1 NaN$"),
        (with_value(np.inf), r"^Float images .* Received: values in \[0\.5, inf\]$"),
        (with_value(-0.1), r"^Float images .* Received: values in \[-0\.1, 0\.5\]$"),
        (with_value(255.0), r"^Float images .* Received: values in \[0\.5, 255\]$"),
        ((FLOATS, np.zeros(5, int)), r"^Labels must be integers of shape \(6,\)\. Received: int64 of shape \(5,\)$"),
        ((FLOATS, np.zeros(6)), r"^Labels must be .* Received: float64 of shape \(6,\)$"),
        ((FLOATS, np.zeros(6, int), 1), r"^A tuple must be a pair .* Received: 3 parts$"),
        ({"images": FLOATS}, r"^A dict must have .* Received: keys \['images'\]$"),
        ({"image": FLOATS, "index": range(len(FLOATS))}, r"^A dict must have .* Received: keys \['image', 'index'\]$"),
    ],
)
@pytest.mark.parametrize("function", [data.load, data.info])
def test_unusable_arrays_are_one_sentence(arrays, message, function):
    with pytest.raises(ValueError, match=message):
        function(arrays)


@pytest.mark.parametrize("function", [data.load, data.info])
def test_vectors_are_not_resized(function):
    with pytest.raises(ValueError, match=r"is for images \[H, W, C\]\. Received: examples of shape \(10,\)$"):
        function(np.zeros((6, 10)), image_size=8)
