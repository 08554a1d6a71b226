"""Two replicas learn what one does: the same loss, the same update, each on noise of its own."""

import numpy as np
import pytest
import tensorflow as tf

import tfzoo

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


@pytest.mark.parametrize("form", ["dict dataset", "sample_weight"])
@pytest.mark.usefixtures("no_noise")
def test_the_same_loss_and_update_as_one_replica(image_case, form):
    x = image_case.images(8)
    options = {"batch_size": 8} if form != "dict dataset" else {}
    if form == "sample_weight":
        options["sample_weight"] = np.linspace(0.0, 2.0, 8)
    results = []
    for strategy in (tf.distribute.OneDeviceStrategy("CPU:0"), two_replicas()):
        data = x
        if form == "dict dataset":
            data = tf.data.Dataset.from_tensor_slices({"image": x, "index": np.arange(8)}).batch(8)
        results.append(trained(image_case, strategy, data, **options))
    (one_loss, one), (two_loss, two) = results
    np.testing.assert_allclose(one_loss, two_loss, rtol=1e-5)
    for ours, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-4)


def test_each_replica_draws_its_own_noise(image_case):
    strategy = two_replicas()
    with strategy.scope():
        model = image_case.model()
    x = tf.constant(image_case.images(3))
    first, second = strategy.experimental_local_results(strategy.run(tf.function(lambda: model(x)["z"])))
    assert np.all(np.abs(first - second) > 0)


def test_predict_and_evaluate_on_replicas(image_case):
    with two_replicas().scope():
        model = image_case.compiled()
    x = image_case.images(6)
    np.testing.assert_allclose(model.predict(x, batch_size=4, verbose=0), model.reconstruct(x), rtol=1e-5, atol=1e-6)
    assert np.isfinite(model.evaluate(x, batch_size=4, verbose=0, return_dict=True)["loss"])
