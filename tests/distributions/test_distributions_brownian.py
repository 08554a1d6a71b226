"""Laws of Brownian motions: exact where it is flat, and right up to the order of t on the sphere."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.geometry.spaces import half_plane, half_plane_distance, linear
from tfzoo import random
from tfzoo.distributions import RiemannianBrownian

pytestmark = pytest.mark.fast

CONSTANT = np.array([[2.0, 0.6], [0.6, 0.5]])
LOC = np.array([0.5, -0.3])
T = 0.05


def sphere(z):
    """The unit sphere's metric in stereographic coordinates."""
    factor = 4.0 / tf.square(1.0 + tf.reduce_sum(tf.square(z), -1))
    return factor[..., tf.newaxis, tf.newaxis] * tf.eye(2, dtype=z.dtype)


def squared_angle(z, w):
    """The squared geodesic distance on the unit sphere."""
    chord = tf.reduce_sum(tf.square(z - w), -1)
    chord /= (1.0 + tf.reduce_sum(tf.square(z), -1)) * (1.0 + tf.reduce_sum(tf.square(w), -1))
    far = chord > 1e-10  # the root's derivative is infinite at 0
    return 4.0 * tf.where(far, tf.square(tf.asin(tf.sqrt(tf.where(far, chord, 0.5)))), chord)


def on_the_sphere(loc=LOC, duration=T, **options):
    loc = tf.convert_to_tensor(loc)
    return RiemannianBrownian(
        loc, duration, metric_fn=sphere, squared_distance_fn=squared_angle, **{"num_steps": 20, **options}
    )


def grid(half_width=3.0, count=241):
    """Points ``[count^2, 2]`` and the area of each."""
    axis = np.linspace(-half_width, half_width, count)
    return np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2), (axis[1] - axis[0]) ** 2


def integral(law, **options):
    """The integral of the density over the chart, in the measure that it states."""
    points, area = grid(**options)
    density = np.exp(law.log_prob(points))
    if law.parameters["measure"] == "riemannian":
        density = density * np.sqrt(np.linalg.det(law.metric(points)))
    return area * np.sum(density)


def gaussian(loc, t):
    return tfd.MultivariateNormalFullCovariance(loc, t * np.linalg.inv(CONSTANT))


def volume(z):
    return float(np.sqrt(np.linalg.det(sphere(tf.constant(z)))))


@pytest.mark.parametrize("h0", ["one", "van_vleck"])
@pytest.mark.parametrize("geometry", ["matrix", "function"])
def test_on_a_flat_manifold_it_is_the_gaussian(geometry, h0):
    z = np.random.default_rng(0).normal(size=(5, 2))
    if geometry == "matrix":
        options = {"metric": CONSTANT}
    else:
        options = {
            "metric_fn": lambda z: tf.constant(CONSTANT) * tf.ones_like(z)[..., tf.newaxis],
            "squared_distance_fn": lambda z, w: tf.einsum("...i,ij,...j->...", z - w, CONSTANT, z - w),
        }
    law = RiemannianBrownian(tf.constant(LOC), 0.7, h0=h0, **options)
    np.testing.assert_allclose(law.log_prob(z), gaussian(LOC, 0.7).log_prob(z), rtol=1e-7)
    by_volume = RiemannianBrownian(tf.constant(LOC), 0.7, h0=h0, measure="riemannian", **options).log_prob(z)
    expected = gaussian(LOC, 0.7).log_prob(z) - 0.5 * np.log(np.linalg.det(CONSTANT))
    np.testing.assert_allclose(by_volume, expected, rtol=1e-7)


@pytest.mark.parametrize("measure", ["lebesgue", "riemannian"])
def test_it_integrates_to_one_in_its_measure_but_the_papers_does_not(measure):
    """On the unit sphere the mean of sin(r) / r is 1 - t / 3 for "one", of its root 1 - t / 6 for "van_vleck"."""
    for h0, expected in (("one", 1.0 - T / 3.0), ("van_vleck", 1.0 - T / 6.0), ("paper", None)):
        found = integral(on_the_sphere(h0=h0, measure=measure))
        if expected is None:
            np.testing.assert_allclose(found, (1.0 - T / 3.0) / volume(LOC), rtol=T**2)
            assert abs(found - 1.0) > 0.5
        else:
            np.testing.assert_allclose(found, expected, rtol=T**2)
            np.testing.assert_allclose(found, 1.0, rtol=0.02)


def test_h0_is_what_it_is_called():
    z = tf.constant(np.random.default_rng(1).uniform(-1.0, 1.0, size=(6, 2)))
    one, van_vleck, paper = (on_the_sphere(h0=h0).log_prob(z).numpy() for h0 in ("one", "van_vleck", "paper"))
    angle = np.sqrt(squared_angle(tf.constant(LOC), z))
    np.testing.assert_allclose(van_vleck - one, 0.5 * np.log(angle / np.sin(angle)), atol=1e-4)
    np.testing.assert_allclose(paper - one, -np.log(volume(LOC)), rtol=1e-9)
    printed = 0.5 * np.log(np.linalg.det(sphere(z)) / np.linalg.det(sphere(tf.constant(LOC))))
    printed += -np.log(2.0 * np.pi * T) - angle**2 / (2.0 * T)
    np.testing.assert_allclose(paper, printed, rtol=1e-9)
    at_loc = on_the_sphere(h0="van_vleck").log_prob(LOC) - on_the_sphere().log_prob(LOC)
    np.testing.assert_allclose(at_loc, 0.0, atol=1e-5)


def test_samples_are_those_of_the_density(test_seed):
    """The mean of the cosine of the angle is exp(-t)."""
    z = on_the_sphere(duration=0.3).sample(20_000, seed=test_seed)
    cosine = np.cos(np.sqrt(squared_angle(tf.constant(LOC), z)))
    assert abs(cosine.mean() - np.exp(-0.3)) < 4.0 * cosine.std() / np.sqrt(len(cosine))
    # The density's own mean: what is wrong with it is of the order of t^2.
    points, area = grid(half_width=4.0)
    weights = area * np.exp(on_the_sphere(duration=0.05, h0="van_vleck").log_prob(points))
    cosines = np.cos(np.sqrt(squared_angle(tf.constant(LOC), tf.constant(points))))
    np.testing.assert_allclose(np.sum(weights * cosines) / np.sum(weights), np.exp(-0.05), atol=0.05**2)


def test_on_a_matrix_samples_are_exact(test_seed):
    law = RiemannianBrownian(tf.constant(LOC), 0.7, metric=CONSTANT)
    z = law.sample(20_000, seed=test_seed).numpy() - LOC
    products = z[:, :, np.newaxis] * z[:, np.newaxis]
    error = products.std(axis=0) / np.sqrt(len(z))
    assert np.all(np.abs(products.mean(axis=0) - 0.7 * np.linalg.inv(CONSTANT)) < 4.0 * error)


def test_gradients_by_loc_and_duration():
    z = tf.constant(np.random.default_rng(2).uniform(-0.5, 0.8, size=(4, 2)))

    def value(loc, t):
        return np.sum(on_the_sphere(loc, t).log_prob(z))

    loc, t, h = tf.constant(LOC), tf.constant(T, tf.float64), 1e-5
    with tf.GradientTape() as tape:
        tape.watch([loc, t, z])
        log_prob = tf.reduce_sum(on_the_sphere(loc, t).log_prob(z))
    by_loc, by_duration, by_z = tape.gradient(log_prob, [loc, t, z])
    expected = [(value(LOC + h * unit, T) - value(LOC - h * unit, T)) / (2 * h) for unit in np.eye(2)]
    np.testing.assert_allclose(by_loc, expected, rtol=1e-6)
    np.testing.assert_allclose(by_duration, (value(LOC, T + h) - value(LOC, T - h)) / (2 * h), rtol=1e-5)
    assert np.all(np.isfinite(by_z))
    assert np.all(np.abs(by_z) > 1e-3)


def test_samples_carry_gradients():
    loc, t = tf.Variable(LOC), tf.Variable(0.5, dtype=tf.float64)
    law = RiemannianBrownian(loc, t, metric=CONSTANT)
    with tf.GradientTape() as tape:
        z = law.sample(seed=3)
    by_loc, by_duration = tape.gradient(z, [loc, t])
    np.testing.assert_allclose(by_loc, [1.0, 1.0])
    np.testing.assert_allclose(by_duration, np.sum(z - LOC) / (2 * 0.5))
    assert {id(variable) for variable in law.trainable_variables} == {id(loc), id(t)}


def test_batches_are_rows_of_their_own():
    loc = np.random.default_rng(3).normal(size=(4, 1, 2))
    t = np.array([0.05, 0.1, 0.2])
    law = on_the_sphere(loc, t, h0="van_vleck")
    assert law.batch_shape == (4, 3)
    assert law.event_shape == (2,)
    z = law.sample(5, seed=1)
    assert z.shape == (5, 4, 3, 2)
    log_prob = law.log_prob(z)
    assert log_prob.shape == (5, 4, 3)
    row = on_the_sphere(loc[2, 0], t[1], h0="van_vleck")
    np.testing.assert_allclose(log_prob[:, 2, 1], row.log_prob(z[:, 2, 1]), rtol=1e-9)
    np.testing.assert_allclose(law[2, 1].log_prob(z[0, 2, 1]), log_prob[0, 2, 1], rtol=1e-9)
    # Where only the durations are several.
    several = on_the_sphere(loc[2, 0], t, h0="van_vleck").log_prob(z[0, 2, 1])
    np.testing.assert_allclose(several[1], log_prob[0, 2, 1], rtol=1e-9)
    assert several.shape == (3,)


def test_parts_of_a_batch_with_a_constant_metric():
    law = RiemannianBrownian(np.zeros([3, 2]), [0.1, 0.2, 0.3], metric=[[2.0, 0.5], [0.5, 1.0]])
    z = np.random.default_rng(0).normal(size=(3, 2))
    np.testing.assert_allclose(law[1:].log_prob(z[1:]), law.log_prob(z)[1:], rtol=1e-9)
    np.testing.assert_allclose(law[0].log_prob(z[0]), law.log_prob(z)[0], rtol=1e-9)
    assert law[1:].batch_shape == (2,)


def test_one_seed_for_each_example():
    seeds, steps = np.array([[1, 2], [3, 4], [5, 6]], np.int32), {"num_steps": 2}
    for law, rows in ((on_the_sphere(**steps), True), (on_the_sphere(np.tile(LOC, (3, 1)), **steps), False)):
        z = random.sample(law, 4, tf.constant(seeds))
        assert z.shape == (4, 3, 2)
        for i in range(3):
            own = random.sample(law if rows else law[i : i + 1], 4, tf.constant(seeds[i : i + 1]))
            np.testing.assert_allclose(z[:, i : i + 1], own, rtol=1e-12)


def test_one_start_and_one_duration_are_a_batch_of_one():
    law = RiemannianBrownian(np.tile(LOC, (1, 1)), [0.1], metric_fn=sphere, num_steps=2)
    for count in (2, 3):
        assert law.sample(count, seed=0).shape == (count, 1, 2)
    assert law._compiled_motion.num_traces == 1


def test_a_single_point_of_a_metric_for_points():
    """Metrics are functions of [N, D], as in geometry: of one point [D] too, with drift or without."""
    loc, z = np.array([0.2, 1.1]), np.array([0.5, 0.8])
    for drift in (True, False):
        law = RiemannianBrownian(loc, 0.1, metric_fn=half_plane, drift=drift, num_steps=2)
        assert law.sample(seed=0).shape == (2,)
    square = half_plane_distance(loc, z) ** 2
    expected = -np.log(2.0 * np.pi * 0.1) - square / 0.2 - 2.0 * np.log(z[1])
    np.testing.assert_allclose(law.log_prob(z), expected, rtol=1e-3)


@pytest.mark.parametrize("size", [1, 2])
def test_of_a_linear_decoder_it_is_the_gaussian(size):
    decoder, matrix = linear(size)
    loc, z = np.linspace(0.1, 0.4, size), np.random.default_rng(0).normal(size=(3, size))
    covariance = 0.3 * np.linalg.inv(matrix @ matrix.T)
    expected = tfd.MultivariateNormalFullCovariance(loc, covariance).log_prob(z)
    law = RiemannianBrownian(loc, 0.3, embedding_fn=decoder)
    np.testing.assert_allclose(law.log_prob(z), expected, rtol=1e-6)
    if size == 1:
        compiled = tf.function(law.log_prob, jit_compile=True, autograph=False)(tf.constant(z))
        np.testing.assert_allclose(compiled, expected, rtol=1e-6)


def test_where_the_decoder_flattens_a_direction_it_says_so_unless_there_is_jitter():
    loc, z = np.array([0.3, -0.2]), np.array([[0.5, 0.1]])

    def law(**options):
        return RiemannianBrownian(
            loc, 0.1, embedding_fn=lambda z: tf.reduce_sum(z, -1, keepdims=True), num_steps=1, **options
        )

    with pytest.raises(ValueError, match=r"^a Brownian motion needs .* Received: 3 motions of 3 that met another"):
        law().sample(3, seed=0)
    with pytest.raises(ValueError, match=r"give its metric a jitter\. Received: 1 singular of 1"):
        law().log_prob(z)
    graph = tf.function(lambda: (law().sample(3, seed=0), law().log_prob(z)), autograph=False)()
    assert all(np.all(np.isnan(each)) for each in graph)
    # The stated one: 0.1 (1 + the sum of the eigenvalues), in volumes and steps.
    lifted = law(jitter=0.1)
    np.testing.assert_allclose(lifted.metric(z), [[[1.3, 1.0], [1.0, 1.3]]])
    expected = -np.log(2.0 * np.pi * 0.1) - 0.5**2 / 0.2 + 0.5 * np.log(0.69)
    np.testing.assert_allclose(lifted.log_prob(z), [expected], rtol=1e-6)
    samples = lifted.sample(3, seed=0)
    assert np.all(np.abs(samples - loc) > 0.0)


@pytest.mark.parametrize("size", [2, 10, 30])
def test_the_jitter_of_float32_is_enough_for_a_steep_direction(size):
    """In eager code, which checks, as in graphs, and right: the volume is that of G + jitter (1 + trace(G))."""
    z = tf.constant(np.random.default_rng(0).normal(size=[2, size]), tf.float32)
    law = RiemannianBrownian(
        tf.zeros([size]),
        0.1,
        embedding_fn=lambda z: 3.0 * tf.reduce_sum(z, -1, keepdims=True),
        squared_distance_fn=lambda start, z: 9.0 * tf.reduce_sum(z - start, -1) ** 2,
        jitter=1e-5,
        num_steps=1,
    )
    lift, steep = 1e-5 * (1.0 + 9.0 * size), 9.0 * size
    squares = 9.0 * np.sum(z, axis=-1) ** 2
    expected = 0.5 * ((size - 1) * np.log(lift) + np.log(steep + lift))
    expected = expected - 0.5 * size * np.log(2.0 * np.pi * 0.1) - squares / 0.2
    np.testing.assert_allclose(law.log_prob(z), expected, rtol=0.01)
    np.testing.assert_allclose(tf.function(law.log_prob)(z), expected, rtol=0.01)
    assert np.all(np.isfinite(law.sample(3, seed=0)))


def test_a_walk_is_traced_once():
    calls = []

    def metric_fn(z):
        calls.append(len(calls))
        return sphere(z)

    law = RiemannianBrownian(LOC, T, metric_fn=metric_fn, squared_distance_fn=squared_angle, num_steps=2)
    first = law.sample(3, seed=0)
    traced = len(calls)
    assert np.any(law.sample(3, seed=1) != first)
    np.testing.assert_array_equal(law.sample(3, seed=0), first)
    assert len(calls) == traced


def test_in_a_joint_distribution():
    root = tfd.JointDistributionCoroutine.Root

    @tfd.JointDistributionCoroutine
    def joint():
        z = yield root(tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 2, name="start"))
        x = yield RiemannianBrownian(
            z, 0.1, metric_fn=sphere, squared_distance_fn=squared_angle, num_steps=2, name="end"
        )
        yield tfd.Independent(tfd.Normal(x, 0.1), 1, name="seen")

    draws = joint.sample(3, seed=[0, 1])
    assert draws.end.shape == (3, 2)
    expected = tfd.Normal(0.0, 1.0).log_prob(tf.cast(draws.start, tf.float32))
    expected = tf.reduce_sum(tf.cast(expected, tf.float64), -1) + on_the_sphere(draws.start, 0.1).log_prob(draws.end)
    expected += tf.reduce_sum(tfd.Normal(draws.end, tf.constant(0.1, tf.float64)).log_prob(draws.seen), -1)
    np.testing.assert_allclose(joint.log_prob(draws), expected, rtol=1e-5)


def test_kl_of_constant_metrics_is_that_of_gaussians():
    a = RiemannianBrownian(tf.constant([LOC, -LOC]), [0.7, 0.2], metric=CONSTANT)
    b = RiemannianBrownian(tf.zeros([2], tf.float64), 0.4, metric=np.diag([1.0, 3.0]))
    expected = [
        tfd.kl_divergence(
            gaussian(loc, t), tfd.MultivariateNormalDiag(np.zeros(2), np.sqrt(0.4 / np.array([1.0, 3.0])))
        )
        for loc, t in ((LOC, 0.7), (-LOC, 0.2))
    ]
    np.testing.assert_allclose(tfd.kl_divergence(a, b), expected, rtol=1e-10)
    np.testing.assert_allclose(tfd.kl_divergence(a, a), 0.0, atol=1e-12)
    with pytest.raises(NotImplementedError, match=r"average a\.log_prob"):
        tfd.kl_divergence(on_the_sphere(), on_the_sphere())


def test_for_an_unknown_batch():
    def run(z):
        law = on_the_sphere(tf.constant(LOC, tf.float32), h0="van_vleck")
        return law.log_prob(z), law.sample(3, seed=[1, 2])

    z = np.random.default_rng(4).uniform(-0.5, 0.5, size=(4, 2)).astype(np.float32)
    eager = run(tf.constant(z))
    unknown = tf.function(run, input_signature=[tf.TensorSpec([None, 2])], autograph=False)(z)
    np.testing.assert_allclose(unknown[0], eager[0], rtol=1e-3)
    np.testing.assert_allclose(unknown[1], eager[1], atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"duration": 0.0}, "duration must be finite and positive"),
        ({"duration": [-1.0]}, "duration must be finite and positive"),
        ({"loc": [0, 0]}, r"loc must be floating point \[\.\.\., D\]"),
        ({"loc": 0.0}, r"loc must be floating point \[\.\.\., D\]"),
        ({"h0": "two"}, "h0 must be one of one, van_vleck, paper"),
        ({"measure": "counting"}, "measure must be one of lebesgue, riemannian"),
        ({"num_steps": 0}, "num_steps must be a whole number"),
        ({"jitter": -1}, "jitter must be a number of at least 0"),
        ({"metric": np.diag([1.0, 0.0])}, "a metric must be positive definite here"),
        ({"metric": [[2.0]]}, r"metric must be a matrix \[2, 2\]"),
        ({"metric": np.eye(3)}, r"metric must be a matrix \[2, 2\]"),
        ({"metric": np.tile(np.eye(2), [3, 1, 1])}, r"metric must be a matrix \[2, 2\]"),
        ({"metric": [[1.0, 0.5], [0.0, 1.0]]}, "metric must be symmetric"),
        ({"loc": np.zeros([3, 2]), "duration": [1.0, 2.0]}, r"duration must broadcast with the batch \(3,\) of loc"),
        ({"metric": None}, "one of metric, metric_fn and embedding_fn must be the geometry"),
        ({"metric_fn": sphere}, "one of metric, metric_fn and embedding_fn must be the geometry"),
    ],
)
def test_bad_input_is_one_sentence(wrong, sentence):
    arguments = {"loc": LOC, "duration": 1.0, "metric": CONSTANT, **wrong}
    with pytest.raises(ValueError, match=rf"^{sentence}[^\n]* Received: [^\n]*$"):
        RiemannianBrownian(**arguments)


def test_points_of_another_dimension_and_variables_out_of_range_are_one_sentence():
    law = RiemannianBrownian(LOC, 1.0, metric=CONSTANT)
    for call in (law.log_prob, law.metric, law.squared_distance):
        with pytest.raises(ValueError, match=r"^z must have the shape \[\.\.\., 2\]\. Received: shape \(4, 3\)$"):
            call(np.zeros([4, 3]))
    duration = tf.Variable(1.0, dtype=law.dtype)
    law = RiemannianBrownian(LOC, duration, metric=CONSTANT, validate_args=True)
    assert np.isfinite(law.log_prob(np.zeros(2)))
    duration.assign(-1.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"duration must be positive\. Received: another"):
        law.log_prob(np.zeros(2))
