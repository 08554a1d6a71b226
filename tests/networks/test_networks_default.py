"""The networks chosen by the shape of an example."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.networks import conv, default, mlp

KINDS = {
    (28, 28, 1): conv.decoder,
    (17, 23, 2): conv.decoder,
    (16, 16, 16, 1): conv.decoder,
    (60, 50, 50, 1): conv.decoder,
    (32, 32, 3): conv.dcgan_decoder,
    (64, 64, 3): conv.dcgan_decoder,
    (8, 8, 1): mlp.decoder,
    (10,): mlp.decoder,
    (3,): mlp.decoder,
    (5, 7): mlp.decoder,
    (1,): mlp.decoder,
    (15, 28, 1): mlp.decoder,
    (2, 3, 4, 5, 6): mlp.decoder,
}


@pytest.mark.parametrize("event_shape", KINDS)
def test_every_shape_gets_networks_that_fit_it(event_shape):
    encoder, decoder = default.encoder(event_shape), default.decoder(event_shape, 4)
    features = encoder(tf.zeros([1, *event_shape]))
    assert features.shape == (1, *encoder.output_shape[1:])
    assert len(features.shape) == 2
    assert decoder(tf.zeros([1, 4])).shape == (1, *event_shape)
    names = [layer.name.split("_")[0] for layer in KINDS[event_shape](event_shape, 4).layers]
    assert [layer.name.split("_")[0] for layer in decoder.layers] == names


@pytest.mark.fast
def test_a_gaussian_generator_of_32_pixels_ends_in_tanh_and_no_other_does():
    assert default.decoder((32, 32, 1), 4, likelihood="gaussian").layers[-1].activation is keras.activations.tanh
    assert default.decoder((32, 32, 1), 4).layers[-1].activation is keras.activations.linear
    assert default.decoder((28, 28, 1), 4, likelihood="gaussian").layers[-1].activation is keras.activations.linear


@pytest.mark.fast
def test_the_multi_layer_pair_has_the_weights_counted_by_hand():
    assert mlp.encoder((8, 8, 1)).count_params() == 64 * 256 + 256 + 256 * 256 + 256
    assert mlp.decoder((8, 8, 1), 5).count_params() == 5 * 256 + 256 + 256 * 256 + 256 + 256 * 64 + 64


@pytest.mark.parametrize("event_shape", [(28, 28, 1), (16, 16, 16, 1), (8, 8, 1), (10,), (3,)])
def test_the_second_derivative_to_z_is_finite_and_not_zero(event_shape):
    decoder = default.decoder(event_shape, 3)
    z = tf.constant([[0.0, 0.0, 0.0], [0.3, -1.0, 2.0], [10.0, -10.0, 0.0]])
    direction = tf.ones_like(z)
    with tf.GradientTape() as outer:
        outer.watch(z)
        with tf.GradientTape() as inner:
            inner.watch(z)
            total = tf.reduce_sum(decoder(z) ** 2)
        gradient = inner.gradient(total, z)
    curvature = outer.gradient(gradient, z, output_gradients=direction)
    assert np.isfinite(curvature).all()
    assert (np.abs(curvature).max(1) > 1e-4).all()


@pytest.mark.parametrize("event_shape", [(28, 28, 1), (32, 32, 1), (10,)])
def test_a_float64_network_keeps_all_of_its_input(event_shape):
    """A step of 1e-6 changes the output in proportion; rounded to float32 on the way in, it would change by jumps."""
    decoder = default.decoder(event_shape, 2, dtype="float64")
    z, step = tf.constant([[0.4, -0.7]], tf.float64), tf.constant([[1e-8, 0.0]], tf.float64)
    with tf.autodiff.ForwardAccumulator(z, tf.constant([[1.0, 0.0]], tf.float64)) as accumulator:
        output = decoder(z)
    assert output.dtype == tf.float64
    difference = (decoder(z + step) - decoder(z - step)) / 2e-8
    np.testing.assert_allclose(difference, accumulator.jvp(output), atol=1e-5)
    encoder = default.encoder(event_shape, dtype="float64")
    image = keras.random.uniform([1, *event_shape], dtype="float64")
    assert np.abs(encoder(image + 1e-9) - encoder(image)).max() > 0.0


def test_networks_come_back_from_their_config():
    for network in (default.encoder((17, 23, 2)), default.decoder((8, 8, 1), 3, dtype="float64")):
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(network))
        copy.set_weights(network.get_weights())
        inputs = keras.random.normal([2, *network.input_shape[1:]], dtype=network.inputs[0].dtype)
        np.testing.assert_array_equal(copy(inputs), network(inputs))
