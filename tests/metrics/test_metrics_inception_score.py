import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.reference import metrics as reference
from tfzoo import metrics


def probabilities_of(num_samples, num_classes, seed, sharpness=3.0):
    logits = sharpness * np.random.default_rng(seed).normal(size=(num_samples, num_classes))
    weights = np.exp(logits)
    return weights / weights.sum(-1, keepdims=True)


def test_score_equals_the_double_loop():
    probabilities = probabilities_of(60, 5, 0)
    score = metrics.inception_score(probabilities, num_splits=1)
    np.testing.assert_allclose(score.mean, reference.inception_score(probabilities), rtol=1e-12)
    assert score.std == 0.0


def test_splits_are_consecutive_and_give_mean_and_deviation():
    probabilities = probabilities_of(60, 5, 0)
    splits = [reference.inception_score(probabilities[i : i + 20]) for i in (0, 20, 40)]
    score = metrics.inception_score(probabilities, num_splits=3)
    np.testing.assert_allclose(score, (np.mean(splits), np.std(splits)), rtol=1e-12)


def test_equal_samples_score_one():
    np.testing.assert_allclose(metrics.inception_score(np.full((50, 4), 0.25)), (1.0, 0.0), atol=1e-12)
    certain = np.tile([0.0, 1.0, 0.0], (50, 1))
    np.testing.assert_allclose(metrics.inception_score(certain), (1.0, 0.0), atol=1e-12)


def test_certain_and_even_classes_score_their_number():
    np.testing.assert_allclose(metrics.inception_score(np.tile(np.eye(7), (10, 1))), (7.0, 0.0), atol=1e-12)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 10.0])
def test_score_lies_between_one_and_the_number_of_classes(sharpness):
    score = metrics.inception_score(probabilities_of(200, 6, 1, sharpness), num_splits=4)
    assert 1.0 <= score.mean <= 6.0


def test_images_with_a_classifier_equal_their_probabilities():
    images = np.random.default_rng(0).uniform(size=(60, 8, 8, 1)).astype(np.float32)
    classifier = metrics.classifier("digits")
    expected = metrics.inception_score(classifier.probabilities(images), num_splits=2)
    dataset = tf.data.Dataset.from_tensor_slices({"image": images}).batch(25)
    for samples in (images, dataset):
        for network in ("digits", classifier, classifier.probabilities):
            score = metrics.inception_score(samples, classifier=network, num_splits=2, batch_size=16)
            np.testing.assert_allclose(score, expected, rtol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("num_splits", [1, 3])
def test_streaming_metric_equals_the_pure_function(num_splits, graph):
    probabilities = probabilities_of(60, 5, 0)
    # The metric deals examples to the splits in turn, the function cuts: the same hands, once sorted by split.
    dealt = probabilities[np.argsort(np.arange(60) % num_splits, kind="stable")]
    expected = metrics.inception_score(dealt, num_splits=num_splits)
    metric = metrics.InceptionScore(num_splits=num_splits)
    update = tf.function(metric.update_state, reduce_retracing=True) if graph else metric.update_state
    result = tf.function(metric.result) if graph else metric.result
    for _ in range(2):  # the second time after a reset
        metric.reset_state()
        for i in range(0, 60, 25):
            update(tf.constant(probabilities[i : i + 25]))
        actual = result()
        np.testing.assert_allclose(
            (actual["inception_score"], actual["inception_score_std"]), expected, rtol=1e-12, atol=1e-15
        )


def test_metric_is_nan_before_any_and_skips_empty_splits():
    metric = metrics.InceptionScore(num_splits=10)
    assert np.isnan(metric.result()["inception_score"])
    metric.update_state(np.eye(3))
    np.testing.assert_allclose(metric.result()["inception_score"], 1.0)  # one sample a split


def test_metric_takes_images_and_its_config_round_trip_keeps_classifier_and_splits():
    images = np.random.default_rng(0).uniform(size=(30, 8, 8, 1)).astype(np.float32)
    metric = metrics.InceptionScore("digits", num_splits=1, name="score")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (copy.classifier, copy.num_splits, copy.name) == ("digits", 1, "score")
    copy.update_state(images)
    expected = metrics.inception_score(images, classifier="digits", num_splits=1)
    np.testing.assert_allclose(copy.result()["score"], expected.mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (np.zeros((0, 3)), {}, "must not be empty"),
        ([], {}, "must not be empty"),
        (np.full((20, 3), np.nan), {}, "must be finite"),
        (np.ones((20, 3)), {}, "must sum to 1"),
        (np.tile([1.5, -0.5], (20, 1)), {}, "must not be negative"),
        (np.full((20,), 1.0), {}, "must have shape"),
        (np.full((5, 2), 0.5), {}, "at least as many samples"),
        (np.full((5, 2), 0.5), {"num_splits": 0}, "`num_splits`"),
        (np.zeros((20, 28, 28, 1), np.float32), {"classifier": "digits"}, "must have shape"),
    ],
)
def test_bad_samples_are_one_sentence(samples, options, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.inception_score(samples, **options)


def test_metric_refuses_what_the_function_refuses():
    metric = metrics.InceptionScore()
    metric.update_state(np.eye(3))
    with pytest.raises(ValueError, match=r"3 classes.*Received: 4"):
        metric.update_state(np.eye(4))
    with pytest.raises(ValueError, match=r"must sum to 1.*Received: "):
        metric.update_state(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"`num_splits`.*Received: 0"):
        metrics.InceptionScore(num_splits=0)
