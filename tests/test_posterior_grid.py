"""The true posterior on a grid is the exact one where that is known."""

import numpy as np
import pytest
from scipy import stats

import tfzoo
from tests.models.linear_gaussian import POSTERIOR_COVARIANCE, exact_log_prob, model_of, posterior_mean, simulate
from tfzoo import posterior_grid


@pytest.mark.parametrize("posterior", ["gaussian", "iaf"])
def test_of_a_linear_gaussian_model(posterior):
    _, x = simulate(1)
    found = posterior_grid.compare(model_of("vae", posterior=posterior, widen=1.0), x[0], num_points=120)
    np.testing.assert_allclose(found.log_prob, exact_log_prob(x), atol=2e-3)
    points = np.stack(np.meshgrid(found.first, found.second, indexing="ij"), -1)
    exact = stats.multivariate_normal(posterior_mean(x[0]), POSTERIOR_COVARIANCE).logpdf(points)
    np.testing.assert_allclose(found.true, exact, atol=2e-3)
    assert np.exp(found.true[[0, -1]]).max() < 1e-4 * np.exp(found.true).max()
    assert np.exp(found.true[:, [0, -1]]).max() < 1e-4 * np.exp(found.true).max()
    cell = (found.first[1] - found.first[0]) * (found.second[1] - found.second[0])
    np.testing.assert_allclose(np.exp(found.approximate).sum() * cell, 1.0, atol=0.02)
    assert found.elbo < found.log_prob
    assert found.samples.shape == (1000, 2)


def test_a_model_without_a_density_has_samples_only():
    model = tfzoo.create_model("langevin_vae", event_shape=(5,), latent_dim=2, num_steps=1, seed=0)
    found = posterior_grid.compare(model, np.zeros(5, np.float32), num_points=30, num_samples=50)
    assert found.approximate is None
    assert found.samples.shape == (50, 2)


def test_more_latents_are_one_sentence():
    model = tfzoo.create_model("vae", event_shape=(5,), latent_dim=3)
    with pytest.raises(ValueError, match=r"^a posterior on a grid needs latent_dim = 2\. Received: 3$"):
        posterior_grid.compare(model, np.zeros(5, np.float32))


@pytest.mark.fast
def test_a_model_without_an_encoder_is_one_sentence() -> None:
    model = tfzoo.create_model("abp", event_shape=(4,), latent_dim=2)
    with pytest.raises(ValueError, match=r"needs an encoder\. Received: ABP$"):
        posterior_grid.compare(model, np.zeros(4, np.float32))
