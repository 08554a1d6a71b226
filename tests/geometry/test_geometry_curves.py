"""Splines and chains: smoothness, end points, orthonormal bases; energy and length of known curves."""

import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf

from tests.geometry.spaces import half_plane, linear, small_decoder, sphere, sphere_chart
from tfzoo.geometry import curves

pytestmark = pytest.mark.fast


def differences(order, num_nodes, node, h, side):
    """One-sided finite differences of the basis at a node, exact for cubics up to rounding."""
    at = node / (num_nodes - 1) + side * h * np.arange(4)
    values = curves.spline(num_nodes, at - side * 1e-12).values
    return np.linalg.solve(np.vander(side * np.arange(4.0), increasing=True), values)[order] / h**order


@pytest.mark.parametrize("num_nodes", [3, 5, 12])
def test_twice_continuously_differentiable_at_the_nodes(num_nodes):
    h = 0.2 / num_nodes
    for node in range(1, num_nodes - 1):
        for order in range(3):
            left, right = (differences(order, num_nodes, node, h, side) for side in (-1, 1))
            np.testing.assert_allclose(left, right, atol=1e-6 * max(1.0, np.abs(right).max()))
        # The third derivative jumps: nothing smoother was asked for.
        jump = differences(3, num_nodes, node, h, -1) - differences(3, num_nodes, node, h, 1)
        assert np.abs(jump).max() > 1.0


@pytest.mark.parametrize("num_nodes", [2, 3, 8])
def test_splines_have_as_many_coefficients_as_nodes_and_fixed_ends(num_nodes):
    times = np.linspace(0.0, 1.0, 4001)
    basis = curves.spline(num_nodes, times)
    assert basis.values.shape == (4001, num_nodes)
    np.testing.assert_allclose(basis.values[[0, -1]], 0.0, atol=1e-12)
    assert np.linalg.matrix_rank(basis.values) == num_nodes
    np.testing.assert_allclose(np.gradient(basis.values, times, axis=0)[1:-1], basis.slopes[1:-1], atol=2e-3)
    gram = scipy.integrate.trapezoid(basis.slopes[:, :, None] * basis.slopes[:, None], times, axis=0)
    np.testing.assert_allclose(gram, np.eye(num_nodes), atol=1e-4)


def test_any_cubic_is_a_spline_and_any_chain_is_a_chain():
    times = np.linspace(0.0, 1.0, 21)
    cubic = np.stack([times**3 - times, 1.0 + times * (1.0 - times)], axis=1)
    for basis, exact in ((curves.spline(6, times), cubic), (curves.chain(21), np.sin(9.0 * cubic))):
        exact = tf.constant(exact)
        coefficients = curves.coefficients_of(basis, exact)
        np.testing.assert_allclose(curves.points(basis, exact[0], exact[-1], coefficients), exact, atol=1e-10)
    velocity = curves.velocity(
        curves.spline(6, times),
        *(tf.constant(cubic[[0, -1]])),
        curves.coefficients_of(curves.spline(6, times), tf.constant(cubic)),
    )
    np.testing.assert_allclose(velocity, np.stack([3.0 * times**2 - 1.0, 1.0 - 2.0 * times], axis=1), atol=1e-10)


def test_in_a_flat_space_the_energy_is_that_of_the_line_and_the_squares_of_the_coefficients():
    basis = curves.chain(9)
    w = np.random.default_rng(0).normal(size=[4, 7, 2])
    z0, z1 = tf.zeros([4, 2], tf.float64), tf.ones([4, 2], tf.float64)
    energy = curves.energy(tf.identity, curves.points(basis, z0, z1, tf.constant(w)))
    np.testing.assert_allclose(energy, 2.0 + np.sum(w**2, axis=(1, 2)), rtol=1e-10)


@pytest.mark.parametrize("functions", [(sphere, None), (None, sphere_chart)], ids=["embedding", "metric"])
def test_energy_and_length_of_an_arc(functions):
    # A parallel at angle 1, a radian long in azimuth.
    arc = np.stack([np.ones(200), np.linspace(0.0, 1.0, 200)], axis=1)
    length = curves.length(functions[0], arc, metric_fn=functions[1])
    np.testing.assert_allclose(length, np.sin(1.0), rtol=1e-5)
    # Of 16 points as in the authors' code: their value was this over 30.
    energy = curves.energy(functions[0], arc[::13][:16], metric_fn=functions[1])
    np.testing.assert_allclose(energy, (np.sin(1.0) * arc[::13][15, 1]) ** 2, rtol=1e-3)


def test_the_gradient_of_a_length_is_finite_where_a_step_is_none():
    curve = tf.constant([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(curve)
        length = curves.length(tf.identity, curve)
    np.testing.assert_allclose(length, 5.0)
    np.testing.assert_allclose(tape.gradient(length, curve), [[0.0, 0.0], [-0.6, -0.8], [0.6, 0.8]], rtol=1e-6)


def test_a_curve_through_where_there_is_no_decoder_has_no_length():
    curve = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert np.isnan(curves.length(lambda z: tf.sqrt(z - 0.5), curve))


def test_several_outputs_add_and_any_batch_is_taken():
    decoder, mean, scale = small_decoder()
    z = tf.random.stateless_normal([2, 3, 5, 2], [0, 1])
    energy = tf.function(lambda z: curves.energy(decoder, z), input_signature=[tf.TensorSpec([None, None, 5, 2])])(z)
    assert energy.shape == (2, 3)
    np.testing.assert_allclose(energy, curves.energy(mean, z) + curves.energy(scale, z), rtol=1e-5)
    decoder, matrix = linear(2)
    one = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])
    np.testing.assert_allclose(curves.length(decoder, one), np.linalg.norm([2.0, 4.0] @ matrix))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: curves.spline(1, [0.0]), r"^num_nodes must be at least 2, the end points\. Received: 1$"),
        (lambda: curves.chain(2), r"^num_points must be at least 3, one of them inside\. Received: 2$"),
        (lambda: curves.energy(None, np.zeros([3, 2])), r"Received: embedding_fn=None, metric_fn=None$"),
        (lambda: curves.length(sphere, np.full([3, 2], np.nan)), r"^curves must be finite.*Received: 6 values"),
        (
            lambda: curves.length(None, np.zeros([3, 3]), metric_fn=half_plane),
            r"^metric_fn must .*Received: float64 \(2, 2, 2\)$",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
