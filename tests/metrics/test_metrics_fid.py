import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from tests.reference import metrics as reference
from tfzoo import metrics


def features_of(num_examples, width, seed, mix=True):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_examples, width))
    return features @ rng.normal(size=(width, width)) + rng.normal(size=width) if mix else features


def distance_of(first, second):
    return metrics.frechet_inception_distance(first, second, feature_network=None)


def test_distance_of_diagonal_gaussians_is_closed_form():
    mean1, mean2 = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 1.0])
    scale1, scale2 = np.array([1.0, 2.0, 0.1]), np.array([0.3, 2.0, 4.0])
    expected = np.sum((mean1 - mean2) ** 2) + np.sum((scale1 - scale2) ** 2)
    actual = metrics.frechet_distance(mean1, np.diag(scale1**2), mean2, np.diag(scale2**2))
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


def test_distance_of_full_covariances_equals_scipys_matrix_square_root():
    first, second = features_of(50, 6, 0), features_of(50, 6, 1)
    cov1, cov2 = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(cov1 + cov2 - 2.0 * root)
    actual = metrics.frechet_distance(first.mean(0), cov1, second.mean(0), cov2)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_rank_deficient_covariances_are_exact(rank):
    # Degenerate Gaussians along the same axes: the distance is still that of the scales.
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    scale1, scale2 = np.zeros(8), np.linspace(0.5, 2.0, 8)
    scale1[:rank] = 1.5
    cov1, cov2 = (rotation * scale**2 @ rotation.T for scale in (scale1, scale2))
    expected = np.sum((scale1 - scale2) ** 2)
    actual = metrics.frechet_distance(np.zeros(8), (cov1 + cov1.T) / 2, np.zeros(8), (cov2 + cov2.T) / 2)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_fewer_examples_than_features_give_a_finite_distance():
    first, second = features_of(5, 30, 0), features_of(7, 30, 1)
    assert 0.0 < distance_of(first, second) < np.inf
    assert distance_of(first, first) < 1e-10 * np.trace(np.cov(first.T))


def test_distance_from_itself_is_zero():
    features = features_of(200, 10, 0)
    assert distance_of(features, features) < 1e-11 * np.trace(np.cov(features.T))


def test_a_shift_of_the_mean_is_its_square():
    features = features_of(200, 4, 0)
    np.testing.assert_allclose(distance_of(features, features + np.array([3.0, 0.0, 4.0, 0.0])), 25.0, rtol=1e-10)


def test_distance_is_symmetric():
    first, second = features_of(40, 5, 0), features_of(60, 5, 1)
    np.testing.assert_allclose(distance_of(first, second), distance_of(second, first), rtol=1e-11)


def test_distance_is_invariant_under_rotation_of_the_features():
    first, second = features_of(100, 12, 0), features_of(80, 12, 1)
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))[0]
    np.testing.assert_allclose(distance_of(first @ rotation, second @ rotation), distance_of(first, second), rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_statistics_are_unbiased_whatever_the_batches(batch_size):
    features = features_of(40, 3, 0)
    statistics = metrics.feature_statistics(features, feature_network=None, batch_size=batch_size)
    assert statistics.num_examples == 40
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, reference.covariance(features), rtol=1e-10)


def test_statistics_survive_a_mean_far_from_zero():
    features = features_of(500, 4, 0, mix=False)
    near = metrics.feature_statistics(features, feature_network=None, batch_size=50)
    far = metrics.feature_statistics(features + 1e7, feature_network=None, batch_size=50)
    np.testing.assert_allclose(far.covariance, near.covariance, atol=1e-7)


def test_arrays_datasets_and_dicts_of_images_agree():
    images = np.random.default_rng(0).uniform(size=(50, 8, 8, 1)).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(16)
    dicts = dataset.map(lambda batch: {"image": batch, "label": tf.zeros(tf.shape(batch)[0])})

    def network(batch):
        return tf.reshape(batch, [-1, 64])[:, ::7]

    whole = metrics.feature_statistics(images, feature_network=network)
    for source in (dataset, dicts, [images[:20], images[20:]]):
        batched = metrics.feature_statistics(source, feature_network=network)
        np.testing.assert_allclose(batched.covariance, whole.covariance, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("graph", [False, True])
def test_streaming_metric_equals_the_pure_function(graph):
    first, second = features_of(90, 6, 0), features_of(60, 6, 1)
    metric = metrics.FrechetInceptionDistance()
    update = tf.function(metric.update_state, reduce_retracing=True) if graph else metric.update_state
    result = tf.function(metric.result) if graph else metric.result
    for _ in range(2):  # the second time after a reset
        metric.reset_state()
        for i in range(0, 60, 20):
            update(tf.constant(first[i : i + 20]), tf.constant(second[i : i + 20]))
        update(tf.constant(first[60:]))
        np.testing.assert_allclose(result(), distance_of(first, second), rtol=1e-9)
    assert len(metric.variables) == 6


def test_metric_is_nan_until_both_sides_have_two_examples():
    metric = metrics.FrechetInceptionDistance()
    assert np.isnan(metric.result())
    metric.update_state(np.ones((5, 2)))
    assert np.isnan(metric.result())
    metric.update_state(None, np.ones((1, 2)))
    assert np.isnan(metric.result())
    metric.update_state(None, np.ones((1, 2)))
    assert metric.result() == 0.0


def test_metric_with_a_named_network_equals_the_pure_function():
    rng = np.random.default_rng(0)
    first, second = (rng.uniform(size=(40, 8, 8, 1)).astype(np.float32) ** power for power in (1, 2))
    metric = metrics.FrechetInceptionDistance("digits")
    metric = keras.metrics.deserialize(keras.metrics.serialize(metric))
    metric.update_state(first, second)
    expected = metrics.frechet_inception_distance(first, second, feature_network="digits")
    np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)


def test_metric_works_in_a_compiled_model():
    x = features_of(64, 3, 0).astype(np.float32)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(loss="mse", metrics=[metrics.FrechetInceptionDistance(name="fid")])
    logs = model.evaluate(x, x, batch_size=16, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["fid"], distance_of(x, model.predict(x, verbose=0)), rtol=1e-5)


@pytest.mark.replicas
def test_metric_sums_over_replicas():
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        pytest.skip("one logical CPU device in this process")
    first, second = features_of(40, 3, 0), features_of(40, 3, 1)
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in devices[:2]],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),  # as in tests/conformance/test_conformance_replicas.py
    )
    with strategy.scope():
        metric = metrics.FrechetInceptionDistance()
        metric.update_state(first[:2], second[:2])  # makes the variables
        metric.reset_state()
    dataset = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((first, second)).batch(20))
    for batch in dataset:
        strategy.run(metric.update_state, batch)
    np.testing.assert_allclose(metric.result(), distance_of(first, second), rtol=1e-9)


@keras.saving.register_keras_serializable("tests")
def first_pixels(images):
    return tf.reshape(images, [tf.shape(images)[0], -1])[:, :3]


def test_config_round_trip_keeps_a_registered_callable():
    metric = metrics.FrechetInceptionDistance(first_pixels, name="pixels")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert copy.name == "pixels"
    assert copy.feature_network is first_pixels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), np.eye(3), np.zeros(2), np.eye(2)), "of one F"),
        ((np.zeros(3), np.eye(2), np.zeros(3), np.eye(3)), "of one F"),
        ((np.zeros((3, 1)), np.eye(3), np.zeros(3), np.eye(3)), "`mean1` must have shape"),
        ((np.full(3, np.nan), np.eye(3), np.zeros(3), np.eye(3)), "`mean1` must be finite"),
        ((np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]), np.zeros(2), np.eye(2)), "`cov1` must be symmetric"),
        ((np.zeros(2), np.eye(2), np.zeros(2), -np.eye(2)), "`cov2` must be positive semi-definite"),
        (("mean", np.eye(2), np.zeros(2), np.eye(2)), "`mean1` must be numbers"),
    ],
)
def test_bad_gaussians_are_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.frechet_distance(*arguments)


@pytest.mark.parametrize(
    ("real", "options", "message"),
    [
        (np.zeros((0, 3)), {}, "must not be empty"),
        (np.zeros((1, 3)), {}, "at least 2 examples"),
        ([], {}, "at least 2 examples"),
        (np.zeros((5, 3, 1)), {}, "must have shape"),
        (np.full((5, 3), np.nan), {}, "must be finite"),
        ([np.zeros((5, 3)), np.zeros((5, 2))], {}, "one width"),
        ([{"label": np.zeros(3)}], {}, "an 'image'"),
        ([[1.0, 2.0]], {}, "an array or a dict"),
        (np.zeros((5, 3)), {"batch_size": 0}, "`batch_size`"),
        (np.zeros((5, 3)), {"feature_network": "imagenet"}, "must be one of digits, fashion_mnist, mnist"),
    ],
)
def test_bad_features_are_one_sentence(real, options, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.frechet_inception_distance(real, np.zeros((5, 3)), **{"feature_network": None, **options})


def test_metric_refuses_another_width_and_nan():
    metric = metrics.FrechetInceptionDistance()
    metric.update_state(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"one width, 3.*Received: 2"):
        metric.update_state(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"must be finite.*Received: "):
        metric.update_state(np.full((4, 3), np.inf))
