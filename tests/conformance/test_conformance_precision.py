"""Mixed precision computes in half precision and never lets it reach a density; float64 goes all the way through."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.cases import DEFAULT_NETWORKS


def densities(model, x):
    z = model.encode(x, seed=0)
    return {
        "encode": z,
        "decode": model.decode(z),
        "log_joint": model.log_joint(x, z),
        "bound": model.bound(x, model(x, seed=0)),
        "log_prob": model.log_prob(x, 4, seed=0),
        "score": model.anomaly_score(x, seed=0),
        "sample": model.sample(2, seed=0),
        "prior": model.prior().sample(2, seed=[0, 0]),
    }


def test_mixed_precision_trains_with_float32_densities(image_case):
    model = image_case.compiled(dtype="mixed_float16", likelihood="gaussian", **DEFAULT_NETWORKS)
    assert model.decoder.layers[-1].compute_dtype == "float16"
    x = image_case.images(8)
    history = model.fit(image_case.data(8), batch_size=4, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for name, value in densities(model, x).items():
        assert value.dtype == tf.float32, name
        assert np.isfinite(value).all(), name


@pytest.mark.fast
def test_half_precision_changes_a_density_by_its_rounding_only(image_case):
    full, half, x = image_case.model(), image_case.model(dtype="mixed_float16"), image_case.images(4)
    half.set_weights(full.get_weights())
    inference = full(x, seed=0)
    np.testing.assert_allclose(half.bound(x, inference), full.bound(x, inference), rtol=1e-2)


@pytest.mark.fast
def test_a_global_policy_is_followed(image_case):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = image_case.model(**DEFAULT_NETWORKS)
    assert model.compute_dtype == model.decoder.layers[-1].compute_dtype == "bfloat16"
    x = image_case.images(2)
    assert model.bound(x, model(x)).dtype == tf.float32


def test_float64_from_end_to_end(image_case, tmp_path):
    model, x = image_case.compiled(dtype="float64", likelihood="gaussian"), image_case.images(8).astype(np.float64)
    model.fit({**image_case.data(8), "image": x}, batch_size=4, verbose=0)
    assert {weight.dtype for weight in model.weights} == {"float64"}
    for name, value in densities(model, x).items():
        assert value.dtype == tf.float64, name
    assert model.predict(x, verbose=0).dtype == np.float64
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.log_prob(x, 4, seed=0), model.log_prob(x, 4, seed=0))


@pytest.mark.fast
def test_float32_networks_inside_a_float64_model(image_case):
    size = int(np.prod(image_case.event_shape))
    decoder = keras.Sequential([keras.layers.Dense(size), keras.layers.Reshape(image_case.event_shape)])
    model = image_case.model(dtype="float64", decoder=decoder)
    x = tf.constant(image_case.images(2), tf.float64)
    assert model.bound(x, model(x)).dtype == tf.float64
