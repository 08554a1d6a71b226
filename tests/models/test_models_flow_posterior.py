"""Flows as posteriors: bounds and likelihoods stay those of the model, whatever flow makes q(z|x)."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.models.linear_gaussian import D, exact_log_prob, mean_and_error, model_of, simulate
from tfzoo.bijectors import IAF
from tfzoo.models.flow_posterior import FLOWS

each_flow = pytest.mark.parametrize("flow", FLOWS)


def shaken(model, scale=0.1):
    """Moves the weights of the flow and of its context away from where they start."""
    layer = model.posterior_layer
    for i, weight in enumerate([*layer.context.trainable_variables, *layer.flow.trainable_variables]):
        noise = tf.random.stateless_normal(weight.shape, [7, i], dtype=tf.float64)
        weight.assign_add(scale * tf.cast(noise, weight.dtype))
        if weight.constraint is not None:
            weight.assign(weight.constraint(weight))
    return model


@pytest.mark.parametrize(("flow", "name"), [*((flow, "vae") for flow in FLOWS), ("iaf", "iwae")])
def test_the_weights_have_the_mean_p_of_x(flow, name):
    _, x = simulate(3)
    model = shaken(model_of(name, posterior=flow, context_dim=3, widen=1.5))
    log_weights = model._log_weights(tf.constant(x), model._infer(tf.constant(x), 20_000, tf.constant([0, 1]), False))
    if name == "iwae":  # always the sampled estimator, so these are the importance weights
        mean, error = mean_and_error(np.exp(log_weights - exact_log_prob(x)))
        assert (np.abs(mean - 1.0) < 4 * error).all()
        assert (error < 0.05).all()
    estimate = model.estimate_log_prob(x, 20_000, seed=2)
    assert (np.abs(estimate.log_prob - exact_log_prob(x)) < 4 * estimate.standard_error.numpy()).all()
    assert (model.elbo(x, 2000, seed=3).numpy() < exact_log_prob(x)).all()


@pytest.mark.parametrize(("flow", "base"), [*((flow, "encoder") for flow in FLOWS), ("iaf", "standard")])
def test_all_estimators_of_the_bound_have_one_mean(flow, base):
    _, x = simulate(2)
    found = []
    for estimator in ("analytic_kl", "analytic_entropy", "sampled"):
        options = {"posterior": flow, "context_dim": 3, "estimator": estimator, "posterior_base": base}
        model = model_of_base(base, **options)
        values = model._log_weights(tf.constant(x), model._infer(tf.constant(x), 20_000, tf.constant([0, 1])))
        found.append(mean_and_error(values))
    for mean, error in found[1:]:
        assert (np.abs(mean - found[0][0]) < 4 * np.hypot(error, found[0][1])).all()


def model_of_base(base, **options):
    keras.utils.set_random_seed(3)
    if base == "encoder":
        return shaken(model_of("vae", **options))
    return shaken(
        tfzoo.create_model("vae", event_shape=(6,), latent_dim=D, likelihood="gaussian", dtype="float64", **options)
    )


@each_flow
def test_the_posterior_is_a_distribution_whose_density_is_the_one_in_the_weights(flow):
    _, x = simulate(3)
    model = shaken(model_of("vae", posterior=flow, context_dim=3, estimator="sampled"))
    inference = model._infer(tf.constant(x), 5, tf.constant([0, 1]))
    posterior = model.posterior(x)
    assert (posterior.batch_shape, posterior.event_shape) == ([3], [D])
    expected = model.log_joint(x, inference["z"]) - posterior.log_prob(inference["z"])
    np.testing.assert_allclose(model._log_weights(tf.constant(x), inference), expected, atol=1e-6)
    z, log_prob = posterior.experimental_sample_and_log_prob(4, seed=1)
    np.testing.assert_allclose(posterior.log_prob(z), log_prob, atol=1e-6)


@each_flow
def test_a_flow_starts_from_a_trained_vae(flow):
    _, x = simulate(50)
    vae = model_of("vae", shift=0.2)
    flowing = tfzoo.create_model(
        "vae",
        event_shape=vae.event_shape,
        latent_dim=D,
        likelihood="gaussian",
        scale=vae.likelihood_layer.scale,
        encoder=keras.layers.Dense(D, dtype="float64"),
        decoder=keras.layers.Dense(6, dtype="float64"),
        dtype="float64",
        posterior=flow,
    )
    flowing.adopt_weights(vae)
    np.testing.assert_array_equal(flowing.decode(np.ones([2, D])), vae.decode(np.ones([2, D])))
    np.testing.assert_array_equal(flowing.base_posterior(x).mean(), vae.posterior(x).mean())
    here, there = (np.mean(each.elbo(x, 200, seed=1)) for each in (flowing, vae))
    assert abs(here - there) < 2.0  # flows start near the identity


def test_weights_of_other_shapes_are_one_sentence_and_nothing_changes():
    model, other = (tfzoo.create_model("vae", event_shape=(5,), latent_dim=size) for size in (2, 3))
    before = [np.array(weight) for weight in model.weights]
    with pytest.raises(ValueError, match=r"^decoder must have weights of the shapes [^\n]* Received: "):
        model.adopt_weights(other)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_prior_that_the_other_has_no_weights_for_stays_as_it_is():
    vae, vamp = (tfzoo.create_model("vae", event_shape=(5,), latent_dim=2, prior=each) for each in ("standard", "vamp"))
    before = np.array(vamp.prior_layer.pseudo_inputs)
    vamp.adopt_weights(vae)
    np.testing.assert_array_equal(vamp.prior_layer.pseudo_inputs, before)
    x = np.ones([3, 5], np.float32)
    np.testing.assert_array_equal(vamp.posterior(x).mean(), vae.posterior(x).mean())


def test_a_layer_as_the_posterior():
    model = tfzoo.create_model("vae", event_shape=(5,), latent_dim=2, posterior=IAF(2, num_steps=3))
    assert model.posterior_layer.flow.num_steps == 3
    again = type(model).from_config(model.get_config())
    assert again.posterior_layer.flow.num_steps == 3


def test_a_flow_without_a_context_is_one_for_all_images():
    _, x = simulate(2)
    model = model_of("vae", posterior=IAF(D, num_steps=2, dtype="float64"), context_dim=None, estimator="sampled")
    assert "context" not in model._parts()
    for i, weight in enumerate(model.posterior_layer.flow.trainable_variables):
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, [7, i], dtype=weight.dtype))
    start = tf.constant(np.random.default_rng(0).normal(size=(1, D)))
    first, second = (tf.squeeze(model.posterior(x[i : i + 1]).bijector.forward(start)) for i in (0, 1))
    np.testing.assert_array_equal(first, second)
    estimate = model.estimate_log_prob(x, 20_000, seed=2)
    assert (np.abs(estimate.log_prob - exact_log_prob(x)) < 4 * estimate.standard_error.numpy()).all()
    again = type(model).from_config(model.get_config())
    assert again.posterior_layer.flow.context_dim is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posterior": "cubic"}, "posterior must be gaussian, .* or a layer of tfzoo.bijectors"),
        ({"posterior": 3}, "posterior must be gaussian, .* or a layer of tfzoo.bijectors"),
        ({"posterior": IAF(3)}, "posterior must be over latent_dim = 2"),
        ({"posterior": "iaf", "posterior_base": "prior"}, "base must be one of encoder, standard"),
        ({"posterior": "iaf", "context_dim": 0}, "context_dim must be a whole number of at least 1"),
        (
            {"posterior": "iaf", "context_dim": None, "posterior_base": "standard"},
            "context_dim must be a width where base is standard",
        ),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=rf"^{message}\. Received: "):
        tfzoo.create_model("vae", event_shape=(5,), latent_dim=2, **options)


# The others have a model of their own, of which tests/conformance asks the same.
@pytest.mark.parametrize("flow", ["coupling", "spline"])
def test_files_and_exports_keep_the_likelihood(flow, tmp_path):
    options = {"event_shape": (5,), "latent_dim": 3, "posterior": flow, "context_dim": 4, "seed": 0}
    networks = {"encoder": keras.layers.Dense(4), "decoder": keras.layers.Dense(5)}
    model = shaken(tfzoo.create_model("iwae", num_samples=2, **options, **networks))
    x, seed = np.random.default_rng(0).random((4, 5), np.float32), np.arange(8, dtype=np.int32).reshape(4, 2)
    expected = model.log_prob(x, 6, seed)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.log_prob(x, 6, seed), expected, rtol=1e-6)
    model.export(tmp_path / "served", num_samples=6, num_points=2)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["log_prob"]
    answer = served(images=tf.constant(x), seed=tf.constant(seed))["log_prob"]
    np.testing.assert_allclose(answer, expected, rtol=2e-6)


@pytest.mark.parametrize("posterior", ["coupling", "iaf", "pcp_map"])
def test_training_takes_a_batch_of_one(posterior):
    model = tfzoo.create_model("vae", event_shape=(5,), latent_dim=2, posterior=posterior, context_dim=4)
    model.compile(optimizer="sgd")
    loss = model.fit(np.full([1, 5], 0.5, np.float32), batch_size=1, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
