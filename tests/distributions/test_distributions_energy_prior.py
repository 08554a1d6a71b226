"""Energy priors: the law of their chains and of resampled proposals, where it is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.distributions.energies import Quadratic
from tests.integrators import targets
from tfzoo import random
from tfzoo.distributions import EnergyPrior, FlowPrior

pytestmark = pytest.mark.fast


def quadratic(a=3.0, **options):
    return EnergyPrior(2, energy=Quadratic(a, dtype="float64"), dtype="float64", **options)


def variance_after(num_steps, step_size, precision):
    variance = 1.0
    for _ in range(num_steps):
        variance = (1 - 0.5 * step_size**2 * precision) ** 2 * variance + step_size**2
    return variance


@pytest.mark.parametrize(
    ("num_steps", "temperature", "per_example"), [(2, 1.0, False), (60, 1.0, False), (60, 0.5, False), (2, 0.5, True)]
)
def test_the_chain_on_a_quadratic_energy_has_the_closed_form_variance(num_steps, temperature, per_example, test_seed):
    distribution = quadratic(num_steps=num_steps).distribution(temperature)
    if per_example:
        seeds = np.random.default_rng(test_seed).integers(-(2**31), 2**31, (20, 2), np.int32)
        z = random.sample(distribution, 1000, tf.constant(seeds)).numpy()
    else:
        z = distribution.sample(20_000, seed=[0, test_seed]).numpy()
    # On a Gaussian, noise and start are scaled by the temperature, and so is the end.
    variance = temperature**2 * variance_after(num_steps, 0.4, precision=4.0)
    for i in range(2):
        assert abs(targets.z_score(z[..., i].ravel() ** 2, variance)) < 4.0
    if num_steps == 60:  # what the step's error leaves of the prior's own
        np.testing.assert_allclose(variance, temperature**2 / (4 * (1 - 0.4**2 * 4 / 4)), rtol=1e-6)


def test_the_density_is_right_up_to_its_constant():
    z = tf.constant(np.random.default_rng(0).normal(size=(5, 3, 2)))
    found = quadratic().distribution().log_prob(z)
    np.testing.assert_allclose(found, -0.5 * 4.0 * np.sum(z**2, axis=-1) - np.log(2 * np.pi))


def test_the_default_network_is_any_dimensions_and_of_every_shape():
    prior = EnergyPrior(3)
    z = tf.random.stateless_normal([4, 2, 3], [0, 1])
    values = prior.energy(z)
    np.testing.assert_allclose(values[2], prior.energy(z[2]), rtol=1e-5)
    assert prior.distribution().log_prob(z[0, 0]).shape == ()
    assert prior.distribution().sample((2, 5), seed=[0, 0]).shape == (2, 5, 3)
    assert [tuple(weight.shape) for weight in prior.weights] == [(3, 200), (200,), (200, 200), (200,), (200, 1)]
    assert len(prior.distribution().variables) == 5


@pytest.mark.parametrize("proposal", [False, True])
def test_a_seed_for_each_example_makes_it_independent_of_the_others(proposal):
    prior = quadratic(num_steps=3, proposal=FlowPrior(2, dtype="float64") if proposal else None)
    seeds = tf.constant([[1, 2], [3, 4], [5, 6]])
    whole = random.sample(prior.distribution(), 2, seeds)
    assert whole.shape == (2, 3, 2)
    assert len(np.unique(whole)) == 12
    for i in range(3):
        alone = random.sample(prior.distribution(), 2, seeds[i : i + 1])
        np.testing.assert_allclose(alone[:, 0], whole[:, i], rtol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_resampled_proposals_have_the_law_of_the_energy(temperature, test_seed):
    prior = quadratic(proposal=FlowPrior(2, num_steps=1, width=4, dtype="float64"), num_proposals=100)
    z = prior.distribution(temperature).sample(2000, seed=[1, test_seed]).numpy()
    for i in range(2):
        assert abs(targets.z_score(z[:, i] ** 2, temperature**2 / 4)) < 4.0
        assert abs(targets.z_score(z[:, i], 0.0)) < 4.0
    # Which is not that of the proposal.
    proposed = prior.proposal.distribution(temperature).sample(2000, seed=[1, 1]).numpy()
    assert abs(targets.z_score(proposed[:, 0] ** 2, temperature**2 / 4)) > 6.0


def test_a_learned_normalizer_is_part_of_the_density():
    prior = quadratic(proposal=FlowPrior(2, dtype="float64"))
    before = prior.log_prob(tf.zeros([1, 2], tf.float64))
    prior.log_normalizer.assign(1.5)
    np.testing.assert_allclose(prior.log_prob(tf.zeros([1, 2], tf.float64)), before - 1.5)


@pytest.mark.parametrize("proposal", [False, True])
def test_a_config_and_its_weights_give_the_same_prior(proposal):
    prior = EnergyPrior(3, num_steps=2, step_size=0.3, proposal=FlowPrior(3) if proposal else None, num_proposals=4)
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(prior))
    twin.set_weights(prior.get_weights())
    z, again = (each.distribution().sample(3, seed=[0, 1]) for each in (prior, twin))
    np.testing.assert_array_equal(z, again)
    np.testing.assert_array_equal(prior.log_prob(z), twin.log_prob(z))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0}, "step_size must be a positive number"),
        ({"num_steps": -1}, "num_steps must be a whole number of at least 0"),
        ({"num_proposals": 0}, "num_proposals must be a whole number of at least 1"),
        ({"proposal": FlowPrior}, "proposal must be over latent_dim = 2"),
        ({"energy": keras.layers.Dense}, r"energy must return one number for each latent, \[B, 1\] or \[B\]"),
    ],
)
def test_arguments_out_of_range_are_errors(options, message):
    options = {key: value(3) if isinstance(value, type) else value for key, value in options.items()}
    with pytest.raises(ValueError, match=rf"^{message}.*\. Received: |^{message}\. Received: "):
        EnergyPrior(2, **options)
