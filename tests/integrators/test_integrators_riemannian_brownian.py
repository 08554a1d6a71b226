"""Brownian motion in charts whose laws are known: flat ones, a line, the sphere, the hyperbolic half-plane."""

import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.spaces import half_plane
from tests.integrators import targets
from tfzoo import random
from tfzoo.integrators import riemannian_brownian

pytestmark = pytest.mark.fast

CONSTANT = np.array([[2.0, 0.6], [0.6, 0.5]])


def constant(z):
    return tf.constant(CONSTANT, z.dtype) * tf.ones_like(z)[..., tf.newaxis]


def line(z):
    """The metric g^2 with g = 1 / (1 - z / 2), so that g' / g^2 = 1 / 2; the arc length is -2 log(1 - z / 2)."""
    return (1.0 / tf.square(1.0 - 0.5 * z))[..., tf.newaxis]


def sheared(z):
    """The flat plane in the chart z = (u, v - u^2)."""
    u = z[..., 0]
    jacobian = [[tf.ones_like(u), tf.zeros_like(u)], [2.0 * u, tf.ones_like(u)]]
    jacobian = tf.stack([tf.stack(row, -1) for row in jacobian], -2)
    return tf.matmul(jacobian, jacobian, transpose_a=True)


def stereographic(z):
    """The unit sphere, from its pole."""
    factor = 4.0 / tf.square(1.0 + tf.reduce_sum(tf.square(z), -1))
    return factor[..., tf.newaxis, tf.newaxis] * tf.eye(2, dtype=z.dtype)


def spherical(z):
    """The unit sphere by polar angle and longitude."""
    angle = z[..., 0]
    return tf.linalg.diag(tf.stack([tf.ones_like(angle), tf.square(tf.sin(angle))], -1))


def singular(z):
    """Without a direction where the first coordinate is negative."""
    return tf.linalg.diag(tf.stack([tf.ones_like(z[..., 0]), tf.cast(z[..., 0] >= 0, z.dtype)], -1))


def walk(position, metric_fn, **options):
    return riemannian_brownian.integrate(riemannian_brownian.init(position), metric_fn, **options)


def walks(start, metric_fn, *, count=20_000, **options):
    """Returns the ends of `count` chains from one start, in one compiled loop."""
    start = np.tile(np.asarray(start, np.float64), (count, 1))
    state = tf.function(lambda: walk(start, metric_fn, **options), autograph=False)()
    assert np.all(state.is_finite)
    return state.position.numpy()


@pytest.mark.parametrize("num_steps", [1, 7])
def test_on_a_flat_manifold_it_is_gaussian(num_steps, test_seed):
    mean, t = np.array([1.0, -2.0]), 0.7
    ends = walks(mean, constant, duration=t, num_steps=num_steps, seed=test_seed)
    covariance = t * np.linalg.inv(CONSTANT)
    centred = ends - mean
    for j in range(2):
        assert abs(targets.z_score(centred[:, j], 0.0)) < 4.0
        for k in range(2):
            assert abs(targets.z_score(centred[:, j] * centred[:, k], covariance[j, k])) < 4.0
    # What tells a Gaussian from others of the same moments.
    distance = np.einsum("ni,ij,nj->n", centred, CONSTANT / t, centred)
    assert abs(targets.z_score(distance**2, 8.0)) < 4.0


def test_on_a_line_it_has_no_drift_in_arc_length_but_the_papers_has(test_seed):
    """s(t) is N(0, t); without the drift its mean is t g' / (2 g^2) = t / 4, by the rule of Ito."""
    t, num_steps = 0.2, 20
    for drift, mean in ((True, 0.0), (False, 0.25 * t)):
        ends = walks([0.0], line, duration=t, num_steps=num_steps, drift=drift, seed=test_seed)
        length = -2.0 * np.log(1.0 - 0.5 * ends[:, 0])
        assert abs(targets.z_score(length, mean)) < 4.0
        assert abs(targets.z_score(np.square(length - mean), t)) < 4.0
        assert abs(targets.z_score(length, 0.25 * t - mean)) > 10.0


def test_in_a_chart_with_mixed_terms(test_seed):
    """(u, v) is N(start, t I); without the drift v gains t, by the rule of Ito."""
    t = 0.3
    for drift, mean in ((True, 0.0), (False, t)):
        ends = walks([0.5, -0.25], sheared, duration=t, num_steps=30, drift=drift, seed=test_seed)
        u, v = ends[:, 0], ends[:, 1] + ends[:, 0] ** 2
        assert abs(targets.z_score(u, 0.5)) < 4.0
        assert abs(targets.z_score(v, mean)) < 4.0
        if drift:
            assert abs(targets.z_score(np.square(v), t)) < 4.0


@pytest.mark.parametrize("chart", ["stereographic", "spherical"])
def test_on_the_sphere_the_mean_cosine_is_exp_of_minus_t(chart, test_seed):
    """The cosine is an eigenfunction of Delta / 2, of the value -1. The charts miss points far from the start only."""
    t = 0.25
    if chart == "stereographic":
        ends = walks([0.0, 0.0], stereographic, duration=t, num_steps=50, seed=test_seed)
        squared = np.sum(ends**2, axis=-1)
        cosine = (1.0 - squared) / (1.0 + squared)
    else:
        ends = walks([np.pi / 2, 0.0], spherical, duration=t, num_steps=50, seed=test_seed)
        cosine = np.sin(ends[:, 0]) * np.cos(ends[:, 1])
    assert abs(targets.z_score(cosine, np.exp(-t))) < 4.0


def test_on_the_half_plane(test_seed):
    """The law of log y is N(-t / 2, t), x has the variance e^t - 1, and the mean of cosh(distance) is e^t."""
    t = 0.2
    x, y = walks([0.0, 1.0], half_plane, duration=t, num_steps=50, seed=test_seed).T
    assert abs(targets.z_score(np.log(y), -0.5 * t)) < 4.0
    assert abs(targets.z_score(np.square(np.log(y) + 0.5 * t), t)) < 4.0
    assert abs(targets.z_score(x**2, np.exp(t) - 1.0)) < 4.0
    assert abs(targets.z_score(1.0 + (x**2 + (y - 1.0) ** 2) / (2.0 * y), np.exp(t))) < 4.0


def metric_of_three(z):
    """A metric without any symmetry, of positive definite matrices."""
    mixing = tf.reshape(tf.linspace(tf.cast(-1.0, z.dtype), 1.0, 27), [3, 3, 3])
    factor = tf.eye(3, dtype=z.dtype) + 0.5 * tf.sin(tf.einsum("...k,kij->...ij", z, mixing))
    return tf.matmul(factor, factor, transpose_b=True) + 0.5 * tf.eye(3, dtype=z.dtype)


def test_the_drift_is_its_definition():
    """b^i = 1/2 |G|^-1/2 d_j (|G|^1/2 P^ij), by central differences."""
    z, h = np.random.default_rng(0).normal(size=(4, 3)), 1e-5

    def weighted(z):
        value = metric_of_three(tf.constant(z)).numpy()
        return np.sqrt(np.linalg.det(value))[:, None, None] * np.linalg.inv(value)

    moves = h * np.eye(3)
    divergence = sum((weighted(z + moves[j]) - weighted(z - moves[j]))[:, :, j] for j in range(3)) / (2 * h)
    expected = 0.5 * divergence / np.sqrt(np.linalg.det(metric_of_three(tf.constant(z)).numpy()))[:, None]
    found = riemannian_brownian.laplace_beltrami_drift(metric_of_three, z)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert np.abs(expected).min() > 1e-4


def test_equals_a_plain_loop_of_steps_under_xla_too():
    start = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    t = np.array([0.1, 0.2, 0.4], np.float32)
    options = {"duration": t, "num_steps": 4, "seed": 5, "return_trajectory": True}
    state = walk(start, metric_of_three, **options)
    compiled = tf.function(lambda: walk(start, metric_of_three, **options), jit_compile=True, autograph=False)()
    assert state.trajectory.shape == (5, 2, 3, 3)
    np.testing.assert_array_equal(state.trajectory[0], start)
    np.testing.assert_array_equal(state.trajectory[-1], state.position)
    np.testing.assert_allclose(compiled.trajectory, state.trajectory, atol=1e-5)
    # The noise of the loop, and steps by hand: mean z + h b, covariance h P.
    noise = random.normal([4, 2, 3, 3], random.as_seed(5)).numpy().astype(np.float64)
    position = start.astype(np.float64)
    for k in range(4):
        value = metric_of_three(tf.constant(position)).numpy()
        factor = np.linalg.cholesky(value)
        moved = np.linalg.solve(np.swapaxes(factor, -1, -2), noise[k][..., None])[..., 0]
        h = t[:, None] / 4
        position = position + h * riemannian_brownian.laplace_beltrami_drift(metric_of_three, position).numpy()
        position += np.sqrt(h) * moved
        np.testing.assert_allclose(state.trajectory[k + 1], position, atol=1e-4)
    one = riemannian_brownian.step(riemannian_brownian.init(start), metric_of_three, duration=0.1, seed=5)
    assert one.position.shape == start.shape


def test_a_chain_depends_on_its_own_seed_and_start_only():
    start = np.random.default_rng(0).normal(size=(3, 3))
    seeds = np.array([[1, 2], [3, 4], [1, 2]], np.int32)
    options = {"duration": 0.5, "num_steps": 3}
    together = walk(start, metric_of_three, seed=seeds, **options).position
    alone = [walk(start[i : i + 1], metric_of_three, seed=seeds[i : i + 1], **options).position[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    same = walk(start[:1], metric_of_three, seed=seeds[:1], **options).position[0]
    np.testing.assert_array_equal(same, alone[0])
    other = walk(start[:1], metric_of_three, seed=seeds[1:2], **options).position[0]
    assert np.all(np.abs(other - same) > 1e-6)


def test_gradients_reach_the_start_the_duration_and_the_metric():
    """On the flat line with the metric c^2 the end is z + sqrt(t) noise / c."""
    start, t, c = (tf.constant(value, tf.float64) for value in ([[0.3]], 0.5, 2.0))
    with tf.GradientTape() as tape:
        tape.watch([start, t, c])
        end = walk(start, lambda z: c**2 * tf.ones_like(z)[..., tf.newaxis], duration=t, num_steps=5, seed=1).position
    moved = float(end[0, 0] - start[0, 0])
    by_start, by_duration, by_metric = tape.gradient(end, [start, t, c])
    np.testing.assert_allclose(by_start, [[1.0]])
    np.testing.assert_allclose(by_duration, moved / (2 * 0.5))
    np.testing.assert_allclose(by_metric, -moved / 2.0)


def test_a_chain_stops_where_the_metric_is_singular_unless_there_is_jitter():
    start = np.array([[1.0, 0.0], [-1.0, 0.0]])
    options = {"duration": 1e-3, "num_steps": 3, "seed": 0}
    state = walk(start, singular, **options)
    np.testing.assert_array_equal(state.is_finite, [True, False])
    np.testing.assert_array_equal(state.position[1], start[1])
    assert np.all(state.position[0] != start[0])
    assert np.all(walk(start, singular, jitter=1e-2, **options).is_finite)


def test_the_drift_at_a_singular_metric_is_refused_and_a_jitter_is_in_proportion_to_the_metric():
    def without_a_direction(z):
        return tf.linalg.diag(tf.stack([1.0 + tf.square(z[:, 0]), tf.zeros_like(z[:, 0])], -1))

    z = np.array([[0.7, 0.1]])
    with pytest.raises(ValueError, match=r"give its metric a jitter\. Received: 1 singular of 1"):
        riemannian_brownian.laplace_beltrami_drift(without_a_direction, z)
    run = tf.function(lambda: riemannian_brownian.laplace_beltrami_drift(without_a_direction, z), autograph=False)
    assert np.all(np.isnan(run()))
    with pytest.raises(ValueError, match=r"^jitter must be a number of at least 0\. Received: -3$"):
        riemannian_brownian.laplace_beltrami_drift(without_a_direction, z, jitter=-3)
    # With it the metric is diag(a, b), a = 1 + z^2 + b, b = jitter (2 + z^2), and its drift one along z.
    jitter, a, b = 0.2, 1.0 + z[0, 0] ** 2, 0.2 * (2.0 + z[0, 0] ** 2)
    by_a, by_b = 2.0 * z[0, 0] * (1.0 + jitter), 2.0 * z[0, 0] * jitter
    expected = (by_b / b - by_a / (a + b)) / (4.0 * (a + b))
    drift = riemannian_brownian.laplace_beltrami_drift(without_a_direction, z, jitter=jitter)
    np.testing.assert_allclose(drift, [[expected, 0.0]], rtol=1e-12)


def test_a_chain_that_starts_at_infinity_is_marked():
    state = walk([[np.inf, 0.0], [0.0, 0.0]], constant, duration=0.1, num_steps=2, seed=0)
    np.testing.assert_array_equal(state.is_finite, [False, True])
    assert np.all(np.isfinite(state.position))


def test_a_duration_that_is_known_at_run_time_only():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64)], autograph=False)
    def run(t):
        return walk(np.zeros([2, 2]), constant, duration=t, num_steps=2, seed=0)

    np.testing.assert_array_equal(run([0.1, 0.0]).is_finite, [True, False])
    np.testing.assert_array_equal(run([0.1, -1.0]).position[1], [0.0, 0.0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"duration": 0.0}, "duration must be finite and positive"),
        ({"duration": -1.0}, "duration must be finite and positive"),
        ({"duration": np.nan}, "duration must be finite and positive"),
        ({"duration": np.ones(3)}, "duration must be a number, or one for each chain"),
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1"),
        ({"num_steps": 1.5}, "num_steps must be a whole number of at least 1"),
        ({"jitter": -1.0}, "jitter must be a number of at least 0"),
        ({"seed": "one"}, "seed must be"),
        ({"metric_fn": lambda z: z}, "metric_fn must return one metric"),
        ({"metric_fn": lambda z: tf.cast(constant(z), tf.float32)}, "metric_fn must return one metric"),
    ],
)
def test_bad_input_is_one_sentence(options, sentence):
    arguments = {"metric_fn": constant, "duration": 1.0, "num_steps": 2, "seed": 0, **options}
    with pytest.raises(ValueError, match=rf"^{sentence}[^\n]* Received: [^\n]*$"):
        walk(np.zeros([2, 2]), **arguments)


@pytest.mark.parametrize("position", [np.zeros([2, 2], int), np.float32(1.0)])
def test_positions_are_vectors_of_floats(position):
    with pytest.raises(ValueError, match=r"^position must be floating point \[\.\.\., D\]\. Received: "):
        riemannian_brownian.init(position)
