"""The generator of 28x28 images: its sizes, its range, and that images do not depend on each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.networks import generator

pytestmark = pytest.mark.fast


def test_at_width_one_it_has_the_weights_of_the_paper_counted_by_hand():
    # Without those of the batch normalisations.
    expected = 20 * 1024 + 1024 + 1024 * 6272 + 6272 + 4 * 128 * 64 + 64 + 4 * 64 * 1 + 1
    network = generator.generator((28, 28, 1), 20)
    assert network.count_params() == expected == 6_483_393
    assert network.output_shape == (None, 28, 28, 1)
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize(("width", "widths"), [(0.25, (256, 32, 16)), (0.001, (1, 1, 1)), (0.5, (512, 64, 32))])
def test_width_scales_every_hidden_layer(width, widths):
    network = generator.generator((28, 28, 3), 5, width=width)
    dense, wide, first, last = (layer.kernel.shape for layer in network.layers if layer.weights)
    assert (dense, wide) == ((5, widths[0]), (widths[0], 49 * widths[1]))
    assert (first, last) == ((2, 2, widths[2], widths[1]), (2, 2, 3, widths[2]))
    assert network(tf.zeros([2, 5])).shape == (2, 28, 28, 3)


def test_means_are_in_the_range_of_the_images_and_logits_are_not_bound():
    z = 100.0 * keras.random.normal([3, 4])
    means = generator.generator((28, 28, 1), 4, width=0.1)(z)
    assert np.abs(means).max() <= 1.0
    assert np.abs(generator.generator((28, 28, 1), 4, width=0.1, activation=None)(z)).max() > 1.0


def test_an_image_depends_on_its_own_latents_only():
    network, z = generator.generator((28, 28, 1), 4, width=0.1), np.random.default_rng(0).normal(size=[3, 4])
    others = np.concatenate([z[:1], 50.0 * z[1:]])
    for training in (False, True):
        np.testing.assert_array_equal(network(z, training=training)[0], network(others, training=training)[0])


def test_the_output_depends_on_z_from_the_start():
    images = generator.generator((28, 28, 1), 16)(keras.random.normal([64, 16]))
    # Little, by Xavier's rule, as of the larger generators.
    assert np.std(images, axis=0).mean() > 5e-3


@pytest.mark.parametrize(
    ("event_shape", "options", "message"),
    [
        ((32, 32, 3), {}, r"^event_shape must be \(28, 28, C\) for this generator\. Received: \(32, 32, 3\)$"),
        ((28, 28), {}, r"Received: \(28, 28\)$"),
        ((28, 28, 1), {"width": 0.0}, r"^width must be a positive number\. Received: 0\.0$"),
        ((28, 28, 1), {"width": float("nan")}, r"Received: nan$"),
    ],
)
def test_a_bad_argument_is_one_sentence(event_shape, options, message):
    with pytest.raises(ValueError, match=message):
        generator.generator(event_shape, 4, **options)
