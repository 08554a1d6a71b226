"""Two stages of training, what is between them, and the geometry behind the methods."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.conformance.cases import Case
from tfzoo.geometry import curves, metric
from tfzoo.models.two_stages import batches_of

CASE = Case("riemannian_vae", "image")
SMALL = {"likelihood": "gaussian", "num_centres": 8, "num_nodes": 2}


def make(**options):
    return CASE.model(**{**SMALL, "first_stage_epochs": 2, **options})


def fitted(model, epochs, **options):
    """Trains on 16 images, and returns the history."""
    return model.fit(CASE.images(16), batch_size=8, shuffle=False, epochs=epochs, verbose=0, **options)


@pytest.fixture(scope="module")
def trained():
    """A model after three epochs: two of the first stage, one of the second; and its history and weights before it."""
    keras.utils.set_random_seed(1)
    model = make()
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    stages = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(float(model.stage)))
    seen = []
    history = fitted(model, 3, callbacks=[stages])
    return model, history, seen


def test_stages_go_by_epochs(trained):
    model, history, seen = trained
    assert seen == [1.0, 1.0, 2.0]
    assert float(model.epochs_done) == 3.0
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.slow  # XLA compiles a step twice
def test_both_stages_train_under_xla(trained):
    keras.utils.set_random_seed(1)
    model = make()
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=True)
    history = fitted(model, 3)
    np.testing.assert_allclose(history.history["loss"], trained[1].history["loss"], rtol=1e-2)


def test_between_the_stages_the_codes_set_scale_and_prior():
    model, x = make(), CASE.images(16)
    mean = np.mean([np.asarray(model.base_posterior(x).mean())], axis=(0, 1))
    # Codes are sampled; their noise is made small.
    model.posterior_layer.duration.bias.assign([-50.0])
    model.begin_second_stage(batches_of(x))
    assert float(model.stage) == 2.0
    np.testing.assert_allclose(model.prior_layer.mean, mean, atol=0.02)
    codes = np.asarray(model.encode(x))
    nearest = np.min(np.linalg.norm(np.asarray(model.scale_network.centres)[:, None] - codes, axis=-1), axis=1)
    assert nearest.max() < 0.3
    # One unit at the codes, far more where there are none.
    np.testing.assert_allclose(np.mean(model.scale_network(tf.constant(codes)) ** -2), 1.0, rtol=0.05)
    assert np.all(model.scale_network(tf.constant(codes + 10.0)) > 100.0)
    squares = model.prior().squared_distance(codes)
    np.testing.assert_allclose(model.prior().duration, np.mean(squares) / 2, rtol=0.1)


def test_the_first_stage_is_a_vae_and_the_second_the_bound():
    model, x = make(), CASE.images(4)
    inference = model(x, seed=0)
    posterior = model.base_posterior(x)
    standard = tfd.MultivariateNormalDiag(np.zeros(2, np.float32))
    kl = [
        tfd.kl_divergence(tfd.MultivariateNormalDiag(*each), standard)
        for each in zip(posterior.mean(), posterior.stddev(), strict=True)
    ]
    np.testing.assert_allclose(inference["kl"][0], kl, rtol=1e-4)
    mean = model.decode(inference["z"][0])
    first = tf.reduce_sum(tfd.Normal(mean, 1.0).log_prob(x), [1, 2, 3]) - kl  # the scale is 1 at first
    np.testing.assert_allclose(model.bound(x, inference), first, rtol=1e-4)

    model.stage.assign(2.0)
    inference = model(x, seed=0)
    z = inference["z"]
    second = model.log_joint(x, z) - posterior.log_prob(z)
    np.testing.assert_allclose(model.bound(x, inference), second[0], rtol=1e-4)
    np.testing.assert_allclose(model.elbo(x, 1, seed=0), second[0], rtol=1e-4)
    # log p(z) is a density of dz: the kernel times the volume.
    log_volume = 0.5 * np.linalg.slogdet(metric.pullback(model.embedding, z[0], jitter=1e-5))[1]
    law = model.prior()
    kernel = -np.log(2 * np.pi * law.duration) - law.squared_distance(z[0]) / (2 * law.duration)
    np.testing.assert_allclose(law.log_prob(z[0]), kernel + log_volume, rtol=1e-4)


def test_the_prior_has_a_finite_density_and_motion_far_from_the_data():
    """There float32 rounds the least eigenvalue of the metric to anything, and the metric has no Cholesky factor."""
    model, angles = make(first_stage_epochs=0), np.linspace(0.0, 2.0 * np.pi, 32, dtype=np.float32)
    z = 7.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    assert np.all(np.isfinite(model.log_joint(CASE.images(32), z)))
    assert np.all(np.isfinite(model.sample_brownian(z, 0)))


def test_a_training_that_is_resumed_goes_on_in_its_stage(trained, tmp_path):
    model, _, _ = trained
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded.stage) == 2.0
    x = CASE.images(4)
    np.testing.assert_array_equal(loaded.log_prob(x, 3, seed=0), model.log_prob(x, 3, seed=0))
    centres = np.array(loaded.scale_network.centres)
    loaded.compile(optimizer=loaded.optimizer, run_eagerly=True)
    loaded.optimizer.learning_rate = 0.0
    fitted(loaded, 1)
    assert float(loaded.epochs_done) == 4.0
    # The stages do not begin again: nothing was set anew.
    np.testing.assert_array_equal(loaded.scale_network.centres, centres)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # outside of graphs, of what the other stage trains
@pytest.mark.filterwarnings("ignore:training ended after 1 epochs")  # as it is meant to here
def test_a_backup_of_the_first_stage_goes_on_to_the_second(tmp_path):
    for epochs in (1, 3):
        model = make()
        model.compile(optimizer="sgd", run_eagerly=True)
        model.optimizer.learning_rate = 1e-4
        history = fitted(model, epochs, callbacks=[keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)])
    assert history.epoch == [1, 2]
    assert float(model.epochs_done) == 3.0
    assert float(model.stage) == 2.0


def test_the_papers_losses():
    model, x = make(training="paper"), CASE.images(8)
    inference = model(x, seed=0)
    # Stage 1: nothing but the reconstruction, with the scale 1.
    np.testing.assert_array_equal(inference["kl"], np.zeros([1, 8]))
    squares = tf.reduce_sum(tf.square(x - model.decode(inference["z"][0])), [1, 2, 3])
    expected = -0.5 * squares - 0.5 * 36 * np.log(2 * np.pi)
    np.testing.assert_allclose(model.bound(x, inference), expected, rtol=1e-5)
    # Stage 2: an absolute value for each example, of a density that z is not from: no estimate of a divergence.
    model.stage.assign(2.0)
    inference = model(x, seed=0)
    z, start, law = inference["z"][0], model.base_posterior(x), model.prior()
    t, loc = tf.square(start.stddev()[:, 0]), start.mean()
    difference = (law.squared_distance(z) / law.duration - model._squared_distance(loc, z) / t) / 2.0
    difference += np.log(law.duration / t)
    # What the printed H0 makes of both: the volume at z is in both.
    volumes = [
        0.5 * np.linalg.slogdet(metric.pullback(model.embedding, each, jitter=1e-5))[1] for each in (loc, law.loc[None])
    ]
    difference += volumes[1] - volumes[0]
    np.testing.assert_allclose(inference["kl"][0], np.abs(difference), rtol=1e-3, atol=1e-3)


def test_the_vae_to_compare_with_and_the_papers_second_stage(tmp_path):
    """A diagonal Gaussian and N(0, I), with the same decoder; of stage 2 the scale alone."""
    model, x = make(training="paper", prior="standard"), CASE.images(8)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    weights = []
    keep = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: weights.append(copies(model)))
    fitted(model, 4, callbacks=[keep])
    for name in ("encoder", "decoder", "posterior_layer"):
        assert np.any(weights[0][name] != weights[1][name])
        np.testing.assert_array_equal(weights[2][name], weights[3][name])
    assert np.any(weights[2]["scale_network"] != weights[3]["scale_network"])

    posterior = model.base_posterior(x)
    assert np.any(np.abs(posterior.stddev()[:, 0] - posterior.stddev()[:, 1]) > 1e-4)
    standard = tfd.MultivariateNormalDiag(np.zeros(2, np.float32))
    np.testing.assert_allclose(model.prior().log_prob(np.ones([1, 2])), standard.log_prob(np.ones([1, 2], np.float32)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.elbo(x, seed=0), model.elbo(x, seed=0))
    assert loaded.encoder.trainable  # as the optimizer knows it, until training freezes it again


def copies(model):
    """Returns all weights of each part, as one array."""
    parts = ("encoder", "decoder", "posterior_layer", "scale_network")
    return {name: np.concatenate([np.ravel(each) for each in getattr(model, name).get_weights()]) for name in parts}


def test_interpolation_is_along_geodesics(trained):
    model, _, _ = trained
    z0, z1 = tf.constant([[-1.5, 0.0], [0.5, 1.0]]), tf.constant([[1.5, 0.3], [0.5, 1.0]])
    z = model._codes_between(z0, z1, 33)
    np.testing.assert_allclose(z[:, 0], z0, atol=1e-5)
    np.testing.assert_allclose(z[:, -1], z1, atol=1e-5)
    weights = np.linspace(0.0, 1.0, 33)[:, np.newaxis]
    straight = z0[:, np.newaxis] + weights * (z1 - z0)[:, np.newaxis]
    ours, lines = (curves.energy(model.embedding, each).numpy() for each in (z, tf.cast(straight, tf.float32)))
    assert ours[0] < lines[0]
    assert ours[1] < 1e-6  # of a point to itself
    steps = np.sqrt(curves.squared_steps(model.embedding, z, None))[0]
    assert steps.max() < 1.2 * steps.min()  # of one speed


def test_brownian_motions_from_codes_stay_near_for_a_short_time(trained):
    model, z = trained[0], np.array([[0.5, -1.0], [-0.3, 0.2], [1.0, 1.0]], np.float32)
    images = model.decode(z)
    near, far = (np.abs(model.sample_brownian(z, 3, duration=t) - images).mean() for t in (1e-6, None))
    assert near < 0.05 * far
    seeds = np.arange(6).reshape(3, 2)
    together = model.sample_brownian(z, seeds)
    assert model._compiled_walk.num_traces == 2  # by one seed, and by one for each
    np.testing.assert_array_equal(model.sample_brownian(z, seeds), together)
    assert np.all(np.isfinite(model.sample(3, seeds)))
    assert model._compiled_walk.num_traces == 2
    np.testing.assert_allclose(model.sample_brownian(z[1:2], seeds[1:2]), together[1:2], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"^the prior must be a Brownian motion\. Received: StandardNormalPrior$"):
        make(prior="standard").sample_brownian(z)
    for wrong in (-1.0, [0.1, 0.2]):
        with pytest.raises(ValueError, match=r"^duration must [^\n]*Received: [^\n]*$"):
            model.sample_brownian(z, duration=wrong)
    for codes, seed in ((z[:, :1], 0), (z[0], 0), (z, seeds[:2]), ("a", 0)):
        with pytest.raises(ValueError, match=r"^z must [^\n]*Received: [^\n]*$"):
            model.sample_brownian(codes, seed)


def test_a_training_that_ends_in_the_first_stage_says_so():
    model = make(first_stage_epochs=3)
    model.compile(optimizer="sgd")
    with pytest.warns(UserWarning, match=r"^training ended after 1 epochs, in the first of its two stages: "):
        model.fit(CASE.images(4), verbose=0)


def test_data_that_can_be_read_once_only_are_refused_before_the_first_step():
    model = make()
    model.compile(optimizer="sgd")
    images = ((CASE.images(4),) for _ in range(9))
    with pytest.raises(ValueError, match=r"needs data that can be read again: .* Received: generator$"):
        model.fit(images, steps_per_epoch=1, epochs=4, verbose=0)
    assert len(list(images)) == 9


class Batches(keras.utils.PyDataset):
    """Pairs, two of four images."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return 2

    def __getitem__(self, index):
        images = self.images[4 * index : 4 * index + 4]
        return images, np.arange(len(images))


def test_batches_are_of_every_form_of_data(monkeypatch):
    x = CASE.images(6)
    data = tf.data.Dataset.from_tensor_slices({"image": x, "label": np.arange(6)}).batch(4)
    pairs = tf.data.Dataset.from_tensor_slices((x, np.arange(6))).batch(4)
    for each in (x, {"image": x}, data, pairs, Batches(x)):
        found = np.concatenate([np.asarray(batch) for batch in batches_of(each)])
        np.testing.assert_allclose(np.sort(found.ravel()), np.sort(x.ravel()))
    monkeypatch.setattr("tfzoo.models.two_stages._MAX_IMAGES", 20)
    assert sum(len(batch) for batch in batches_of(data.repeat())) == 22


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"training": "exact"}, "training must be one of bound, paper"),
        ({"first_stage_epochs": -1}, "first_stage_epochs must be a whole number of at least 0"),
        ({"first_stage_epochs": 1.5}, "first_stage_epochs must be a whole number of at least 0"),
        ({"prior": "vampire"}, 'prior must be "standard", "vamp", or a layer of tfzoo.distributions'),
        ({"h0": "two"}, "h0 must be one of one, van_vleck, paper"),
        ({"h0": "one", "prior": "standard"}, "h0 is of the Brownian prior that the model makes"),
        ({"num_nodes": 1}, "num_nodes must be"),
        ({"num_centres": 0}, "num_centres must be a whole number"),
        ({"beta": 0.0}, "beta must be a positive number"),
        ({"num_brownian_steps": 0}, "num_steps must be a whole number"),
    ],
    ids=str,
)
def test_bad_options_are_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=rf"^{sentence}[^\n]* Received: [^\n]*$"):
        make(**wrong)
