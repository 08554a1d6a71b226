"""The transposed convolution into few channels against Keras's: values, both orders of gradients, every padding."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.networks import transposed
from tfzoo.networks.transposed import Conv2DTranspose, Conv3DTranspose

# Kernel, stride, filters, channels, size of the maps, padding, output padding.
SUB_PIXEL = [
    (4, 2, 1, 6, (5, 7), "same", None),  # DCGAN's
    (5, 2, 3, 4, (4, 6), "same", (1, 1)),  # the Hamiltonian VAE's
    (5, 2, 1, 4, (4, 3), "same", 1),
    (2, 2, 3, 4, (4, 5), "valid", None),
    (1, 2, 2, 3, (3, 4), "valid", None),
    (3, 3, 3, 2, (1, 4), "same", None),
    (7, 2, 2, 3, (6, 4), "same", None),
    ((3, 5), 2, 2, 3, (3, 5), "same", (1, 1)),
    ((4, 5), 2, 2, 3, (3, 5), "same", None),
    ((2, 3), 4, 1, 3, (3, 5), "same", None),
    ((8, 6), 4, 1, 3, (3, 2), "same", None),
    (5, 3, 2, 3, (2, 3), "same", 2),
    (5, 2, 1, 3, (2, 4, 3), "same", 1),  # the Hamiltonian VAE's, for volumes
    ((3, 4, 5), 2, 3, 2, (3, 2, 4), "same", None),
    (3, 3, 1, 2, (2, 1, 3), "valid", None),
    (1, 3, 1, 2, (2, 1, 3), "valid", None),
]
LEFT_TO_KERAS = [
    {"filters": 9, "kernel_size": 4, "strides": 2, "padding": "same"},  # too many
    {"filters": 1, "kernel_size": 4, "strides": 2, "padding": "valid"},  # 2 n + 2
    {"filters": 1, "kernel_size": 2, "strides": 2, "padding": "valid", "output_padding": 1},  # 2 n + 1
    {"filters": 1, "kernel_size": 4, "strides": 2, "padding": "same", "output_padding": 1},  # 2 n - 1
    {"filters": 1, "kernel_size": 3, "strides": 1, "padding": "same"},
    {"filters": 1, "kernel_size": 3, "strides": (2, 3), "padding": "same"},
    {"filters": 5, "kernel_size": (3, 4, 3), "strides": 2, "padding": "same"},  # too many for a volume
]


pytestmark = pytest.mark.fast


def pair(channels: int, size: tuple, dtype: str = "float64", **options) -> tuple:
    """Returns Keras's layer, ours with the same weights, and maps for both."""
    twins = {
        2: (keras.layers.Conv2DTranspose, Conv2DTranspose),
        3: (keras.layers.Conv3DTranspose, Conv3DTranspose),
    }
    layers = [layer(**options, dtype=dtype) for layer in twins[len(size)]]
    for layer in layers:
        layer.build((None, *size, channels))
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=weight.shape) for weight in layers[0].get_weights()]
    for layer in layers:
        layer.set_weights(weights)
    return *layers, tf.constant(rng.normal(size=(2, *size, channels)), layers[0].variable_dtype)


def gradients(layer, x: tf.Tensor) -> list[tf.Tensor]:
    """Returns the values, their gradients and those of the gradients' squares, by maps and weights."""
    sources = [x, *(weight.value for weight in layer.trainable_weights)]
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layer(x)
            value = tf.reduce_sum(tf.sin(y))
        first = inner.gradient(value, sources)
        squares = tf.add_n([tf.reduce_sum(g**2) for g in first])
    return [y, *first, *outer.gradient(squares, sources)]


@pytest.mark.parametrize("case", SUB_PIXEL, ids=str)
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_both_orders_of_gradients_are_keras_s(case, compiled, monkeypatch):
    kernel, stride, filters, channels, size, padding, output_padding = case
    theirs, ours, x = pair(
        channels,
        size,
        filters=filters,
        kernel_size=kernel,
        strides=stride,
        padding=padding,
        output_padding=output_padding,
        activation="tanh",
    )
    used = []
    plain = transposed._sub_pixel
    monkeypatch.setattr(transposed, "_sub_pixel", lambda *args: used.append(1) or plain(*args))
    expected = gradients(theirs, x)
    found = tf.function(gradients, autograph=False)(ours, x) if compiled else gradients(ours, x)
    assert used
    assert found[0].shape[1:-1] == tuple(stride * side for side in size)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("options", LEFT_TO_KERAS, ids=str)
def test_what_does_not_fit_is_left_to_keras(options, monkeypatch):
    monkeypatch.setattr(transposed, "_sub_pixel", None)
    theirs, ours, x = pair(3, (5, 6, 4) if options["filters"] == 5 else (5, 6), **options)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-12)


@pytest.mark.parametrize("output_padding", [0, (0, 1), (1, 0)], ids=str)
def test_an_output_padding_of_zero_under_every_keras(output_padding):
    # TensorFlow's own: Keras 3.6 does not take zeros.
    layer = Conv2DTranspose(2, 5, 2, "same", output_padding=output_padding, dtype="float64")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 7, 3)))
    found = layer(x)
    sizes = [2 * size - 1 + more for size, more in zip((4, 7), np.broadcast_to(output_padding, 2), strict=True)]
    assert tuple(found.shape) == tuple(layer.compute_output_shape(x.shape)) == (2, *sizes, 2)
    expected = tf.nn.conv2d_transpose(x, tf.convert_to_tensor(layer.kernel), found.shape, 2, "SAME")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert Conv2DTranspose.from_config(layer.get_config()).output_padding == layer.output_padding


@pytest.mark.parametrize("output_padding", [(0, -1), (0, 1, 1)], ids=str)
def test_what_is_wrong_beside_a_zero_is_refused(output_padding):
    with pytest.raises(ValueError, match="output_padding"):
        Conv2DTranspose(1, 5, 2, "same", output_padding=output_padding)


@pytest.mark.parametrize("size", [(5, 6), (2, 3, 4)])
def test_of_unknown_size_and_under_xla_without_a_bias(size):
    options = {"filters": 2, "kernel_size": 4, "strides": 2, "padding": "same", "use_bias": False}
    theirs, ours, x = pair(3, size, "float32", **options)
    any_size = [tf.TensorSpec([None, *[None for _ in size], 3])]
    for xla in (False, True):
        call = tf.function(
            lambda x: ours(x), autograph=False, jit_compile=xla, input_signature=None if xla else any_size
        )
        np.testing.assert_allclose(call(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_bfloat16_computes_in_bfloat16():
    theirs, ours, x = pair(3, (5, 6), "mixed_bfloat16", filters=2, kernel_size=4, strides=2, padding="same")
    assert ours(x).dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(ours(x), tf.float32), tf.cast(theirs(x), tf.float32), rtol=0.05, atol=0.1)


def test_saving_keeps_it(tmp_path):
    _, ours, x = pair(3, (5, 6), "float32", filters=2, kernel_size=4, strides=2, padding="same")
    model = keras.Sequential([keras.Input((5, 6, 3)), ours])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded.layers[0]) is Conv2DTranspose
    np.testing.assert_array_equal(loaded(x), model(x))
