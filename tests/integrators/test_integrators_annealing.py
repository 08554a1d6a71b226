"""Uncorrected annealing: what it promises beside the models' own tests of its bound."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.integrators.potentials import standard_normal
from tfzoo.integrators import annealing, quasi_symplectic

pytestmark = pytest.mark.fast


def anneal(position, momentum, target, **options):
    options = {
        "transition": lambda state, log_prob_fn, k: quasi_symplectic.step(state, log_prob_fn, step_size=0.2),
        "inverse_temperatures": [0.25, 0.5, 0.75, 1.0],
        "num_steps": 4,
        "persistence": 0.5,
        "seed": 1,
        **options,
    }
    return annealing.integrate(position, momentum, standard_normal, target, **options)


def test_weights_have_the_mean_of_the_ratio_of_the_normalisers(test_seed):
    """From N(0, 1) to exp(-2 z^2), whose integral is sqrt(pi / 2)."""
    rng = np.random.default_rng(test_seed)
    z, m = rng.normal(size=[2, 100_000, 1])
    state = anneal(z, m, lambda z: -2.0 * tf.reduce_sum(z**2, -1), seed=test_seed)
    log_weights = -2.0 * state.position[:, 0] ** 2 - stats.norm.logpdf(z[:, 0]) + state.log_weight
    weights = np.exp(log_weights)
    assert abs(weights.mean() - np.sqrt(np.pi / 2)) <= 4 * weights.std() / np.sqrt(len(weights))
    assert np.all(state.is_finite)


def test_without_steps_nothing_happens_and_without_a_seed_there_is_no_noise():
    z, m = np.ones([3, 2]), np.ones([3, 2])
    state = anneal(z, m, standard_normal, num_steps=0, inverse_temperatures=[])
    np.testing.assert_array_equal(state.position, z)
    np.testing.assert_array_equal(state.log_weight, np.zeros(3))
    quiet = [anneal(z, m, standard_normal, seed=None).position for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    np.testing.assert_array_equal(quiet[0][0], quiet[0][1])


def test_chains_that_start_or_end_beyond_reach_are_marked():
    z = np.array([[0.0], [np.nan], [1e300]])
    state = anneal(z, np.zeros([3, 1]), standard_normal)
    np.testing.assert_array_equal(state.is_finite, [True, False, False])
    assert np.isfinite(state.position).all()


@pytest.mark.parametrize(
    "options",
    [
        {"num_steps": -1},
        {"num_steps": 3},
        {"persistence": 2.0},
        {"persistence": -0.1},
        {"inverse_temperatures": [-0.5, 0.5, 0.75, 1.0]},
        {"seed": 1.5},
    ],
    ids=str,
)
def test_bad_input(options):
    with pytest.raises(ValueError, match=r"Received: "):
        anneal(np.zeros([2, 1]), np.zeros([2, 1]), standard_normal, **options)
