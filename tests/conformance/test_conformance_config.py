"""A model's configuration is JSON, and makes the same model again."""

import json

import keras
import numpy as np
import pytest

from tests.conformance.cases import DEFAULT_NETWORKS

pytestmark = pytest.mark.fast


def test_config_round_trip_through_json(case):
    model = case.model(likelihood="gaussian", scale=0.5)
    config = json.loads(json.dumps(model.get_config()))
    twin = type(model).from_config(config)
    assert json.loads(json.dumps(twin.get_config())) == config
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in model.weights]


def test_config_holds_every_argument(case):
    model = case.model()
    config = model.get_config()
    assert tuple(config["event_shape"]) == case.event_shape
    assert config["latent_dim"] == case.latent_dim
    assert {"name", "dtype", "likelihood", "scale", "decoder", "prior", "seed"} <= set(config)


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16"])
def test_dtype_policy_survives(case, dtype):
    twin = keras.models.clone_model(case.model(dtype=dtype, **DEFAULT_NETWORKS))
    assert twin.dtype_policy.name == dtype
    assert twin.decoder.layers[-1].dtype_policy.name == dtype


def test_clone_has_the_same_networks_and_weights_of_its_own(case):
    model = case.model()
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    x = case.images(2)
    np.testing.assert_array_equal(twin.encode(x, seed=0), model.encode(x, seed=0))
    twin.set_weights([0 * weight for weight in twin.get_weights()])
    assert any(np.any(weight) for weight in model.get_weights())


def as_numpy(value):
    if isinstance(value, (tuple, list)):
        return type(value)(as_numpy(each) for each in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return np.int64(value) if isinstance(value, int) else np.float32(value)


def test_config_of_foreign_numbers_is_json(case):
    config = case.model().get_config()
    foreign = {key: as_numpy(value) for key, value in config.items() if key not in ("seed", "dtype")}
    foreign["likelihood"], foreign["scale"] = "gaussian", np.float32(0.5)
    twin = type(case.model()).from_config(foreign)
    again = json.loads(json.dumps(twin.get_config()))
    assert again["latent_dim"] == config["latent_dim"]
    assert again["scale"] == 0.5
