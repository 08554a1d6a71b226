"""MADE: who sees whom."""

import numpy as np
import pytest
import tensorflow as tf

from tfzoo.networks.made import MADE

pytestmark = pytest.mark.fast


def dependences(network, size, context=None):
    """Returns for outputs (rows) and variables (columns) whether one depends on the other, over some points."""
    z = tf.random.stateless_normal([20, size], [0, 1], dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(z)
        outputs = network(z, context)
    return np.abs(tape.batch_jacobian(outputs, z)).max(axis=(0, 2)) > 1e-9


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
@pytest.mark.parametrize("with_context", [False, True])
def test_an_output_depends_on_all_earlier_variables_and_on_no_other(order, with_context):
    network = MADE(5, hidden_units=(30, 40), order=order, dtype="float64")
    context = tf.ones([20, 2], tf.float64) if with_context else None
    network.build((None, 2) if with_context else None)
    found = dependences(network, 5, context)[np.ix_(order, order)]
    np.testing.assert_array_equal(found, np.tril(np.ones([5, 5], bool), -1))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_hidden_layers_narrower_than_the_latents_stay_autoregressive(width):
    network = MADE(6, hidden_units=(width,), dtype="float64")
    network.build((None, 2))
    found = dependences(network, 6, tf.ones([20, 2], tf.float64))
    assert not np.triu(found).any()
    assert found.any() == (width > 1)  # a single hidden unit is the context's


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_context_reaches_every_output_through_the_hidden_layers(size):
    network = MADE(size, hidden_units=(12, 12), dtype="float64")
    network.build((None, 2))
    context = tf.random.stateless_normal([20, 2], [0, 1], dtype=tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(context)
        with tf.GradientTape() as inner:
            inner.watch(context)
            outputs = network(tf.zeros([20, size], tf.float64), context)
        jacobian = inner.batch_jacobian(outputs, context)
    assert np.abs(jacobian).max(axis=(0, 3)).min() > 1e-6
    assert np.abs(jacobian - tf.reduce_mean(jacobian, 0)).max(axis=(0, 3)).min() > 1e-6  # and not linearly


def test_without_a_context_the_first_output_is_its_bias():
    network = MADE(3, hidden_units=(8,), bias=(0.5, 2.0))
    network.build(None)
    outputs = network(tf.random.stateless_normal([7, 3], [0, 1]))
    assert outputs.shape == [7, 3, 2]
    np.testing.assert_allclose(outputs[:, 0], np.broadcast_to([0.5, 2.0], [7, 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_units": ()}, "hidden_units must be one or more whole numbers, each of at least 1"),
        ({"hidden_units": (0,)}, "hidden_units must be one or more whole numbers, each of at least 1"),
        ({"order": [0, 0, 1]}, r"order must be a permutation of 0\.\.2"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=rf"^{message}\. Received: "):
        MADE(3, **options)
