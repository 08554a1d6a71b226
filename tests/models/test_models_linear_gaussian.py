"""Against closed forms: with linear networks and Gaussian noise the VAE is probabilistic PCA, where all is known."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.models.linear_gaussian import (
    COVARIANCE,
    OFFSET,
    POSTERIOR_COVARIANCE,
    SCALE,
    D,
    N,
    W,
    exact_log_prob,
    mean_and_error,
    model_of,
    posterior_mean,
    simulate,
)
from tfzoo.models import inpainting
from tfzoo.objectives import annealed, importance


@pytest.mark.fast
@pytest.mark.parametrize("name", ["vae", "iwae"])
def test_log_prob_agrees_with_the_exact_likelihood(name, test_seed):
    model, (_, x) = model_of(name), simulate(20)
    estimate = importance.estimate(
        lambda z: model.log_joint(x, z), model.posterior(x), num_samples=5000, seed=test_seed
    )
    assert np.all(np.abs(estimate.log_prob - exact_log_prob(x)) <= 4 * estimate.standard_error)
    assert np.all(estimate.standard_error < 0.05)
    np.testing.assert_allclose(
        model.log_prob(x, 5000, test_seed), exact_log_prob(x), atol=4 * np.max(estimate.standard_error)
    )


@pytest.mark.fast
def test_importance_sampling_from_a_poor_posterior_still_agrees(test_seed):
    model, (_, x) = model_of(shift=0.3, widen=2.0), simulate(10)
    estimate = importance.estimate(
        lambda z: model.log_joint(x, z), model.posterior(x), num_samples=20000, seed=test_seed
    )
    assert np.all(np.abs(estimate.log_prob - exact_log_prob(x)) <= 4 * estimate.standard_error)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["vae", "iwae"])
def test_elbo_is_exact_log_prob_minus_the_kl(name, test_seed):
    model, (_, x) = model_of(name, shift=0.2), simulate(1)
    mean, error = mean_and_error(model.elbo(np.repeat(x, 4000, axis=0), 1, test_seed))
    q = model.posterior(x)
    difference = posterior_mean(x)[0] - np.asarray(q.mean())[0]
    precision, variances = np.linalg.inv(POSTERIOR_COVARIANCE), np.asarray(q.variance())[0]
    kl = 0.5 * (np.diag(precision) @ variances + difference @ precision @ difference - D)
    kl += 0.5 * (np.linalg.slogdet(POSTERIOR_COVARIANCE)[1] - np.sum(np.log(variances)))
    assert kl > 0
    assert abs(mean - (exact_log_prob(x) - kl)) <= 4 * error
    assert mean <= exact_log_prob(x) + 4 * error


@pytest.mark.parametrize(("start", "dtype"), [("prior", "float64"), ("posterior", "float32")])
def test_annealed_bounds_enclose_the_exact_likelihood(start, dtype, test_seed):
    model, (z, x) = model_of(shift=0.3, widen=1.5, dtype=dtype), simulate(16)
    initial = model.prior() if start == "prior" else model.posterior(x)
    bounds = annealed.log_prob_bounds(
        lambda z: model.log_joint(x, z),
        initial,
        posterior_sample=z,
        num_steps=60,
        num_chains=8,
        num_leapfrog_steps=5,
        seed=test_seed,
    )
    exact = exact_log_prob(x)
    below, below_error = mean_and_error(bounds.lower - exact)
    above, above_error = mean_and_error(bounds.upper - exact)
    assert below <= 4 * below_error
    assert above >= -4 * above_error
    assert np.mean(bounds.upper - bounds.lower) < 1.0


@pytest.mark.fast
def test_three_estimators_agree_in_expectation(test_seed):
    _, x = simulate(1)
    results = {}
    for i, estimator in enumerate(("analytic_kl", "analytic_entropy", "sampled")):
        model = model_of(estimator=estimator, shift=0.2)
        results[estimator] = mean_and_error(model.elbo(np.repeat(x, 4000, axis=0), 1, [test_seed, i]))
    for mean, error in results.values():
        for other, other_error in results.values():
            assert abs(mean - other) <= 4 * np.hypot(error, other_error)


@pytest.mark.fast
def test_analytic_kl_is_the_closed_form():
    model, (_, x) = model_of(estimator="analytic_kl"), simulate(5)
    q = model.posterior(x)
    mean, variance = np.asarray(q.mean()), np.asarray(q.variance())
    closed_form = 0.5 * np.sum(variance + mean**2 - 1 - np.log(variance), axis=-1)
    np.testing.assert_allclose(model(x, seed=0)["kl"], closed_form[np.newaxis], rtol=1e-8)


@pytest.mark.fast
def test_the_default_estimator_is_analytic_where_the_prior_allows():
    assert model_of().estimator == "analytic_kl"
    assert model_of("iwae").estimator == "sampled"


@pytest.mark.fast
def test_iwae_with_one_sample_is_the_vae_number_by_number(test_seed):
    _, x = simulate(7)
    vae, iwae = model_of(estimator="sampled"), model_of("iwae", num_samples=1)
    bounds = [model.bound(tf.constant(x), model(x, seed=test_seed)) for model in (vae, iwae)]
    np.testing.assert_array_equal(*bounds)
    losses = [model.compute_loss(x, y_pred=model(x, seed=test_seed)) for model in (vae, iwae)]
    np.testing.assert_array_equal(*losses)


@pytest.mark.fast
def test_iwae_rises_with_its_samples_towards_log_prob(test_seed):
    _, x = simulate(1)
    many, previous = np.repeat(x, 3000, axis=0), -np.inf
    for num_samples in (1, 4, 16):
        model = model_of("iwae", num_samples=num_samples, widen=2.0)
        mean, error = mean_and_error(model.bound(tf.constant(many), model(many, seed=test_seed)))
        assert previous < mean <= exact_log_prob(x) + 4 * error
        previous = mean


@pytest.mark.fast
def test_anomaly_score_is_minus_log_joint_at_the_code():
    model, (_, x) = model_of(), simulate(4)
    score = model.anomaly_score(x, seed=0)
    np.testing.assert_allclose(score, -model.log_joint(x, model.encode(x, seed=0)))
    z = posterior_mean(x)
    closed_form = stats.norm(z @ W.T + OFFSET, SCALE).logpdf(x).sum(-1) + stats.norm().logpdf(z).sum(-1)
    np.testing.assert_allclose(score, -closed_form, rtol=1e-6)
    assert np.all(model.anomaly_score(x + 10) > score)


@pytest.mark.fast
def test_interpolation_is_straight_and_ends_at_the_reconstructions():
    model, (_, x) = model_of(), simulate(4)
    path = np.asarray(model.interpolate(x[:2], x[2:], 5))
    np.testing.assert_allclose(path[:, 0], model.reconstruct(x[:2]), rtol=1e-10)
    np.testing.assert_allclose(path[:, -1], model.reconstruct(x[2:]), rtol=1e-10)
    np.testing.assert_allclose(np.diff(path, axis=1), np.repeat(path[:, 1:2] - path[:, :1], 4, axis=1), rtol=1e-8)
    np.testing.assert_allclose(model.interpolate(x[:2], x[2:], 1)[:, 0], path[:, 0])


# === Missing pixels ===

MASK = np.array([1, 0, 1, 0, 0, 1])
SEEN, HIDDEN = np.flatnonzero(MASK), np.flatnonzero(1 - MASK)


def conditional(x):
    """Returns the mean and the covariance of x_hidden given x_seen."""
    gain = COVARIANCE[np.ix_(HIDDEN, SEEN)] @ np.linalg.inv(COVARIANCE[np.ix_(SEEN, SEEN)])
    mean = OFFSET[HIDDEN] + (x[SEEN] - OFFSET[SEEN]) @ gain.T
    return mean, COVARIANCE[np.ix_(HIDDEN, HIDDEN)] - gain @ COVARIANCE[np.ix_(SEEN, HIDDEN)]


def completions(model, x, seed):
    run = tf.function(lambda: model.inpaint(x, MASK, 3000, seed, num_steps=200), autograph=False)
    return np.asarray(run())[:, 0]


@pytest.mark.fast
def test_missing_pixels_have_the_exact_conditional_moments_from_a_poor_posterior(test_seed):
    model, (_, x) = model_of(shift=0.5, widen=1.6), simulate(1, seed=3)
    found = completions(model, x, test_seed)
    exact, covariance = conditional(x[0])
    mean, error = mean_and_error(found[:, HIDDEN])
    assert np.all(np.abs(mean - exact) <= 4 * error)
    # Completions are means E[x_hidden | z]: their variance lacks the noise of the pixels.
    variance, variance_error = mean_and_error((found[:, HIDDEN] - exact) ** 2)
    assert np.all(np.abs(variance - (np.diag(covariance) - SCALE**2)) <= 4 * variance_error)


@pytest.mark.fast
def test_without_the_metropolis_test_they_would_not(monkeypatch, test_seed):
    """Pseudo-Gibbs (every proposal accepted) fails by far: so the test above can see."""
    monkeypatch.setattr(inpainting.random, "uniform", lambda shape, seed, dtype: tf.zeros(shape, dtype))
    model, (_, x) = model_of(shift=0.5, widen=1.6), simulate(1, seed=3)
    mean, error = mean_and_error(completions(model, x, test_seed)[:, HIDDEN])
    assert np.any(np.abs(mean - conditional(x[0])[0]) > 10 * error)


@pytest.mark.fast
def test_visible_pixels_are_kept_exactly_and_hidden_ones_do_not_matter(test_seed):
    model, (_, x) = model_of(), simulate(3)
    found = np.asarray(model.inpaint(x, MASK, 4, test_seed, num_steps=5))
    assert found.shape == (4, 3, N)
    np.testing.assert_array_equal(found[..., SEEN], np.broadcast_to(x[:, SEEN], (4, 3, len(SEEN))))
    assert len(np.unique(found[:, :, HIDDEN[0]])) == 12
    other = x.copy()
    other[:, HIDDEN] = 77.0
    np.testing.assert_array_equal(model.inpaint(other, MASK, 4, test_seed, num_steps=5), found)


@pytest.mark.fast
def test_an_image_all_visible_comes_back(test_seed):
    model, (_, x) = model_of(), simulate(3)
    np.testing.assert_array_equal(model.inpaint(x, np.ones(N), 2, test_seed, num_steps=2), np.stack([x, x]))


@pytest.mark.fast
def test_each_image_can_have_its_own_mask(test_seed):
    model, (_, x) = model_of(), simulate(2)
    masks = np.stack([MASK, 1 - MASK])
    found = np.asarray(model.inpaint(x, masks, 1, test_seed, num_steps=2))[0]
    np.testing.assert_array_equal(found == x, masks == 1)
