"""Latent flow models: what learns from what, and likelihoods against numerical integrals."""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.models.linear_gaussian import OFFSET, SCALE, D, N, W, simulate
from tfzoo import evaluation, random
from tfzoo.distributions import FlowPrior
from tfzoo.models import top_down


def linear_model(name="latent_flow", scale=0.2, **options):
    """A linear generator under a prior whose weights are away from their start, the same for each model."""
    keras.utils.set_random_seed(3)
    prior = FlowPrior(D, num_steps=2, width=8, dtype="float64", name="prior")
    for i, weight in enumerate(prior.trainable_variables):
        weight.assign_add(scale * tf.random.stateless_normal(weight.shape, [7, i], dtype=tf.float64))
    decoder = keras.layers.Dense(N, dtype="float64")
    options = {"decoder": decoder, "prior": prior, "scale": SCALE, "dtype": "float64", "seed": 1} | options
    model = tfzoo.create_model(name, event_shape=(N,), latent_dim=D, **options)
    decoder.set_weights([W.T, OFFSET])
    return model


def variational_model():
    """The same, with a posterior about as wide as the prior: it misses nothing, though importance sampling is slow."""
    model = linear_model(
        "latent_flow_vae", encoder=keras.layers.Dense(4, dtype="float64"), num_steps=1, hidden_units=(8,)
    )
    model.posterior_layer.gaussian.loc.set_weights([np.zeros([4, D]), np.zeros(D)])
    model.posterior_layer.gaussian.scale.set_weights([np.zeros([4, D]), np.full(D, 2.0)])
    return model


def log_prob_by_integration(model, x):
    """Returns log p(x) by a sum over a grid of latents."""
    axis = np.linspace(-8.0, 8.0, 161)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    likelihood = model.likelihood(grid[:, np.newaxis]).log_prob(x)
    return tf.reduce_logsumexp(likelihood + model.prior().log_prob(grid)[:, np.newaxis], axis=0) + np.log(0.1**2)


# === Inference ===


@pytest.mark.fast
def test_the_posteriors_gradient_is_the_priors_and_the_likelihoods():
    model, (_, x) = linear_model(), simulate(5)
    z = tf.random.stateless_normal([5, D], [0, 1], dtype=tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        joint = model.log_joint(x, z)
        prior, likelihood = model.prior().log_prob(z), model.likelihood(z).log_prob(x)
    parts = tape.gradient(prior, z), tape.gradient(likelihood, z)
    assert all(np.abs(part).min() > 1e-6 for part in parts)
    np.testing.assert_allclose(tape.gradient(joint, z), sum(parts), rtol=1e-9)
    # And the chain's step is along it.
    options = {"inference": "short_run", "noise": False}
    start = linear_model(num_steps=0, **options).encode(x, seed=3)
    one = linear_model(num_steps=1, step_size=0.2, **options)
    with tf.GradientTape() as tape:
        tape.watch(start)
        joint = one.log_joint(x, start)
    np.testing.assert_allclose(one.encode(x, seed=3), start + 0.02 * tape.gradient(joint, start), rtol=1e-9)


@pytest.mark.parametrize("name", ["latent_flow", "latent_flow_vae"])
def test_log_prob_agrees_with_a_numerical_integral(name, test_seed):
    _, x = simulate(16)
    if name == "latent_flow":
        model = linear_model()
        found = model.log_prob(x, 30, test_seed, num_steps=30)
    else:
        model = variational_model()
        estimate = model.estimate_log_prob(x, 4000, test_seed)
        found = estimate.log_prob
        assert np.max(estimate.standard_error) < 0.4
    difference = found - log_prob_by_integration(model, x)
    assert np.std(difference) < 0.5
    assert abs(np.mean(difference)) < 4 * np.std(difference) / np.sqrt(16)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "origin"), [(linear_model, "the prior"), (variational_model, "q(z|x)")])
def test_annealing_agrees_with_a_numerical_integral_and_certifies_itself(make, origin):
    model, (_, x) = make(), simulate(10)
    dataset = tf.data.Dataset.from_tensors({"image": x, "label": np.zeros(10, np.int32), "index": np.arange(10)})
    annealing = evaluation.Annealing(num_images=10, num_steps=60, num_chains=16)
    report = evaluation.evaluate(model, dataset, ["ais"], annealing=annealing)["ais"]
    assert f"HMC from {origin}, " in report["estimator"]
    # Of the negative log likelihood: not below it but for noise, and above it by what the certificate allows.
    excess = report["ais"] + np.mean(log_prob_by_integration(model, x))
    gap, error = report["bdmc_gap"], report["bdmc_gap_standard_error"]
    assert -4 * error < gap < 1.0
    assert -0.1 < excess < gap + 4 * error


@pytest.mark.fast
def test_chains_that_inpaint_find_the_codes_of_what_is_visible():
    """As a search of all codes does; with the paper's step size they would hardly leave their starts."""
    _, x = simulate(4)
    mask = np.array([1.0, 1, 1, 0, 0, 1])
    encoder = keras.layers.Dense(4, dtype="float64")
    model = linear_model("latent_flow_vae", encoder=encoder, num_steps=1, hidden_units=(8,))
    axis = np.linspace(-4.0, 4.0, 401)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    squares = ((grid @ W.T + OFFSET)[:, np.newaxis] - x) ** 2 @ mask / (2 * SCALE**2)
    best = grid[np.argmax(model.prior().log_prob(grid)[:, np.newaxis] - squares, axis=0)]
    expected = np.where(mask > 0, x, best @ W.T + OFFSET)
    found = np.asarray(model.inpaint(np.where(mask > 0, x, 99.0), mask, 3, seed=0))
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=0.02 * np.abs(W).sum(1).max())
    np.testing.assert_array_equal(found[..., mask > 0], np.broadcast_to(x[:, mask > 0], (3, 4, 4)))
    printed = np.asarray(model.inpaint(x, mask, 3, seed=0, step_size=0.002))
    assert np.abs(printed - expected)[..., mask == 0].mean() > 0.3
    each = np.arange(8).reshape(4, 2)
    alone = model.inpaint(x[1:2], mask, 3, each[1:2], num_steps=3)
    together = model.inpaint(x, mask, 3, each, num_steps=3)
    np.testing.assert_allclose(together[:, 1:2], alone, rtol=1e-9)
    with mock.patch.object(top_down, "_CHUNK", 2):
        np.testing.assert_allclose(model.inpaint(x, mask, 3, each, num_steps=3), together, rtol=1e-9)


# === Learning ===


@pytest.mark.fast
def test_prior_and_generator_learn_from_the_codes_and_nothing_else_does():
    _, x = simulate(8)
    data = {"image": x, "index": np.arange(8, dtype=np.int32)}
    model = linear_model(chain="persistent", noise=False, num_steps=3)
    model.compile(keras.optimizers.SGD(1e-2), prior_optimizer=keras.optimizers.SGD(1e-3))
    prior, decoder = model.prior_layer.trainable_weights, model.decoder.trainable_weights
    assert {id(weight) for weight in model.trainable_weights} == {id(weight) for weight in [*prior, *decoder]}
    before = linear_model()  # of the same weights
    model.fit(data, batch_size=8, shuffle=False, verbose=0)
    z = tf.constant(np.array(model.chains.positions))
    with tf.GradientTape(persistent=True) as tape:
        flow = -tf.reduce_mean(before.prior().log_prob(z))
        generator = -tf.reduce_mean(before.likelihood(z).log_prob(x))
    for part, loss, rate in (("prior_layer", flow, 1e-3), ("decoder", generator, 1e-2)):
        weights = getattr(before, part).trainable_weights
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        for old, gradient, new in zip(weights, gradients, getattr(model, part).trainable_weights, strict=True):
            assert np.any(gradient != 0), old.path
            np.testing.assert_allclose(new, old.value - rate * gradient, rtol=1e-5, atol=1e-8)


def trained(strategy=None, epochs=2, **options):
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = linear_model(noise=False, num_steps=2)
        model.compile(**{"optimizer": keras.optimizers.SGD(1e-2), **options})
    data = {"image": simulate(8)[1]}
    history = model.fit(data, batch_size=4, shuffle=False, epochs=epochs, verbose=0).history
    return model, history["loss"]


@pytest.mark.fast
@pytest.mark.usefixtures("no_noise")
def test_two_optimizers_of_one_rate_are_one():
    one, loss = trained()
    two, two_loss = trained(prior_optimizer=keras.optimizers.SGD(1e-2))
    np.testing.assert_allclose(two_loss, loss, rtol=1e-6)
    for ours, theirs in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    still, _ = trained(prior_optimizer=keras.optimizers.SGD(0.0))
    for ours, theirs in zip(still.prior_layer.get_weights(), linear_model().prior_layer.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.abs(still.decoder.get_weights()[0] - W.T).max() > 1e-4


FROZEN = [("decoder",), ("prior_layer",), ("decoder", "prior_layer")]


@pytest.mark.fast
@pytest.mark.parametrize("before_compile", [True, False], ids=["before compile", "after compile"])
@pytest.mark.parametrize("frozen", FROZEN, ids=" ".join)
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")  # as in Keras, after compile
def test_an_optimizer_whose_weights_are_frozen_does_nothing(frozen, before_compile, tmp_path):
    def compiled():
        model = linear_model(noise=False, num_steps=2)
        if not before_compile:
            model.compile(**adam())
        for name in frozen:
            getattr(model, name).trainable = False
        if before_compile:
            model.compile(**adam())
        return model

    def adam():
        optimizers = {"optimizer": keras.optimizers.Adam(1e-2), "prior_optimizer": keras.optimizers.Adam(1e-3)}
        return {**optimizers, "run_eagerly": True}

    model, data, old = compiled(), {"image": simulate(8)[1]}, linear_model()
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    model.fit(data, batch_size=4, epochs=2, verbose=0, callbacks=[backup])
    for name, optimizer in (("decoder", model.optimizer), ("prior_layer", model.prior_optimizer)):
        weights, before = getattr(model, name).get_weights(), getattr(old, name).get_weights()
        moved = max(np.abs(ours - theirs).max() for ours, theirs in zip(weights, before, strict=True))
        assert (moved == 0) == (name in frozen), name
        assert int(optimizer.iterations) == (0 if name in frozen else 4)
    resumed = compiled()
    assert resumed.fit(data, batch_size=4, epochs=3, verbose=0, callbacks=[backup]).epoch == [2]
    assert {int(each.iterations) for each in (resumed.optimizer, resumed.prior_optimizer)} <= {0, 6}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.prior_optimizer, keras.optimizers.Adam)
    np.testing.assert_array_equal(loaded.decode(np.ones([1, D])), model.decode(np.ones([1, D])))
    assert np.isfinite(loaded.fit(data, verbose=0).history["loss"]).all()


@pytest.fixture
def no_noise(monkeypatch):
    """Starts of zeros: what one replica and two draw is not the same."""
    monkeypatch.setattr(tfzoo.random, "normal", lambda shape, seed, dtype=tf.float32: tf.zeros(shape, dtype))


@pytest.mark.usefixtures("no_noise")
@pytest.mark.replicas
def test_two_optimizers_on_two_replicas_do_what_they_do_on_one():
    replicas = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    both = [trained(each, prior_optimizer=keras.optimizers.SGD(1e-3)) for each in (None, replicas)]
    (one, one_loss), (two, two_loss) = both
    np.testing.assert_allclose(one_loss, two_loss, rtol=1e-6)
    for ours, theirs in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)


@pytest.mark.fast
def test_two_optimizers_are_saved_and_go_on(tmp_path):
    adam = {"optimizer": keras.optimizers.Adam(1e-2), "prior_optimizer": keras.optimizers.Adam(1e-3)}
    model, _ = trained(epochs=1, **adam)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.prior_optimizer.learning_rate) == pytest.approx(1e-3)
    for name in ("optimizer", "prior_optimizer"):
        ours, theirs = getattr(model, name), getattr(loaded, name)
        assert int(theirs.iterations) == 2
        for mine, other in zip(ours.variables, theirs.variables, strict=True):
            np.testing.assert_array_equal(mine, other)
    # A killed run goes on from weights alone, in a model that is compiled anew.
    model.save_weights(tmp_path / "model.weights.h5")
    resumed = linear_model(noise=False, num_steps=2)
    adam = {name: type(each).from_config(each.get_config()) for name, each in adam.items()}
    resumed.compile(**adam)
    resumed.load_weights(tmp_path / "model.weights.h5")
    for each in (model, loaded, resumed):
        each.seed_generator.state.assign([1, 5])
        each.fit({"image": simulate(4)[1]}, verbose=0)
    for each in (loaded, resumed):
        for mine, other in zip(model.get_weights(), each.get_weights(), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-8)


@pytest.mark.fast
def test_two_optimizers_in_mixed_precision_undo_their_own_scale():
    model = tfzoo.create_model(
        "latent_flow", event_shape=(5,), latent_dim=2, flow_width=8, dtype="mixed_float16", num_steps=1, seed=0
    )
    model.compile(keras.optimizers.SGD(0.0), prior_optimizer=keras.optimizers.SGD(1.0, clipnorm=1e9))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    before = model.prior_layer.get_weights()
    x = np.zeros([8, 5], np.float32)
    model.fit(x, verbose=0)
    # A gradient of the density's own size, not 2^15 times that.
    moved = max(np.abs(new - old).max() for old, new in zip(before, model.prior_layer.get_weights(), strict=True))
    assert 1e-3 < moved < 100


@pytest.mark.fast
def test_the_priors_optimizer_scales_the_loss_where_all_else_is_frozen():
    model = tfzoo.create_model(
        "latent_flow", event_shape=(5,), latent_dim=2, flow_width=8, dtype="mixed_float16", num_steps=1, seed=0
    )
    model.decoder.trainable = False
    # A scale beyond float32: halved at each step until the gradients are finite.
    scaled = [keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1e-3), initial_scale=2.0**127) for _ in range(2)]
    model.compile(scaled[0], prior_optimizer=scaled[1])
    before = model.prior_layer.get_weights()
    model.fit(np.zeros([8, 5], np.float32), epochs=20, verbose=0)
    assert float(model.optimizer.dynamic_scale) == 2.0**127
    assert float(model.prior_optimizer.dynamic_scale) < 2.0**127
    moved = max(np.abs(new - old).max() for old, new in zip(before, model.prior_layer.get_weights(), strict=True))
    assert 0 < moved < 1


@pytest.mark.fast
def test_a_prior_optimizer_that_is_of_no_use_is_an_error():
    with pytest.raises(ValueError, match=r"^prior_optimizer needs a prior with weights .* Received: StandardNormalP"):
        tfzoo.create_model("vae", event_shape=(5,)).compile("sgd", prior_optimizer="sgd")
    with pytest.raises(ValueError, match=r"^prior_optimizer goes with optimizers that average no weights\. Received: "):
        linear_model().compile("sgd", prior_optimizer=keras.optimizers.SGD(use_ema=True))


# === Using it ===


@pytest.mark.fast
def test_temperature_of_samples():
    model = linear_model()
    start = random.normal([50, D], random.as_seed(3), tf.float64)
    for temperature in (1.0, 0.5):
        expected = model.decode(model.prior().bijector.forward(temperature * start))
        seeds = np.stack([np.arange(50), np.arange(50)], -1).astype(np.int32)
        rows = model.sample(50, seeds, temperature=temperature)
        starts = random.normal([1, 50, D], tf.constant(seeds), tf.float64)[0]
        np.testing.assert_allclose(rows, model.decode(model.prior().bijector.forward(temperature * starts)))
        assert np.asarray(expected).shape == (50, N)
    spread = [np.std(model.sample(500, 0, temperature=temperature), axis=0).sum() for temperature in (0.3, 1.0)]
    assert spread[0] < 0.6 * spread[1]
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(
            ValueError, match=r"^temperature must be a positive number that FlowPrior takes\. Received: "
        ):
            model.sample(2, temperature=wrong)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["latent_flow", "latent_flow_vae"])
def test_options_make_the_prior(name):
    model = tfzoo.create_model(name, event_shape=(5,), latent_dim=3, flow="spline", flow_steps=2, flow_width=8)
    prior = model.prior_layer.get_config()
    assert (prior["flow"], prior["num_steps"], prior["width"]) == ("spline", 2, 8)
    assert model.sample(2, seed=0).shape == (2, 5)
    twin = type(model).from_config(model.get_config())
    assert twin.prior_layer.get_config() == prior
    # The same generators as of every model that infers by chains.
    images = tfzoo.create_model(name, event_shape=(28, 28, 1), latent_dim=3, width=0.1)
    baseline = tfzoo.create_model("abp", event_shape=(28, 28, 1), latent_dim=3, width=0.1)
    assert [w.shape for w in images.decoder.weights] == [w.shape for w in baseline.decoder.weights]


@pytest.mark.fast
@pytest.mark.parametrize(("flow", "latent_dim"), [("glow", 1), ("glow", 3), ("spline", 1)])
def test_one_latent_and_an_odd_number_of_them_train(flow, latent_dim):
    options = {"latent_dim": latent_dim, "flow": flow, "flow_steps": 2, "flow_width": 4, "num_steps": 2, "seed": 0}
    model = tfzoo.create_model("latent_flow", event_shape=(5,), **options)
    model.compile(keras.optimizers.SGD(1e-3))
    before = [np.array(weight) for weight in model.trainable_weights]
    assert np.isfinite(model.fit(np.zeros([4, 5], np.float32), verbose=0).history["loss"][0])
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert any(np.any(old != new) for old, new in zip(before[:-1], model.trainable_weights, strict=False))
