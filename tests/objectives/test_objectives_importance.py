"""importance.estimate against exact likelihoods and a plain NumPy sum."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives import linear_gaussian as tensors
from tests.reference import ppca
from tfzoo import random
from tfzoo.objectives import importance

fast = pytest.mark.fast


def problem(num_examples=6, latent_dim=2, seed=0):
    model = ppca.make(latent_dim, 5, seed)
    return model, model.sample(num_examples, np.random.default_rng(seed + 1))[1]


@fast
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("latent_dim", [1, 4])
def test_a_bad_proposal_finds_the_likelihood_within_its_standard_error(latent_dim, dtype):
    model, x = problem(latent_dim=latent_dim)
    q = tensors.proposal(model, x, shift=0.7, stretch=1.5, dtype=dtype)
    result = importance.estimate(tensors.log_joint(model, x, dtype), q, num_samples=20_000, seed=2)
    exact = model.log_prob(x)
    np.testing.assert_array_less(np.abs(result.log_prob - exact), 4.0 * result.standard_error + 1e-5)
    assert np.max(result.standard_error) < 0.05
    assert np.min(result.effective_sample_size) > 500
    np.testing.assert_array_equal(
        importance.log_prob(tensors.log_joint(model, x, dtype), q, num_samples=20_000, seed=2), result.log_prob
    )


@fast
def test_at_the_true_posterior_there_is_no_error():
    model, x = problem()
    result = importance.estimate(tensors.log_joint(model, x), tensors.posterior(model, x), num_samples=37, seed=0)
    np.testing.assert_allclose(result.log_prob, model.log_prob(x), rtol=1e-12)
    np.testing.assert_allclose(result.standard_error, 0.0, atol=1e-6)
    np.testing.assert_allclose(result.effective_sample_size, 37.0, rtol=1e-9)


@fast
@pytest.mark.parametrize("chunk_size", [None, 1, 4, 7, 10, 11, 100])
def test_any_chunk_gives_the_plain_sum_of_its_samples(chunk_size):
    model, x = problem()
    q, log_joint = tensors.proposal(model, x), tensors.log_joint(model, x)
    seed = random.as_seed(5)
    size = min(chunk_size or 10, 10)
    counts = [size] * (10 // size) + ([10 % size] if 10 % size else [])
    z = tf.concat([random.sample(q, n, random.fold_in(seed, i)) for i, n in enumerate(counts)], 0)
    weights = np.exp(np.asarray(log_joint(z) - q.log_prob(z)))
    for run in (lambda f: f(), tf.function(lambda f: f(), autograph=False)):
        result = run(lambda: importance.estimate(log_joint, q, num_samples=10, chunk_size=chunk_size, seed=seed))
        np.testing.assert_allclose(result.log_prob, np.log(weights.mean(0)), rtol=1e-10)
        error = weights.std(0, ddof=1) / np.sqrt(10) / weights.mean(0)
        np.testing.assert_allclose(result.standard_error, error, rtol=1e-8)
        np.testing.assert_allclose(result.effective_sample_size, weights.sum(0) ** 2 / (weights**2).sum(0), rtol=1e-10)


@fast
def test_the_standard_error_is_the_spread_of_the_estimate():
    model, x = problem(1)
    x = np.repeat(x, 800, axis=0)  # 800 estimates of the same number
    q = tensors.proposal(model, x, shift=0.5, stretch=1.2)
    result = importance.estimate(tensors.log_joint(model, x), q, num_samples=500, seed=3)
    spread = np.std(result.log_prob, ddof=1)
    # The spread of a spread is about 1 / sqrt(2 n) of it.
    assert abs(np.mean(result.standard_error) / spread - 1.0) < 4.0 / np.sqrt(2 * 800)
    bias = np.mean(result.log_prob) - model.log_prob(x[:1])[0]
    assert abs(bias + 0.5 * spread**2) < 4.0 * spread / np.sqrt(800)


@fast
def test_weights_far_from_each_other_do_not_overflow():
    model, x = problem()
    shift = tf.constant([0.0, 1e4, -1e4, 300.0, -300.0, 1.0], tf.float64)
    log_joint = tensors.log_joint(model, x)
    q = tensors.proposal(model, x)
    moved = importance.estimate(lambda z: log_joint(z) + shift, q, num_samples=20, chunk_size=3, seed=0)
    plain = importance.estimate(log_joint, q, num_samples=20, chunk_size=3, seed=0)
    np.testing.assert_allclose(moved.log_prob - shift, plain.log_prob, atol=1e-8)
    np.testing.assert_allclose(moved.standard_error, plain.standard_error, rtol=1e-6)


@fast
@pytest.mark.parametrize("chunk_size", [1, 3, 20])
def test_samples_of_weight_zero_count_as_such(chunk_size):
    model, x = problem()
    q, log_joint = tensors.proposal(model, x), tensors.log_joint(model, x)

    def cut(z):
        return tf.where(z[..., 0] > q.mean()[..., 0], log_joint(z), tf.constant(-np.inf, tf.float64))

    def estimate(log_joint, num_samples):
        return importance.estimate(log_joint, q, num_samples=num_samples, chunk_size=chunk_size, seed=1)

    half = estimate(cut, 20)
    assert np.isfinite(half).all()
    assert np.all(half.log_prob < estimate(log_joint, 20).log_prob)
    nothing = estimate(lambda z: log_joint(z) - np.inf, 20)
    np.testing.assert_array_equal(nothing.log_prob, -np.inf)
    np.testing.assert_array_equal(nothing.standard_error, np.inf)
    np.testing.assert_array_equal(nothing.effective_sample_size, 0.0)


@fast
def test_a_nan_is_not_hidden():
    model, x = problem()
    log_joint = tensors.log_joint(model, x)
    poison = tf.constant([0.0, np.nan, 0.0, 0.0, 0.0, 0.0], tf.float64)
    result = importance.estimate(lambda z: log_joint(z) + poison, tensors.proposal(model, x), num_samples=9, seed=1)
    np.testing.assert_array_equal(np.isnan(result.log_prob), np.isnan(poison))


@fast
def test_one_sample_says_nothing_of_its_error():
    model, x = problem()
    result = importance.estimate(tensors.log_joint(model, x), tensors.proposal(model, x), num_samples=1, seed=0)
    np.testing.assert_array_equal(result.standard_error, np.inf)
    np.testing.assert_allclose(result.effective_sample_size, 1.0)


@fast
def test_an_example_depends_on_its_own_seed_and_row_also_under_xla_and_with_unknown_batch():
    model, x = problem()
    seeds = np.arange(12, dtype=np.int32).reshape(6, 2)

    def estimate(rows, seeds):
        q = tensors.proposal(model, x)
        loc, scale = (tf.gather(value, rows) for value in (q.mean(), q.stddev()))
        q = type(q)(type(q.distribution)(loc, scale), 1)
        taken = tf.gather(tf.constant(x), rows)
        return importance.estimate(
            tensors.log_joint(model, taken),
            q,
            num_samples=10,
            chunk_size=4,
            seed=seeds,
        )

    together = estimate(tf.range(6), tf.constant(seeds))
    signature = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 2], tf.int32)]
    for compiled in (
        tf.function(estimate, autograph=False, input_signature=signature),
        tf.function(estimate, autograph=False, jit_compile=True),
    ):
        np.testing.assert_allclose(compiled(tf.range(6), tf.constant(seeds)), together, rtol=1e-9)
    for rows in ([3], [5, 0]):
        some = estimate(tf.constant(rows), tf.constant(seeds[rows]))
        np.testing.assert_allclose(some, np.asarray(together)[:, rows], rtol=1e-9)


@fast
def test_the_default_chunk_keeps_the_rows_near_four_thousand():
    rows = []

    def log_joint(z):
        rows.append(z.shape[0] * z.shape[1])
        return tf.zeros(z.shape[:2], tf.float64)

    for num_examples in (1, 70, 5_000):
        model, x = problem(1)
        q = tensors.proposal(model, np.repeat(x, num_examples, axis=0))
        importance.estimate(log_joint, q, num_samples=100_000 // num_examples, seed=0)
    assert max(rows) <= max(importance._ROWS, 5_000)
    assert importance._ROWS in rows


@fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1"),
        ({"chunk_size": 0}, "chunk_size must be a whole number of at least 1"),
    ],
)
def test_no_sample_and_no_chunk_are_errors(arguments, message):
    model, x = problem()
    with pytest.raises(ValueError, match=f"{message}. Received: 0"):
        importance.estimate(tensors.log_joint(model, x), tensors.proposal(model, x), **arguments)


_PEAK = """
import resource, sys
import numpy as np, tensorflow as tf
from tests.objectives import linear_gaussian as tensors
from tests.reference import ppca
from tfzoo.objectives import importance

model = ppca.make(8, 20)
x = model.sample(10_000, np.random.default_rng(0))[1]
estimate = tf.function(
    lambda count: importance.estimate(
        tensors.log_joint(model, x, tf.float32), tensors.proposal(model, x, dtype=tf.float32), num_samples=count, seed=0
    ),
    autograph=False,
)
for count in (10, 1000):
    result = estimate(count)
    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, float(np.isfinite(result.log_prob).all()))
"""


def test_memory_does_not_grow_with_the_samples():
    root = pathlib.Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PEAK], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    (_, few, _), (_, many, finite) = (map(float, line.split()) for line in run.stdout.splitlines())
    assert finite
    # Held at once, 1,000 samples of 10,000 examples would be 320 MB of latents and 800 MB of means.
    assert many - few < 60.0
