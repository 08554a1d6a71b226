"""Likelihoods against their own distributions and plain NumPy sums; posteriors at the edge of floating point."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.distributions import BernoulliLikelihood, GaussianLikelihood, GaussianPosterior, StandardNormalPrior
from tfzoo.distributions.likelihoods import get

pytestmark = pytest.mark.fast

EVENT = (3, 2, 1)


def images(kind, shape=(4, *EVENT)):
    rng = np.random.default_rng(0)
    values = {"binary": rng.random(shape) < 0.5, "grey": rng.random(shape), "black": np.zeros(shape)}[kind]
    return values.astype(np.float32)


def bernoulli_reference(x, logits):
    """One pixel after the other, in float64."""
    x, logits = np.broadcast_arrays(np.float64(x), np.float64(logits))
    total = np.zeros(x.shape[: -len(EVENT)])
    for index in np.ndindex(x.shape):
        a = logits[index]
        log_one = -np.log1p(np.exp(-a)) if a > 0 else a - np.log1p(np.exp(a))
        total[index[: -len(EVENT)]] += x[index] * log_one + (1.0 - x[index]) * (log_one - a)
    return total


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("kind", ["binary", "grey", "black"])
@pytest.mark.parametrize("leading", [(4,), (5, 4), (5, 1), (1, 4), (1,)])
def test_bernoulli_log_prob_is_the_distributions_and_the_plain_sum(kind, size, leading):
    x, layer = images(kind), BernoulliLikelihood()
    logits = size * np.random.default_rng(1).normal(size=(*leading, *EVENT)).astype(np.float32)
    value = layer.log_prob(x, tf.constant(logits), EVENT)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, bernoulli_reference(x, logits), rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(value, layer.distribution(logits, EVENT).log_prob(x), rtol=2e-6, atol=1e-5)


def test_bernoulli_gradient_is_the_image_less_its_mean_at_any_logit():
    x, layer = images("binary"), BernoulliLikelihood()
    logits = tf.constant(np.linspace(-1e4, 1e4, x.size, dtype=np.float32).reshape(x.shape))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(layer.log_prob(x, logits, EVENT))
    np.testing.assert_allclose(tape.gradient(value, logits), x - tf.sigmoid(logits), atol=1e-6)


def test_bernoulli_samples_are_floating_point_images():
    layer = BernoulliLikelihood()
    draws = layer.distribution(tf.zeros([4, *EVENT], tf.float64), EVENT).sample(seed=[0, 1])
    assert draws.dtype == tf.float64
    assert set(np.unique(draws)) <= {0.0, 1.0}
    assert layer.distribution(tf.zeros([7, 4, *EVENT]), EVENT).batch_shape == (7, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [None, 0.3, 2])
def test_gaussian_log_prob_is_the_plain_sum(scale, dtype):
    layer = GaussianLikelihood(scale, dtype=dtype)
    layer.build(EVENT)
    if scale is None:
        assert float(layer.log_scale) == 0.0  # the scale starts at 1
        layer.log_scale.assign(-0.7)
    deviation = scale or np.exp(-0.7)
    x, means = images("grey").astype(dtype), np.random.default_rng(1).normal(size=(5, 4, *EVENT)).astype(dtype)
    value = layer.log_prob(tf.constant(x), tf.constant(means), EVENT)
    expected = -0.5 * ((x - means) / deviation) ** 2 - np.log(deviation) - 0.5 * np.log(2.0 * np.pi)
    np.testing.assert_allclose(value, expected.sum((-3, -2, -1)), rtol=1e-5)
    assert value.dtype == dtype
    assert layer.distribution(means, EVENT).event_shape == EVENT


def test_a_learned_scale_is_a_weight_and_a_fixed_one_is_not():
    learned, fixed = GaussianLikelihood(), GaussianLikelihood(0.5)
    for layer in (learned, fixed):
        layer.build(EVENT)
    assert fixed.weights == []
    x = tf.constant(images("grey"))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(learned.log_prob(x, tf.zeros_like(x), EVENT))
    (gradient,) = tape.gradient(value, [weight.value for weight in learned.trainable_weights])
    np.testing.assert_allclose(gradient, np.sum(images("grey") ** 2 - 1.0), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, "abc", [1.0], True])
def test_a_scale_that_is_not_positive_is_an_error(scale):
    with pytest.raises(ValueError, match=r"scale must be a positive number.*Received: "):
        GaussianLikelihood(scale)


def test_likelihoods_by_name():
    assert isinstance(get("bernoulli", None), BernoulliLikelihood)
    assert get("gaussian", 0.1).scale == 0.1
    with pytest.raises(ValueError, match=r'must be "bernoulli" or "gaussian". Received: .poisson.'):
        get("poisson", None)
    with pytest.raises(ValueError, match=r"a Bernoulli has none. Received: scale=0.1"):
        get("bernoulli", 0.1)


@pytest.mark.parametrize(
    "layer",
    [
        BernoulliLikelihood(),
        GaussianLikelihood(0.2),
        GaussianLikelihood(),
        GaussianPosterior(3),
        StandardNormalPrior(3),
    ],
)
def test_layers_come_back_from_their_config(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_bfloat16", "mixed_float16"])
def test_a_posterior_computes_in_the_weights_precision(policy):
    layer = GaussianPosterior(3, dtype=policy)
    layer.build((None, 5))
    expected = "float64" if policy == "float64" else "float32"
    assert {weight.dtype for weight in layer.weights} == {expected}
    compute_dtype = keras.dtype_policies.get(policy).compute_dtype
    q = layer.distribution(tf.ones([2, 5], compute_dtype))
    assert q.dtype == expected
    assert q.batch_shape == (2,)
    assert q.event_shape == (3,)
    assert q.log_prob(q.sample(seed=[0, 0])).dtype == expected


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e6, 1e15])
def test_log_q_is_finite_at_extreme_features(size):
    layer = GaussianPosterior(3)
    layer.build((None, 5))
    layer.scale.kernel.assign(-tf.ones([5, 3]))  # softplus underflows to 0
    q = layer.distribution(size * tf.ones([2, 5]))
    z = q.sample(4, seed=[0, 0])
    assert np.isfinite(q.log_prob(z)).all()
    assert np.isfinite(q.entropy()).all()
    assert np.min(q.stddev()) > 0.0


def test_the_posterior_is_two_linear_heads():
    layer = GaussianPosterior(3)
    layer.build((None, 5))
    features = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    q = layer.distribution(features)
    np.testing.assert_allclose(q.mean(), features @ layer.loc.kernel.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(q.stddev(), np.log1p(np.exp(features @ layer.scale.kernel.numpy())), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16"])
def test_the_prior_is_the_standard_normal(dtype):
    prior = StandardNormalPrior(3, dtype=dtype).distribution()
    assert prior.batch_shape == ()
    assert prior.dtype == ("float64" if dtype == "float64" else "float32")
    z = tf.constant([[1.0, -2.0, 0.5]], prior.dtype)
    np.testing.assert_allclose(prior.log_prob(z), [-0.5 * 5.25 - 1.5 * np.log(2.0 * np.pi)], rtol=1e-6)
