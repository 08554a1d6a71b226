import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo import metrics


def pair(shape=(6, 5, 4, 2), seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(size=shape).astype(np.float32), rng.uniform(-0.1, 1.1, size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(6, 3), (6, 5, 4, 2), (2, 3, 4, 5, 1)])
def test_error_is_the_mean_over_all_pixels(shape):
    x, reconstruction = pair(shape)
    expected = np.mean((x.astype(np.float64) - reconstruction) ** 2)
    np.testing.assert_allclose(metrics.mse(x, reconstruction), expected, rtol=1e-12)
    assert metrics.mse(x, x) == 0.0


def test_error_on_minus_one_to_one_is_four_times_that_on_zero_to_one():
    x, reconstruction = (values.astype(np.float64) for values in pair())
    unit = metrics.mse(x, reconstruction)
    wide = metrics.mse(2 * x - 1, 2 * reconstruction - 1, value_range=(-1, 1))
    np.testing.assert_allclose(wide, 4 * unit, rtol=1e-12)
    np.testing.assert_allclose(metrics.convert_mse(wide, source_range=(-1, 1)), unit, rtol=1e-12)
    np.testing.assert_allclose(metrics.convert_mse(1.0, source_range=(0, 1), target_range=(0, 255)), 255**2)


def test_where_selects_the_pixels_that_count():
    x, reconstruction = pair()
    visible = np.ones((1, 5, 4, 1), bool)
    visible[:, 1:3] = False
    expected = np.mean((x[:, 1:3].astype(np.float64) - reconstruction[:, 1:3]) ** 2)
    np.testing.assert_allclose(metrics.mse(x, reconstruction, where=visible == 0), expected, rtol=1e-12)
    np.testing.assert_allclose(metrics.mse(x, reconstruction, where=1.0 - visible), expected, rtol=1e-12)


@pytest.mark.parametrize("graph", [False, True])
def test_streaming_metric_equals_the_pure_function(graph):
    x, reconstruction = pair((50, 4, 4, 1))
    where = np.random.default_rng(1).random((50, 4, 4, 1)) < 0.5
    metric = metrics.MeanSquaredError()
    update = tf.function(metric.update_state, reduce_retracing=True) if graph else metric.update_state
    for _ in range(2):  # the second time after a reset
        metric.reset_state()
        for i in range(0, 50, 20):
            update(*(tf.constant(values[i : i + 20]) for values in (x, reconstruction, where)))
        np.testing.assert_allclose(metric.result(), metrics.mse(x, reconstruction, where=where), rtol=1e-12)


def test_metric_is_nan_before_any_and_keeps_its_range():
    metric = metrics.MeanSquaredError((-1, 1), name="error", dtype="float32")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (copy.value_range, copy.name, copy.dtype) == ((-1.0, 1.0), "error", "float32")
    assert np.isnan(copy.result())
    copy.update_state(np.full((2, 3), -1.0), np.ones((2, 3)))
    assert copy.result() == 4.0


def test_metric_works_in_a_compiled_model():
    x, _ = pair((32, 3))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile(loss="mse", metrics=[metrics.MeanSquaredError()])
    logs = model.evaluate(x, x, batch_size=8, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["mse"], metrics.mse(x, model.predict(x, verbose=0)), rtol=1e-5)


def test_sample_weights_are_refused():
    with pytest.raises(ValueError, match=r"`sample_weight` must be None. Received: shape \(2,\)"):
        metrics.MeanSquaredError().update_state(np.zeros((2, 3)), np.zeros((2, 3)), sample_weight=np.ones(2))


@pytest.mark.parametrize(
    ("x", "reconstruction", "options", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((2, 3)), {}, "`x` must be floating point"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), {}, "`x` must be finite"),
        (np.zeros((2, 3)), np.full((2, 3), np.inf), {}, "`reconstruction` must be finite"),
        (np.zeros((2, 3)), np.zeros((3, 2)), {}, "must have one shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), {}, "must not be empty"),
        (np.float64(0.0), np.float64(0.0), {}, "must have shape"),
        (np.full((2, 3), -1.0), np.zeros((2, 3)), {}, r"`x` must lie in \[0, 1\]"),
        (np.full((2, 3), 2.0), np.zeros((2, 3)), {"value_range": (-1, 1)}, r"`x` must lie in \[-1, 1\]"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"value_range": (1, 1)}, "low < high"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"where": np.zeros(3)}, "at least one pixel"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"where": np.ones(2)}, "must broadcast"),
    ],
)
def test_bad_input_is_one_sentence(x, reconstruction, options, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.mse(x, reconstruction, **options)
