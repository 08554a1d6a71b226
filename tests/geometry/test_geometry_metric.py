"""The pull-back metric against Jacobians by hand, closed forms, and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.spaces import half_plane, linear, small_decoder, sphere, sphere_chart, sphere_pairs
from tfzoo.geometry import geodesic, metric
from tfzoo.math.jacobians import directional_derivative, value_and_jacobian

pytestmark = pytest.mark.fast


def jacobian_by_tape(fn, z):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        outputs = [tf.reshape(y, [len(z), -1]) for y in fn(z)]
    return np.concatenate([tape.batch_jacobian(y, z) for y in outputs], axis=1)  # [N, M, D]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_equals_the_jacobian_by_its_transpose(size):
    decoder, _, _ = small_decoder(size)
    z = tf.random.stateless_normal([6, size], [0, 1])
    jacobian = jacobian_by_tape(decoder, z)
    expected = np.einsum("nmd,nme->nde", jacobian, jacobian)
    np.testing.assert_allclose(metric.pullback(decoder, z), expected, rtol=1e-4, atol=1e-5)
    # Leading dimensions stay, and an unknown batch is none the worse for it.
    compiled = tf.function(lambda z: metric.pullback(decoder, z), input_signature=[tf.TensorSpec([None, 2, size])])
    np.testing.assert_allclose(compiled(tf.reshape(z, [3, 2, size])), expected.reshape(3, 2, size, size), rtol=1e-4)


def test_any_keras_layer_is_a_decoder():
    decoder = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2 * 2 * 3, "elu"),
            keras.layers.Reshape((2, 2, 3)),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2DTranspose(2, 3, strides=2, padding="same", activation="silu"),
            keras.layers.UpSampling2D(2),
            keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    z = tf.random.stateless_normal([3, 2], [0, 1])
    jacobian = jacobian_by_tape(lambda z: [decoder(z)], z)
    expected = np.einsum("nmd,nme->nde", jacobian, jacobian)
    np.testing.assert_allclose(metric.pullback(decoder, z), expected, rtol=1e-4, atol=1e-7)
    assert np.all(geodesic.solve(decoder, z[:1], z[1:2], num_nodes=3, num_points=8).converged)


@pytest.mark.parametrize("num_outputs", [3, 9], ids=["reverse", "forward"])
def test_both_modes_of_differentiation_agree_with_the_tape(num_outputs):
    _, decoder, _ = small_decoder(5, num_outputs)
    z = tf.random.stateless_normal([4, 5], [0, 1])
    (value,), (jacobian,) = value_and_jacobian(decoder, z)
    np.testing.assert_allclose(value, decoder(z), rtol=1e-6)
    expected = jacobian_by_tape(lambda z: [decoder(z)], z)
    np.testing.assert_allclose(np.swapaxes(jacobian, 1, 2), expected, rtol=1e-4, atol=1e-6)
    _, (along,) = directional_derivative(decoder, z, 2.0 * z)
    np.testing.assert_allclose(along, np.einsum("nmd,nd->nm", expected, 2.0 * z), rtol=1e-4, atol=1e-5)


def test_a_linear_decoder_has_a_constant_metric():
    decoder, matrix = linear(3)
    z = np.random.default_rng(0).normal(size=[2, 4, 3])
    np.testing.assert_allclose(metric.pullback(decoder, z), np.broadcast_to(matrix @ matrix.T, [2, 4, 3, 3]))
    np.testing.assert_allclose(
        metric.christoffel(lambda z: metric.pullback(decoder, z), z), np.zeros([2, 4, 3, 3, 3]), atol=1e-12
    )


def test_the_sphere_has_the_metric_of_its_chart():
    z = sphere_pairs(5)[0]
    pulled = metric.pullback(sphere, z)
    np.testing.assert_allclose(pulled, sphere_chart(tf.constant(z)), atol=1e-12)
    np.testing.assert_allclose(metric.log_volume(pulled), np.log(np.sin(z[:, 0])), atol=1e-12)
    np.testing.assert_allclose(metric.inverse(pulled) @ pulled, np.broadcast_to(np.eye(2), [5, 2, 2]), atol=1e-12)


def test_symmetric_and_positive_definite_also_far_from_the_data():
    decoder, _, _ = small_decoder(3)
    z = tf.random.stateless_normal([200, 3], [0, 2])
    near, far = (metric.pullback(decoder, factor * z, jitter=1e-5).numpy() for factor in (1.0, 10.0))
    for pulled in (near, far):
        np.testing.assert_allclose(pulled, np.swapaxes(pulled, 1, 2), rtol=1e-5)
        assert np.linalg.eigvalsh(pulled.astype(np.float64)).min() > 0.0
    # Without a jitter float32 cannot do that.
    assert np.linalg.eigvalsh(metric.pullback(decoder, 10.0 * z).numpy().astype(np.float64)).min() < 0.0
    assert np.linalg.eigvalsh(metric.pullback(decoder, z).numpy().astype(np.float64)).min() > 0.0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_product_with_a_vector_needs_no_jacobian(jit_compile):
    decoder, _, _ = small_decoder(3)
    z, v = tf.unstack(tf.random.stateless_normal([2, 2, 4, 3], [0, 3]))
    product = metric.metric_vector_product(decoder, z, v)
    if jit_compile:
        product = tf.function(lambda z, v: metric.metric_vector_product(decoder, z, v), jit_compile=True)(z, v)
    np.testing.assert_allclose(product, tf.linalg.matvec(metric.pullback(decoder, z), v), rtol=1e-4, atol=1e-4)


def test_christoffel_symbols_of_the_half_plane_in_closed_form():
    z = np.array([[0.3, 0.7], [-1.0, 2.0]])
    symbols = metric.christoffel(half_plane, z).numpy()
    expected = np.zeros([2, 2, 2, 2])
    expected[:, 0, 0, 1] = expected[:, 0, 1, 0] = expected[:, 1, 1, 1] = -1.0 / z[:, 1]
    expected[:, 1, 0, 0] = 1.0 / z[:, 1]
    np.testing.assert_allclose(symbols, expected, atol=1e-12)


def test_christoffel_symbols_against_finite_differences():
    decoder, _, _ = small_decoder(3, dtype="float64")
    z = np.random.default_rng(0).normal(size=[4, 3])
    h, derivatives = 1e-5, []  # by z_l of G_jk: [l, N, j, k]
    for unit in np.eye(3):
        ahead, behind = (metric.pullback(decoder, z + sign * h * unit).numpy() for sign in (1.0, -1.0))
        derivatives.append((ahead - behind) / (2.0 * h))
    d = np.stack(derivatives)
    lowered = 0.5 * (np.einsum("jnlk->nljk", d) + np.einsum("knlj->nljk", d) - np.einsum("lnjk->nljk", d))
    expected = np.einsum("nil,nljk->nijk", np.linalg.inv(metric.pullback(decoder, z)), lowered)
    symbols = metric.christoffel(lambda z: metric.pullback(decoder, z), z)
    np.testing.assert_allclose(symbols, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("function", [metric.log_volume, metric.inverse])
def test_a_singular_metric_says_so_and_a_jitter_mends_it(function):
    # Rank one: the decoder sees only the sum.
    z = np.random.default_rng(0).normal(size=[5, 3]).astype(np.float32)
    decoder = lambda z: tf.sin(tf.reduce_sum(z, axis=-1, keepdims=True))  # noqa: E731
    message = r"give its metric a jitter\. Received: 5 singular of 5, eigenvalues"
    with pytest.raises(ValueError, match=message):
        function(metric.pullback(decoder, z))
    with pytest.raises(ValueError, match=message):
        metric.christoffel(lambda z: metric.pullback(decoder, z), z)
    lifted = metric.pullback(decoder, z, jitter=1e-2)
    assert np.all(np.isfinite(function(lifted)))
    slope = np.cos(z.sum(axis=1)) ** 2
    lift = 1e-2 * (1.0 + 3.0 * slope)
    expected = 0.5 * np.log(lift**2 * (lift + 3.0 * slope))
    np.testing.assert_allclose(metric.log_volume(lifted), expected, rtol=1e-4)


Z = np.zeros([4, 2], np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metric.pullback(sphere, np.float32(1.0)), r"^z must be points.*Received: float32 \(\)$"),
        (
            lambda: metric.pullback(sphere, np.full([2, 2], np.nan)),
            r"^z must be finite\. Received: 4 values that are not$",
        ),
        (
            lambda: metric.pullback(sphere, tf.cast(Z, tf.bfloat16)),
            r"float32 or float64\. Received: bfloat16 \(4, 2\)$",
        ),
        (lambda: metric.pullback(sphere, "z"), r"^z must be points.*Received: string \(\)$"),
        (lambda: metric.pullback(sphere, Z, jitter=-1.0), r"^jitter must be a number of at least 0\. Received: -1\.0$"),
        (lambda: metric.pullback(tf.reduce_sum, Z), r"^a function of 4 points must return.*Received: float32 \(\)$"),
        (lambda: metric.metric_vector_product(sphere, Z, Z[0]), r"^vector must have the shape.*Received: \(2,\)$"),
        (lambda: metric.log_volume(Z), r"^a metric must be \[\.\.\., D, D\]\. Received: float32 \(4, 2\)$"),
        (lambda: metric.log_volume(np.float64(1.0)), r"Received: float64 \(\)$"),
        (
            lambda: metric.pullback(sphere, [[1.0], [1.0, 2.0]]),
            r"^z must be points \[\.\.\., D\] of numbers\. Received: list$",
        ),
        (lambda: metric.inverse(np.full([2, 2], np.nan)), r"Received: 1 singular of 1, eigenvalues 0 to 0$"),
        (lambda: metric.christoffel(lambda z: z, Z), r"^metric_fn must return one metric.*Received: float32 \(4, 2\)$"),
        (
            lambda: metric.evaluate(sphere, sphere_chart, Z),
            r"^either embedding_fn or metric_fn.*Received: embedding_fn=",
        ),
        (lambda: metric.evaluate(None, None, Z), r"Received: embedding_fn=None, metric_fn=None$"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
