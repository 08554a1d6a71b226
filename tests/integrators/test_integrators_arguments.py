"""What the integrators refuse, and what becomes of chains that diverge."""

import numpy as np
import pytest
import tensorflow as tf

from tfzoo.integrators import leapfrog, phase_space, quasi_symplectic

pytestmark = pytest.mark.fast

each_integrator = pytest.mark.parametrize(
    "integrator", [quasi_symplectic, leapfrog], ids=["quasi_symplectic", "leapfrog"]
)


def standard_normal(z):
    return -0.5 * tf.reduce_sum(tf.square(z), axis=-1)


def calls(integrator):
    """Yields the functions that take a step size, each as a function of its keyword arguments."""
    start = integrator.init(tf.ones([3, 2]), tf.ones([3, 2]))
    log_prob_fn = standard_normal

    def call(function, extra):
        return lambda **kwargs: function(start, kwargs.pop("log_prob_fn", log_prob_fn), **extra, **kwargs)

    yield call(integrator.step, {})
    yield call(integrator.inverse_step, {})
    yield call(integrator.integrate, {"num_steps": 2})


@each_integrator
@pytest.mark.parametrize(
    ("step_size", "message"),
    [
        (-0.1, "step_size must be finite and not negative"),
        ([0.1, -0.1], "step_size must be finite and not negative"),
        (np.nan, "step_size must be finite and not negative"),
        (np.inf, "step_size must be finite and not negative"),
        ([0.1, 0.1, 0.1], r"step_size must be a number, one per dimension \[2\]"),
        (np.full([3, 2], 0.1), r"step_size must be a number, one per dimension \[2\]"),
        (None, "step_size must be of float32"),
        ("0.1", "step_size must be of float32"),
        (tf.constant(0.1, tf.float64), "step_size must be of float32"),
    ],
)
def test_a_bad_step_size_is_an_error(integrator, step_size, message):
    for call in calls(integrator):
        with pytest.raises(ValueError, match=rf"{message}[\s\S]*Received: "):
            call(step_size=step_size)


@pytest.mark.parametrize("name", ["damping", "temperature"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, "must be finite and not negative"),
        (np.nan, "must be finite and not negative"),
        (np.inf, "must be finite and not negative"),
        ([0.1, 0.1], r"must have the shape \[\]"),
        ("hot", "must be of float32"),
    ],
)
def test_bad_dampings_and_temperatures_are_errors(name, value, message):
    step, inverse_step, integrate = calls(quasi_symplectic)
    for call in (step, inverse_step, integrate):
        if name == "temperature" and call is inverse_step:
            continue
        extra = {"damping": 0.1, "seed": 0} if name == "temperature" else {}
        with pytest.raises(ValueError, match=f"{name} {message}.*Received: "):
            call(step_size=0.1, **{**extra, name: value})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "must be finite and positive"),
        (-0.9, "must be finite and positive"),
        (np.nan, "must be finite and positive"),
        (np.inf, "must be finite and positive"),
        ([0.9, 0.9, 0.9], "must have the shape"),
        ("cold", "must be of float32"),
    ],
)
def test_a_bad_tempering_is_an_error(value, message):
    step, inverse_step, integrate = calls(leapfrog)
    for call in (step, inverse_step):
        with pytest.raises(ValueError, match=f"tempering {message}.*Received: "):
            call(step_size=0.1, tempering=value)
    pair = value if np.ndim(value) else [0.9, value]
    with pytest.raises(ValueError, match=rf"tempering {message}[\s\S]*Received: "):
        integrate(step_size=0.1, tempering=pair)


def test_tempering_of_a_trajectory_has_one_factor_a_step():
    *_, integrate = calls(leapfrog)
    for factors in (0.9, [0.9], [[0.9, 0.9]]):
        with pytest.raises(ValueError, match=r"tempering must have the shape \[2\]. Received: shape"):
            integrate(step_size=0.1, tempering=factors)


@pytest.mark.parametrize("temperature", [0.0, -1.5, np.nan, [1.5, 1.5], "warm", tf.constant(2)])
def test_quadratic_tempering_starts_from_one_positive_temperature(temperature):
    with pytest.raises(ValueError, match=r"initial_temperature must .*Received: "):
        leapfrog.quadratic_tempering(temperature, 2)


@each_integrator
@pytest.mark.parametrize("num_steps", [-1, 1.0, True, None, "2", tf.constant(2)])
def test_a_bad_number_of_steps_is_an_error(integrator, num_steps):
    start = integrator.init(tf.ones([3, 2]), tf.ones([3, 2]))
    with pytest.raises(ValueError, match=r"num_steps must be a whole number of at least 0. Received: "):
        integrator.integrate(start, standard_normal, step_size=0.1, num_steps=num_steps)
    with pytest.raises(ValueError, match=r"num_steps must be a whole number of at least 0. Received: "):
        leapfrog.quadratic_tempering(1.5, num_steps)


@each_integrator
@pytest.mark.parametrize(
    "log_prob_fn",
    [
        lambda z: -tf.square(z),
        lambda z: -tf.reduce_sum(tf.square(z)),
        lambda z: -tf.reduce_sum(tf.square(z), axis=-1, keepdims=True),
        lambda z: tf.zeros(z.shape[:-1], tf.int32),
    ],
    ids=["per dimension", "over the batch", "with an axis more", "integers"],
)
def test_a_log_density_of_a_wrong_shape_or_dtype_is_an_error(integrator, log_prob_fn):
    for call in calls(integrator):
        with pytest.raises(ValueError, match=r"log_prob_fn must return one number for each position.*Received: "):
            call(step_size=0.1, log_prob_fn=log_prob_fn)


def test_noise_needs_a_seed():
    step, _, integrate = calls(quasi_symplectic)
    for call in (step, integrate):
        with pytest.raises(ValueError, match=r"seed must be given where there is noise. Received: None"):
            call(step_size=0.1, damping=0.1, temperature=1.0)
        with pytest.raises(ValueError, match=r"seed must be an int, a pair .*Received: "):
            call(step_size=0.1, damping=0.1, temperature=1.0, seed=1.5)


@each_integrator
@pytest.mark.parametrize(
    ("position", "momentum", "message"),
    [
        (tf.zeros([3, 2]), tf.zeros([2]), "position and momentum must be of one shape"),
        (tf.zeros([3, 2]), tf.zeros([1, 2]), "position and momentum must be of one shape"),
        (tf.zeros([3, 2]), tf.zeros([3, 2], tf.float64), "momentum must be of float32"),
        (0.0, 0.0, r"position must be floating point \[..., D\]"),
        ([1, 2], [1, 2], r"position must be floating point \[..., D\]"),
    ],
)
def test_position_and_momentum_are_of_one_shape_and_floating_point(integrator, position, momentum, message):
    with pytest.raises(ValueError, match=rf"{message}[\s\S]*Received: "):
        integrator.init(position, momentum)


# === Chains that diverge ===


def wall(of):
    """A standard normal up to z_0 = 2, and `of` z beyond."""
    return lambda z: tf.where(z[..., 0] < 2.0, standard_normal(z), of(z))


WALLS = {
    "nan": wall(lambda z: tf.fill(tf.shape(z)[:-1], tf.constant(np.nan, z.dtype))),
    "-inf": wall(lambda z: tf.fill(tf.shape(z)[:-1], tf.constant(-np.inf, z.dtype))),
    "inf": wall(lambda z: tf.fill(tf.shape(z)[:-1], tf.constant(np.inf, z.dtype))),
    "nan with a finite gradient": lambda z: tf.reduce_sum(tf.math.log(2.0 - z), axis=-1),
    "nan with its gradient": lambda z: tf.reduce_sum(tf.sqrt(2.0 - z), axis=-1) + standard_normal(z),
}


@each_integrator
@pytest.mark.parametrize("log_prob_fn", WALLS.values(), ids=WALLS)
def test_a_log_density_that_is_not_finite_stops_the_chains_that_ask_for_it_and_no_other(integrator, log_prob_fn):
    position = np.array([[0.1, 0.2], [1.5, 0.0], [-0.4, 0.3], [3.0, 0.0], [np.nan, 0.0]])
    momentum = np.array([[0.2, -0.1], [4.0, 0.0], [0.1, 0.3], [0.0, 0.0], [0.0, 0.0]])

    def end(position, momentum):
        start = integrator.init(position, momentum)
        return integrator.integrate(start, log_prob_fn, step_size=0.2, num_steps=4)

    state = end(position, momentum)
    np.testing.assert_array_equal(state.is_finite, [True, False, True, False, False])
    for numbers in state[:3] + state[4:5]:
        assert np.isfinite(numbers).all()
    for log_prob in state[5:]:  # leapfrog's
        np.testing.assert_array_equal(np.isneginf(log_prob), [False, True, False, True, True])
    sound = np.array(state.is_finite)
    alone = end(np.where(sound[:, None], position, 0.0), np.where(sound[:, None], momentum, 0.0))
    assert np.all(alone.is_finite)
    for name in ("position", "momentum", "log_det"):
        np.testing.assert_array_equal(getattr(state, name)[sound], getattr(alone, name)[sound])


@each_integrator
@pytest.mark.parametrize("bad_start", [50.0, 1e5, 1e30, np.inf, np.nan])
def test_weights_have_the_gradient_of_the_sound_chains_when_another_blows_up(integrator, bad_start):
    weight = tf.Variable(0.3)

    def gradient(position):
        def log_prob_fn(z):
            return -weight * tf.reduce_sum(z**4, axis=-1)

        with tf.GradientTape() as tape:
            start = integrator.init(position, np.full([3, 2], 0.5, np.float32))
            state = integrator.integrate(start, log_prob_fn, step_size=0.2, num_steps=5)
            each = log_prob_fn(state.position) - 0.5 * tf.reduce_sum(tf.square(state.momentum), axis=-1)
            total = tf.reduce_sum(tf.where(state.is_finite, each, 0.0)[:2])
        return state, tape.gradient(total, weight)

    position = np.array([[0.5, -0.3], [1.0, 0.2], [bad_start, 0.0]], np.float32)
    state, with_bad = gradient(position)
    np.testing.assert_array_equal(state.is_finite, [True, True, False])
    assert np.isfinite(state.position).all()
    assert np.isfinite(state.momentum).all()
    position[2] = 0.1
    state, without = gradient(position)
    assert np.all(state.is_finite)
    assert abs(without) > 1e-3
    np.testing.assert_array_equal(with_bad, without)


@each_integrator
def test_a_diverged_chain_stands_where_it_was_sound_last(integrator):
    def log_prob_fn(z):
        return -tf.reduce_sum(z**4, axis=-1)

    state = integrator.init([[30.0]], [[0.0]])
    for _ in range(6):
        before, state = state, integrator.step(state, log_prob_fn, step_size=0.5)
        if not state.is_finite[0]:
            np.testing.assert_array_equal(state.position, before.position)
            np.testing.assert_array_equal(state.momentum, before.momentum)
            np.testing.assert_array_equal(state.log_det, before.log_det)
    assert not state.is_finite[0]


def test_a_chain_diverges_where_a_step_leads_beyond_reach_and_back():
    """The middle, where the density is asked for, is held at the edge; from there the kick throws it back."""
    reach = np.float32(np.finfo(np.float32).max ** 0.25)
    start = quasi_symplectic.init([[0.0], [0.0]], [[0.9 * reach], [0.4 * reach]])
    state = quasi_symplectic.step(start, lambda z: 0.4 * standard_normal(z), step_size=4.0)
    np.testing.assert_array_equal(state.is_finite, [False, True])
    np.testing.assert_array_equal(state.position[0], start.position[0])
    np.testing.assert_array_equal(state.momentum[0], start.momentum[0])


@each_integrator
def test_first_order_option_of_the_inverse_treats_gradients_as_constants(integrator):
    """On N(0, I) one step back by hand, without what the gradient depends on."""
    t, gradients = 0.3, {}
    position, momentum = tf.constant([0.4, -1.0]), tf.constant([0.5, 0.2])
    for second_order in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(position)
            start = integrator.init(position, momentum)
            back = integrator.inverse_step(start, standard_normal, step_size=t, second_order=second_order)
        gradients[second_order] = tape.gradient(back.position, position)
    np.testing.assert_allclose(gradients[True], np.full(2, 1.0 - t**2 / 2), rtol=1e-6)
    np.testing.assert_allclose(gradients[False], np.ones(2), rtol=1e-6)


def test_within_reach_is_where_squares_of_squares_are_finite():
    reach = np.float32(np.finfo(np.float32).max ** 0.25)
    vectors = np.array([[0.0, -1e9], [reach * 1.001, 0.0], [np.nan, 0.0], [0.0, -np.inf]], np.float32)
    np.testing.assert_array_equal(phase_space.within_reach(tf.constant(vectors)), [True, False, False, False])
    both = phase_space.within_reach(tf.constant(vectors), tf.zeros_like(vectors[:, :1]))
    np.testing.assert_array_equal(both, [True, False, False, False])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_held_within_reach_is_not_within_reach_afterwards_and_has_no_gradient(dtype):
    reach = np.finfo(dtype).max ** 0.25
    vector = tf.constant(np.array([1.0, -2.0 * reach, np.inf, -0.5 * reach], dtype))
    with tf.GradientTape() as tape:
        tape.watch(vector)
        held = phase_space.held_within_reach(vector)
    np.testing.assert_allclose(held, np.array([1.0, -reach, reach, -0.5 * reach], dtype), rtol=1e-6)
    np.testing.assert_array_equal(phase_space.within_reach(held[:, tf.newaxis]), [True, False, False, True])
    np.testing.assert_array_equal(tape.gradient(held, vector), [1.0, 0.0, 0.0, 1.0])


def test_a_chain_that_a_large_step_throws_out_leaves_the_gradients_of_shared_weights_finite():
    weights, t = tf.Variable([0.5, 0.3]), tf.Variable(4.0)
    start = leapfrog.init([[0.1, 0.2], [0.3, 0.1]], [[0.1, 0.2], [3e9, -3e9]])

    def log_prob_fn(z):  # overflows where z is negative and large
        return -0.5 * tf.reduce_sum(z * weights + tf.exp(-z * weights) * (z - 1.0) ** 2, axis=-1)

    with tf.GradientTape() as tape:
        state = leapfrog.integrate(start, log_prob_fn, step_size=t, num_steps=1)
        loss = tf.reduce_sum(tf.where(state.is_finite, tf.reduce_sum(state.position**2, -1), 0.0))
    np.testing.assert_array_equal(state.is_finite, [True, False])
    assert all(np.all(np.isfinite(gradient)) for gradient in tape.gradient(loss, [weights, t]))


@each_integrator
@pytest.mark.parametrize("direction", ["step", "inverse_step"])
def test_the_log_density_is_never_asked_for_at_nan(integrator, direction):
    def log_prob_fn(z):
        with tf.control_dependencies([tf.debugging.assert_all_finite(z, "asked for at NaN")]):
            return -0.5 * tf.reduce_sum(z**2, axis=-1)

    @tf.function
    def after_a_step(step_size):
        start = integrator.init([[1.0, 2.0]], [[1.0, 1.0]])
        return getattr(integrator, direction)(start, log_prob_fn, step_size=step_size)

    state = after_a_step(tf.constant(np.nan))
    assert not state.is_finite[0]
    np.testing.assert_array_equal(state.position, [[1.0, 2.0]])


def test_a_damping_that_is_no_number_stops_all_chains():
    start = quasi_symplectic.init([[1.0, 2.0]], [[3.0, 4.0]])

    @tf.function
    def after_a_step(damping):
        return quasi_symplectic.step(
            start, lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1), step_size=0.1, damping=damping
        )

    state = after_a_step(tf.constant(np.nan))
    assert not state.is_finite[0]
    for found, expected in zip(state[:3], start[:3], strict=True):
        np.testing.assert_array_equal(found, expected)
