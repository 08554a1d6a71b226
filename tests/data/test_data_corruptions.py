import numpy as np
import pytest
import tensorflow as tf

from tfzoo import data

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_dynamic_pixels_have_the_grey_value_as_mean(probability):
    draws = data.dynamic_binarize(tf.fill([100, 28, 28, 1], probability), seed=[1, 2]).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}
    standard_error = np.sqrt(probability * (1 - probability) / draws.size)
    assert abs(draws.mean() - probability) < 4 * standard_error


@pytest.mark.parametrize("probability", [0.3, 0.9])
def test_static_pixels_have_the_grey_value_as_mean(probability):
    draws = data.static_binarize(tf.fill([100, 28, 28, 1], probability), tf.range(100), seed=3).numpy()
    standard_error = np.sqrt(probability * (1 - probability) / draws.size)
    assert abs(draws.mean() - probability) < 4 * standard_error


def test_static_pixels_are_independent_between_examples_and_between_pixels():
    draws = data.static_binarize(tf.fill([400, 64], 0.5), tf.range(400), seed=0).numpy() - 0.5
    standard_error = 0.25 / np.sqrt(draws.size)
    assert abs(np.mean(draws[1:] * draws[:-1])) < 4 * standard_error
    assert abs(np.mean(draws[:, 1:] * draws[:, :-1])) < 4 * standard_error


def test_black_stays_black_and_white_stays_white():
    images = tf.constant(np.repeat([0.0, 1.0], 50_000)[None].astype(np.float32))
    assert np.array_equal(data.dynamic_binarize(images, [0, 0]), images)
    assert np.array_equal(data.static_binarize(images, [0], 0), images)


def test_dynamic_draws_repeat_with_the_seed_and_differ_without():
    images = tf.fill([4, 8, 8, 1], 0.5)
    first = data.dynamic_binarize(images, [1, 2])
    assert np.array_equal(first, data.dynamic_binarize(images, [1, 2]))
    assert not np.array_equal(first, data.dynamic_binarize(images, [1, 3]))


def test_static_draws_follow_the_index_and_not_the_place_in_the_batch():
    images = tf.fill([5, 8, 8, 1], 0.5)
    first = data.static_binarize(images, [0, 1, 2, 3, 4], seed=7).numpy()
    again = data.static_binarize(images[:2], [3, 1], seed=7).numpy()
    assert np.array_equal(again, first[[3, 1]])
    assert not np.array_equal(first, data.static_binarize(images, [0, 1, 2, 3, 4], seed=8))
    assert not np.array_equal(first[0], first[1])


def test_shapes_are_kept_with_an_unknown_batch():
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1]), tf.TensorSpec([None], tf.int32)])
    def both(images, index):
        dynamic, static = data.dynamic_binarize(images, [0, 1]), data.static_binarize(images, index, 0)
        assert dynamic.shape == static.shape == [None, 8, 8, 1]
        return dynamic, static

    assert both(tf.zeros([0, 8, 8, 1]), tf.zeros([0], tf.int32))[1].shape == [0, 8, 8, 1]
