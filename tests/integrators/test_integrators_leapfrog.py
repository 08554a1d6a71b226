"""The leapfrog integrator against closed forms, autodiff, plain loops, and its conjugate."""

import numpy as np
import pytest
import tensorflow as tf

from tests.integrators.potentials import Quartic, log_abs_det_of_jacobian, phase_point, standard_normal
from tests.reference import phase_space as reference
from tfzoo.integrators import leapfrog, quasi_symplectic

pytestmark = pytest.mark.fast


def integrate(position, momentum, log_prob_fn, **options):
    return leapfrog.integrate(leapfrog.init(position, momentum), log_prob_fn, **options)


TEMPERINGS = {"none": None, "fixed": leapfrog.quadratic_tempering(1.7, 3).numpy(), "free": [0.9, 0.8, 0.95]}


@pytest.mark.parametrize("tempering", TEMPERINGS)
@pytest.mark.parametrize("step_size", [0.2, [0.1, 0.2, 0.3], np.linspace(0.1, 0.3, 9).reshape(3, 3)], ids=str)
def test_equals_a_plain_loop(step_size, tempering):
    potential, (q, p), factors = Quartic(3), phase_point(5, 3), TEMPERINGS[tempering]
    state = integrate(q, p, potential.log_prob, step_size=step_size, num_steps=3, tempering=factors)
    for i in range(5):
        plain = reference.leapfrog(
            q[i], p[i], potential.gradient, step_sizes=np.broadcast_to(step_size, [3, 3]), tempering=factors
        )
        np.testing.assert_allclose((state.position[i], state.momentum[i]), plain, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
@pytest.mark.parametrize("tempering", TEMPERINGS)
def test_log_det_is_that_of_the_autodiff_jacobian(size, tempering):
    potential, (q, p) = Quartic(size), phase_point(size)
    options = {"step_size": 0.3, "num_steps": 3, "tempering": TEMPERINGS[tempering]}
    log_det = integrate(q, p, potential.log_prob, **options).log_det
    by_autodiff = log_abs_det_of_jacobian(lambda q, p: integrate(q, p, potential.log_prob, **options), q, p)
    np.testing.assert_allclose(by_autodiff, log_det, rtol=1e-9, atol=1e-10)
    factors = TEMPERINGS[tempering]
    np.testing.assert_allclose(log_det, 0.0 if factors is None else size * np.sum(np.log(factors)), atol=1e-12)


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_quadratic_tempering_cools_from_t0_to_one(num_steps):
    start = tf.constant(1.5, tf.float64)
    factors = leapfrog.quadratic_tempering(start, num_steps)
    assert factors.shape == (num_steps,)
    np.testing.assert_allclose(np.prod(factors) ** 2 * 1.5, 1.0, rtol=1e-12)
    temperatures = 1.5 * np.cumprod(factors) ** 2
    np.testing.assert_allclose(temperatures, 1.5 - 0.5 * (np.arange(1, num_steps + 1) / num_steps) ** 2, rtol=1e-12)


def test_order_two_on_the_harmonic_oscillator():
    q, p = phase_point(5)
    exact = np.stack([q * np.cos(1) + p * np.sin(1), p * np.cos(1) - q * np.sin(1)])
    errors = []
    for num_steps in (10, 20, 40):
        state = integrate(q, p, standard_normal, step_size=1 / num_steps, num_steps=num_steps)
        errors.append(np.linalg.norm(np.stack([state.position, state.momentum]) - exact))
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2.0, atol=0.1)


def test_one_step_of_the_oscillator_in_closed_form():
    q, p, t = 0.4, -1.1, 0.3
    state = leapfrog.step(leapfrog.init([q], [p]), standard_normal, step_size=t)
    matrix = np.array([[1 - t**2 / 2, t], [-t + t**3 / 4, 1 - t**2 / 2]])
    np.testing.assert_allclose((state.position[0], state.momentum[0]), matrix @ [q, p], rtol=1e-6)


def test_reversible():
    potential, (q, p) = Quartic(4), phase_point(6, 4)
    forth = integrate(q, p, potential.log_prob, step_size=0.2, num_steps=10)
    back = integrate(forth.position, -forth.momentum, potential.log_prob, step_size=0.2, num_steps=10)
    np.testing.assert_allclose(back.position, q, atol=1e-12)
    np.testing.assert_allclose(-back.momentum, p, atol=1e-12)


@pytest.mark.parametrize("tempering", [None, 0.8])
def test_inverse_step_undoes_a_step(tempering):
    potential, state = Quartic(4), leapfrog.init(*phase_point(6, 4))
    options = {"step_size": [0.1, 0.2, 0.3, 0.4], "tempering": tempering}
    there = leapfrog.step(state, potential.log_prob, **options)
    back = leapfrog.inverse_step(there, potential.log_prob, **options)
    for one, other in zip(back[:3], state[:3], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_energy_error_is_quadratic_in_the_step():
    potential, (q, p) = Quartic(3), phase_point(50, 3)
    before, errors = potential.energy(q, p), []
    for num_steps in (20, 40):
        state = integrate(q, p, potential.log_prob, step_size=2 / num_steps, num_steps=num_steps)
        errors.append(np.sqrt(np.mean((potential.energy(state.position, state.momentum) - before) ** 2)))
    np.testing.assert_allclose(errors[0] / errors[1], 4.0, rtol=0.1)


def test_it_is_the_conjugate_of_the_undamped_quasi_symplectic_integrator():
    """Half a kick and half a drift carry one scheme's trajectory into the other's: K/2 D K/2 and D/2 K D/2."""
    potential, (q, p), t = Quartic(3), phase_point(4, 3), 0.25

    def half(q, p):
        p = p + t / 2 * np.stack([potential.gradient(z) for z in q])
        return q + t / 2 * p, p

    kick_first = integrate(q, p, potential.log_prob, step_size=t, num_steps=6)
    drift_first = quasi_symplectic.integrate(
        quasi_symplectic.init(*half(q, p)), potential.log_prob, step_size=t, num_steps=6
    )
    carried = half(kick_first.position.numpy(), kick_first.momentum.numpy())
    np.testing.assert_allclose(drift_first.position, carried[0], rtol=1e-10)
    np.testing.assert_allclose(drift_first.momentum, carried[1], rtol=1e-10)
    assert np.max(np.abs(drift_first.position - kick_first.position)) > 0.01  # conjugate, not equal


def test_one_more_gradient_than_steps():
    calls = []

    def counted(z):
        calls.append(1)
        return standard_normal(z)

    q, p = phase_point(3, 2)
    state = integrate(q, p, counted, step_size=0.1, num_steps=7)
    assert len(calls) == 8
    leapfrog.integrate(state, counted, step_size=0.1, num_steps=7)  # goes on with the gradient that it has
    assert len(calls) == 15
    integrate(q, p, counted, step_size=0.1, num_steps=0)
    assert len(calls) == 15
    calls.clear()
    run = tf.function(lambda q, p: integrate(q, p, counted, step_size=0.1, num_steps=7), autograph=False)
    run(q, p), run(p, q)
    assert len(calls) == 3  # before the loop, in it, and after it


@pytest.mark.parametrize("num_steps", [1, 4])
@pytest.mark.parametrize("second_order", [True, False])
def test_the_state_ends_with_the_log_density_and_its_derivatives(num_steps, second_order):
    potential, (q, p) = Quartic(3), phase_point(4, 3)
    options = {"step_size": 0.2, "num_steps": num_steps, "second_order": second_order}
    q, p = tf.constant(q), tf.constant(p)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(q)
        state = integrate(q, p, potential.log_prob, **options)
        again = potential.log_prob(state.position)
    np.testing.assert_allclose(state.log_prob, again, rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(state.log_prob, q), tape.gradient(again, q), rtol=1e-9)
    assert integrate(q, p, potential.log_prob, step_size=0.2, num_steps=0).log_prob is None
    far = integrate(1e200 * q, p, potential.log_prob, **options)
    assert np.all(np.isneginf(far.log_prob))
    assert not np.any(far.is_finite)


def test_steps_one_by_one_are_the_loop():
    potential, (q, p) = Quartic(3), phase_point(4, 3)
    state = leapfrog.init(q, p)
    for alpha in TEMPERINGS["free"]:
        state = leapfrog.step(state, potential.log_prob, step_size=0.2, tempering=alpha)
    whole = integrate(q, p, potential.log_prob, step_size=0.2, num_steps=3, tempering=TEMPERINGS["free"])
    for one, other in zip(state, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_eager_graph_and_xla_agree():
    potential, (q, p) = Quartic(3), phase_point(4, 3)

    def run(q, p):
        return integrate(q, p, potential.log_prob, step_size=0.2, num_steps=3, tempering=TEMPERINGS["free"])

    eager = run(q, p)
    for options in ({}, {"jit_compile": True}):
        compiled = tf.function(run, autograph=False, **options)(tf.constant(q), tf.constant(p))
        for one, other in zip(eager, compiled, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_derivatives_agree_with_central_differences(jit_compile):
    potential, (q, p) = Quartic(3), phase_point(4, 3)
    names, values = ("position", "step_size", "temperature"), [q, np.array([0.1, 0.2, 0.3]), np.array(1.4)]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def outcome_and_gradient(*arguments):
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            q, t, temperature = arguments
            factors = leapfrog.quadratic_tempering(temperature, 4)
            state = integrate(q, p, potential.log_prob, step_size=t, num_steps=4, tempering=factors)
            outcome = tf.reduce_sum(tf.sin(state.position) + state.momentum**2) + tf.reduce_sum(state.log_det)
        return outcome, tape.gradient(outcome, arguments)

    arguments = [tf.constant(value) for value in values]
    _, gradients = outcome_and_gradient(*arguments)
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        direction, ends = rng.normal(size=values[i].shape), []
        for sign in (1, -1):
            moved = list(arguments)
            moved[i] = tf.constant(values[i] + sign * 1e-5 * direction)
            ends.append(outcome_and_gradient(*moved)[0])
        np.testing.assert_allclose(
            np.sum(gradients[i] * direction), (ends[0] - ends[1]) / 2e-5, rtol=1e-6, err_msg=name
        )
