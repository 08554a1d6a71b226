"""The transition kernels: a transition number by number, and the contract of tfp.mcmc."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.integrators import targets
from tfzoo import random
from tfzoo.integrators import kernels, quasi_symplectic, short_run

# Of sample_chain, about every kernel without accept or reject.
pytestmark = pytest.mark.filterwarnings("ignore:supplied `TransitionKernel` is not calibrated:UserWarning")

GHMC, Langevin = kernels.GeneralizedHamiltonianMonteCarlo, kernels.QuasiSymplecticLangevin
ShortRun = kernels.ShortRunLangevin


# === A transition, number by number ===


def test_langevin_takes_the_integrators_steps():
    position, momentum = tf.random.stateless_normal([2, 3, 2], [1, 2], dtype=tf.float64)
    kernel = Langevin(targets.correlated, [0.3, 0.4], 0.7, 1.2)
    results = kernel.bootstrap_results(position)._replace(momentum=momentum)
    state = quasi_symplectic.init(position, momentum)
    for seed in ([0, 1], 5, np.array([3, 4])):
        position, results = kernel.one_step(position, results, seed)
        state = quasi_symplectic.step(
            state, targets.correlated, step_size=[0.3, 0.4], damping=0.7, temperature=1.2, seed=seed
        )
        np.testing.assert_array_equal(position, state.position)
        np.testing.assert_array_equal(results.momentum, state.momentum)
        np.testing.assert_array_equal(results.seed, random.as_seed(seed))


def test_short_run_takes_the_integrators_steps():
    position = tf.random.stateless_normal([2, 3, 2], [1, 2], dtype=tf.float64)
    kernel = ShortRun(targets.correlated, [0.3, 0.4], 1.2)
    results, state = kernel.bootstrap_results(position), short_run.init(position)
    for seed in ([0, 1], 5, np.array([3, 4])):
        position, results = kernel.one_step(position, results, seed)
        state = short_run.step(state, targets.correlated, step_size=[0.3, 0.4], temperature=1.2, seed=seed)
        np.testing.assert_array_equal(position, state.position)
        np.testing.assert_array_equal(results.seed, random.as_seed(seed))


def test_a_transition_of_generalized_hmc_is_a_trajectory_and_its_energy_error():
    position, momentum = tf.random.stateless_normal([2, 200, 2], [1, 2], dtype=tf.float64)
    kernel = GHMC(targets.correlated, 0.9, 3, 0.0)  # without damping nothing is refreshed
    results = kernel.bootstrap_results(position)._replace(momentum=momentum, momentum_is_drawn=tf.constant(True))
    end, after = kernel.one_step(position, results, seed=0)
    state = quasi_symplectic.integrate(
        quasi_symplectic.init(position, momentum), targets.correlated, step_size=0.9, num_steps=3
    )
    np.testing.assert_array_equal(after.proposed_state, state.position)

    def energy(z, m):
        return 0.5 * np.einsum("ni,ij,nj->n", z, targets.PRECISION, z) + 0.5 * np.sum(np.square(m), axis=-1)

    log_ratio = energy(position, momentum) - energy(state.position, state.momentum)
    np.testing.assert_allclose(after.log_accept_ratio, log_ratio, rtol=1e-9, atol=1e-12)
    accepted = after.is_accepted.numpy()
    assert 0.5 < accepted.mean() < 0.95
    assert accepted[log_ratio >= 0.0].all()
    np.testing.assert_array_equal(end, np.where(accepted[:, None], state.position, position))
    np.testing.assert_array_equal(after.momentum, np.where(accepted[:, None], state.momentum, -momentum))
    np.testing.assert_allclose(after.target_log_prob, targets.correlated(end), rtol=1e-12)


def counting(log_prob_fn):
    """Returns the function, and a dict that counts its values and its gradients in eager code."""
    calls = {"values": 0, "gradients": 0}

    @tf.custom_gradient
    def counted(z):
        calls["values"] += 1
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = log_prob_fn(z)

        def gradient(upstream):
            calls["gradients"] += 1
            return upstream[..., tf.newaxis] * tape.gradient(value, z)

        return value, gradient

    return counted, calls


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda log_prob_fn: Langevin(log_prob_fn, 0.1, 0.5), {"values": 5, "gradients": 5}),
        (lambda log_prob_fn: ShortRun(log_prob_fn, 0.1), {"values": 5, "gradients": 5}),
        # One value before the first transition, and one for each proposal.
        (lambda log_prob_fn: GHMC(log_prob_fn, 0.1, 3, 0.5), {"values": 1 + 5 * 4, "gradients": 1 + 5 * 3}),
    ],
    ids=["langevin", "short run", "generalized hmc"],
)
def test_a_step_takes_one_gradient_and_the_density_is_kept(make, expected):
    counted, calls = counting(targets.standard_normal)
    kernel, position = make(counted), tf.ones([4, 2])
    results = kernel.bootstrap_results(position)
    for seed in range(5):
        position, results = kernel.one_step(position, results, seed)
    assert calls == expected


# === Proposals that are not finite ===


def test_proposals_beyond_the_support_are_rejected():
    position = tf.constant(targets.sample_gamma(500, np.random.default_rng(0)), tf.float32)
    kernel = GHMC(targets.gamma, 2.5, 2, 0.5)
    outside = 0
    results = kernel.bootstrap_results(position)
    for seed in range(4):
        position, results = kernel.one_step(position, results, seed)
        lost = ~np.isfinite(results.log_accept_ratio)
        outside += lost.sum()
        assert not np.any(results.is_accepted.numpy() & lost)
        assert np.all(position.numpy() > 0.0)
        assert all(np.isfinite(x).all() for x in (results.momentum, results.target_log_prob, results.proposed_state))
    assert outside > 50


def test_a_step_size_beyond_reach_rejects_everything():
    position = tf.constant([[0.1, 0.2], [1.0, -1.0]])
    kernel = GHMC(lambda z: -tf.reduce_sum(z**4, axis=-1), 1e6, 3, 0.5)
    end, results = kernel.one_step(position, kernel.bootstrap_results(position), seed=0)
    np.testing.assert_array_equal(end, position)
    assert np.all(results.has_divergence)
    assert not np.any(results.is_accepted)
    np.testing.assert_array_equal(results.log_accept_ratio, -np.inf)
    assert np.isfinite(results.momentum).all()


def test_a_chain_that_starts_where_there_is_no_density_is_no_crash():
    def half(z):
        return tf.where(z[..., 0] > 0.0, targets.standard_normal(z), tf.constant(-np.inf, z.dtype))

    position = tf.constant([[-0.01, 0.0], [np.nan, 0.0], [np.inf, 0.0], [0.5, 0.5]])
    kernel = GHMC(half, 0.2, 1, 0.5)
    end, results = targets.transit(kernel, position, 20, 0)
    np.testing.assert_array_equal(end[1:3], position[1:3])
    assert np.isfinite(end[3]).all()
    assert np.isfinite(results.momentum[3]).all()


@pytest.mark.parametrize(
    "kernel",
    [
        Langevin(lambda z: -tf.reduce_sum(z**4, axis=-1), 0.1, 0.5),
        ShortRun(lambda z: -tf.reduce_sum(z**4, axis=-1), 0.1),
    ],
    ids=["langevin", "short run"],
)
def test_a_langevin_chain_that_diverges_stands_still_and_leaves_the_others_alone(kernel):
    position = tf.constant([[0.1, 0.2], [1e3, -1.0], [1.0, -1.0]])
    end, results = targets.transit(kernel, position, 10, 0)
    np.testing.assert_array_equal(results.is_finite, [True, False, True])
    assert np.isfinite(end).all()
    alone, _ = targets.transit(kernel, tf.constant([[0.1, 0.2], [0.0, 0.0], [1.0, -1.0]]), 10, 0)
    np.testing.assert_array_equal(end[::2], alone[::2])


@pytest.mark.fast
@pytest.mark.parametrize(
    "kernel", [Langevin(targets.standard_normal, 0.1, 0.5), ShortRun(targets.standard_normal, 0.1)]
)
def test_a_langevin_chain_that_starts_beyond_reach_stays_there(kernel):
    position = tf.constant([[1e30, 2.0], [np.inf, 0.0], [0.5, 0.5]])
    end, results = kernel.one_step(position, kernel.bootstrap_results(position), seed=0)
    np.testing.assert_array_equal(results.is_finite, [False, False, True])
    np.testing.assert_array_equal(end[:2], position[:2])
    assert np.all(end[2] != position[2])


# === tfp.mcmc ===

KERNELS = {
    "langevin": Langevin(targets.correlated, 0.5, 0.7),
    "short run": ShortRun(targets.correlated, 0.5),
    "generalized hmc": GHMC(targets.correlated, 0.8, 2, 0.7),
}
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@pytest.mark.fast
@each_kernel
@pytest.mark.parametrize("shape", [[2], [3, 2], [4, 3, 2]])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_any_batch_of_chains_keeps_shapes_and_dtypes(kernel, shape, dtype):
    position = tf.ones(shape, dtype)
    before = kernel.bootstrap_results(position)
    end, after = kernel.one_step(position, before, seed=[1, 2])
    assert end.shape == shape
    assert end.dtype == dtype
    for old, new in zip(before, after, strict=True):
        assert old.shape == new.shape
        assert old.dtype == new.dtype
    assert np.abs(end - position).max() > 0.0


@each_kernel
def test_graphs_of_unknown_batch_size_and_xla_give_the_same_transition(kernel):
    position = tf.random.stateless_normal([6, 2], [1, 2])

    def transition(position, seed):
        end, results = kernel.one_step(position, kernel.bootstrap_results(position), seed)
        return end, getattr(results, "momentum", end)

    expected = transition(position, random.as_seed(3))
    signature = [tf.TensorSpec([None, 2]), tf.TensorSpec([2], tf.int32)]
    for arguments in ({"input_signature": signature}, {"jit_compile": True}):
        compiled = tf.function(transition, autograph=False, **arguments)
        for one, other in zip(compiled(position, random.as_seed(3)), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_sampled_chain_is_the_integrators_with_the_seeds_it_reports(jit_compile):
    kernel = KERNELS["langevin"]
    position = tf.ones([3, 2], tf.float64)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def run():
        return tfp.mcmc.sample_chain(4, position, kernel=kernel, trace_fn=lambda _, results: results.seed, seed=[7, 8])

    positions, seeds = run()
    assert len(np.unique(seeds, axis=0)) == 4
    state = quasi_symplectic.init(position, tf.zeros_like(position))
    for position, seed in zip(positions, seeds, strict=True):
        state = quasi_symplectic.step(state, targets.correlated, step_size=0.5, damping=0.7, temperature=1.0, seed=seed)
        np.testing.assert_allclose(position, state.position, rtol=1e-9)


@each_kernel
def test_the_seed_decides_and_without_one_every_transition_draws_anew(kernel):
    def run(seed):
        return tfp.mcmc.sample_chain(
            3, tf.zeros([2, 2]), kernel=kernel, trace_fn=lambda _, results: results.seed, seed=seed
        )

    run = tf.function(run, autograph=False)
    first, again, other = (run(tf.constant(seed)).all_states.numpy() for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first[-1] == other[-1])
    calls = [run(None) for _ in range(2)]
    seeds = np.concatenate([call.trace for call in calls])
    assert len(np.unique(seeds, axis=0)) == 6
    assert not np.any(calls[0].all_states[-1] == calls[1].all_states[-1])


@pytest.mark.parametrize("first_step_size", [0.01, 5.0])
@pytest.mark.parametrize(
    "adaptation",
    [
        lambda kernel: tfp.mcmc.SimpleStepSizeAdaptation(kernel, 150, target_accept_prob=0.8, adaptation_rate=0.1),
        lambda kernel: tfp.mcmc.DualAveragingStepSizeAdaptation(kernel, 150, target_accept_prob=0.8),
    ],
    ids=["simple", "dual averaging"],
)
def test_tfp_adapts_the_step_size(adaptation, first_step_size, test_seed):
    kernel = adaptation(GHMC(targets.correlated, first_step_size, 1, 1.0))
    assert kernel.is_calibrated

    @tf.function(autograph=False)
    def run():
        return tfp.mcmc.sample_chain(
            20,
            tf.zeros([200, 2]),
            kernel=kernel,
            num_burnin_steps=160,
            trace_fn=lambda _, results: (results.inner_results.log_accept_ratio, results.inner_results.step_size),
            seed=random.as_seed(test_seed),
        )

    log_ratio, step_size = run().trace
    assert len(np.unique(step_size)) == 1
    assert 0.6 < step_size[0] < 1.0
    assert abs(np.exp(np.minimum(log_ratio, 0.0)).mean() - 0.8) < 0.1


@pytest.mark.fast
def test_kernels_say_what_they_are():
    langevin, short, ghmc = KERNELS.values()
    assert not short.is_calibrated
    assert short.copy(temperature=0.1).parameters == {**short.parameters, "temperature": 0.1}
    assert not langevin.is_calibrated
    assert ghmc.is_calibrated
    assert ghmc.copy(damping=0.1).parameters == {**ghmc.parameters, "damping": 0.1}
    assert langevin.copy(damping=0.1).parameters == {**langevin.parameters, "damping": 0.1}


# === Errors ===


@pytest.mark.fast
@each_kernel
def test_a_state_in_parts_is_an_error_that_says_what_to_do(kernel):
    parts = [tf.zeros([3, 1]), tf.zeros([3, 1])]
    with pytest.raises(ValueError, match=r"one tensor \[..., D\]: join .*Received: list of 2 parts"):
        tfp.mcmc.sample_chain(2, parts, kernel=kernel, trace_fn=None, seed=[0, 1])


@pytest.mark.fast
@pytest.mark.parametrize("num_steps", [0, -1, 1.0, True])
def test_a_trajectory_has_a_step_at_least(num_steps):
    with pytest.raises(ValueError, match=r"num_steps must be .*Received: "):
        GHMC(targets.correlated, 0.1, num_steps, 0.5)


CHANGES = [
    ({"step_size": -0.1}, "step_size must be finite and not negative"),
    ({"step_size": [0.1, 0.1, 0.1]}, "step_size must be a number"),
    ({"damping": -0.1}, "damping must be finite and not negative"),
    ({"damping": [0.1, 0.1]}, "damping must have the shape"),
    ({"temperature": -0.1}, "temperature must be finite and not negative"),
    ({"target_log_prob_fn": lambda z: -tf.square(z)}, "log_prob_fn must return one number for each position"),
]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (kernel.copy(**change), message)
        for kernel in KERNELS.values()
        for change, message in CHANGES
        if change.keys() <= kernel.parameters.keys()
    ],
)
def test_arguments_out_of_range_are_errors(kernel, message):
    position = tf.zeros([3, 2])
    with pytest.raises(ValueError, match=f"{message}.*Received: "):
        kernel.one_step(position, kernel.bootstrap_results(position), seed=0)
