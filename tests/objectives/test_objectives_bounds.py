"""elbo and iwae against the exact likelihood of probabilistic PCA."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.objectives import linear_gaussian as tensors
from tests.reference import ppca
from tfzoo import objectives, random
from tfzoo.objectives.bounds import log_mean_exp

pytestmark = pytest.mark.fast


def problem(latent_dim=2, num_examples=6, seed=0):
    model = ppca.make(latent_dim, 5, seed)
    z, x = model.sample(num_examples, np.random.default_rng(seed + 1))
    return model, z, x


def test_the_tensors_are_the_reference():
    model, z, x = problem()
    expected = [model.log_joint(a, b) for a, b in zip(x, z, strict=True)]
    np.testing.assert_allclose(tensors.log_joint(model, x)(z), expected, rtol=1e-12)
    mean, covariance = model.posterior(x)
    posterior = [ppca.normal_log_prob(a, b, covariance) for a, b in zip(z, mean, strict=True)]
    np.testing.assert_allclose(np.array(expected) - posterior, model.log_prob(x), rtol=1e-12)  # Bayes


@pytest.mark.parametrize("latent_dim", [1, 3])
@pytest.mark.parametrize("bound", [objectives.elbo, objectives.iwae])
def test_at_the_true_posterior_every_sample_gives_the_exact_likelihood(bound, latent_dim):
    model, _, x = problem(latent_dim)
    for num_samples in (1, 7):
        value = bound(
            tensors.log_joint(model, x), tensors.posterior(model, x), num_samples=num_samples, seed=num_samples
        )
        np.testing.assert_allclose(value, model.log_prob(x), rtol=1e-10)


def test_iwae_of_one_sample_is_the_elbo_of_one_sample_number_by_number():
    model, _, x = problem()
    arguments = tensors.log_joint(model, x), tensors.proposal(model, x)
    for seed in range(5):
        np.testing.assert_array_equal(objectives.iwae(*arguments, seed=seed), objectives.elbo(*arguments, seed=seed))


def test_elbo_is_the_likelihood_less_the_divergence():
    model, _, x = problem()
    q = tensors.proposal(model, x, shift=0.5, stretch=0.8)
    mean, covariance = model.posterior(x)
    exact = tfd.MultivariateNormalTriL(mean, np.linalg.cholesky(covariance))
    expected = model.log_prob(x) - tfd.kl_divergence(tfd.MultivariateNormalDiag(q.mean(), q.stddev()), exact)
    z = random.sample(q, 20_000, random.as_seed(4))
    weights = np.asarray(tensors.log_joint(model, x)(z) - q.log_prob(z))
    value = objectives.elbo(tensors.log_joint(model, x), q, num_samples=20_000, seed=4)
    np.testing.assert_allclose(value, weights.mean(0), rtol=1e-12)
    np.testing.assert_array_less(np.abs(value - expected), 4.0 * weights.std(0) / np.sqrt(20_000))
    assert (np.asarray(expected) < model.log_prob(x)).all()


def test_iwae_rises_with_the_samples_towards_the_likelihood():
    model, _, x = problem()
    x = np.repeat(x[:1], 4_000, axis=0)
    q = tensors.proposal(model, x, shift=1.0, stretch=0.8)
    bounds = np.stack([objectives.iwae(tensors.log_joint(model, x), q, num_samples=s, seed=s) for s in (1, 2, 4, 16)])
    rise = np.diff(bounds, axis=0)
    standard_error = rise.std(1) / np.sqrt(rise.shape[1])
    assert (rise.mean(1) > 4.0 * standard_error).all()
    excess = bounds - model.log_prob(x)
    assert (excess.mean(1) < 4.0 * excess.std(1) / np.sqrt(excess.shape[1])).all()


@pytest.mark.parametrize("bound", [objectives.elbo, objectives.iwae])
def test_per_example_seeds_leave_an_example_to_itself_also_under_xla(bound):
    model, _, x = problem()
    mean, _ = model.posterior(x)

    def value(x, mean, seeds):
        q = tfd.Independent(tfd.Normal(mean, tf.ones_like(mean)), 1)
        return bound(
            lambda z: tf.reduce_sum(tfd.Normal(x[:, :2], z**2 + 1.0).log_prob(z), -1), q, num_samples=3, seed=seeds
        )

    seeds = np.arange(12, dtype=np.int32).reshape(6, 2)
    together = value(tf.constant(x), tf.constant(mean), tf.constant(seeds))
    compiled = tf.function(value, autograph=False, jit_compile=True)(
        tf.constant(x), tf.constant(mean), tf.constant(seeds)
    )
    np.testing.assert_allclose(compiled, together, rtol=1e-10)
    for i in (0, 4):
        one = slice(i, i + 1)
        np.testing.assert_allclose(
            value(tf.constant(x[one]), tf.constant(mean[one]), tf.constant(seeds[one])), together[one], rtol=1e-10
        )


def test_log_mean_exp_neither_overflows_nor_minds_weights_of_zero():
    weights = tf.constant([[1000.0, -np.inf, -np.inf], [1000.0, 0.0, -np.inf]])
    np.testing.assert_allclose(log_mean_exp(weights), [1000.0, -np.log(2.0), -np.inf], rtol=1e-6)


@pytest.mark.parametrize("bound", [objectives.elbo, objectives.iwae])
def test_no_sample_is_an_error(bound):
    model, _, x = problem()
    with pytest.raises(ValueError, match=r"num_samples must be a whole number of at least 1. Received: 0"):
        bound(tensors.log_joint(model, x), tensors.proposal(model, x), num_samples=0)
