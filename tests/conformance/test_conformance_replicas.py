"""Two replicas learn what one does: the same loss, the same update, each on noise of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.conformance.cases import IMAGE_CASES

DEVICES = ["CPU:0", "CPU:1"]


def two_replicas():
    # On CPUs each strategy numbers its collectives from the same key, so that two strategies of one process can meet in
    # one collective and fail; summing on one device has no collectives.
    return tf.distribute.MirroredStrategy(DEVICES, cross_device_ops=tf.distribute.ReductionToOneDevice())


@pytest.fixture
def no_noise(monkeypatch):
    """Noise of zeros: what one replica and two draw is not the same, and would make another update."""
    monkeypatch.setattr(tfzoo.random, "normal", lambda shape, seed, dtype=tf.float32: tf.zeros(shape, dtype))


def trained(case, strategy, data, **options):
    with strategy.scope():
        model = case.model()
        model.compile(optimizer="sgd")
        model.optimizer.learning_rate = 1e-3
    model.set_weights([np.linspace(-0.3, 0.3, w.size).reshape(w.shape) for w in model.get_weights()])
    history = model.fit(data, verbose=0, **options)
    return history.history["loss"][0], model.get_weights()


@pytest.mark.replicas
@pytest.mark.usefixtures("no_noise")
def test_the_same_loss_and_update_as_one_replica(image_case):
    check_equal(image_case, image_case.data(8), batch_size=8, sample_weight=np.linspace(0.0, 2.0, 8))


@pytest.mark.replicas
@pytest.mark.usefixtures("no_noise")
def test_the_same_of_a_dataset_without_weights():
    case = IMAGE_CASES[-1]
    images = {"image": case.images(8), "index": np.arange(8)}
    check_equal(case, tf.data.Dataset.from_tensor_slices(images).batch(8))


def check_equal(case, data, **options):
    strategies = tf.distribute.OneDeviceStrategy("CPU:0"), two_replicas()
    (one_loss, one), (two_loss, two) = (trained(case, strategy, data, **options) for strategy in strategies)
    np.testing.assert_allclose(one_loss, two_loss, rtol=1e-5)
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.replicas
@pytest.mark.parametrize("name", ["vae", "langevin_vae", "abp"])
def test_a_last_batch_of_fewer_images_than_replicas(name):
    case = next(case for case in IMAGE_CASES if case.name == name)
    with two_replicas().scope():
        model = case.compiled()
    images = {"image": case.images(5), "index": np.arange(5)}
    data = tf.data.Dataset.from_tensor_slices(images).batch(4)
    history = model.fit(data, validation_data=data, verbose=0).history
    assert all(np.isfinite(values[0]) for values in history.values())


def test_each_replica_draws_its_own_noise(image_case):
    strategy = two_replicas()
    with strategy.scope():
        model = image_case.model()
    x = tf.constant(image_case.images(3))
    first, second = strategy.experimental_local_results(strategy.run(tf.function(lambda: model(x)["z"])))
    assert np.all(np.abs(first - second) > 0)


@pytest.mark.replicas
def test_predict_and_evaluate_on_replicas(training_case):
    with two_replicas().scope():
        model = training_case.compiled()
    x = training_case.images(6)
    np.testing.assert_allclose(model.predict(x, batch_size=4, verbose=0), model.reconstruct(x), rtol=1e-5, atol=1e-6)
    assert np.isfinite(model.evaluate(x, batch_size=4, verbose=0, return_dict=True)["loss"])


def test_a_keras_that_does_not_sum_over_replicas_is_refused(training_case, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.9.2")
    with two_replicas().scope():
        model = training_case.compiled()
    x = training_case.images(4)
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"3\.10 or later for several replicas. Received: Keras 3\.9\.2"):
            use(x, batch_size=4, verbose=0)
    assert np.isfinite(model.predict(x, verbose=0)).all()
