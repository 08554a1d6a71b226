"""The convolutional networks: sizes, hand-counted weights, and how they start."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.networks import conv

IMAGES = [(28, 28, 1), (8, 8, 1), (17, 23, 2), (1, 1, 1), (16, 16, 16, 1)]


@pytest.mark.parametrize("event_shape", IMAGES)
def test_the_decoder_mirrors_the_encoder_level_by_level(event_shape):
    encoder, decoder = conv.encoder(event_shape, units=7), conv.decoder(event_shape, 3, units=7)
    levels = [layer.output.shape[1:] for layer in encoder.layers if "conv" in layer.name]
    mirrored = [layer.input.shape[1:] for layer in decoder.layers if "conv" in layer.name]
    assert mirrored == levels[::-1]
    assert encoder.output_shape == (None, 7)
    assert decoder.output_shape == (None, *event_shape)
    images = decoder(tf.zeros([2, 3]))
    assert images.shape == (2, *event_shape)
    assert encoder(images).shape == (2, 7)


def test_a_volume_of_any_size_comes_back():
    shape = (60, 50, 50, 1)
    decoder = conv.decoder(shape, 3, filters=(2, 3, 4), units=5)
    assert decoder(tf.zeros([1, 3])).shape == (1, *shape)
    assert conv.encoder(shape, filters=(2, 3, 4), units=5)(tf.zeros([1, *shape])).shape == (1, 5)


@pytest.mark.fast
def test_the_28x28_pair_has_the_weights_counted_by_hand():
    encoder = 25 * 1 * 16 + 16 + 25 * 16 * 32 + 32 + 25 * 32 * 32 + 32 + 4 * 4 * 32 * 450 + 450
    decoder = 64 * 450 + 450 + 450 * 512 + 512 + 25 * 32 * 32 + 32 + 25 * 32 * 16 + 16 + 25 * 16 * 1 + 1
    assert conv.encoder((28, 28, 1)).count_params() == encoder == 269_730
    assert conv.decoder((28, 28, 1), 64).count_params() == decoder == 299_011


@pytest.mark.fast
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (64, 3), (32, 1)])
def test_the_generators_of_32_and_64_pixels_have_the_papers_kernels(size, channels):
    decoder = conv.dcgan_decoder((size, size, channels), 10, filters=4)
    kernels = [layer.kernel.shape for layer in decoder.layers if "conv" in layer.name]
    widths = {32: [32, 16, 8, channels], 64: [32, 16, 8, 4, channels]}[size]
    assert kernels == [(4, 4, out, into) for into, out in zip([10, *widths], widths, strict=False)]
    assert decoder(tf.zeros([2, 10])).shape == (2, size, size, channels)
    assert conv.dcgan_encoder((size, size, channels), filters=4)(tf.zeros([2, size, size, channels])).shape == (
        2,
        4 * 4 * 32,
    )


@pytest.mark.fast
def test_a_generator_may_end_in_tanh():
    images = conv.dcgan_decoder((32, 32, 1), 2, filters=2, activation="tanh")(100.0 * tf.ones([1, 2]))
    assert np.abs(images).max() <= 1.0


def spread(decoder):
    """Mean standard deviation of a pixel over z ~ N(0, I)."""
    return np.std(decoder(keras.random.normal([64, decoder.input_shape[1]])), axis=0).mean()


@pytest.mark.parametrize("event_shape", [(28, 28, 1), (17, 23, 2), (64, 48, 1), (16, 16, 16, 1), (32, 24, 24, 1)])
def test_the_output_depends_on_z_at_every_size(event_shape):
    assert spread(conv.decoder(event_shape, 16)) > 0.02


@pytest.mark.parametrize("size", [32, 64])
def test_the_output_of_a_generator_depends_on_z(size):
    # Little, by the paper's Xavier rule, which counts all taps of a transposed kernel where a pixel sums a quarter.
    assert spread(conv.dcgan_decoder((size, size, 1), 16)) > 5e-4


def test_the_authors_rule_starts_with_next_to_nothing_of_z():
    decoder = conv.decoder((28, 28, 1), 16)
    ours = spread(decoder)
    for layer in decoder.layers:
        if layer.weights:
            # n counts the whole feature maps on both sides.
            fans = np.prod(layer.input.shape[1:]) + np.prod(layer.output.shape[1:])
            layer.kernel.assign(keras.random.normal(layer.kernel.shape, stddev=fans**-0.5))
    assert spread(decoder) < ours / 100.0
    # The deviations named in the module's docstring: at 28x28, and for a volume of 60x50x50.
    first_layers = [(784 + 3136) ** -0.5, (150_000 + 16 * 30 * 25 * 25) ** -0.5]
    np.testing.assert_allclose(first_layers, [0.016, 0.0015], rtol=0.02)


@pytest.mark.fast
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_weights_take_the_policy_they_are_given(policy):
    expected = keras.dtype_policies.get(policy)
    for network in (conv.encoder((8, 8, 1), dtype=policy), conv.decoder((8, 8, 1), 2, dtype=policy)):
        assert {weight.dtype for weight in network.weights} == {expected.variable_dtype}
        assert network(tf.zeros([1, *network.input_shape[1:]])).dtype == expected.compute_dtype


@pytest.mark.fast
def test_cifar_10s_generator_starts_from_eight_pixels_and_ends_in_a_smaller_kernel():
    made = conv.dcgan_decoder((32, 32, 3), 128, filters=2, first_size=8)
    kernels = [tuple(weight.shape) for weight in made.weights if len(weight.shape) == 4]
    assert kernels == [(8, 8, 16, 128), (4, 4, 8, 16), (4, 4, 4, 8), (3, 3, 3, 4)]
    assert made(tf.zeros([2, 128])).shape == (2, 32, 32, 3)
    with pytest.raises(ValueError, match=r"^first_size must be 4 or 8\. Received: 5$"):
        conv.dcgan_decoder((32, 32, 3), 128, first_size=5)
