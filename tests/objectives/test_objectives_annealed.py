"""Annealed bounds against exact likelihoods, and the path of the weights step by step."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.objectives import linear_gaussian as tensors
from tests.reference import ppca
from tfzoo import random
from tfzoo.objectives import annealed
from tfzoo.objectives.bounds import log_mean_exp


def problem(latent_dim=2, num_examples=40, seed=0):
    model = ppca.make(latent_dim, 2 * latent_dim, seed, scale=0.5)
    z, x = model.sample(num_examples, np.random.default_rng(seed + 1))
    return model, z, x


def initial(kind, model, x, dtype=tf.float64):
    return tensors.prior(model, dtype) if kind == "prior" else tensors.proposal(model, x, shift=0.5, dtype=dtype)


def check_mean_is_one(log_ratio):
    """E exp(log_ratio) = 1 within four standard errors."""
    ratio = np.exp(log_ratio)
    assert abs(ratio.mean() - 1.0) < 4.0 * ratio.std(ddof=1) / np.sqrt(len(ratio))


@pytest.mark.parametrize(
    ("latent_dim", "kind", "dtype", "num_steps"),
    [
        (1, "prior", tf.float64, 40),
        (2, "posterior", tf.float32, 40),
        (10, "prior", tf.float64, 300),
        (10, "posterior", tf.float64, 40),
    ],
)
def test_both_bounds_enclose_the_exact_likelihood(latent_dim, kind, dtype, num_steps):
    model, z, x = problem(latent_dim, 200)
    bounds = annealed.log_prob_bounds(
        tensors.log_joint(model, x, dtype),
        initial(kind, model, x, dtype),
        posterior_sample=z,
        num_steps=num_steps,
        num_chains=4,
        num_leapfrog_steps=5,
        seed=latent_dim,
    )
    assert bounds.lower.dtype == bounds.upper.dtype == bounds.acceptance.dtype == dtype
    lower, upper = np.asarray(bounds.lower) - model.log_prob(x), np.asarray(bounds.upper) - model.log_prob(x)
    # What both bounds rest on: E w = p(x) over the seed, and E 1/w = 1/p(x) over the data too.
    check_mean_is_one(lower)
    check_mean_is_one(-upper)
    assert lower.mean() < 4.0 * lower.std(ddof=1) / np.sqrt(len(x))
    assert upper.mean() > -4.0 * upper.std(ddof=1) / np.sqrt(len(x))
    assert lower.max() < np.log(200 / 1e-4)  # by more than c nats with a probability below exp(-c)
    assert upper.min() > -np.log(200 / 1e-4)
    assert 0.0 < np.mean(upper - lower) < 1.0
    assert abs(np.mean(bounds.acceptance) - 0.65) < 0.15


def test_the_gap_shrinks_with_the_number_of_steps():
    model, z, x = problem(4, 60)
    gaps = []
    for num_steps in (3, 24):
        bounds = annealed.log_prob_bounds(
            tensors.log_joint(model, x),
            tensors.prior(model),
            posterior_sample=z,
            num_steps=num_steps,
            num_chains=4,
            num_leapfrog_steps=5,
            seed=1,
        )
        gaps.append(np.asarray(bounds.upper - bounds.lower))
    difference = gaps[0] - gaps[1]
    assert difference.mean() > 4.0 * difference.std(ddof=1) / np.sqrt(len(x))


@pytest.mark.fast
@pytest.mark.parametrize("kind", ["prior", "posterior"])
def test_one_step_is_plain_importance_sampling_number_by_number(kind):
    model, z, x = problem(num_examples=5)
    start, log_joint = initial(kind, model, x), tensors.log_joint(model, x)
    bounds = annealed.log_prob_bounds(log_joint, start, posterior_sample=z, num_steps=1, num_chains=6, seed=3)
    start_seed = random.split(random.as_seed(3), 4)[1]
    if kind == "prior":
        samples = tf.reshape(random.sample(start, 30, start_seed), [6, 5, 2])
    else:
        samples = random.sample(start, 6, start_seed)
    np.testing.assert_allclose(bounds.lower, log_mean_exp(log_joint(samples) - start.log_prob(samples)), rtol=1e-12)
    np.testing.assert_allclose(bounds.upper, log_joint(z) - start.log_prob(z), rtol=1e-12)


@pytest.mark.fast
def test_weights_and_step_sizes_follow_the_path_forward_and_back(monkeypatch):
    """With transitions that move by their step size, both weights are plain sums over known points."""

    class Drift:
        def __init__(self, target, step, num_leapfrog_steps):
            self.step = step

        def bootstrap_results(self, z):
            return None

        def one_step(self, z, results, seed):
            return z + self.step, SimpleNamespace(log_accept_ratio=tf.zeros(tf.shape(z)[:-1], z.dtype))

    monkeypatch.setattr(annealed.tfp.mcmc, "HamiltonianMonteCarlo", Drift)
    model, posterior_sample, x = problem(num_examples=3)
    start, log_joint = initial("posterior", model, x), tensors.log_joint(model, x)
    betas = np.array([0.0, 0.1, 0.3, 0.4, 1.0])
    steps = np.array([0.1, -0.2, 0.4])
    bounds = annealed.log_prob_bounds(
        log_joint,
        start,
        posterior_sample=posterior_sample,
        num_steps=4,
        num_chains=2,
        schedule=betas,
        step_size=steps.reshape(3, 1, 1, 1),
        seed=0,
    )

    def log_weight(points):
        ratios = [np.asarray(log_joint(z) - start.log_prob(z)) for z in points]
        return sum((betas[k + 1] - betas[k]) * ratios[k] for k in range(4))

    z0 = np.asarray(random.sample(start, 2, random.split(random.as_seed(0), 4)[1]))
    forward = log_weight([z0 + steps[:k].sum() for k in range(4)])
    np.testing.assert_allclose(bounds.lower, log_mean_exp(forward), rtol=1e-10)
    backward = log_weight([posterior_sample + steps[k:].sum() for k in range(4)])
    np.testing.assert_allclose(bounds.upper, backward, rtol=1e-10)
    np.testing.assert_array_equal(bounds.acceptance, 1.0)


@pytest.mark.fast
def test_a_transition_takes_one_gradient_more_than_its_leapfrog_steps():
    model, _, x = problem(num_examples=2)
    log_joint = tensors.log_joint(model, x)
    counter = tf.Variable(0)

    @tf.custom_gradient
    def counted(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = log_joint(z)

        def gradient(upstream):
            with tf.control_dependencies([counter.assign_add(1)]):
                return upstream[..., tf.newaxis] * tape.gradient(value, z)

        return value, gradient

    annealed.log_prob_bounds(
        counted, initial("posterior", model, x), num_steps=6, num_chains=2, num_leapfrog_steps=3, step_size=0.1, seed=0
    )
    assert int(counter) == 5 * (3 + 1)


def test_tuned_steps_accept_about_two_thirds_and_small_ones_nearly_all():
    model, _, x = problem(10, 20)
    x = np.concatenate([x, x / 10.0])
    settings = {"num_chains": 8, "num_steps": 60, "seed": 0}
    log_joint, prior = tensors.log_joint(model, x), tensors.prior(model)
    tuned = annealed.log_prob_bounds(log_joint, prior, **settings)
    assert tuned.upper is None
    assert np.all(np.abs(tuned.acceptance - 0.65) < 0.15)
    step_size = np.where(np.arange(40) < 20, 0.01, 10.0).reshape(1, 1, 40, 1)
    fixed = annealed.log_prob_bounds(log_joint, prior, step_size=np.repeat(step_size, 59, axis=0), **settings)
    assert np.min(fixed.acceptance[:20]) > 0.99
    assert np.max(fixed.acceptance[20:]) < 0.01
    assert np.all(fixed.lower < model.log_prob(x) + np.log(40 / 1e-4))


@pytest.mark.fast
def test_the_default_schedule_rises_from_0_to_1_and_is_dense_at_both_ends():
    for num_steps in (1, 2, 7, 10_000):
        betas = annealed.sigmoidal_schedule(num_steps)
        assert betas[0] == 0.0
        assert betas[-1] == 1.0
        assert (np.diff(betas.astype(np.float32)) > 0.0).all()
    steps = np.diff(betas)
    np.testing.assert_allclose(steps, steps[::-1], rtol=1e-6)
    assert steps[len(steps) // 2] > 10.0 * steps[0]


def bounds_as_function(kind):
    model, z, x = problem(num_examples=5)

    def bounds(x, z):
        log_joint = tensors.log_joint(model, x, tf.float32)
        mean = tf.linalg.matmul(tf.cast(x, tf.float32), tf.fill([4, 2], 0.1))
        start = tensors.prior(model, tf.float32) if kind == "prior" else tfd.Independent(tfd.Normal(mean, 1.0), 1)
        return annealed.log_prob_bounds(
            log_joint, start, posterior_sample=z, num_steps=20, num_chains=4, num_leapfrog_steps=3, seed=7
        )

    return bounds, tf.constant(x), tf.constant(z, tf.float32), model.log_prob(x)


def test_a_graph_of_unknown_batch_size_gives_the_same_bounds():
    bounds, x, z, _ = bounds_as_function("posterior")
    signature = [tf.TensorSpec([None, 4], tf.float64), tf.TensorSpec([None, 2])]
    dynamic = tf.function(bounds, autograph=False, input_signature=signature)(x, z)
    np.testing.assert_allclose(dynamic, bounds(x, z), rtol=1e-3)


def test_bounds_hold_under_xla():
    bounds, x, z, exact = bounds_as_function("prior")
    result = tf.function(bounds, autograph=False, jit_compile=True)(x, z)
    assert np.isfinite(result).all()
    # TFP's momenta are other numbers under XLA: compare with the truth, not with the other run.
    assert np.max(result.lower - exact) < np.log(5 / 1e-4)
    assert np.min(result.upper - exact) > -np.log(5 / 1e-4)
    assert np.max(result.upper - result.lower) < 3.0


@pytest.mark.fast
def test_the_seed_decides():
    model, _, x = problem(num_examples=3)
    arguments = tensors.log_joint(model, x), tensors.prior(model)

    @tf.function(autograph=False)
    def lower(seed):
        return annealed.log_prob_bounds(*arguments, num_steps=3, num_chains=2, seed=seed).lower

    runs = [lower(random.as_seed(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.isclose(runs[0], runs[2]).any()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1"),
        ({"num_chains": 0}, "num_chains must be a whole number of at least 1"),
        ({"num_leapfrog_steps": 0}, "num_leapfrog_steps must be a whole number of at least 1"),
        ({"schedule": [0.0, 0.5, 1.0]}, "schedule must rise from 0 to 1 in 3 steps"),
        ({"schedule": [0.0, 0.5, 0.5, 1.0]}, "schedule must rise"),
        ({"schedule": [0.0, np.nan, 0.5, 1.0]}, "schedule must rise"),
        ({"schedule": [0.1, 0.2, 0.5, 1.0]}, "schedule must rise"),
        ({"posterior_sample": np.zeros([5, 3])}, r"posterior_sample must have shape \[B, 2\]"),
        ({"posterior_sample": np.zeros(2)}, r"posterior_sample must have shape \[B, 2\]"),
        ({"posterior_sample": np.zeros([1, 2])}, "posterior_sample must have one row for each of the 5 examples"),
    ],
)
def test_arguments_out_of_range_are_errors(arguments, message):
    model, _, x = problem(num_examples=5)
    for kind in ("prior", "posterior"):
        with pytest.raises(ValueError, match=f"{message}.*Received: "):
            annealed.log_prob_bounds(
                tensors.log_joint(model, x), initial(kind, model, x), **{"num_steps": 3, "seed": 0, **arguments}
            )
