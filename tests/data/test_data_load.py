import numpy as np
import pytest
import tensorflow as tf

from tfzoo import data

pytestmark = pytest.mark.fast

# Every image is constant and tells its row, so an element can be traced back to it.
ROWS = 37
NUMBERED = np.broadcast_to(np.arange(ROWS, dtype=np.uint8)[:, None, None, None], (ROWS, 4, 4, 1))


def elements(dataset):
    """The whole data set in index order, as one dict of arrays."""
    batches = list(dataset.as_numpy_iterator())
    joined = {key: np.concatenate([np.atleast_1d(batch[key]) for batch in batches]) for key in ("label", "index")}
    joined["image"] = np.concatenate([batch["image"].reshape(-1, *batch["image"].shape[-3:]) for batch in batches])
    order = np.argsort(joined["index"])
    return {key: value[order] for key, value in joined.items()}


def indices(dataset):
    return [batch["index"].tolist() for batch in dataset.as_numpy_iterator()]


@pytest.mark.parametrize("batch_size", [None, 1, 10, 37, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_index_is_the_same_image_at_every_epoch(batch_size, shuffle):
    for seed in (0, 1):
        dataset = data.load((NUMBERED, np.arange(ROWS)), batch_size=batch_size, shuffle=shuffle, seed=seed)
        for _ in range(2):
            got = elements(dataset)
            assert np.array_equal(got["index"], np.arange(ROWS))
            assert np.array_equal(got["label"], np.arange(ROWS))
            assert np.array_equal(got["image"], NUMBERED.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    ("batch_size", "drop_remainder", "count"),
    [(None, False, 37), (None, True, 37), (10, False, 4), (10, True, 3), (37, True, 1), (50, False, 1), (50, True, 0)],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_length_is_known_and_true(batch_size, drop_remainder, count, shuffle):
    dataset = data.load(NUMBERED, batch_size=batch_size, drop_remainder=drop_remainder, shuffle=shuffle)
    assert len(dataset) == count
    assert len(list(dataset)) == count


@pytest.mark.parametrize(("batch_size", "drop", "lead"), [(None, False, []), (10, False, [None]), (10, True, [10])])
@pytest.mark.parametrize("binarize", [None, "static", "dynamic"])
def test_static_shapes_and_dtypes_are_set(batch_size, drop, lead, binarize):
    dataset = data.load("digits", batch_size=batch_size, drop_remainder=drop, binarize=binarize)
    assert dataset.element_spec == {
        "image": tf.TensorSpec([*lead, 8, 8, 1], tf.float32),
        "label": tf.TensorSpec(lead, tf.int32),
        "index": tf.TensorSpec(lead, tf.int32),
    }


def test_only_training_splits_are_shuffled_by_default():
    for split, shuffled in [("train", True), ("train+validation", True), ("validation", False), ("test", False)]:
        first = next(data.load("digits", split, batch_size=100).as_numpy_iterator())["index"].tolist()
        assert (first != list(range(100))) == shuffled
    assert indices(data.load(NUMBERED, shuffle=False, batch_size=ROWS)) == [list(range(ROWS))]


def test_shuffling_is_anew_at_each_pass_and_repeats_with_the_seed():
    def passes(seed):
        dataset = data.load(NUMBERED, batch_size=10, seed=seed)
        return [indices(dataset), indices(dataset)]

    first, second = passes(5)
    assert first != second
    assert passes(5) == [first, second]
    assert passes(6)[0] != first
    repeated = indices(data.load(NUMBERED, batch_size=10, seed=5).repeat(2))
    assert repeated[:4] != repeated[4:]


def test_every_place_in_the_order_is_equally_likely():
    # 600 passes over 4 rows: each (row, place) pair is seen 150 times, standard deviation sqrt(600 * 3/16) = 10.6
    dataset = data.load(NUMBERED[:4], batch_size=4).repeat(600)
    counts = np.zeros((4, 4))
    for order in indices(dataset):
        counts[order, np.arange(4)] += 1
    assert np.all(np.abs(counts - 150) < 4 * 10.6)


def test_dynamic_binarisation_has_the_right_mean_and_draws_anew_at_each_pass():
    images = np.full((200, 8, 8, 1), 0.3, np.float32)
    dataset = data.load(images, batch_size=64, binarize="dynamic", seed=4)
    first, second = elements(dataset)["image"], elements(dataset)["image"]
    for draw in (first, second):
        assert set(np.unique(draw)) == {0.0, 1.0}
        assert abs(draw.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / draw.size)
    # Two independent draws agree with probability 0.3^2 + 0.7^2.
    assert abs(np.mean(first == second) - 0.58) < 4 * np.sqrt(0.58 * 0.42 / first.size)


def test_dynamic_binarisation_draws_anew_within_repeat_and_between_batches():
    images = np.full((64, 8, 8, 1), 0.5, np.float32)
    batches = list(data.load(images, batch_size=32, binarize="dynamic", shuffle=False).repeat(2).as_numpy_iterator())
    assert len({batch["image"].tobytes() for batch in batches}) == 4


@pytest.mark.parametrize("batch_size", [None, 10])
def test_dynamic_binarisation_repeats_with_the_seed(batch_size):
    def passes(seed):
        dataset = data.load("digits", "validation", batch_size=batch_size, binarize="dynamic", seed=seed)
        return np.stack([elements(dataset)["image"], elements(dataset)["image"]])

    assert np.array_equal(passes(1), passes(1))
    assert not np.array_equal(passes(1), passes(2))


def test_static_binarisation_is_one_draw_whatever_the_order():
    def draw(seed, **options):
        dataset = data.load("digits", "test", binarize="static", seed=seed, **options)
        first = elements(dataset)["image"]
        assert np.array_equal(first, elements(dataset)["image"])
        return first

    reference = draw(0, batch_size=300)
    assert set(np.unique(reference)) == {0.0, 1.0}
    assert np.array_equal(reference, draw(0, batch_size=7, shuffle=True))
    assert np.array_equal(reference, draw(0, batch_size=None, shuffle=True))
    assert not np.array_equal(reference, draw(1, batch_size=300))
    grey = elements(data.load("digits", "test", batch_size=300))["image"]
    assert np.array_equal(reference, data.static_binarize(grey, np.arange(300), seed=0))
    standard_error = np.sqrt(np.sum(grey * (1 - grey))) / grey.size
    assert abs(reference.mean() - grey.mean()) < 4 * standard_error


def test_the_range_from_minus_one_is_twice_the_other_minus_one():
    unit = elements(data.load("digits", "test", batch_size=100))["image"]
    both = elements(data.load("digits", "test", batch_size=100, value_range=(-1, 1)))["image"]
    assert (unit.min(), unit.max(), both.min(), both.max()) == (0.0, 1.0, -1.0, 1.0)
    assert np.array_equal(both, 2 * unit - 1)


def test_resizing_changes_the_shape_and_keeps_the_range():
    dataset = data.load("digits", "test", batch_size=100, image_size=(16, 12))
    assert dataset.element_spec["image"].shape == [None, 16, 12, 1]
    image = elements(dataset)["image"]
    assert image.min() >= 0
    assert image.max() <= 1
    constant = data.load(np.full((3, 5, 5, 1), 0.25, np.float32), batch_size=3, image_size=7)
    assert next(constant.as_numpy_iterator())["image"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tarin"}, r"^`split` must be one of train, validation, .* Received: 'tarin'$"),
        ({"binarize": "yes"}, r"^`binarize` must be None, 'static' or 'dynamic'\. Received: 'yes'$"),
        ({"value_range": (0, 255)}, r"^`value_range` must be \(0, 1\) or \(-1, 1\)\. Received: \(0, 255\)$"),
        ({"value_range": 1}, r"`value_range` must be .* Received: 1$"),
        ({"binarize": "static", "value_range": (-1, 1)}, r"^`binarize` needs .* Received: \(-1, 1\)$"),
        ({"batch_size": 0}, r"^`batch_size` must be a positive int or None\. Received: 0$"),
        ({"batch_size": 2.5}, r"^`batch_size` must be .* Received: 2\.5$"),
        ({"seed": "a"}, r"^`seed` must be an int of 64 bits\. Received: 'a'$"),
        ({"image_size": (8, 8, 1)}, r"^`image_size` must be .* Received: \(8, 8, 1\)$"),
        ({"image_size": 0}, r"^`image_size` must be .* Received: 0$"),
    ],
)
def test_a_bad_option_is_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnsit", r"did you mean 'mnist'.*\? Received: 'mnsit'$"),
        ("fashion", r"'fashion_mnist'.* Received: 'fashion'$"),
        ("qqq", r"the names are binarized_mnist, .* Received: 'qqq'$"),
        (3, r"Received: int$"),
        (["a"], r"Received: list$"),
    ],
)
@pytest.mark.parametrize("function", [data.load, data.info])
def test_an_unknown_name_lists_the_closest(name, message, function):
    with pytest.raises(ValueError, match=message):
        function(name)


def test_a_negative_and_a_large_seed_are_seeds():
    for seed in (-1, 2**40, np.int64(3)):
        assert len(list(data.load(NUMBERED, batch_size=ROWS, seed=seed, binarize="static"))) == 1


@pytest.mark.fast
def test_no_tuner_is_left_asleep_behind_an_epoch() -> None:
    # tf.data's tuner naps up to a second and more, and the iterator of an epoch is not gone before it wakes.
    assert data.load("digits", "train", batch_size=100).options().autotune.enabled is False
