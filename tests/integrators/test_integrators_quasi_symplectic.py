"""The quasi-symplectic integrator against closed forms, autodiff, plain loops, and the paper's misprints."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg

from tests.integrators.potentials import Quartic, flat, log_abs_det_of_jacobian, phase_point, standard_normal
from tests.reference import phase_space as reference
from tfzoo.integrators import quasi_symplectic

pytestmark = pytest.mark.fast


def integrate(position, momentum, log_prob_fn, **options):
    return quasi_symplectic.integrate(quasi_symplectic.init(position, momentum), log_prob_fn, **options)


def integrate_long(*arguments, **options):
    """Returns the same from a graph, in which many steps take a fraction of their time."""
    return tf.function(lambda: integrate(*arguments, **options), autograph=False)()


def rows(step_size, num_steps, size):
    return np.broadcast_to(step_size, [num_steps, size])


STEP_SIZES = {
    "scalar": lambda size: 0.2,
    "per dimension": lambda size: np.linspace(0.1, 0.3, size),
    "per step and dimension": lambda size: np.linspace(0.1, 0.3, 3 * size).reshape(3, size),
}


@pytest.mark.parametrize("damping", [0.0, 0.7])
@pytest.mark.parametrize("step_size", STEP_SIZES)
def test_equals_a_plain_loop(step_size, damping):
    potential, size = Quartic(4), STEP_SIZES[step_size](4)
    q, p = phase_point(2, 3, 4)
    state = integrate(q, p, potential.log_prob, step_size=size, num_steps=3, damping=damping)
    for i in np.ndindex(2, 3):
        plain = reference.quasi_symplectic(q[i], p[i], potential.gradient, step_sizes=rows(size, 3, 4), damping=damping)
        np.testing.assert_allclose((state.position[i], state.momentum[i]), plain, rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_log_det_is_that_of_the_autodiff_jacobian_and_minus_k_d_nu_t(size, damping):
    potential, (q, p) = Quartic(size), phase_point(size)
    options = {"step_size": 0.3, "num_steps": 4, "damping": damping}
    log_det = integrate(q, p, potential.log_prob, **options).log_det
    by_autodiff = log_abs_det_of_jacobian(lambda q, p: integrate(q, p, potential.log_prob, **options), q, p)
    np.testing.assert_allclose(log_det, -4 * size * damping * 0.3, rtol=1e-12)
    np.testing.assert_allclose(by_autodiff, log_det, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("step_size", STEP_SIZES)
def test_log_det_for_each_kind_of_step_size(step_size):
    potential, (q, p), size = Quartic(3), phase_point(3), STEP_SIZES[step_size](3)
    options = {"step_size": size, "num_steps": 3, "damping": 0.7}
    log_det = integrate(q, p, potential.log_prob, **options).log_det
    np.testing.assert_allclose(log_det, -0.7 * np.sum(rows(size, 3, 3)), rtol=1e-12)
    by_autodiff = log_abs_det_of_jacobian(lambda q, p: integrate(q, p, potential.log_prob, **options), q, p)
    np.testing.assert_allclose(by_autodiff, log_det, rtol=1e-9)


def test_noise_does_not_change_the_volume():
    potential, (q, p) = Quartic(2), phase_point(2)
    options = {"step_size": 0.3, "num_steps": 4, "damping": 0.7, "temperature": 1.0, "seed": 1}
    by_autodiff = log_abs_det_of_jacobian(lambda q, p: integrate(q, p, potential.log_prob, **options), q, p)
    np.testing.assert_allclose(by_autodiff, -4 * 2 * 0.7 * 0.3, rtol=1e-9)


@pytest.mark.parametrize("step_size", [0.2, [0.1, 0.2, 0.3]], ids=["scalar", "per dimension"])
def test_without_damping_the_jacobian_is_symplectic(step_size):
    """It keeps sum_j dq_j dp_j / t_j: with one step size per dimension each dimension has a clock of its own."""
    potential, (q, p) = Quartic(3), phase_point(3)

    @tf.function(autograph=False)
    def jacobian(u):
        with tf.GradientTape() as tape:
            tape.watch(u)
            state = integrate(u[:3], u[3:], potential.log_prob, step_size=step_size, num_steps=5)
            end = tf.concat([state.position, state.momentum], 0)
        return tape.jacobian(end, u, experimental_use_pfor=False)

    j = jacobian(tf.constant(np.concatenate([q, p]))).numpy()
    clocks = np.diag(1 / np.broadcast_to(step_size, [3]))
    omega = np.block([[np.zeros((3, 3)), clocks], [-clocks, np.zeros((3, 3))]])
    np.testing.assert_allclose(j.T @ omega @ j, omega, atol=1e-11)


@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_order_two_on_the_damped_harmonic_oscillator(damping):
    q, p = phase_point(5)
    flow = linalg.expm(np.array([[0.0, 1.0], [-1.0, -damping]]))  # of dq = p dt, dp = -(q + nu p) dt, to time 1
    exact = flow @ np.stack([q, p])
    errors = []
    for num_steps in (10, 20, 40):
        state = integrate(q, p, standard_normal, step_size=1 / num_steps, num_steps=num_steps, damping=damping)
        errors.append(np.linalg.norm(np.stack([state.position, state.momentum]) - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 2.0, atol=0.1)


def test_one_undamped_step_of_the_oscillator_in_closed_form():
    q, p, t = 0.4, -1.1, 0.3
    state = quasi_symplectic.step(quasi_symplectic.init([q], [p]), standard_normal, step_size=t)
    matrix = np.array([[1 - t**2 / 2, t - t**3 / 4], [-t, 1 - t**2 / 2]])
    np.testing.assert_allclose((state.position[0], state.momentum[0]), matrix @ [q, p], rtol=1e-6)


def test_reversible_without_damping():
    potential, (q, p) = Quartic(4), phase_point(6, 4)
    forth = integrate(q, p, potential.log_prob, step_size=0.2, num_steps=10)
    back = integrate(forth.position, -forth.momentum, potential.log_prob, step_size=0.2, num_steps=10)
    np.testing.assert_allclose(back.position, q, atol=1e-12)
    np.testing.assert_allclose(-back.momentum, p, atol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_inverse_step_undoes_a_step(damping):
    potential, state = Quartic(4), quasi_symplectic.init(*phase_point(6, 4))
    options = {"step_size": [0.1, 0.2, 0.3, 0.4], "damping": damping}
    there = quasi_symplectic.step(state, potential.log_prob, **options)
    back = quasi_symplectic.inverse_step(there, potential.log_prob, **options)
    for one, other in zip(back[:3], state[:3], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.max(np.abs(there.position - state.position)) > 0.1


def test_energy_error_is_quadratic_in_the_step_and_does_not_drift():
    potential, (q, p) = Quartic(3), phase_point(50, 3)
    before, errors = potential.energy(q, p), []
    for num_steps in (20, 40):
        state = integrate(q, p, potential.log_prob, step_size=2 / num_steps, num_steps=num_steps)
        errors.append(np.sqrt(np.mean((potential.energy(state.position, state.momentum) - before) ** 2)))
    np.testing.assert_allclose(errors[0] / errors[1], 4.0, rtol=0.1)
    long = integrate_long(q, p, potential.log_prob, step_size=0.05, num_steps=800)
    assert np.sqrt(np.mean((potential.energy(long.position, long.momentum) - before) ** 2)) < 5 * errors[1]


def test_damping_takes_energy_away():
    potential, (q, p) = Quartic(3), phase_point(50, 3)
    state = integrate_long(q, p, potential.log_prob, step_size=0.05, num_steps=400, damping=0.7)
    assert np.all(potential.energy(state.position, state.momentum) < 0.01 * potential.energy(q, p))


# === Noise ===


def stationary_covariance(t, damping, temperature):
    """Of one linear step on N(0, 1): the solution of C = A C A' + b b'."""
    e, drift = np.exp(-damping * t / 2), np.array([[1.0, t / 2], [0.0, 1.0]])
    kick, damp = np.array([[1.0, 0.0], [-t, 1.0]]), np.diag([1.0, e])
    step = damp @ drift @ kick @ drift @ damp
    noise = damp @ drift @ np.array([0.0, np.sqrt(2 * damping * temperature * t)])
    return linalg.solve_discrete_lyapunov(step, np.outer(noise, noise))


@pytest.mark.parametrize(("t", "damping", "temperature"), [(0.9, 1.0, 1.0), (0.9, 0.4, 2.0)])
def test_stationary_covariance_with_noise_is_that_of_the_linear_step(t, damping, temperature, test_seed):
    count = 40_000
    zeros = np.zeros([count, 1])
    run = tf.function(
        lambda: integrate(
            zeros,
            zeros,
            standard_normal,
            step_size=t,
            num_steps=60,
            damping=damping,
            temperature=temperature,
            seed=test_seed,
        ),
        autograph=False,
    )
    state = run()
    found = np.concatenate([state.position, state.momentum], axis=1)
    exact = stationary_covariance(t, damping, temperature)
    products = np.einsum("ni,nj->nij", found, found)
    error = products.std(axis=0) / np.sqrt(count)
    assert np.all(np.abs(products.mean(axis=0) - exact) <= 4 * error)
    # The step's own bias is seen: the covariance is T only up to O(t^2).
    assert np.abs(exact[1, 1] - temperature) > 4 * error[1, 1]


def test_momentum_of_a_free_particle_has_the_temperature_it_should(test_seed):
    count, t, damping, temperature = 100_000, 0.5, 0.8, 1.5
    zeros = np.zeros([count, 1])
    state = integrate(
        zeros, zeros, flat, step_size=t, num_steps=40, damping=damping, temperature=temperature, seed=test_seed
    )
    exact = damping * t * temperature / np.sinh(damping * t)
    squares = np.square(state.momentum)
    assert abs(squares.mean() - exact) <= 4 * squares.std() / np.sqrt(count)


def test_each_example_has_its_own_noise_and_each_step_another():
    seeds, zeros = np.array([[1, 2], [3, 4], [5, 6]]), np.zeros([2, 3, 4])
    options = {"step_size": 0.2, "num_steps": 2, "damping": 1.0, "temperature": 1.0}
    all_rows = integrate(zeros, zeros, flat, seed=seeds, **options)
    for i in range(3):
        alone = integrate(zeros[:, i : i + 1], zeros[:, i : i + 1], flat, seed=seeds[i : i + 1], **options)
        np.testing.assert_array_equal(alone.momentum[:, 0], all_rows.momentum[:, i])
    kicks = np.diff(
        [np.zeros([2, 3, 4])]
        + [integrate(zeros, zeros, flat, seed=7, **{**options, "num_steps": k}).momentum for k in (1, 2)],
        axis=0,
    )
    assert np.abs(np.corrcoef(kicks[0].ravel(), kicks[1].ravel())[0, 1]) < 0.8


# === Cost, compilation, derivatives ===


def test_one_gradient_a_step_and_one_trace():
    calls = []

    def counted(z):
        calls.append(1)
        return standard_normal(z)

    q, p = phase_point(3, 2)
    integrate(q, p, counted, step_size=0.1, num_steps=7)
    assert len(calls) == 7  # eagerly, each call is an evaluation
    calls.clear()
    run = tf.function(lambda q, p: integrate(q, p, counted, step_size=0.1, num_steps=7), autograph=False)
    run(q, p), run(p, q)
    assert len(calls) == 1
    loops = [node for node in run.get_concrete_function(q, p).graph.as_graph_def().node if "While" in node.op]
    assert len(loops) == 1


@pytest.mark.parametrize("noisy", [False, True])
def test_eager_graph_and_xla_agree(noisy):
    potential, (q, p) = Quartic(3), phase_point(4, 3)
    noise = {"temperature": 1.0, "seed": 3} if noisy else {}

    def run(q, p):
        return integrate(q, p, potential.log_prob, step_size=[0.1, 0.2, 0.3], num_steps=5, damping=0.5, **noise)

    eager = run(q, p)
    for options in ({}, {"jit_compile": True}):
        compiled = tf.function(run, autograph=False, **options)(tf.constant(q), tf.constant(p))
        for one, other in zip(eager, compiled, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_batches_of_unknown_size_and_of_one():
    potential = Quartic(3)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.float64)] * 2, autograph=False)
    def run(q, p):
        return integrate(q, p, potential.log_prob, step_size=0.1, num_steps=3, damping=0.5)

    q, p = phase_point(2, 5, 3)
    all_rows, one = run(q, p), run(q[:1, 2:3], p[:1, 2:3])
    np.testing.assert_allclose(one.position[0, 0], all_rows.position[0, 2], rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_derivatives_agree_with_central_differences(jit_compile):
    """Through the loop and the gradients inside it: with respect to position, step size, damping and the target."""
    potential, (q, p) = Quartic(3), phase_point(4, 3)
    names = ("position", "step_size", "damping", "stretch")
    values = [q, np.array([0.1, 0.2, 0.3]), np.array(0.4), np.array(1.3)]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def outcome_and_gradient(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            q, t, nu, stretch = arguments
            state = integrate(q, p, lambda z: stretch * potential.log_prob(z), step_size=t, num_steps=4, damping=nu)
            outcome = tf.reduce_sum(tf.sin(state.position) + state.momentum**2) + tf.reduce_sum(state.log_det)
        return outcome, tape.gradient(outcome, arguments)

    arguments = [tf.constant(value) for value in values]
    _, gradients = outcome_and_gradient(*arguments)
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        direction = rng.normal(size=values[i].shape)
        ends = []
        for sign in (1, -1):
            moved = list(arguments)
            moved[i] = tf.constant(values[i] + sign * 1e-5 * direction)
            ends.append(outcome_and_gradient(*moved)[0])
        difference = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(np.sum(gradients[i] * direction), difference, rtol=1e-6, err_msg=name)


def test_first_order_option_gives_the_same_state_and_treats_gradients_as_constants():
    """One step by hand: position' = position + t momentum + t^2/2 g with g a constant."""
    potential, (q, p), t = Quartic(3), phase_point(4, 3), tf.constant(0.3, tf.float64)
    results = {}
    for second_order in (True, False):
        with tf.GradientTape() as tape:
            start = tf.constant(q)
            tape.watch([start, t])
            state = integrate(start, p, potential.log_prob, step_size=t, num_steps=1, second_order=second_order)
        results[second_order] = state, tape.gradient(state.position, [start, t])
    np.testing.assert_array_equal(results[True][0].position, results[False][0].position)
    to_start, to_step = results[False][1]
    np.testing.assert_allclose(to_start, np.ones_like(q))
    g = np.stack([potential.gradient(z) for z in q + 0.15 * p])
    np.testing.assert_allclose(to_step, np.sum(p + 0.3 * g), rtol=1e-10)
    assert np.max(np.abs(results[True][1][0] - to_start)) > 0.01


# === What the paper prints ===


def test_with_the_printed_sign_of_equation_5_a_free_particle_stands_still():
    q, p = phase_point(3)
    state = integrate(q, p, flat, step_size=0.4, num_steps=1)
    np.testing.assert_allclose(state.position, q + 0.4 * p)  # as it should
    middle = q - 0.2 * p
    np.testing.assert_allclose(middle + 0.2 * p, q)  # as printed: (t / 2) out, (t / 2) back


def test_printed_algorithm_1_walks_down_log_p_and_its_volume_depends_on_the_hessian():
    q, p = np.full(2, 0.5), np.zeros(2)
    steps, damping = np.full(3, 0.3), 0.7
    printed, _ = reference.printed_algorithm_1(q, p, lambda z: -z, step_sizes=steps, damping=damping)
    ours = integrate(q, p, standard_normal, step_size=0.3, num_steps=3, damping=damping)
    assert np.linalg.norm(printed) > np.linalg.norm(q) > np.linalg.norm(ours.position)
    volumes = []
    for curvature in (1.0, 4.0):
        columns = [
            np.concatenate(
                reference.printed_algorithm_1(
                    u[:2], u[2:], lambda z, c=curvature: -c * z, step_sizes=steps, damping=0.7
                )
            )
            for u in np.eye(4)
        ]
        volumes.append(np.linalg.slogdet(np.array(columns))[1])
    expected = [-3 * 2 * 0.7 * 0.3 + 3 * 2 * np.log(1 + 0.15 * c) for c in (1.0, 4.0)]
    np.testing.assert_allclose(volumes, expected, rtol=1e-10)


def test_the_printed_volume_is_right_in_one_dimension_only():
    for size in (1, 5):
        log_det = integrate(*phase_point(size), standard_normal, step_size=0.3, num_steps=1, damping=0.7).log_det
        assert np.isclose(log_det, -0.7 * 0.3) == (size == 1)


def test_the_printed_noise_overheats(test_seed):
    """Noise 2 sqrt(T) is that of a temperature of 2 T / nu: two hundred times too hot at the paper's nu."""
    count, num_steps, t, damping = 10_000, 500, 0.5, 0.01
    zeros, printed = np.zeros([count, 1]), 2 / damping  # sqrt(2 nu T') = 2 sqrt(T) for T' = 2 T / nu
    state = integrate_long(
        zeros, zeros, flat, step_size=t, num_steps=num_steps, damping=damping, temperature=printed, seed=test_seed
    )
    exact = damping * t * printed / np.sinh(damping * t) * (1 - np.exp(-2 * damping * t * num_steps))
    squares = np.square(state.momentum)
    assert abs(squares.mean() - exact) <= 4 * squares.std() / np.sqrt(count)
    assert squares.mean() > 180
