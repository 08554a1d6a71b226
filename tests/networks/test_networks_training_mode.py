"""Which networks compute something else in training, and what the Hamiltonian VAE's bound makes of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tfzoo.networks import default
from tfzoo.networks.training_mode import has_training_mode

pytestmark = pytest.mark.fast


class Wrapped(keras.layers.Layer):
    """A layer that says nothing of training itself."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__()
        self.layer = layer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.layer(x)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 8, 1), (16, 16, 16, 1), (5,)])
def test_the_default_decoders_have_none(shape):
    assert not has_training_mode(default.decoder(shape, 3))


@pytest.mark.parametrize("layer", [keras.layers.Dropout(0.5), keras.layers.BatchNormalization()], ids=["drop", "norm"])
def test_dropout_and_batch_normalization_have_one_however_deep(layer):
    dense = keras.layers.Dense(4)
    assert has_training_mode(layer)
    assert has_training_mode(keras.Sequential([dense, keras.Sequential([layer])]))
    assert has_training_mode(Wrapped(layer))
    assert not has_training_mode(keras.Sequential([dense, Wrapped(dense), keras.layers.LeakyReLU()]))


def bounds(decoder_layers: list, images: np.ndarray) -> tuple:
    """Returns a Hamiltonian VAE's inference, and its log weights in training, twice, and at inference."""
    decoder = keras.Sequential([keras.Input((3,)), *decoder_layers, keras.layers.Dense(4)])
    options = {"decoder": decoder, "likelihood": "gaussian", "num_steps": 3, "seed": 0}
    model = tfzoo.create_model("hamiltonian_vae", event_shape=(4,), latent_dim=3, **options)
    inference = model(images, seed=1)
    x = tf.constant(images)
    expected = model.likelihood(inference["z"]).log_prob(x) - inference["kl"]
    return expected, *(model._log_weights(x, inference, training) for training in (True, True, False))


def test_the_bound_takes_the_last_step_s_density_where_it_may():
    images = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected, *found = bounds([keras.layers.Dense(8, "tanh")], images)
    for log_weights in found:
        np.testing.assert_allclose(log_weights, expected, rtol=1e-5, atol=1e-5)
    expected, first, second, inference = bounds([keras.layers.Dense(8, "tanh"), keras.layers.Dropout(0.5)], images)
    np.testing.assert_allclose(inference, expected, rtol=1e-5, atol=1e-5)
    assert np.all(np.abs(first - expected) > 1e-3)
    assert np.any(np.abs(first - second) > 1e-3)
