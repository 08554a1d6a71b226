"""The mixture of posteriors as a prior: its density, its mass, and that it is the best one for its own codes."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfzoo
from tfzoo.distributions import VampPrior


def posterior(x):
    """Returns q(z|x) of two latents for vectors ``[B, 3]``."""
    return tfd.Independent(tfd.Normal(x[:, :2], 0.5 + x[:, 2:] ** 2), 1)


def test_the_density_is_the_mean_of_the_posteriors():
    prior = VampPrior(2, (3,), num_components=7, dtype="float64")
    u, z = np.asarray(prior.pseudo_inputs), np.random.default_rng(0).normal(size=(4, 5, 2))
    each = scipy.stats.norm.logpdf(z[..., np.newaxis, :], u[:, :2], 0.5 + u[:, 2:] ** 2).sum(axis=-1)
    expected = scipy.special.logsumexp(each, axis=-1) - np.log(7)
    np.testing.assert_allclose(prior.distribution(posterior).log_prob(z), expected, rtol=1e-12)


def test_the_density_integrates_to_one():
    prior = VampPrior(2, (3,), num_components=7, dtype="float64")
    line = np.linspace(-8.0, 10.0, 361)
    z = np.stack(np.meshgrid(line, line), axis=-1)
    total = np.exp(prior.distribution(posterior).log_prob(z)).sum() * (line[1] - line[0]) ** 2
    np.testing.assert_allclose(total, 1.0, atol=1e-6)


def test_samples_have_the_mixtures_moments_and_rows_their_own_seeds():
    model = tfzoo.create_model("vae", event_shape=(3,), latent_dim=2, prior="vamp", seed=0)
    prior = model.prior()
    z = prior.sample(20_000, seed=[0, 1])
    deviation = tf.math.reduce_std(z, axis=0) / np.sqrt(20_000.0)
    np.testing.assert_array_less(np.abs(tf.reduce_mean(z, axis=0) - prior.mean()), 4.0 * deviation)
    seeds = np.array([[0, 1], [0, 2], [0, 3]])
    np.testing.assert_allclose(model.sample(3, seed=seeds)[1:], model.sample(2, seed=seeds[1:]), atol=1e-6)


def test_of_all_priors_the_mean_posterior_has_the_least_divergence():
    # The mean over x of KL(q(z|x) || p) exceeds that to the mean posterior by KL(mean posterior || p).
    x = np.random.default_rng(0).uniform(size=(50, 3)).astype(np.float32)
    divergences = {}
    for prior in (VampPrior(2, (3,), num_components=len(x)), "standard"):
        model = tfzoo.create_model("vae", event_shape=(3,), latent_dim=2, prior=prior, estimator="sampled", seed=0)
        if prior != "standard":
            model.prior_layer.pseudo_inputs.assign(x)
            weights = model.encoder.get_weights(), model.posterior_layer.get_weights()
        model.encoder.set_weights(weights[0])
        model.posterior_layer.set_weights(weights[1])
        q = model.posterior(x)
        z = q.sample(400, seed=[0, 1])
        divergences[prior if prior == "standard" else "mean"] = q.log_prob(z) - model.prior().log_prob(z)
    excess = divergences["standard"] - divergences["mean"]
    error = np.std(excess) / np.sqrt(excess.shape[0] * excess.shape[1])
    assert np.mean(excess) > 4.0 * error
    # And to the mean posterior it is never more than log N.
    assert np.mean(divergences["mean"]) < np.log(len(x))


@pytest.mark.parametrize(
    ("model", "prior", "message"),
    [
        (
            "vae",
            "vampire",
            'prior must be "standard", "vamp", or a layer of tfzoo.distributions. Received: \'vampire\'',
        ),
        ("vae", VampPrior(2, (4,)), r"prior must have pseudo-inputs \(3,\). Received: \(4,\)"),
        ("vae", VampPrior(3, (3,)), "prior must be over latent_dim = 2. Received: 3"),
        ("abp", "vamp", "prior must not need an encoder, which this model has not. Received: VampPrior"),
    ],
)
def test_bad_input_is_one_sentence(model, prior, message):
    with pytest.raises(ValueError, match=message):
        tfzoo.create_model(model, event_shape=(3,), latent_dim=2, prior=prior)


def test_components_are_counted():
    with pytest.raises(ValueError, match="num_components must be"):
        VampPrior(2, (3,), num_components=0)
