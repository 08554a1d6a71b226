"""TrackedDistribution: no variable of a TFP object is lost to training, saving or export."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfzoo
from tests.distributions import flows
from tfzoo.distributions import TrackedDistribution

pytestmark = [
    # What the default template of RealNVP is made of, in TFP 0.25.
    pytest.mark.filterwarnings("ignore:`tf.layers.dense` is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore:`layer.updates` will be removed:UserWarning"),
]

ROOT = pathlib.Path(__file__).parents[2]
each_flow = pytest.mark.parametrize("factory", flows.FLOWS, ids=lambda factory: factory.__name__)


def tracked(factory, latent_dim=4):
    return TrackedDistribution(factory, {"latent_dim": latent_dim})


def points(latent_dim=4):
    return tf.random.stateless_normal([6, latent_dim], [1, 2])


def shake(layer):
    """Moves all weights, so that none is at its initial value."""
    for i, weight in enumerate(layer.trainable_variables):
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape, seed=i))


@each_flow
def test_every_trainable_variable_is_listed_and_has_a_gradient(factory):
    layer = tracked(factory)
    assert len(layer.trainable_variables) == flows.FLOWS[factory]
    listed = {id(weight.value) for weight in layer.trainable_variables}
    inner = [variable for variable in layer.distribution().trainable_variables if variable.dtype.is_floating]
    assert {id(variable) for variable in inner} <= listed
    shake(layer)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(layer.distribution().log_prob(points()))
    for gradient in tape.gradient(value, [weight.value for weight in layer.trainable_variables]):
        assert np.abs(gradient).max() > 0.0


@each_flow
def test_a_config_and_its_weights_give_the_same_density(factory):
    layer = tracked(factory)
    shake(layer)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    before = copy.distribution().log_prob(points())
    copy.set_weights(layer.get_weights())
    expected = layer.distribution().log_prob(points())
    np.testing.assert_allclose(copy.distribution().log_prob(points()), expected, atol=1e-6)
    assert np.abs(before - expected).max() > 1e-3
    assert copy.latent_dim == 4


@each_flow
def test_log_prob_of_a_sample_follows_the_weights_and_keeps_its_gradient(factory):
    layer = tracked(factory)
    shake(layer)
    z = layer.distribution().sample(5, seed=[3, 4])
    copy = tf.constant(z.numpy())  # what no bijector has seen before
    for _ in range(2):
        gradients = []
        for point in (z, copy):
            with tf.GradientTape() as tape:
                tape.watch(point)
                value = layer.distribution().log_prob(point)
            gradients.append((value, tape.gradient(value, point)))
        np.testing.assert_allclose(gradients[0][0], gradients[1][0], atol=1e-6)
        np.testing.assert_allclose(gradients[0][1], gradients[1][1], atol=1e-6)
        shake(layer)


@each_flow
def test_graphs_and_xla_give_the_same_density(factory):
    layer = tracked(factory)
    shake(layer)
    expected = layer.distribution().log_prob(points())
    for compiled in (False, True):
        log_prob = tf.function(lambda z: layer.distribution().log_prob(z), autograph=False, jit_compile=compiled)
        np.testing.assert_allclose(log_prob(points()), expected, rtol=1e-5, atol=1e-5)
        sample = tf.function(lambda: layer.distribution().sample(3, seed=[1, 2]), autograph=False, jit_compile=compiled)
        assert np.isfinite(sample()).all()


def model_with(factory, jit_compile=False):
    networks = {"encoder": keras.layers.Dense(4), "decoder": keras.layers.Dense(6)}
    model = tfzoo.create_model("vae", event_shape=(6,), latent_dim=4, prior=tracked(factory), seed=0, **networks)
    model.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
    return model


@pytest.mark.parametrize(("name", "annealed"), [("hamiltonian_vae", False), ("langevin_vae", True)])
def test_flows_of_phase_space_take_batches_of_any_size(name, annealed):
    # TFP makes an unknown number of samples of a single one, where the batch is unknown.
    prior = TrackedDistribution(lambda: tfd.MultivariateNormalTriL(tf.Variable(tf.zeros(4)), tf.eye(4)))
    networks = {"encoder": keras.layers.Dense(4), "decoder": keras.layers.Dense(6)}
    options = {"num_steps": 2, "annealed": annealed, "prior": prior, **networks}
    model = tfzoo.create_model(name, event_shape=(6,), latent_dim=4, **options)
    model.compile(optimizer="adam")
    history = model.fit(images()[:20], batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def images():
    return (np.random.default_rng(0).random((32, 6)) < 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("factory", "jit_compile"), [*((factory, False) for factory in flows.FLOWS), (flows.autoregressive, True)]
)
def test_fit_changes_every_weight_of_the_prior(factory, jit_compile):
    model = model_with(factory, jit_compile)
    before = [weight.numpy() for weight in model.prior_layer.trainable_variables]
    model.fit(images(), batch_size=16, epochs=1, verbose=0)
    for old, new in zip(before, model.prior_layer.trainable_variables, strict=True):
        assert np.abs(old - new.numpy()).max() > 1e-4


# With TensorFlow alone first, then with the zoo.
_SERVE_AND_LOAD = """
import sys
import numpy as np, tensorflow as tf
folder = sys.argv[1]
for name in sys.argv[2:]:
    signature = tf.saved_model.load(f"{folder}/{name}").signatures["score"]
    inputs = {"images": tf.constant(np.load(f"{folder}/images.npy")), "seed": tf.zeros([32, 2], tf.int32)}
    np.save(f"{folder}/{name}_score.npy", signature(**inputs)["score"])
assert "tfzoo" not in sys.modules and "tensorflow_probability" not in sys.modules
import keras
import tfzoo
from tests.distributions import flows
for factory in flows.FLOWS:
    model = keras.saving.load_model(f"{folder}/{factory.__name__}.keras")
    z = np.load(f"{folder}/points.npy")
    np.save(f"{folder}/{factory.__name__}.npy", model.prior().log_prob(z))
"""


def test_keras_files_and_exports_give_the_same_density_in_a_fresh_process(tmp_path):
    np.save(tmp_path / "points.npy", points())
    np.save(tmp_path / "images.npy", images())
    models = {}
    for factory in flows.FLOWS:
        models[factory.__name__] = model = model_with(factory)
        shake(model.prior_layer)
        model.save(tmp_path / f"{factory.__name__}.keras")
    served = ["autoregressive"]  # tracing every signature takes its time
    for name in served:
        models[name].export(tmp_path / name, num_samples=2, num_points=2)
    command = [sys.executable, "-W", "ignore", "-c", _SERVE_AND_LOAD, str(tmp_path), *served]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for name, model in models.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), model.prior().log_prob(points()), atol=1e-6)
    for name in served:
        score = np.load(tmp_path / f"{name}_score.npy")
        np.testing.assert_allclose(score, models[name].anomaly_score(images()), rtol=1e-6)


@pytest.mark.replicas
@pytest.mark.parametrize("factory", [flows.autoregressive, flows.mixture])
def test_two_replicas_train_every_weight_alike(factory):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        pytest.skip("needs two logical CPU devices, set before TensorFlow starts")
    # Not by the default collectives: TensorFlow's instance keys of two strategies in one process meet.
    strategy = tf.distribute.MirroredStrategy(devices[:2], cross_device_ops=tf.distribute.ReductionToOneDevice())
    with strategy.scope():
        model = model_with(factory)
    before = model.prior_layer.get_weights()
    model.fit(images(), batch_size=16, epochs=1, verbose=0)
    for old, weight in zip(before, model.prior_layer.weights, strict=True):
        first, second = (value.numpy() for value in weight.value.values)
        np.testing.assert_array_equal(first, second)
        assert not weight.trainable or np.abs(old - first).max() > 1e-4


@pytest.mark.fast
def test_variables_made_before_the_factory_ran_are_tracked_too():
    loc = tf.Variable([1.0, 2.0])
    frozen = tf.Variable([1.0, 1.0], trainable=False)
    layer = TrackedDistribution(lambda: tfd.MultivariateNormalDiag(loc, frozen))
    assert [weight.value for weight in layer.trainable_variables] == [loc]
    assert [weight.value for weight in layer.non_trainable_variables] == [frozen]
    layer.set_weights([np.array([3.0, 4.0]), np.array([2.0, 2.0])])
    np.testing.assert_array_equal(layer.distribution().mean(), [3.0, 4.0])
    np.testing.assert_array_equal(layer.distribution().stddev(), [2.0, 2.0])


@pytest.mark.fast
@pytest.mark.parametrize(
    "factory",
    [
        lambda: tfd.Normal(tf.zeros(3), 1.0),
        lambda: tfd.MultivariateNormalDiag(tf.zeros([2, 3])),
        lambda: tfd.Normal(0.0, 1.0),
        lambda: tfd.JointDistributionSequential([tfd.MultivariateNormalDiag(tf.zeros(3))]),
        lambda: tfd.TransformedDistribution(tfd.Independent(tfd.Normal(tf.zeros([2, 3]), 1.0), 2), tfb.Exp()),
    ],
)
def test_anything_but_one_distribution_over_vectors_is_an_error(factory):
    with pytest.raises(ValueError, match=r"batch shape \[\] and event shape \[D\]. Received: batch shape"):
        TrackedDistribution(factory)
