import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from tests.reference import metrics as reference
from tfzoo import metrics

CENTRES = np.array([[10.0, 0.0], [-10.0, 0.0], [0.0, 10.0]])


def codes(num_examples, spread, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(num_examples) % 3
    return CENTRES[labels] + spread * rng.normal(size=(num_examples, 2)), labels


def test_separable_classes_have_f1_of_one():
    result = metrics.latent_classification(*codes(300, 0.5, 0), *codes(90, 0.5, 1))
    np.testing.assert_array_equal(result.f1, [1.0, 1.0, 1.0])
    assert (result.macro_f1, result.std, result.accuracy) == (1.0, 0.0, 1.0)
    np.testing.assert_array_equal(result.classes, [0, 1, 2])


def test_scores_equal_the_definition_per_class():
    train, test = codes(300, 8.0, 0), codes(90, 8.0, 1)
    result = metrics.latent_classification(*train, *test, classifier=LogisticRegression())
    predictions = LogisticRegression().fit(*train).predict(test[0])
    expected = [reference.f1(test[1], predictions, label) for label in range(3)]
    np.testing.assert_allclose(result.f1, expected, rtol=1e-12)
    np.testing.assert_allclose(result.macro_f1, np.mean(expected))
    np.testing.assert_allclose(result.std, np.std(expected))
    np.testing.assert_allclose(result.accuracy, np.mean(predictions == test[1]))
    assert 0.3 < result.accuracy < 0.95


def test_a_class_never_predicted_has_f1_of_zero():
    train, test = codes(30, 1.0, 0), codes(30, 1.0, 1)
    result = metrics.latent_classification(*train, *test, classifier=DummyClassifier(strategy="constant", constant=1))
    np.testing.assert_allclose(result.f1, [0.0, 0.5, 0.0])


def test_scale_of_the_latents_does_not_matter():
    (train, train_labels), (test, test_labels) = codes(300, 5.0, 0), codes(90, 5.0, 1)
    results = [
        metrics.latent_classification(scale * train, train_labels, scale * test, test_labels) for scale in (1e-3, 1e3)
    ]
    assert results[0].accuracy == results[1].accuracy


def test_the_callers_classifier_is_left_unfitted():
    classifier = LogisticRegression()
    metrics.latent_classification(*codes(30, 1.0, 0), *codes(30, 1.0, 1), classifier=classifier)
    assert not hasattr(classifier, "coef_")


@pytest.mark.parametrize("graph", [False, True])
def test_streaming_metric_equals_the_pure_function_on_its_split(graph):
    latents, labels = codes(120, 6.0, 0)
    train, test, train_labels, test_labels = train_test_split(
        latents, labels, test_size=0.25, random_state=0, stratify=labels
    )
    expected = metrics.latent_classification(train, train_labels, test, test_labels)
    metric = metrics.LatentClassification(name="f1")
    update = tf.function(metric.update_state, reduce_retracing=True) if graph else metric.update_state
    result = tf.function(metric.result) if graph else metric.result
    for _ in range(2):  # the second time after a reset
        metric.reset_state()
        for i in range(0, 120, 50):
            update(tf.constant(labels[i : i + 50]), tf.constant(latents[i : i + 50]))
        actual = result()
        actual = [actual[key] for key in ("f1_macro_f1", "f1_std", "f1_accuracy")]
        np.testing.assert_allclose(actual, [expected.macro_f1, expected.std, expected.accuracy], rtol=1e-12)


def test_metric_is_nan_until_the_classes_can_be_split_and_keeps_its_config():
    metric = metrics.LatentClassification(0.5, seed=3, name="codes")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (copy.test_fraction, copy.seed, copy.name) == (0.5, 3, "codes")
    assert np.isnan(copy.result()["codes_accuracy"])
    copy.update_state([0, 1], np.zeros((2, 2)))
    assert np.isnan(copy.result()["codes_accuracy"])
    copy.update_state([0, 1], np.zeros((2, 2)))
    assert copy.result()["codes_accuracy"] == 0.5


GOOD = np.zeros((4, 2)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((np.zeros((4, 2)), [0, 0, 0, 0]), GOOD, "at least two classes"),
        ((np.full((4, 2), np.nan), [0, 1, 0, 1]), GOOD, "`train_latents` must be finite"),
        ((np.zeros(4), [0, 1, 0, 1]), GOOD, "`train_latents` must have shape"),
        ((np.zeros((0, 2)), []), GOOD, "`train_latents` must not be empty"),
        ((np.zeros((4, 2)), [0, 1, 0]), GOOD, "`train_labels` must have one entry"),
        ((np.zeros((4, 2)), [0, 0.5, 0, 1]), GOOD, "`train_labels` must be whole"),
        ((np.zeros((4, 3)), [0, 1, 0, 1]), GOOD, "one dimension"),
        (GOOD, (np.zeros((2, 2)), [0, 7]), "among the training classes"),
    ],
)
def test_bad_input_is_one_sentence(train, test, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.latent_classification(*train, *test)


def test_metric_refuses_bad_batches():
    metric = metrics.LatentClassification()
    metric.update_state([0, 1], np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"equally many.*Received: 2 and 3"):
        metric.update_state([0, 1], np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"one dimension, 3.*Received: 2"):
        metric.update_state([0, 1], np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"`test_fraction`.*Received: 1.5"):
        metrics.LatentClassification(1.5)
