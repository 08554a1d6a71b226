import re

import keras
import numpy as np
import pytest

import tfzoo
from tfzoo import presets, registry
from tfzoo.models.base import LatentVariableModel

pytestmark = pytest.mark.fast


def test_names_are_sorted_and_apart():
    assert tfzoo.list_models() == sorted(tfzoo.list_models())
    assert tfzoo.list_presets() == sorted(tfzoo.list_presets())
    assert not set(tfzoo.list_models()) & set(tfzoo.list_presets())


@pytest.mark.parametrize("name", tfzoo.list_models())
def test_every_name_makes_a_keras_model(name):
    model = tfzoo.create_model(name, event_shape=(5,))
    assert isinstance(model, (keras.Model, LatentVariableModel))
    # Its price grows with the square of the latents.
    assert model.latent_dim == (2 if name == "riemannian_vae" else 64)


def test_overrides_and_event_shape_change_a_preset():
    model = tfzoo.create_model("vae_digits", event_shape=(4, 4, 1), latent_dim=3, likelihood="bernoulli")
    assert (model.event_shape, model.latent_dim) == ((4, 4, 1), 3)
    with pytest.raises(ValueError, match=r"^event_shape must .* Received: \(\)$"):
        tfzoo.create_model("vae_digits", event_shape=())
    assert tfzoo.create_model("vae_digits", event_shape=np.array([5, 5, 1])).event_shape == (5, 5, 1)


def test_an_unknown_name_lists_the_closest():
    with pytest.raises(ValueError, match=r"the closest are .*vae_mnist.*\. Received: 'vae_mnits'$"):
        tfzoo.create_model("vae_mnits")
    with pytest.raises(ValueError, match=r"the closest are none\. Received: 'qqq'$"):
        tfzoo.create_model("qqq")


@pytest.mark.parametrize("name", [None, 3, ["vae"]])
def test_names_that_are_no_text(name):
    with pytest.raises(ValueError, match=r"^name must be a model [^\n]* Received: [^\n]*$"):
        tfzoo.create_model(name, event_shape=(5,))


@pytest.mark.parametrize("name", ["vae", "iwae", "vae_mnist"])
def test_an_unknown_override_names_the_valid_ones(name):
    with pytest.raises(
        TypeError, match=rf"^options of {name} are .*decoder, .*latent_dim, .*\. Received: 'latent_dims'$"
    ):
        tfzoo.create_model(name, event_shape=(5,), latent_dims=3)


@pytest.mark.parametrize("name", ["iaf_vae", "pcp_map_vae", "langevin_vae"])
def test_a_model_with_its_own_inference_says_who_takes_another_posterior(name):
    with pytest.raises(
        TypeError,
        match=rf"^options of {name} are ((?!posterior,)[^\n])*; vae and iwae take any flow .*\. Received: 'posterior'$",
    ):
        tfzoo.create_model(name, event_shape=(5,), posterior="coupling")


def test_a_model_needs_an_event_shape():
    with pytest.raises(ValueError, match=r"^event_shape must [^\n]* Received: None$"):
        tfzoo.create_model("vae")


def test_pretrained_where_there_are_no_weights():
    with pytest.raises(ValueError, match=r"^pretrained weights come with [^\n]* Received: 'vae'$"):
        tfzoo.create_model("vae", event_shape=(5,), pretrained=True)


@pytest.fixture
def preset_with_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_WEIGHTS", tmp_path)
    preset = presets.Preset(
        model="vae",
        dataset="digits",
        event_shape=(5,),
        model_options={"latent_dim": 2},
        data_options={},
        optimizer="Adam",
        learning_rate=1e-3,
        batch_size=10,
        epochs=1,
        weights="tiny.weights.h5",
    )
    monkeypatch.setitem(presets.PRESETS, "vae_tiny", preset)
    model = tfzoo.create_model("vae_tiny")
    model.save_weights(tmp_path / "tiny.weights.h5")
    return model


def test_pretrained_loads_the_presets_weights(preset_with_weights):
    loaded = tfzoo.create_model("vae_tiny", pretrained=True)
    for ours, theirs in zip(preset_with_weights.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pretrained_weights_fit_the_presets_own_networks_only(preset_with_weights):
    with pytest.raises(ValueError, match=r"^pretrained weights of vae_tiny fit its own networks only, .* Received: "):
        tfzoo.create_model("vae_tiny", pretrained=True, latent_dim=3)


@pytest.mark.parametrize("name", tfzoo.list_models())
def test_every_option_that_is_named_is_taken(name):
    """What the message for an unknown override lists can all be given."""
    model = tfzoo.create_model(name, event_shape=(5,), latent_dim=2)
    config = {key: value for key, value in model.get_config().items() if key in registry._options(type(model))}
    assert set(config) >= {"decoder", "dtype", "latent_dim", "likelihood", "name", "prior", "scale", "seed"}


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("abp", "step_size", "abc", "step_size must be a number. Received: 'abc'"),
        ("abp", "step_size", [0.1, 0.2], "step_size must be a number. Received: [0.1, 0.2]"),
        ("abp", "noise", "no", "noise must be True or False. Received: 'no'"),
        ("abp", "scale", True, "scale must be a number. Received: True"),
        ("abp", "latent_dim", "two", "latent_dim must be a whole number. Received: 'two'"),
        ("short_run_ot", "alpha", "abc", "alpha must be a number. Received: 'abc'"),
        ("vae", "posterior_base", ["abc"], "posterior_base must be a name. Received: ['abc']"),
    ],
)
def test_overrides_of_the_wrong_kind(name, option, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        tfzoo.create_model(name, event_shape=(5,), **{option: value})
