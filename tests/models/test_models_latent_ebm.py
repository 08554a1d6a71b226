"""Latent energy-based models: two contrasts, likelihoods where they are known, and energies that diverge."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import tfzoo
from tests.distributions.energies import Quadratic
from tests.models.linear_gaussian import OFFSET, SCALE, D, N, W, simulate
from tfzoo.distributions import EnergyPrior, FlowPrior

CURVATURE = 3.0


def linear_model(contrast="chain", **options):
    """A linear generator; by default under a prior that is N(0, I / 4) but for its constant."""
    if "prior" not in options:
        proposal = FlowPrior(D, width=8, dtype="float64") if contrast == "flow" else None
        energy = Quadratic(CURVATURE, dtype="float64")
        options["prior"] = EnergyPrior(D, energy=energy, num_steps=3, proposal=proposal, dtype="float64")
    decoder = keras.layers.Dense(N, dtype="float64")
    options = {"scale": SCALE, "dtype": "float64", "seed": 1} | options
    model = tfzoo.create_model(
        "latent_ebm", event_shape=(N,), latent_dim=D, decoder=decoder, contrast=contrast, **options
    )
    decoder.set_weights([W.T, OFFSET])
    return model


def network_prior(proposal=False):
    return EnergyPrior(
        D,
        num_steps=3,
        proposal=FlowPrior(D, num_steps=2, width=8, dtype="float64") if proposal else None,
        dtype="float64",
    )


# === Learning ===


@pytest.mark.fast
def test_the_energy_learns_from_codes_and_from_its_chains_ends_alone():
    model, (_, x) = linear_model(prior=network_prior()), simulate(6)
    inference = {name: tf.stop_gradient(value) for name, value in model(x, seed=3).items()}
    assert inference["negatives"].shape == (6, D)
    np.testing.assert_array_equal(inference["negatives"], model(x, seed=3)["negatives"])
    z, negatives = inference["z"][0], inference["negatives"]
    prior, decoder = model.prior_layer, model.decoder
    weights = [weight.value for weight in [*prior.trainable_weights, *decoder.trainable_weights]]
    assert {id(weight.value) for weight in model.trainable_weights} == {id(weight) for weight in weights}
    with tf.GradientTape(persistent=True) as tape:
        loss = model.compute_loss(x, y_pred=inference)
        # What a chain gives is a constant, also where it is run under the tape.
        energy = tf.reduce_mean(prior.energy(z)) - tf.reduce_mean(prior.energy(negatives))
        generator = -tf.reduce_mean(model.likelihood(z).log_prob(x))
        inside = model(x, seed=3)["negatives"]
    for part, own in ((prior, energy), (decoder, generator)):
        own_weights = [weight.value for weight in part.trainable_weights]
        for ours, theirs in zip(tape.gradient(loss, own_weights), tape.gradient(own, own_weights), strict=True):
            assert np.any(ours != 0)
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert all(gradient is None for gradient in tape.gradient(inside, weights))


@pytest.mark.fast
def test_two_optimizers_and_both_contrasts_train():
    x = simulate(32)[1]
    for contrast in ("chain", "flow"):
        model = linear_model(contrast, prior=network_prior(contrast == "flow"), num_steps=2)
        model.compile(keras.optimizers.SGD(1e-4), prior_optimizer=keras.optimizers.Adam(1e-3))
        before = [np.array(weight) for weight in model.trainable_weights]
        assert np.isfinite(model.fit(x, batch_size=16, epochs=2, verbose=0).history["loss"]).all()
        for old, weight in zip(before, model.trainable_weights, strict=True):
            assert np.any(old != weight), weight.path


def test_noise_contrast_finds_the_density_and_its_normalizer():
    """Codes that are no normal: the energy learns their density, and c makes it integrate to one, on a grid."""
    model = linear_model("flow", prior=network_prior(proposal=True))
    rng, prior = np.random.default_rng(0), model.prior_layer
    codes = np.where(rng.random((2000, 1)) < 0.5, -1.2, 1.2) + 0.4 * rng.normal(size=(2000, D))
    codes, x = tf.constant(codes), tf.zeros([2000, N], tf.float64)
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(prior.trainable_weights)

    @tf.function(autograph=False)
    def learn(seed):
        negatives = model._negatives([2000], seed)
        with tf.GradientTape() as tape:
            inference = {"z": codes[tf.newaxis], "negatives": tf.stop_gradient(negatives.position)}
            loss = model.compute_loss(x, y_pred=inference)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, prior.trainable_weights), prior.trainable_weights, strict=True)
        )

    for i in range(150):
        learn(tf.constant([0, i]))
    axis = np.linspace(-4.0, 4.0, 161)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(prior.log_prob(tf.constant(grid))).reshape(161, 161) * (axis[1] - axis[0]) ** 2
    assert abs(density.sum() - 1) < 0.1
    exact = 0.5 * sum(stats.norm.pdf(grid, loc, 0.4).prod(axis=-1) for loc in (-1.2, 1.2))
    exact = exact.reshape(161, 161) * (axis[1] - axis[0]) ** 2
    off = np.abs(density - exact).sum()  # twice the total variation
    start = EnergyPrior(D, dtype="float64").base().prob(grid).numpy().reshape(161, 161) * (axis[1] - axis[0]) ** 2
    assert off < 0.25 * np.abs(start - exact).sum()


@pytest.mark.fast
def test_no_chain_runs_on_the_prior_under_noise_contrast(monkeypatch):
    model = linear_model("flow", num_steps=1)
    monkeypatch.setattr(EnergyPrior, "run_chain", lambda *args: pytest.fail("a chain"))
    x = simulate(4)[1]
    assert model(x, seed=0)["negatives"].shape == (4, D)
    assert model.sample(3, seed=0).shape == (3, N)
    assert model.sample(2, seed=np.zeros([2, 2], np.int32), temperature=0.5).shape == (2, N)


@pytest.mark.parametrize("contrast", ["chain", "flow"])
def test_an_energy_that_diverges_stops_with_an_error_and_the_last_good_file(contrast, tmp_path):
    model = linear_model(contrast, prior=network_prior(contrast == "flow"), num_steps=1)
    model.compile(keras.optimizers.SGD(1e-4))

    def explode(epoch, logs):
        if epoch == 1:
            for weight in model.prior_layer.trainable_weights:
                weight.assign(weight * 1e30)

    path = tmp_path / "model.keras"
    kept = keras.callbacks.ModelCheckpoint(path)
    with pytest.raises(ValueError, match=r"^the loss must stay finite: ") as error:
        model.fit(
            simulate(8)[1],
            epochs=3,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=explode), kept],
        )
    assert re.search(
        r"lower the learning rate, .*energy's .*\. Received: loss nan at batch 0 of epoch 2$", str(error.value)
    )
    good = keras.saving.load_model(path)
    assert np.isfinite(good.sample(4, seed=0)).all()
    assert max(np.abs(weight).max() for weight in good.get_weights()) < 100


class Cliff(keras.layers.Layer):
    """No energy up to z_0 = 2, and beyond it one that throws a chain out of reach."""

    def call(self, z):
        return 1e12 * tf.square(tf.nn.relu(z[:, 0] - 2.0))


def test_diverged_chains_of_the_prior_are_counted_and_left_out():
    prior = EnergyPrior(D, energy=Cliff(), num_steps=1)
    model = linear_model(prior=prior, dtype="float32")
    inference = model(tf.cast(simulate(512)[1], tf.float32), seed=0)
    sound = inference["sound"].numpy()
    assert 0 < np.count_nonzero(~sound) < 25
    inference["z"] = tf.zeros([1, 512, D])
    images = tf.zeros([512, N])
    bound = model.bound(images, inference) - model.log_joint(images, inference["z"][0])
    np.testing.assert_array_equal(bound.numpy()[~sound], 0)
    expected = prior.energy(tf.constant(inference["negatives"].numpy()[sound])).numpy().mean()
    assert np.mean(bound) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    model.compile(keras.optimizers.SGD(1e-6))
    history = model.fit(np.float32(simulate(512)[1]), verbose=0, batch_size=512).history
    assert 0 < history["prior_diverged"][0] < 0.05


@pytest.mark.parametrize("rate", [0.005, 0.01])
def test_an_energy_that_runs_away_stops_before_its_chains_spoil_the_file(rate, tmp_path):
    images = tfzoo.data.load("digits", "train", batch_size=100, value_range=(-1, 1), shuffle=False)
    model = tfzoo.create_model("latent_ebm", event_shape=(8, 8, 1), latent_dim=16, num_steps=5, seed=0)
    model.compile(keras.optimizers.Adam(1e-3), prior_optimizer=keras.optimizers.Adam(rate, 0.5))
    path = tmp_path / "model.keras"
    with pytest.raises(
        ValueError, match=r"^the prior's chains must .* energy's \(prior_optimizer\)\. Received: prior_div"
    ):
        model.fit(images, epochs=10, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    good = keras.saving.load_model(path)
    norms = np.linalg.norm(good.prior().sample(200, seed=[0, 1]), axis=-1)
    assert np.median(norms) < 2.0 * np.sqrt(16)


class Overflow(keras.layers.Layer):
    """Infinite beyond z_0 = 0.9, in float32."""

    def call(self, z):
        return tf.exp(100.0 * z[:, :1])


def test_the_energy_of_a_diverged_chain_may_be_infinite():
    prior = EnergyPrior(D, energy=Overflow(), num_steps=1)
    model = linear_model(prior=prior, dtype="float32")
    inference = model(tf.zeros([64, N]), seed=0)
    assert not np.all(np.isfinite(prior.energy(inference["negatives"])))
    inference["z"] = tf.zeros([1, 64, D])
    assert np.all(np.isfinite(model.bound(tf.zeros([64, N]), inference)))


@pytest.mark.parametrize("contrast", ["chain", "flow"])
def test_a_training_without_sound_codes_stops(contrast):
    options = {"num_steps": 3, "prior_num_steps": 3, "step_size": 1e6}
    model = tfzoo.create_model("latent_ebm", event_shape=(6,), latent_dim=4, contrast=contrast, **options)
    model.compile(keras.optimizers.SGD(1e-6))
    with pytest.raises(ValueError, match=r"^some chains must stay finite: .* Received: diverged 1\.0"):
        model.fit(np.zeros([8, 6], np.float32), verbose=0)


def test_samples_of_any_number_are_one_graph():
    prior = EnergyPrior(D, num_steps=2)
    for count in (3, 4, 5, 6):
        assert prior.distribution().sample(count, seed=[0, 1]).shape == (count, D)
    for temperature in np.linspace(0.5, 0.9, 3):
        assert prior.distribution(temperature).sample(2, seed=[0, 1]).shape == (2, D)
    assert prior._compiled_chain.num_traces == 1
    samples = prior.distribution().sample(9, seed=[0, 1])
    prior.step_size = 1e-6
    assert np.max(np.abs(prior.distribution().sample(9, seed=[0, 1]) - samples)) > 0.1


def count_loops(function):
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for each in definition.library.function for node in each.node_def)]
    return sum(node.op in ("While", "StatelessWhile") for node in nodes)


def test_a_served_likelihood_has_the_normaliser_as_a_number():
    model, x = linear_model(num_annealing_steps=5), tf.constant(simulate(2)[1])
    seed = tf.constant([[0, 1], [0, 2]])
    served = tf.function(model.served_log_prob).get_concrete_function(x, 2, seed)
    np.testing.assert_allclose(served(x, seed), model.log_prob(x, 2, seed), rtol=1e-6)
    normaliser = tf.function(lambda: model.log_normalizer(5, [0, 0])).get_concrete_function()
    assert count_loops(normaliser) > 0
    assert count_loops(served) < count_loops(tf.function(model.log_prob).get_concrete_function(x, 2, seed))


# === Using it ===


def test_log_prob_estimates_the_likelihood_where_the_normalizer_is_known(test_seed):
    _, x = simulate(40)
    model, constant = linear_model("flow"), 0.7
    model.prior_layer.log_normalizer.assign(constant)
    exact = -0.5 * D * np.log(1 + CURVATURE) - constant
    np.testing.assert_allclose(model.log_normalizer(5000, test_seed, num_steps=20), exact, atol=0.05)
    found = model.log_prob(x, 50, test_seed, num_steps=50)
    covariance = W @ W.T / (1 + CURVATURE) + SCALE**2 * np.eye(N)
    difference = found - stats.multivariate_normal(OFFSET, covariance).logpdf(x)
    assert np.std(difference) < 0.4
    # The estimate of the normaliser has an error of its own, the same for all images.
    assert abs(np.mean(difference)) < 4 * np.std(difference) / np.sqrt(40) + 0.15


@pytest.mark.fast
def test_scores_are_up_to_the_constant_of_the_prior():
    _, x = simulate(3)
    model = linear_model()
    z = model.encode(x, seed=0)
    squares = np.sum((x - z @ W.T - OFFSET) ** 2, axis=-1) / SCALE**2 + (1 + CURVATURE) * np.sum(z**2, axis=-1)
    constant = N * np.log(SCALE * np.sqrt(2 * np.pi)) + np.log(2 * np.pi)
    np.testing.assert_allclose(model.anomaly_score(x, seed=0), 0.5 * squares + constant, rtol=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrast": "score"}, "contrast must be one of chain, flow"),
        (
            {"prior": FlowPrior(2)},
            "prior must be an EnergyPrior, with a proposal where contrast is flow and only there",
        ),
        ({"prior": EnergyPrior(2, proposal=FlowPrior(2))}, "prior must be an EnergyPrior, with a proposal"),
        ({"prior": EnergyPrior(2), "contrast": "flow"}, "prior must be an EnergyPrior, with a proposal"),
        ({"prior_step_size": 0.0}, "step_size must be a positive number"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=rf"^{message}.* Received: "):
        tfzoo.create_model("latent_ebm", event_shape=(N,), latent_dim=2, **options)
