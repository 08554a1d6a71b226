import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.reference import metrics as reference
from tfzoo import metrics


@pytest.mark.parametrize("levels", [7, 1000])
def test_area_equals_the_double_loop_with_and_without_ties(levels):
    rng = np.random.default_rng(levels)
    labels = (rng.random(80) < 0.3).astype(np.int64)
    scores = np.round(labels + rng.normal(size=80), 6) if levels == 1000 else rng.integers(levels, size=80) + labels
    np.testing.assert_allclose(metrics.auprc(labels, scores).auprc, reference.auprc(labels, scores), rtol=1e-12)


def test_perfect_scores_reach_one():
    labels = np.repeat([0, 1], [70, 30])
    assert metrics.auprc(labels, labels + 0.0).auprc == 1.0


@pytest.mark.parametrize("base_rate", [0.1, 0.388])
def test_random_scores_reach_the_base_rate(base_rate):
    rng = np.random.default_rng(0)
    labels = (np.arange(20_000) < base_rate * 20_000).astype(np.int64)
    areas = [metrics.auprc(labels, rng.normal(size=20_000)).auprc for _ in range(20)]
    standard_error = np.std(areas, ddof=1) / np.sqrt(len(areas))
    assert abs(np.mean(areas) - metrics.auprc(labels, labels + 0.0).base_rate) < 4.0 * standard_error


def test_the_standard_error_is_the_deviation_over_data_sets():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [200, 100])
    scores = labels + rng.normal(size=(200, 300))  # of 200 data sets
    deviation = np.std([metrics.auprc(labels, row).auprc for row in scores], ddof=1)
    errors = [metrics.auprc_standard_error(labels, row) for row in scores[:10]]
    # A deviation from n draws is uncertain by 1 / sqrt(2 n) of itself; the bootstrap of one data set, by the data's.
    np.testing.assert_allclose(np.mean(errors), deviation, rtol=0.2)


def test_the_standard_error_of_a_mean_over_equal_runs_is_that_of_one():
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], [20, 30])
    scores = labels + rng.normal(size=50)
    one = metrics.auprc_standard_error(labels, scores, num_resamples=10)
    assert metrics.auprc_standard_error(labels, np.stack([scores] * 3), num_resamples=10) == pytest.approx(one)
    assert one > 0
    with pytest.raises(ValueError, match="must have normal and anomalous examples"):
        metrics.auprc_standard_error(np.ones(50, int), scores)


@pytest.mark.parametrize(("base_rate", "floor"), [(0.388, 0.225), (0.351, 0.200), (0.331, 0.188), (0.368, 0.212)])
def test_the_worst_ordering_reaches_the_floor(base_rate, floor):
    labels = np.repeat([0, 1], [round(20_000 * (1 - base_rate)), round(20_000 * base_rate)])
    worst = metrics.auprc(labels, -np.arange(20_000.0))
    np.testing.assert_allclose(worst.auprc, worst.floor, atol=1e-6)
    np.testing.assert_allclose(worst.floor, floor, atol=1e-3)  # the table rounds base rates
    np.testing.assert_allclose(worst.base_rate, base_rate, atol=1e-4)


def test_constant_scores_are_flattered_by_the_trapezoid():
    labels = np.repeat([0, 1], [70, 30])
    np.testing.assert_allclose(metrics.auprc(labels, np.zeros(100)).auprc, (1 + 0.3) / 2)


@pytest.mark.parametrize("graph", [False, True])
def test_streaming_metric_equals_the_pure_function(graph):
    rng = np.random.default_rng(0)
    labels = (rng.random(90) < 0.4).astype(np.int32)
    scores = (labels + rng.normal(size=90)).astype(np.float32)
    metric = metrics.AUPRC()
    update = tf.function(metric.update_state, reduce_retracing=True) if graph else metric.update_state
    result = tf.function(metric.result) if graph else metric.result
    for _ in range(2):  # the second time after a reset
        metric.reset_state()
        for i in range(0, 90, 25):
            update(tf.constant(labels[i : i + 25]), tf.constant(scores[i : i + 25]))
        actual = result()
        keys = ("auprc", "auprc_base_rate", "auprc_floor")
        np.testing.assert_allclose([actual[key] for key in keys], metrics.auprc(labels, scores), rtol=1e-12)


def test_metric_works_in_a_compiled_model():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype(np.float32)
    labels = (x[:, 0] > 0.5).astype(np.int32)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=[metrics.AUPRC()])
    logs = model.evaluate(x, labels, batch_size=16, verbose=0, return_dict=True)
    expected = metrics.auprc(labels, model.predict(x, verbose=0)[:, 0])
    np.testing.assert_allclose(logs["auprc"], expected.auprc, rtol=1e-9)
    np.testing.assert_allclose(logs["auprc_base_rate"], expected.base_rate)


def test_metric_is_nan_until_both_classes_were_seen_and_keeps_its_config():
    metric = keras.metrics.deserialize(keras.metrics.serialize(metrics.AUPRC(name="anomaly")))
    assert np.isnan(metric.result()["anomaly"])
    metric.update_state([0, 0], [1.0, 2.0])
    assert np.isnan(metric.result()["anomaly"])
    metric.update_state([[1]], [[3.0]])  # columns, as Keras hands them over
    assert metric.result()["anomaly"] == 1.0


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [1.0, np.nan], "`scores` must be finite"),
        ([0, 1], [[1.0], [2.0]], "`scores` must have shape"),
        ([0, 1, 1], [1.0, 2.0], "one entry per example"),
        ([], [], "must not be empty"),
        ([0, 2], [1.0, 2.0], "0 .normal. or 1 .anomaly."),
        ([0, 0.5], [1.0, 2.0], "whole numbers"),
        ([1, 1], [1.0, 2.0], "normal and anomalous"),
    ],
)
def test_bad_input_is_one_sentence(labels, scores, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.auprc(labels, scores)


def test_metric_refuses_bad_batches():
    metric = metrics.AUPRC()
    with pytest.raises(ValueError, match=r"equally many.*Received: 2 and 3"):
        metric.update_state([0, 1], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"anomaly.*Received: 3"):
        metric.update_state([0, 3], [1.0, 2.0])


@pytest.mark.parametrize("base_rate", [0.0, 1.0, -0.1])
def test_floor_needs_a_base_rate_inside(base_rate):
    with pytest.raises(ValueError, match=f"Received: {base_rate}"):
        metrics.auprc_floor(base_rate)
