"""Short-run Langevin dynamics against closed forms on Gaussians, plain loops, and TFP's kernel."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.integrators import targets
from tests.integrators.potentials import Quartic, standard_normal
from tfzoo import random
from tfzoo.integrators import short_run

pytestmark = pytest.mark.fast


def integrate(position, log_prob_fn, **options):
    return short_run.integrate(short_run.init(position), log_prob_fn, **options)


STEP_SIZES = {
    "scalar": lambda size: 0.2,
    "per dimension": lambda size: np.linspace(0.1, 0.3, size),
    "annealed": lambda size: np.linspace(0.3, 0.1, 3)[:, np.newaxis],
    "per step and dimension": lambda size: np.linspace(0.1, 0.3, 3 * size).reshape(3, size),
}


@pytest.mark.parametrize("temperature", [None, 0.7])
@pytest.mark.parametrize("step_size", STEP_SIZES)
def test_equals_a_plain_loop(step_size, temperature):
    potential, s = Quartic(4), STEP_SIZES[step_size](4)
    start = np.random.default_rng(0).normal(size=(2, 3, 4))
    state = integrate(start, potential.log_prob, step_size=s, num_steps=3, temperature=temperature, seed=5, trace=True)
    position, steps = start, np.broadcast_to(s, [3, 4])
    noise = random.normal([3, 2, 3, 4], random.fold_in(random.as_seed(5), 0), tf.float64).numpy()
    for k in range(3):
        np.testing.assert_allclose(state.trace[k], potential.log_prob(position), rtol=1e-12)
        gradient = np.array([[potential.gradient(row) for row in rows] for rows in position])
        position = position + 0.5 * steps[k] ** 2 * gradient
        if temperature is not None:
            position = position + steps[k] * np.sqrt(temperature) * noise[k]
    np.testing.assert_allclose(state.position, position, rtol=1e-12)
    assert state.trace.shape == (3, 2, 3)


@pytest.mark.parametrize("precision", [1.0, 4.0])
def test_variance_after_k_steps_and_in_the_long_run(precision, test_seed):
    """The recursion v' = (1 - s^2 c / 2)^2 v + s^2, which ends at 1 / (c (1 - s^2 c / 4))."""
    s, variance = 0.5, 0.09

    def log_prob(z):
        return precision * standard_normal(z)

    start = np.random.default_rng(test_seed).normal(size=(50_000, 1)) * np.sqrt(variance)
    for num_steps in (3, 60):
        for _ in range(num_steps):
            variance = (1 - 0.5 * s**2 * precision) ** 2 * variance + s**2
        state = integrate(start, log_prob, step_size=s, num_steps=num_steps, seed=test_seed + num_steps)
        start = state.position.numpy()
        assert abs(targets.z_score(start[:, 0] ** 2, variance)) < 4.0
    np.testing.assert_allclose(variance, 1 / (precision * (1 - s**2 * precision / 4)), rtol=1e-4)
    # What a chain without an error of the step would have.
    assert abs(targets.z_score(start[:, 0] ** 2, 1 / precision)) > 6.0


def test_without_noise_it_is_gradient_ascent_in_closed_form():
    start = np.array([[1.0, -2.0]])
    state = integrate(start, standard_normal, step_size=0.4, num_steps=7, temperature=None)
    np.testing.assert_allclose(state.position, start * (1 - 0.5 * 0.4**2) ** 7, rtol=1e-12)


def test_a_step_is_tfps_uncalibrated_langevin_of_the_squared_step_size():
    start, s = tf.constant(np.random.default_rng(0).normal(size=(5, 2))), 0.3
    kernel = tfp.mcmc.UncalibratedLangevin(targets.correlated, step_size=s**2, volatility_fn=None)
    ours = integrate(start, targets.correlated, step_size=s, num_steps=1, temperature=None).position
    # Their mean step, without the noise that theirs cannot leave out: what both add to the position.
    results = kernel.bootstrap_results(start)
    theirs = start + 0.5 * s**2 * results.grads_target_log_prob[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    moved = kernel.one_step(
        tf.zeros([20_000, 2], tf.float64), kernel.bootstrap_results(tf.zeros([20_000, 2], tf.float64)), seed=[0, 1]
    )[0]
    mine = integrate(tf.zeros([20_000, 2], tf.float64), targets.correlated, step_size=s, num_steps=1, seed=0).position
    np.testing.assert_allclose(np.cov(mine.numpy().T), np.cov(moved.numpy().T), atol=0.006)


def test_one_gradient_a_step():
    calls = []

    def log_prob(z):
        calls.append(1)
        return standard_normal(z)

    state = short_run.init(tf.zeros([3, 2]))
    for seed in range(4):
        state = short_run.step(state, log_prob, step_size=0.1, seed=seed)
    assert len(calls) == 4


# === Examples among others ===


SEEDS = np.arange(14, dtype=np.int32).reshape(7, 2)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_chain_does_not_depend_on_the_others(chunk_size):
    start, data = np.random.default_rng(0).normal(size=(7, 3)), np.random.default_rng(1).normal(size=(7, 3))

    def log_prob(z, centre):
        return standard_normal(z - centre)

    def run(rows, chunk_size=chunk_size):
        return integrate(
            start[rows],
            log_prob,
            step_size=0.3,
            num_steps=4,
            seed=SEEDS[rows],
            data=(tf.constant(data[rows]),),
            chunk_size=chunk_size,
            trace=True,
        )

    together = run(slice(None))
    assert together.trace.shape == (4, 7)
    for rows in (slice(0, 1), slice(2, 5), slice(6, 7)):
        np.testing.assert_allclose(run(rows, None).position, together.position[rows], rtol=1e-12)
        np.testing.assert_allclose(run(rows, None).trace, together.trace[:, rows], rtol=1e-12)


def test_chunks_without_noise_are_the_whole():
    start = np.random.default_rng(0).normal(size=(7, 3))
    whole = integrate(start, standard_normal, step_size=0.3, num_steps=4, temperature=None)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float64)], autograph=False)
    def in_chunks(start):
        return integrate(start, standard_normal, step_size=0.3, num_steps=4, temperature=None, chunk_size=2).position

    np.testing.assert_allclose(in_chunks(start), whole.position, rtol=1e-12)
    np.testing.assert_allclose(in_chunks(start[:1]), whole.position[:1], rtol=1e-12)


def test_chunks_draw_noise_of_their_own():
    state = integrate(np.zeros([6, 2]), standard_normal, step_size=0.3, num_steps=2, seed=1, chunk_size=2)
    assert len(np.unique(state.position)) == 12


def test_a_chain_that_diverges_stands_still_and_leaves_the_others_alone():
    def log_prob(z):
        return -tf.reduce_sum(z**4, axis=-1)

    start = tf.constant([[0.1, 0.2], [1e3, -1.0], [np.nan, 0.0], [1.0, -1.0]])
    state = integrate(start, log_prob, step_size=0.3, num_steps=10, seed=SEEDS[:4])
    np.testing.assert_array_equal(state.is_finite, [True, False, False, True])
    assert np.isfinite(state.position).all()
    alone = integrate(start[::3], log_prob, step_size=0.3, num_steps=10, seed=SEEDS[:4:3])
    np.testing.assert_allclose(state.position[::3], alone.position, rtol=1e-5)


def test_a_density_that_is_not_finite_stops_the_chain():
    def log_prob(z):
        return tf.where(z[..., 0] > 0.0, standard_normal(z), tf.constant(-np.inf, z.dtype))

    state = integrate(tf.constant([[-1.0, 0.0], [1.0, 0.0]]), log_prob, step_size=0.1, num_steps=3, temperature=None)
    np.testing.assert_array_equal(state.is_finite, [False, True])
    np.testing.assert_array_equal(state.position[0], [-1.0, 0.0])


# === Ways to run ===


@pytest.mark.parametrize("seed", [3, SEEDS[:5]], ids=["one seed", "a seed per example"])
@pytest.mark.parametrize("arguments", [{"jit_compile": True}, {"input_signature": [tf.TensorSpec([None, 2])]}], ids=str)
def test_graphs_of_unknown_batch_size_and_xla_agree(arguments, seed):
    def run(position):
        return integrate(position, targets.correlated, step_size=0.3, num_steps=3, seed=seed).position

    position = tf.random.stateless_normal([5, 2], [1, 2])
    compiled = tf.function(run, autograph=False, **arguments)
    np.testing.assert_allclose(compiled(position), run(position), rtol=1e-4, atol=1e-5)


def test_gradients_go_through_all_steps():
    position, s = tf.constant([[0.4, -0.2]], tf.float64), tf.constant(0.3, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([position, s])
        end = integrate(position, standard_normal, step_size=s, num_steps=3, temperature=None).position
    by_position, by_step = tape.gradient(end, [position, s])
    factor = 1 - 0.5 * 0.3**2
    np.testing.assert_allclose(by_position, np.full([1, 2], factor**3), rtol=1e-12)
    np.testing.assert_allclose(by_step, -3 * factor**2 * 0.3 * np.sum(position), rtol=1e-12)


def test_many_steps_draw_their_noise_in_blocks(monkeypatch):
    """The same chain, step by step: each block has noise of its own, and the last one may be short."""
    monkeypatch.setattr(short_run, "_BLOCK", 3)
    start = np.zeros([4, 2])
    state = integrate(start, lambda z: tf.zeros_like(z[..., 0]), step_size=0.3, num_steps=8, seed=1, trace=True)
    noise = [
        random.normal([n, 4, 2], random.fold_in(random.as_seed(1), i), tf.float64) for i, n in enumerate((3, 3, 2))
    ]
    np.testing.assert_allclose(state.position, 0.3 * np.sum(np.concatenate(noise), axis=0), rtol=1e-10)
    assert state.trace.shape == (8, 4)
    sizes, position = np.linspace(0.9, 0.1, 8), np.ones([4, 2])
    for s, each in zip(sizes, np.concatenate(noise), strict=True):
        position = (1 - 0.5 * s**2) * position + s * each
    state = integrate(np.ones([4, 2]), standard_normal, step_size=sizes[:, np.newaxis], num_steps=8, seed=1)
    np.testing.assert_allclose(state.position, position, rtol=1e-10)


def test_no_step_is_the_start():
    state = integrate(tf.ones([2, 3]), standard_normal, step_size=0.3, num_steps=0, seed=0, trace=True)
    np.testing.assert_array_equal(state.position, np.ones([2, 3]))
    assert state.trace.shape == (0, 2)


# === Errors ===


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_size": -0.1}, "step_size must be finite and not negative"),
        ({"step_size": [0.1, 0.1, 0.1]}, "step_size must be a number"),
        ({"num_steps": -1}, "num_steps must be a whole number of at least 0"),
        ({"temperature": -1.0}, "temperature must be finite and not negative"),
        ({"seed": None}, "seed must be given where there is noise"),
        ({"seed": np.zeros([2, 2], int)}, "seed must hold one pair for each of the 3 examples"),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1"),
    ],
)
def test_arguments_out_of_range_are_errors(change, message):
    options = {"step_size": 0.1, "num_steps": 2, "seed": 0, **change}
    with pytest.raises(ValueError, match=f"^{message}.*Received: "):
        integrate(tf.zeros([3, 2]), standard_normal, **options)


def test_a_density_of_the_wrong_shape_is_an_error():
    with pytest.raises(ValueError, match=r"log_prob_fn must return one number for each position.*Received: "):
        integrate(tf.zeros([3, 2]), lambda z: -(z**2), step_size=0.1, num_steps=1, seed=0)


def test_chunks_are_of_a_batch():
    with pytest.raises(ValueError, match=r"^positions must be \[B, D\] where they go in chunks.*Received: "):
        integrate(tf.zeros([4, 3, 2]), standard_normal, step_size=0.1, num_steps=1, seed=0, chunk_size=2)


@pytest.mark.parametrize("position", [[1, 2], 1.0])
def test_positions_are_vectors_of_numbers(position):
    with pytest.raises(ValueError, match=r"^position must be floating point \[..., D\]\. Received: "):
        short_run.init(position)


@pytest.mark.parametrize("rows", [1, 3, 6])
def test_chunks_have_data_for_each_chain(rows):
    options = {"step_size": 0.1, "num_steps": 1, "temperature": None, "chunk_size": 2}
    with pytest.raises(
        ValueError, match=rf"^data must have one row for each of 4 chains\. Received: shape \({rows}, 2\)$"
    ):
        integrate(tf.zeros([4, 2]), lambda z, x: -tf.reduce_sum((z - x) ** 2, -1), data=[tf.ones([rows, 2])], **options)
