"""The laws of the transition kernels: targets left invariant, and what linear dynamics have exactly."""

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
import tensorflow_probability as tfp

from tests.integrators import targets
from tfzoo.integrators import kernels

# Of sample_chain, about every kernel without accept or reject.
pytestmark = pytest.mark.filterwarnings("ignore:supplied `TransitionKernel` is not calibrated:UserWarning")

GHMC, Langevin = kernels.GeneralizedHamiltonianMonteCarlo, kernels.QuasiSymplecticLangevin


@pytest.mark.parametrize(
    ("target", "step_size", "num_steps", "damping"),
    [
        ("correlated", 1.0, 1, 0.3),
        ("correlated", [0.9, 1.0], 3, 0.3),
        ("curved", 0.7, 2, 0.5),
        ("gamma", 1.0, 2, 0.3),
    ],
)
def test_generalized_hmc_leaves_its_target_invariant(target, step_size, num_steps, damping, test_seed):
    log_prob_fn, sample, _ = targets.TARGETS[target]
    position = tf.constant(sample(5_000, np.random.default_rng(test_seed)), tf.float32)
    kernel = GHMC(log_prob_fn, step_size, num_steps, damping)
    position, results = targets.transit(kernel, position, 12, test_seed)
    assert 0.5 < np.mean(results.is_accepted) < 0.95
    assert targets.z_scores(target, position, results.momentum).max() < 4.0
    # Detailed balance: as much goes up as comes down.
    log_ratio = np.asarray(results.log_accept_ratio, np.float64)
    assert abs(targets.z_score(np.minimum(np.exp(log_ratio), 1.0) * np.sign(log_ratio), 0.0)) < 4.0
    np.testing.assert_allclose(results.target_log_prob, log_prob_fn(position), rtol=1e-5, atol=1e-5)


def test_the_first_transition_is_in_equilibrium_already(test_seed):
    position = tf.constant(targets.sample_correlated(5_000, np.random.default_rng(test_seed)), tf.float32)
    position, results = targets.transit(GHMC(targets.correlated, 0.9, 1, 0.1), position, 1, test_seed)
    assert targets.z_scores("correlated", position, results.momentum).max() < 4.0


def test_without_accept_and_reject_the_same_step_is_far_off(test_seed):
    """So the test above can see it."""
    position = tf.constant(targets.sample_correlated(5_000, np.random.default_rng(test_seed)), tf.float32)
    position, results = targets.transit(Langevin(targets.correlated, 1.0, 0.3), position, 12, test_seed)
    assert np.all(results.is_finite)
    assert targets.z_scores("correlated", position, results.momentum).max() > 10.0


def linear_step(step_size, damping, temperature):
    """Returns the matrix of a step on [position, momentum] and the covariance of its noise."""
    eye, zero = np.eye(2), np.zeros((2, 2))
    drift = np.block([[eye, 0.5 * step_size * eye], [zero, eye]])
    damp = np.block([[eye, zero], [zero, np.exp(-0.5 * damping * step_size) * eye]])
    kick = np.block([[eye, zero], [-step_size * targets.PRECISION, eye]])
    noise = np.block([[zero, zero], [zero, 2.0 * damping * temperature * step_size * eye]])
    return damp @ drift @ kick @ drift @ damp, damp @ drift @ noise @ drift.T @ damp


def test_langevin_has_the_covariance_of_the_discrete_lyapunov_equation(test_seed):
    step_size, damping, temperature = 1.0, 0.9, 1.7
    exact = scipy.linalg.solve_discrete_lyapunov(*linear_step(step_size, damping, temperature))
    root = np.linalg.cholesky(exact)
    start = np.random.default_rng(test_seed).normal(size=(20_000, 4)) @ root.T
    kernel = Langevin(targets.correlated, step_size, damping, temperature)
    position, momentum = tf.constant(start[:, :2]), tf.constant(start[:, 2:])
    results = kernel.bootstrap_results(position)._replace(momentum=momentum)
    position, results = targets.transit(kernel, position, 8, test_seed, results)
    state = np.concatenate([position, results.momentum], axis=-1)
    scores = [targets.z_score(state[:, i] * state[:, j], exact[i, j]) for i in range(4) for j in range(i + 1)]
    assert np.abs(scores).max() < 4.0
    # What dynamics without an error of the step would have: T times the target's covariance, and T for the momentum.
    assert abs(targets.z_score(state[:, 0] ** 2, temperature * targets.COVARIANCE[0, 0])) > 6.0
    assert abs(targets.z_score(state[:, 2] ** 2, temperature)) > 6.0


def test_a_free_particle_has_the_momentum_variance_of_its_step(test_seed):
    """After a whole step, nu t T / sinh(nu t): between two kicks, half of their damping behind it."""
    step_size, damping, temperature = np.array([0.5, 1.5]), 0.9, 1.3
    kernel = Langevin(lambda z: tf.zeros_like(z[..., 0]), step_size, damping, temperature)
    position, results = targets.transit(kernel, tf.zeros([20_000, 2]), 25, test_seed)
    assert np.all(np.isfinite(position))
    for i, x in enumerate(damping * step_size):
        square = np.asarray(results.momentum, np.float64)[:, i] ** 2
        assert abs(targets.z_score(square, x * temperature / np.sinh(x))) < 4.0
    assert abs(targets.z_score(square, temperature)) > 10.0


def test_the_momentum_is_refreshed_by_the_time_of_a_trajectory():
    position = tf.zeros([20_000, 2], tf.float64)
    momentum = tf.fill([20_000, 2], tf.constant(3.0, tf.float64))
    step_size, num_steps, damping = np.array([0.1, 0.5]), 4, 0.8

    def refreshed(damping, momentum_is_drawn):
        # Free particles keep the momentum they were given.
        kernel = GHMC(lambda z: tf.zeros_like(z[..., 0]), step_size, num_steps, damping)
        results = kernel.bootstrap_results(position)
        results = results._replace(momentum=momentum, momentum_is_drawn=tf.constant(momentum_is_drawn))
        return kernel.one_step(position, results, seed=1)[1].momentum.numpy()

    keep = np.exp(-damping * step_size * num_steps)
    new = refreshed(damping, True)
    for i in range(2):
        assert abs(targets.z_score(new[:, i], 3.0 * keep[i])) < 4.0
        assert abs(targets.z_score((new[:, i] - 3.0 * keep[i]) ** 2, 1.0 - keep[i] ** 2)) < 4.0
    # All of it at first, and where the damping is large: Hamiltonian Monte Carlo.
    np.testing.assert_array_equal(refreshed(damping, False), refreshed(1e4, True))
    np.testing.assert_allclose(refreshed(0.0, True), momentum)


def test_a_transformed_kernel_samples_behind_a_bijector(test_seed):
    """Exp of z takes Gamma(3, 1) to the whole line."""
    start = tf.constant(targets.sample_gamma(5_000, np.random.default_rng(test_seed)), tf.float32)
    kernel = tfp.mcmc.TransformedTransitionKernel(GHMC(targets.gamma, 0.7, 2, 0.5), tfp.bijectors.Exp())
    position, results = targets.transit(kernel, start, 10, test_seed)
    assert np.mean(results.inner_results.is_accepted) < 0.98
    assert targets.z_scores("gamma", position, results.inner_results.momentum).max() < 4.0
