"""tfzoo.random: the same numbers everywhere, and rows that do not know of each other."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfzoo import random

pytestmark = pytest.mark.fast

SEEDS = np.array([[1, 2], [3, 4], [-5, 6], [2**31 - 1, -(2**31)]], np.int32)
LOC = np.linspace(-2.0, 2.0, 20, dtype=np.float32).reshape(4, 5)

SEED_SPEC = tf.TensorSpec([None, 2], tf.int32)

DRAWS = {
    "normal": lambda rows, seeds: random.normal([3, tf.shape(rows)[0], 5], seeds),
    "normal_of_odd_size_1": lambda rows, seeds: random.normal([tf.shape(rows)[0], 1], seeds),
    "normal_float64": lambda rows, seeds: random.normal([3, tf.shape(rows)[0], 2], seeds, tf.float64),
    "uniform": lambda rows, seeds: random.uniform([3, 2, tf.shape(rows)[0], 5], seeds),
    "bernoulli": lambda rows, seeds: random.bernoulli(tf.sigmoid(rows)[..., tf.newaxis] * tf.ones([3]), seeds),
    "fold_in": lambda rows, seeds: random.fold_in(seeds, 7),
    "independent_normal": lambda rows, seeds: random.sample(tfd.Independent(tfd.Normal(rows, 2.0), 1), 6, seeds),
    "batchless_prior": lambda rows, seeds: random.sample(tfd.Independent(tfd.Normal(LOC[0], 2.0), 1), 6, seeds),
    "bijector_of_normal": lambda rows, seeds: random.sample(
        tfd.TransformedDistribution(tfd.Independent(tfd.Normal(rows, 1.0), 1), tfb.Softplus()), 6, seeds
    ),
    "multivariate_normal": lambda rows, seeds: random.sample(tfd.MultivariateNormalDiag(rows, tf.ones(5)), 6, seeds),
    "batchless_sample": lambda rows, seeds: random.sample(tfd.Sample(tfd.Normal(0.0, 1.0), 5), 6, seeds),
    "mixture": lambda rows, seeds: random.sample(
        tfd.MixtureSameFamily(
            tfd.Categorical(logits=[0.0, 1.0]),
            tfd.MultivariateNormalDiag(tf.stack([rows, -rows], axis=1), tf.ones(5)),
        ),
        6,
        seeds,
    ),
}
# Drawn by TFP itself, whose numbers are others under XLA.
FOREIGN_DRAWS = {
    "laplace": lambda rows, seeds: random.sample(tfd.Independent(tfd.Laplace(rows, 1.0), 1), 6, seeds),
    "bijector_with_a_batch_over_a_base_without": lambda rows, seeds: random.sample(
        tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 5), tfb.Shift(rows)), 6, seeds
    ),
    "student": lambda rows, seeds: random.sample(
        tfd.MultivariateStudentTLinearOperator(3.0, rows, tf.linalg.LinearOperatorIdentity(5)), 6, seeds
    ),
}


def row_axis(name, value):
    return {"fold_in": 0, "bernoulli": 0}.get(name, np.ndim(value) - 2)


@pytest.mark.parametrize("name", [*DRAWS, *FOREIGN_DRAWS])
def test_a_row_depends_on_its_own_seed_only(name):
    draw = {**DRAWS, **FOREIGN_DRAWS}[name]
    together = np.asarray(draw(tf.constant(LOC), tf.constant(SEEDS)))
    axis = row_axis(name, together)
    assert together.shape[axis] == 4
    assert len({np.take(together, i, axis).tobytes() for i in range(4)}) == 4
    for rows in ([0], [2, 1], [3, 3, 0]):
        other = np.asarray(draw(tf.constant(LOC[rows]), tf.constant(SEEDS[rows])))
        # To rounding: where an element lies in memory decides whether its cosine is taken by the vector unit.
        np.testing.assert_allclose(other, np.take(together, rows, axis), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*DRAWS, *FOREIGN_DRAWS])
def test_graphs_of_unknown_batch_size_draw_the_same_numbers(name):
    draw = {**DRAWS, **FOREIGN_DRAWS}[name]
    signature = [tf.TensorSpec([None, 5]), tf.TensorSpec([None, 2], tf.int32)]
    graph = tf.function(draw, autograph=False, input_signature=signature)
    np.testing.assert_array_equal(graph(LOC, SEEDS), draw(tf.constant(LOC), tf.constant(SEEDS)))


@pytest.mark.parametrize("per_example", [True, False])
@pytest.mark.parametrize("name", DRAWS)
def test_xla_draws_the_same_numbers(name, per_example):
    seeds = tf.constant(SEEDS) if per_example else tf.constant(SEEDS[0])

    def draw():
        return DRAWS[name](tf.constant(LOC), seeds)

    compiled = tf.function(draw, autograph=False, jit_compile=True)()
    np.testing.assert_allclose(compiled, draw(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FOREIGN_DRAWS)
def test_xla_compiles_any_distribution_row_by_row(name):
    compiled = tf.function(FOREIGN_DRAWS[name], autograph=False, jit_compile=True)
    assert np.isfinite(compiled(tf.constant(LOC), tf.constant(SEEDS))).all()


@pytest.mark.parametrize("known", [True, False])
def test_no_seeds_draw_no_rows_and_some_what_they_draw_in_eager_code(known):
    """Where sizes are known at run time only, too."""
    draw = tf.function(random.normal, autograph=False, input_signature=[tf.TensorSpec([3], tf.int32), SEED_SPEC])
    if known:
        draw = tf.function(lambda shape, seeds: random.normal([2, shape[1], 5], seeds), autograph=False)
    for count in (0, 1, 4):
        expected = random.normal([2, count, 5], tf.constant(SEEDS[:count]))
        assert expected.shape == [2, count, 5]
        np.testing.assert_array_equal(draw(tf.constant([2, count, 5]), tf.constant(SEEDS[:count])), expected)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
@pytest.mark.parametrize("per_example", [True, False])
def test_moments_are_those_of_the_distribution(dtype, per_example):
    seeds = tf.constant(SEEDS if per_example else SEEDS[1])
    count = 4 * 20_000
    uniform = np.asarray(random.uniform([4, 20_000], seeds, dtype), np.float64)
    assert uniform.min() >= 0.0
    assert uniform.max() < 1.0
    resolution = 2.0 ** -{tf.bfloat16: 8, tf.float16: 11}.get(dtype, 24)
    assert abs(uniform.mean() - 0.5) < 4.0 * np.sqrt(1 / 12 / count) + resolution
    assert abs(uniform.var() - 1 / 12) < 4.0 * np.sqrt(1 / 180 / count) + resolution
    normal = np.asarray(random.normal([4, 20_000], seeds, dtype), np.float64)
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        slack = 0.02 * power if dtype.size == 2 else 0.0  # of half precision
        assert abs(np.mean(normal**power) - mean) < 4.0 * np.sqrt(variance / count) + slack
    halves = normal[:, :10_000] * normal[:, 10_000:]  # both come from the same radius
    assert abs(halves.mean()) < 4.0 / np.sqrt(halves.size) + (0.01 if dtype.size == 2 else 0.0)


def test_normal_has_the_tails_of_the_normal():
    draws = np.asarray(random.normal([1_000_000], random.as_seed(0)))
    expected = 1_000_000 * 2 * 3.1671e-5  # beyond 4 deviations
    assert abs(np.sum(np.abs(draws) > 4.0) - expected) < 4.0 * np.sqrt(expected)
    assert np.isfinite(draws).all()


def test_bernoulli_keeps_certain_pixels_and_the_mean():
    probs = tf.constant([[0.0, 1.0] + [0.3] * 50] * 4)
    for seed in (SEEDS, SEEDS[0]):
        draws = np.stack([random.bernoulli(probs, random.fold_in(tf.constant(seed), i)) for i in range(20)])
        assert set(np.unique(draws)) == {0.0, 1.0}
        assert (draws[..., 0] == 0.0).all()
        assert (draws[..., 1] == 1.0).all()
        assert abs(draws[..., 2:].mean() - 0.3) < 4.0 * np.sqrt(0.21 / 4_000)


def test_sample_of_a_normal_has_its_moments():
    posterior = tfd.Independent(tfd.Normal(LOC, 0.5), 1)
    for seed in (tf.constant(SEEDS), tf.constant(SEEDS[2])):
        draws = np.asarray(random.sample(posterior, 4_000, seed))
        assert draws.shape == (4_000, 4, 5)
        np.testing.assert_array_less(np.abs(draws.mean(0) - LOC), 4.5 * 0.5 / np.sqrt(4_000))
        np.testing.assert_array_less(np.abs(draws.std(0) - 0.5), 4.5 * 0.5 / np.sqrt(8_000))


def test_sample_of_a_mixture_has_its_components_as_often_as_it_should():
    probs = np.array([[0.0, 0.25, 0.75, 0.0], [0.5, 0.0, 0.1, 0.4]], np.float32)
    centres = 100.0 * np.arange(8, dtype=np.float32).reshape(2, 4, 1) + [0.0, 1.0, 2.0]
    components = tfd.MultivariateNormalDiag(tf.constant(centres, tf.float32), tf.fill([3], 0.5))
    draws = np.asarray(
        random.sample(tfd.MixtureSameFamily(tfd.Categorical(probs=probs), components), 4_000, tf.constant(SEEDS[1]))
    )
    assert draws.shape == (4_000, 2, 3)
    which = np.abs(draws[:, :, np.newaxis] - centres).sum(-1).argmin(-1)  # [S, 2]
    shares = (which[..., np.newaxis] == np.arange(4)).mean(0)
    np.testing.assert_array_less(np.abs(shares - probs), 4.0 * np.sqrt(probs * (1.0 - probs) / 4_000) + 1e-9)
    noise = (
        draws - np.take_along_axis(np.broadcast_to(centres, (4_000, 2, 4, 3)), which[..., None, None], 2)[:, :, 0]
    ) / 0.5
    np.testing.assert_array_less(np.abs(noise.mean(0)), 4.0 / np.sqrt(4_000))
    np.testing.assert_array_less(np.abs(noise.std(0) - 1.0), 4.0 / np.sqrt(8_000))


def test_a_mixture_with_gradients_is_left_to_tfp():
    with tf.GradientTape() as tape:
        logits = tf.Variable([0.0, 1.0])
        mixture = tfd.MixtureSameFamily(
            tfd.Categorical(logits=logits), tfd.Independent(tfd.Normal([[0.0], [3.0]], 1.0), 1), reparameterize=True
        )
        draws = random.sample(mixture, 6, tf.constant(SEEDS[0]))
    assert np.any(tape.gradient(draws, logits) != 0.0)


@pytest.mark.parametrize("dtype", [tf.int32, tf.float32])
def test_sample_of_a_bernoulli_has_its_mean_in_eager_code_and_the_same_draws_under_xla(dtype):
    images = tfd.Independent(tfd.Bernoulli(logits=tf.reshape(LOC, [4, 5, 1]), dtype=dtype), 2)

    def draw():
        return random.sample(images, 4_000, tf.constant(SEEDS[0]))

    draws = draw()
    assert (draws.shape, draws.dtype) == ((4_000, 4, 5, 1), dtype)
    error = images.stddev() / np.sqrt(4_000)
    np.testing.assert_array_less(np.abs(np.mean(draws, axis=0) - images.mean()), 4.5 * error)
    np.testing.assert_array_equal(tf.function(draw, autograph=False, jit_compile=True)(), draws)


def test_one_seed_samples_as_many_rows_as_the_distribution_has():
    seed = random.as_seed(3)
    assert random.sample(tfd.Independent(tfd.Normal(LOC, 1.0), 1), 2, seed).shape == (2, 4, 5)
    assert random.sample(tfd.Independent(tfd.Normal(LOC[0], 1.0), 1), 2, seed).shape == (2, 5)
    # The base has no batch: its noise must not be shared by the rows.
    shifted = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 5), tfb.Shift(tf.zeros([4, 5])))
    assert len(np.unique(random.sample(shifted, 2, seed))) == 40


def test_another_number_of_seeds_than_examples_is_an_error():
    with pytest.raises(ValueError, match=r"one pair for each of the 4 examples. Received: shape \(1, 2\)"):
        random.sample(tfd.Independent(tfd.Normal(LOC, 1.0), 1), 2, tf.constant(SEEDS[:1]))


@pytest.mark.parametrize(
    "seed", [0, -1, 2**31, 2**63, np.int64(7), [1, 2], (1, 2), np.array([1, 2], np.int64), tf.constant([1, 2]), SEEDS]
)
def test_every_form_of_seed_is_an_int32_pair_or_one_for_each_example(seed):
    result = random.as_seed(seed)
    assert result.dtype == tf.int32
    assert result.shape == ((4, 2) if seed is SEEDS else (2,))
    np.testing.assert_array_equal(result, random.as_seed(seed))


def test_ints_differ_in_all_of_their_64_bits():
    seeds = [0, 1, -1, *(2**k for k in (31, 32, 33, 62, 63))]
    assert len({tuple(random.as_seed(seed).numpy()) for seed in seeds}) == len(seeds)


def test_no_seed_is_a_fresh_one():
    assert not np.array_equal(random.as_seed(None), random.as_seed(None))


@pytest.mark.parametrize("seed", [1.5, True, "1", [1], [1, 2, 3], [[1, 2, 3]], [[[1, 2]]], [1.0, 2.0], [True, False]])
def test_anything_else_is_an_error_that_says_what_it_got(seed):
    with pytest.raises(ValueError, match=r"seed must be an int, a pair.*Received: "):
        random.as_seed(seed)


@pytest.mark.parametrize("seed", [SEEDS[0], SEEDS])
def test_split_and_fold_in_make_seeds_that_differ(seed):
    seed = tf.constant(seed)
    made = [seed, *random.split(seed, 5), *(random.fold_in(seed, i) for i in (-1, 5, 2**31 - 1))]
    assert all(value.shape == seed.shape for value in made)
    assert len({value.numpy().tobytes() for value in made}) == len(made)
    noise = np.stack([random.normal([len(SEEDS), 2_000], value) for value in random.split(seed)])
    assert abs(np.mean(noise[0] * noise[1])) < 4.0 / np.sqrt(noise[0].size)


def split_mix(state):
    """SplitMix64's output at a state, in plain integers."""
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


def test_seeds_of_examples_are_split_by_the_published_generator():
    golden = 0x9E3779B97F4A7C15
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [split_mix((1234567 + k * golden) % 2**64) for k in (1, 2, 3)] == published
    words = SEEDS.view(np.uint64)[:, 0].tolist()
    for k, seeds in enumerate(random.split(tf.constant(SEEDS), 3)):
        expected = [split_mix((split_mix(word) + (k + 1) * golden) % 2**64) for word in words]
        assert np.asarray(seeds).view(np.uint64)[:, 0].tolist() == expected
        np.testing.assert_array_equal(random.fold_in(tf.constant(SEEDS), k), seeds)


def test_neighbouring_seeds_give_noise_without_correlation():
    seeds = tf.constant(np.stack([np.zeros(4_000), np.arange(4_000)], 1).astype(np.int32))
    draw = tf.function(lambda: tf.concat([random.normal([4_000, 1], each) for each in random.split(seeds, 3)], 1))
    noise = draw().numpy()
    table = np.concatenate([noise[:-1], noise[1:]], axis=1)  # an example's three draws, and those of the next one
    correlation = np.corrcoef(table, rowvar=False)
    assert np.abs(correlation - np.eye(6)).max() < 4.5 / np.sqrt(len(table))
    assert np.abs(noise.mean(0)).max() < 4.5 / np.sqrt(4_000)


def test_one_replica_keeps_the_seed_and_two_get_different_ones():
    seed = random.as_seed(1)
    np.testing.assert_array_equal(random.fold_in_replica(seed), seed)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        pytest.skip("needs two logical CPU devices, set before TensorFlow starts")
    strategy = tf.distribute.MirroredStrategy(devices[:2], cross_device_ops=tf.distribute.ReductionToOneDevice())
    result = tf.function(lambda: strategy.run(lambda: random.fold_in_replica(seed)), autograph=False)()
    first, second = (value.numpy().tolist() for value in strategy.experimental_local_results(result))
    assert first != second
    assert seed.numpy().tolist() not in (first, second)
