"""Geodesics against closed forms, plain L-BFGS and finite differences; what the loop promises; bad input."""

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import tensorflow as tf

from tests.geometry.spaces import (
    half_plane,
    half_plane_distance,
    half_plane_pairs,
    linear,
    small_decoder,
    sphere,
    sphere_chart,
    sphere_distance,
    sphere_pairs,
)
from tfzoo.geometry import curves, geodesic, metric

SPACES = {
    "sphere": (sphere, None, sphere_pairs, sphere_distance),
    "chart": (None, sphere_chart, sphere_pairs, sphere_distance),
    "half plane": (None, half_plane, half_plane_pairs, half_plane_distance),
}


@pytest.mark.fast
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("space", SPACES)
def test_distances_in_closed_form(space, dtype):
    embedding_fn, metric_fn, pairs, distance = SPACES[space]
    z0, z1 = pairs(12, dtype=dtype)
    exact = distance(z0.astype(np.float64), z1.astype(np.float64))
    found = geodesic.solve(embedding_fn, z0, z1, metric_fn=metric_fn)
    assert found.length.dtype == dtype
    assert np.all(found.converged)
    np.testing.assert_allclose(found.length, exact, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(found.energy), exact, rtol=1e-3)
    # End points are fixed, and speed is constant.
    np.testing.assert_allclose(found.points.numpy()[:, [0, -1]], np.stack([z0, z1], axis=1), rtol=1e-6)
    steps = curves.squared_steps(embedding_fn, found.points, metric_fn).numpy()
    np.testing.assert_allclose(steps / steps.mean(axis=1, keepdims=True), 1.0, atol=0.02)


@pytest.mark.fast
def test_chains_find_what_splines_find():
    z0, z1 = half_plane_pairs(4)
    chain = geodesic.solve(None, z0, z1, metric_fn=half_plane, curve="discrete", num_points=24)
    spline = geodesic.solve(None, z0, z1, metric_fn=half_plane, num_points=24)
    assert chain.points.shape == spline.points.shape == (4, 24, 2)
    np.testing.assert_allclose(chain.points, spline.points, atol=2e-3)
    np.testing.assert_allclose(chain.velocity, spline.velocity, atol=0.1)
    assert np.all(chain.energy <= spline.energy * (1.0 + 1e-6))


@pytest.mark.fast
@pytest.mark.parametrize("size", [1, 4])
def test_a_linear_decoder_has_straight_geodesics(size):
    decoder, matrix = linear(size)
    z0, z1 = np.random.default_rng(0).normal(size=[2, 3, 2, size])
    found = geodesic.solve(decoder, z0, z1[0])  # leading dimensions broadcast
    t = np.linspace(0.0, 1.0, 32)[:, np.newaxis]
    np.testing.assert_allclose(found.points, (1.0 - t) * z0[..., None, :] + t * z1[0][..., None, :], atol=1e-10)
    np.testing.assert_allclose(found.velocity, np.broadcast_to((z1[0] - z0)[..., None, :], [3, 2, 32, size]), atol=1e-9)
    np.testing.assert_allclose(found.length, np.linalg.norm((z1[0] - z0) @ matrix, axis=-1))
    np.testing.assert_array_equal(found.num_iterations, 1)
    ends = [tf.constant(z) for z in (z0[0], z1[0])]
    with tf.GradientTape() as tape:
        tape.watch(ends)
        distance = geodesic.distance(decoder, *ends)
    np.testing.assert_allclose(distance, found.length[0])
    expected = (z1[0] - z0[0]) @ matrix @ matrix.T / distance.numpy()[:, np.newaxis]
    np.testing.assert_allclose(tape.gradient(distance, ends), [-expected, expected])


@pytest.fixture(scope="module")
def problem():
    """A decoder of a mean and a scale whose geodesics are not straight, and pairs of points."""
    decoder, _, _ = small_decoder(2, dtype="float64")
    z0, z1 = 2.0 * np.random.default_rng(0).normal(size=[2, 10, 2])
    return decoder, z0, z1


def test_no_energy_is_above_that_of_plain_l_bfgs(problem):
    decoder, z0, z1 = problem
    found = geodesic.solve(decoder, z0, z1, num_nodes=4, num_points=12)
    basis = curves.spline(4, np.linspace(0.0, 1.0, 12))

    @tf.function
    def value_and_gradient(w, a, b):
        with tf.GradientTape() as tape:
            tape.watch(w)
            energy = curves.energy(decoder, curves.points(basis, a, b, tf.reshape(w, [4, 2])))
        return energy, tape.gradient(energy, w)

    for i in range(3):
        ends = tf.constant(z0[i]), tf.constant(z1[i])
        plain = scipy.optimize.minimize(
            lambda w, ends=ends: [each.numpy() for each in value_and_gradient(tf.constant(w), *ends)],
            np.zeros(8),
            jac=True,
            method="L-BFGS-B",
        )
        straight, _ = value_and_gradient(tf.zeros([8], tf.float64), *ends)
        assert found.energy[i] < 0.99 * straight
        assert found.energy[i] <= 1.001 * plain.fun
        assert found.converged[i]


def test_energies_never_rise_and_each_curve_goes_its_own_way(problem):
    decoder, z0, z1 = problem
    energies = []
    for num in range(1, 8):
        found = geodesic.solve(decoder, z0, z1, max_iterations=num)
        assert np.all(found.num_iterations <= num)
        energies.append(found.energy.numpy())
    assert np.all(np.diff(energies, axis=0) <= 0.0)
    assert not np.all(found.num_iterations == found.num_iterations[0])
    # Whatever else is in the batch, and in which blocks.
    alone = geodesic.solve(decoder, z0[3:4], z1[3:4], max_iterations=7)
    blocks = geodesic.solve(decoder, z0, z1, max_iterations=7, block_size=3)
    np.testing.assert_allclose(alone.points[0], found.points[3], atol=1e-9)
    np.testing.assert_allclose(blocks.points, found.points, atol=1e-9)
    np.testing.assert_array_equal(blocks.num_iterations, found.num_iterations)


@pytest.mark.fast
def test_converged_is_said_only_where_the_gradient_is_small(problem):
    decoder, z0, z1 = problem
    assert not np.any(geodesic.solve(decoder, z0, z1, max_iterations=1).converged)
    loose, tight = (geodesic.solve(decoder, z0, z1, tolerance=tolerance) for tolerance in (1e-2, 1e-9))
    assert np.all(loose.converged & tight.converged)
    assert np.all(loose.num_iterations <= tight.num_iterations)
    assert np.all(loose.energy <= 1.02 * tight.energy)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("space", ["sphere", "half plane"])
def test_compiled_for_any_batch(space, jit_compile):
    embedding_fn, metric_fn, pairs, _ = SPACES[space]
    spec = [tf.TensorSpec([None, 2], tf.float64)] * 2

    @tf.function(input_signature=spec, jit_compile=jit_compile)
    def solve(z0, z1):
        return geodesic.solve(embedding_fn, z0, z1, metric_fn=metric_fn)

    z0, z1 = pairs(5)
    eager = geodesic.solve(embedding_fn, z0, z1, metric_fn=metric_fn)
    for count in (1, 5) if not jit_compile else (5,):
        compiled = solve(z0[:count], z1[:count])
        np.testing.assert_allclose(compiled.points, eager.points[:count], atol=1e-7)
        np.testing.assert_array_equal(compiled.converged, eager.converged[:count])


@pytest.mark.fast
@pytest.mark.parametrize("space", SPACES)
def test_gradient_of_the_squared_distance(space):
    embedding_fn, metric_fn, pairs, _ = SPACES[space]
    z0, z1 = (tf.constant(z) for z in pairs(4))
    options = {"metric_fn": metric_fn, "tolerance": 1e-12}

    def square(z0, z1):
        return geodesic.squared_distance(embedding_fn, z0, z1, **options)

    with tf.GradientTape() as tape:
        tape.watch([z0, z1])
        value = square(z0, z1)
    gradients = tape.gradient(value, [z0, z1])
    found = geodesic.solve(embedding_fn, z0, z1, **options)
    np.testing.assert_allclose(value, found.energy, rtol=1e-9)
    # Central differences by all four coordinates, in one batch.
    h = 1e-5
    moves = h * np.concatenate([np.eye(4), -np.eye(4)])[:, np.newaxis]
    ahead, behind = tf.split(square(z0 + moves[..., :2], z1 + moves[..., 2:]), 2)
    expected = np.moveaxis((ahead - behind) / (2.0 * h), 0, 1)
    np.testing.assert_allclose(np.concatenate(gradients, axis=1), expected, rtol=1e-5, atol=1e-6)
    # The first variation: -2 G(z0) v0 and 2 G(z1) v1, up to the splines' and the chain's error.
    for z, sign, at, gradient in ((z0, -2.0, 0, gradients[0]), (z1, 2.0, -1, gradients[1])):
        pulled = metric.evaluate(embedding_fn, metric_fn, z)
        expected = sign * tf.linalg.matvec(pulled, found.velocity[:, at]).numpy()
        np.testing.assert_allclose(gradient, expected, atol=0.05 * np.abs(expected).max())


@pytest.mark.fast
def test_the_distance_has_a_gradient_by_the_weights_of_the_decoder():
    _, mean, _ = small_decoder(2, dtype="float64")
    z0, z1 = np.random.default_rng(0).normal(size=[2, 1, 2])
    bias, kernel = mean.layers[0].bias, mean.layers[-1].kernel

    def square():
        return geodesic.squared_distance(mean, z0, z1, tolerance=1e-12)

    with tf.GradientTape() as tape:
        value = square()
    by_bias, by_kernel = tape.gradient(value, [bias, kernel])
    # The squared distance is quadratic in the last kernel.
    np.testing.assert_allclose(tf.reduce_sum(by_kernel * kernel), 2.0 * value[0], rtol=1e-9)
    h, before = 1e-5, bias.numpy()
    values = []
    for sign in (1.0, -1.0):
        bias.assign(before + sign * h * np.eye(16)[3])
        values.append(square().numpy()[0])
    np.testing.assert_allclose(by_bias[3], (values[0] - values[1]) / (2.0 * h), rtol=1e-5)


@pytest.mark.fast
@pytest.mark.parametrize("space", SPACES)
def test_equal_end_points_are_no_distance_apart_and_no_nan(space):
    embedding_fn, metric_fn, pairs, _ = SPACES[space]
    z = tf.constant(pairs(3, dtype=np.float32)[0])
    found = geodesic.solve(embedding_fn, z, z, metric_fn=metric_fn)
    assert np.all(found.converged)
    np.testing.assert_allclose(found.length, 0.0, atol=1e-5)
    np.testing.assert_allclose(found.points, np.repeat(z[:, np.newaxis], 32, axis=1), atol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(z)
        distance = geodesic.distance(embedding_fn, z, tf.identity(z), metric_fn=metric_fn)
    assert np.all(np.isfinite(distance)) & np.all(np.isfinite(tape.gradient(distance, z)))
    step = geodesic.logarithmic_map(embedding_fn, z, z, metric_fn=metric_fn)
    np.testing.assert_allclose(step, 0.0, atol=1e-5)


@pytest.mark.fast
def test_one_latent_dimension_is_arc_length():
    helix = lambda z: tf.concat([tf.cos(z), tf.sin(z), 0.5 * z**2], axis=1)  # noqa: E731
    z0, z1 = np.array([[-1.0], [0.3]]), np.array([[2.0], [0.4]])
    t = np.linspace(z0, z1, 10001)
    exact = scipy.integrate.trapezoid(np.sqrt(1.0 + t**2), t, axis=0)[:, 0]
    found = geodesic.solve(helix, z0, z1)
    np.testing.assert_allclose(found.length, exact, rtol=1e-3)
    np.testing.assert_allclose(np.sqrt(found.energy), exact, rtol=1e-3)
    assert np.all(found.converged)


@pytest.mark.fast
def test_points_far_outside_of_the_data():
    decoder, _, _ = small_decoder()
    z0 = np.array([[30.0, 0.0], [1e3, 1e3], [0.1, 0.0], [-40.0, 0.0]], np.float32)
    z1 = np.array([[31.0, 2.0], [-1e3, 1e3], [50.0, 50.0], [40.0, 0.0]], np.float32)
    found = geodesic.solve(decoder, z0, z1, max_iterations=12)
    straight = curves.energy(decoder, np.linspace(z0, z1, 32, axis=1).astype(np.float32))
    for each in (found.points, found.length, found.energy):
        assert np.all(np.isfinite(each))
    assert np.all(found.energy <= straight * (1.0 + 1e-5))


@pytest.mark.fast
def test_what_is_not_finite_is_not_converged_and_does_no_harm_to_others():
    # A metric that ends at z = 2, and one that is singular everywhere.
    edge = lambda z: tf.sqrt(2.0 - z)[:, tf.newaxis]  # noqa: E731
    found = geodesic.solve(None, [[0.0], [0.0]], [[1.0], [3.0]], metric_fn=edge)
    np.testing.assert_array_equal(found.converged, [True, False])
    exact = (2.0**1.25 - 1.0) / 1.25  # int (2 - z)^(1/4) dz
    np.testing.assert_allclose(found.length, [exact, np.inf], rtol=1e-3)
    flat = lambda z: tf.ones([1, 2, 2]) * tf.ones_like(z[:, :1, tf.newaxis])  # noqa: E731
    np.testing.assert_allclose(geodesic.solve(None, [1.0, 2.0], [3.0, 5.0], metric_fn=flat).length, 5.0, rtol=1e-4)


@pytest.mark.fast
@pytest.mark.parametrize("space", SPACES)
def test_the_exponential_map_undoes_the_logarithmic_one(space):
    embedding_fn, metric_fn, pairs, distance = SPACES[space]
    z0, z1 = pairs(4)
    options = {"num_nodes": 16, "num_points": 64, "tolerance": 1e-10}
    step = geodesic.logarithmic_map(embedding_fn, z0, z1, metric_fn=metric_fn, **options)
    end = geodesic.exponential_map(embedding_fn, z0, step, metric_fn=metric_fn, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(end, z1, atol=2e-3)
    pulled = metric.evaluate(embedding_fn, metric_fn, z0)
    length = np.sqrt(np.einsum("nij,ni,nj->n", pulled, step, step))
    np.testing.assert_allclose(length, distance(z0, z1), rtol=1e-3)


@pytest.mark.fast
def test_the_exponential_map_in_closed_form():
    # From the equator's start along great circles, and up in the half-plane.
    z = np.tile([[np.pi / 2.0, 0.0]], [3, 1])
    v = np.array([[0.0, 1.5], [-0.7, 0.0], [0.6, 0.8]])
    angle = np.linalg.norm(v, axis=1, keepdims=True)
    exact = np.cos(angle) * [1.0, 0.0, 0.0] + np.sin(angle) / angle * np.stack([0.0 * v[:, 0], v[:, 1], -v[:, 0]], 1)
    end = geodesic.exponential_map(sphere, z, v, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sphere(end), exact, atol=1e-3)
    up = geodesic.exponential_map(None, [[0.5, 1.0]], [[0.0, 1.2]], metric_fn=half_plane)
    np.testing.assert_allclose(up, [[0.5, np.exp(1.2)]], rtol=1e-4)


@pytest.mark.fast
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_exponential_map_ends_where_there_is_none(jit_compile):
    """Of a pole, where the metric is singular, and of an edge that z = -log(1 - v t) reaches at the time 1 / v."""

    def pole_and_edge(z):
        return tf.linalg.diag(tf.stack([tf.exp(-2.0 * z[:, 0]), tf.sin(z[:, 1]) ** 2], -1))

    z = tf.constant([[0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    velocity = tf.constant([[0.3, 0.2], [2.0, 0.0], [0.5, 0.0]])

    def run():
        return geodesic.exponential_map(None, z, velocity, metric_fn=pole_and_edge)

    ends = tf.function(run, jit_compile=jit_compile, autograph=False)()
    assert np.all(np.isnan(ends[:2]))
    np.testing.assert_allclose(ends[2], [np.log(2.0), 1.0], rtol=1e-4)
    if not jit_compile:
        with pytest.raises(ValueError, match=r"give its metric a jitter\. Received: 1 singular of 3"):
            run()

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(z)
            end = tf.reduce_sum(run()[2])
        return tape.gradient(end, z)

    expected = [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]  # of z_0 - log(1 - v) and z_1
    np.testing.assert_allclose(tf.function(gradient, autograph=False)(), expected, rtol=1e-3, atol=1e-6)


def test_starts_from_given_curves_and_never_from_worse_ones_than_the_line():
    # By symmetry the line climbs the hill, where a start beside it finds the way around.
    hill = lambda z: tf.concat([z, 3.0 * tf.exp(-tf.reduce_sum(z**2, axis=1, keepdims=True))], axis=1)  # noqa: E731
    z0, z1 = np.array([[-1.5, 0.0]]), np.array([[1.5, 0.0]])
    line = geodesic.solve(hill, z0, z1)
    np.testing.assert_allclose(line.points[0, :, 1], 0.0, atol=1e-9)
    t = np.linspace(0.0, 1.0, 7)
    around = np.stack([3.0 * t - 1.5, 1.5 * np.sin(np.pi * t)], axis=1)[np.newaxis]
    left, right = (geodesic.solve(hill, z0, z1, initial=around * [1.0, sign]) for sign in (1.0, -1.0))
    assert np.all(left.converged)
    assert left.length < 0.8 * line.length
    np.testing.assert_allclose(right.points, left.points * [1.0, -1.0], atol=1e-6)
    zigzag = np.concatenate([z0, [[30.0, 30.0], [-30.0, -30.0], [30.0, 30.0]], z1])[np.newaxis]
    np.testing.assert_allclose(geodesic.solve(hill, z0, z1, initial=zigzag).points, line.points, atol=1e-9)


Z = np.zeros([2, 2], np.float32)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geodesic.solve(None, Z, Z), r"Received: embedding_fn=None, metric_fn=None$"),
        (lambda: geodesic.solve(sphere, Z, Z[:, :1]), r"^z0 and z1 must be points of the same space.*and \(2, 1\)$"),
        (
            lambda: geodesic.solve(sphere, Z, tf.zeros([2, 2], tf.float64)),
            r"^z1 must .* of float32\. Received: float64$",
        ),
        (lambda: geodesic.solve(sphere, Z, np.zeros([3, 2])), r"^z0 and z1 .*shapes that broadcast\. Received: "),
        (lambda: geodesic.solve(sphere, Z + np.nan, Z), r"^z0 must be finite\. Received: 4 values that are not$"),
        (lambda: geodesic.solve(sphere, Z, Z, curve="bezier"), r"^curve must be one of .*Received: 'bezier'$"),
        (
            lambda: geodesic.solve(sphere, Z, Z, num_points=8),
            r"^num_points must be at least num_nodes \+ 2.*Received: 8",
        ),
        (
            lambda: geodesic.solve(sphere, Z, Z, tolerance=0.0),
            r"^tolerance must be a number strictly between 0 and 1\. Received: 0",
        ),
        (lambda: geodesic.solve(sphere, Z, Z, max_iterations=0), r"^max_iterations must be .*Received: 0$"),
        (lambda: geodesic.solve(sphere, Z, Z, block_size=0), r"^block_size must be .*Received: 0$"),
        (lambda: geodesic.solve(sphere, Z, Z, initial=Z), r"^initial must be curves of the shape.*Received: \(2, 2\)$"),
        (lambda: geodesic.solve(sphere, Z, Z, initial=np.zeros([2, 2, 2])), r"^initial must have at least 3 points"),
        (lambda: geodesic.exponential_map(sphere, Z, Z[0]), r"^velocity must have the shape .*Received: \(2,\)$"),
        (lambda: geodesic.exponential_map(sphere, Z, Z), r"^a metric must be positive definite here.*2 singular of 2"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
