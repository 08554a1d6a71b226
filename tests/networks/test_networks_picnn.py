"""The partially input convex network: its recursion, its derivatives, its convexity, its weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.reference import picnn as reference
from tfzoo.networks.picnn import PICNN

pytestmark = pytest.mark.fast
SIZE, CONTEXT = 3, 2
each_kind = pytest.mark.parametrize("nonnegative", ["softplus", "projection"])
each_width = pytest.mark.parametrize("width", [None, CONTEXT])


def normal(*shape, seed):
    return tf.random.stateless_normal(shape, [0, seed], dtype=tf.float64)


def random_network(seed, width=CONTEXT, *, scale=1.0, **kwargs):
    """A network whose weights are far from where they start."""
    network = PICNN(SIZE, dtype="float64", **{"hidden_units": (6, 5), **kwargs})
    network.build((None, SIZE), width and (None, width))
    for i, weight in enumerate(network.trainable_variables):
        weight.assign_add(scale * normal(*weight.shape, seed=1000 * seed + i))
    return network


def assign(network, layers):
    """Gives the network a reference's weights."""
    values = {}
    for k, layer in enumerate(layers):
        if k < len(layers) - 1:
            values[f"context_{k}_kernel"], values[f"context_{k}_bias"] = layer["Lv"].T, layer["bv"]
            values[f"input_weight_{k}"] = layer["Lx"].T
            values[f"input_scale_{k}_kernel"], values[f"input_scale_{k}_bias"] = layer["Ls"].T, layer["bs"]
            values[f"bias_{k}_kernel"], values[f"bias_{k}_bias"] = layer["Lb"].T, layer["b"]
        else:  # two linear maps, one after the other, are one
            values["slope_kernel"], values["slope_bias"] = (layer["Lx"].T * layer["Ls"]).T, layer["Lx"][0] * layer["bs"]
        if k:
            values[f"weight_{k}"] = layer["W"].T
            values[f"gate_{k}_kernel"], values[f"gate_{k}_bias"] = layer["Lg"].T, layer["bg"]
    assert {weight.name for weight in network.weights} == set(values)
    for weight in network.weights:
        weight.assign(values[weight.name])


@each_kind
def test_equals_the_corrected_recursion_written_plainly(nonnegative):
    rng = np.random.default_rng(1)
    layers = reference.random_layers(rng, SIZE, CONTEXT, (6, 5), (4, 3))
    network = PICNN(SIZE, hidden_units=(6, 5), context_units=(4, 3), nonnegative=nonnegative, dtype="float64")
    network.build((None, SIZE), (None, CONTEXT))
    assign(network, layers)
    z, h = rng.normal(size=(7, SIZE)), rng.normal(size=(7, CONTEXT))
    kept = reference.softplus if nonnegative == "softplus" else reference.relu
    expected = [reference.picnn(*pair, layers, nonnegative=kept) for pair in zip(z, h, strict=True)]
    np.testing.assert_allclose(network(z, h), expected, rtol=1e-12)


def test_what_is_printed_is_not_convex():
    """Of random networks: without the gates' ReLU, or with weights of both signs, most are not convex."""
    rng = np.random.default_rng(0)
    same = {"corrected": {}, "no ReLU": {"gate": np.array}, "no bound": {"nonnegative": np.array}}
    not_convex = dict.fromkeys(same, 0)
    for _ in range(40):
        layers = reference.random_layers(rng, 2, CONTEXT, (6, 6), (5, 5))
        z, h = rng.normal(size=(6, 2)), rng.normal(size=CONTEXT)
        for name, change in same.items():
            lowest = min(
                np.linalg.eigvalsh(reference.hessian(lambda x, c=change: reference.picnn(x, h, layers, **c), point))[0]  # noqa: B023
                for point in z
            )
            not_convex[name] += lowest < -1e-5
    assert not_convex["corrected"] == 0
    assert not_convex["no ReLU"] >= 10
    assert not_convex["no bound"] >= 10


@each_kind
@each_width
def test_the_derivatives_are_those_of_autodiff(nonnegative, width):
    network = random_network(1, width, nonnegative=nonnegative)
    z, h = normal(4, SIZE, seed=1), None if width is None else normal(4, width, seed=2)
    with tf.GradientTape() as outer:
        outer.watch(z)
        with tf.GradientTape() as inner:
            inner.watch(z)
            value = network(z, h)
        gradient = inner.gradient(value, z)
    hessian = outer.batch_jacobian(gradient, z)
    function = network.given(h)
    np.testing.assert_allclose(function.gradient(z), gradient, rtol=1e-10, atol=1e-12)
    for ours, exact in zip(function.derivatives(z), (value, gradient, hessian), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-10, atol=1e-12)


@each_kind
@each_width
def test_150_random_networks_have_hessians_without_negative_eigenvalues(nonnegative, width):
    lowest = []
    network = random_network(0, width, nonnegative=nonnegative)
    hessians = tf.function(lambda z, h: network.given(h).derivatives(z)[2])
    for seed in range(150):
        for i, weight in enumerate(network.trainable_variables):
            weight.assign(normal(*weight.shape, seed=1000 * seed + i))
        z, h = 2.0 * normal(5, SIZE, seed=seed), None if width is None else 2.0 * normal(5, width, seed=2000 + seed)
        hessian = hessians(z, h).numpy()
        np.testing.assert_allclose(hessian, hessian.swapaxes(-1, -2), rtol=1e-12, atol=1e-12)
        size = np.abs(hessian).max((-1, -2)) + 1e-30  # where all gates are shut, nothing bends
        lowest.append((np.linalg.eigvalsh(hessian)[:, 0] / size).min())
    assert min(lowest) >= -1e-12
    assert max(lowest) > 1e-6


@each_kind
@each_width
def test_convex_on_random_segments(nonnegative, width):
    network = random_network(3, width, nonnegative=nonnegative)
    h = None if width is None else 2.0 * normal(500, width, seed=3)
    one, other = 3.0 * normal(500, SIZE, seed=1), 3.0 * normal(500, SIZE, seed=2)
    for t in (0.1, 0.5, 0.8):
        between = (1.0 - t) * network(one, h) + t * network(other, h) - network((1.0 - t) * one + t * other, h)
        assert between.numpy().min() >= -1e-9
        assert between.numpy().max() > 0.1


def test_weights_below_zero_count_as_zero_and_those_at_zero_can_come_back():
    network = random_network(1, None, nonnegative="projection", scale=0.0)
    weight = next(w for w in network.weights if w.name == "weight_1")
    z, value = normal(4, SIZE, seed=1), np.array(weight)
    value[0], value[1] = -1.0, 0.0
    weight.assign(value)
    with tf.GradientTape() as tape:
        below = network(z)
    gradient = tape.gradient(below, weight.value)
    assert not gradient[0].numpy().any()
    assert gradient[1].numpy().all()
    value[0] = 0.0
    weight.assign(value)
    np.testing.assert_array_equal(network(z), below)


def test_an_optimizer_of_keras_projects():
    network = random_network(1, None, nonnegative="projection", scale=0.0)
    optimizer = keras.optimizers.SGD(1.0)
    weights = [w for w in network.trainable_variables if w.constraint is not None]
    assert [w.name for w in weights] == ["weight_1", "weight_2"]
    optimizer.apply([tf.fill(w.shape, tf.constant(1.0, tf.float64)) for w in weights], weights)
    for weight in weights:
        assert np.min(weight) == 0.0
        assert 0.0 < np.max(weight) < 0.5


@each_kind
@pytest.mark.parametrize("units", [4, 64])
def test_weights_start_as_about_one_over_their_number(nonnegative, units):
    network = PICNN(SIZE, hidden_units=(units, units), nonnegative=nonnegative)
    network.build((None, SIZE))
    function = network.given(None)
    for weight in (function.layers[1].weight, function.output):
        assert 0.5 <= np.min(weight) * units < np.max(weight) * units <= 1.5


def test_mixed_precision_leaves_it_whole():
    network, half = PICNN(SIZE, hidden_units=(6, 5)), PICNN(SIZE, hidden_units=(6, 5), dtype="mixed_float16")
    z, h = tf.cast(normal(4, SIZE, seed=1), tf.float32), tf.cast(normal(4, CONTEXT, seed=2), tf.float32)
    expected = network(z, h)
    half(z, h)
    half.set_weights(network.get_weights())
    np.testing.assert_array_equal(half(z, h), expected)
    assert half(z, h).dtype == tf.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_points_for_one_context(dtype):
    """Leading dimensions [S, 1] and [1]: a matrix product that broadcasts so crashes the process in TensorFlow 2.21."""
    network = PICNN(2, hidden_units=(128, 128), dtype=dtype)
    network.build((None, 2), (None, 3))
    z = tf.cast(tf.random.stateless_normal([300, 1, 2], [0, 1]), dtype)
    context = tf.cast(tf.random.stateless_normal([1, 3], [0, 2]), dtype)
    found = network.given(context).derivatives(z)
    tiled = network.given(tf.tile(context, [300, 1])).derivatives(z[:, 0])
    for ours, plain in zip(found, tiled, strict=True):
        np.testing.assert_allclose(ours[:, 0], plain, rtol=1e-5, atol=1e-6)


def test_saves_its_arguments():
    network = PICNN(SIZE, hidden_units=[6, 5], context_units=[4, 3], nonnegative="projection")
    copy = PICNN.from_config(network.get_config())
    assert copy.get_config() == network.get_config()
    assert (copy.hidden_units, copy.context_units) == ((6, 5), (4, 3))


def test_bad_arguments_are_one_sentence():
    for kwargs in (
        {"latent_dim": 0},
        {"latent_dim": 1.5},
        {"hidden_units": ()},
        {"hidden_units": (4, 0)},
        {"context_units": (4,)},
        {"context_units": (4, True)},
        {"nonnegative": "clip"},
    ):
        name = next(iter(kwargs))
        with pytest.raises(ValueError, match=rf"^{name} must be [^\n]* Received: [^\n]*$"):
            PICNN(**{"latent_dim": 2, "hidden_units": (4, 4), **kwargs})
