"""A user's own networks: any Keras layers, built or not, with regularisers, BatchNorm and Dropout."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfzoo


@keras.saving.register_keras_serializable("tests")
class Subclassed(layers.Layer):
    """A layer that makes its weights in `build`, and its output's shape known by its call only."""

    def __init__(self, units, shape, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.shape_ = tuple(shape)

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(math.prod(input_shape[1:]), self.units), name="kernel")

    def call(self, inputs):
        flat = tf.reshape(inputs, [-1, self.kernel.shape[0]])
        return tf.reshape(tf.matmul(flat, self.kernel), [-1, *self.shape_])

    def get_config(self):
        return {**super().get_config(), "units": self.units, "shape": self.shape_}


def sequential(case):
    size = math.prod(case.event_shape)
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(8, "relu"), layers.BatchNormalization()])
    decoder = keras.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(size)])
    decoder.add(layers.Reshape(case.event_shape))
    return encoder, decoder


def functional(case):
    size = math.prod(case.event_shape)
    x, z = keras.Input(case.event_shape), keras.Input((case.latent_dim,))
    hidden = layers.Flatten()(x)
    encoder = keras.Model(x, layers.Concatenate()([layers.Dense(4)(hidden), layers.Dense(4, "tanh")(hidden)]))
    return encoder, keras.Model(z, layers.Reshape(case.event_shape)(layers.Dense(size)(z)))


def subclassed(case):
    size = math.prod(case.event_shape)
    return Subclassed(5, (5,)), Subclassed(size, case.event_shape)


KINDS = {"sequential": sequential, "functional": functional, "subclassed": subclassed}


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_kept_trained_and_saved(training_case, kind, tmp_path):
    encoder, decoder = KINDS[kind](training_case)
    model, x = training_case.compiled(encoder=encoder, decoder=decoder), training_case.images(8)
    assert model.encoder is encoder
    assert model.decoder is decoder
    before = model.get_weights()
    model.fit(x, batch_size=4, verbose=0)
    assert all(np.any(old != new) for old, new in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.log_prob(x, 3, seed=0), model.log_prob(x, 3, seed=0))


def test_networks_export(training_case, tmp_path):
    model = training_case.model(**dict(zip(("encoder", "decoder"), sequential(training_case), strict=True)))
    model.export(tmp_path / "served", num_samples=2)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["reconstruct"]
    x, seed = training_case.images(2), np.zeros([2, 2], np.int32)
    answer = served(images=tf.constant(x), seed=tf.constant(seed))["images"]
    np.testing.assert_allclose(answer, model.reconstruct(x, seed), rtol=1e-5)


def test_the_training_flag_reaches_the_networks(training_case):
    encoder, decoder = sequential(training_case)
    model, x = training_case.compiled(encoder=encoder, decoder=decoder), training_case.images(8)
    # Dropout rests outside of training ...
    np.testing.assert_array_equal(model.elbo(x, 1, 0), model.elbo(x, 1, 0))
    np.testing.assert_array_equal(model.decode(np.ones([2, 2])), model.decode(np.ones([2, 2])))
    # ... and works in it: the same inference, another loss.
    inference = model(x, seed=0)
    losses = {float(model.compute_loss(x, y_pred=inference, training=True)) for _ in range(3)}
    assert len(losses) == 3
    assert len({float(model.compute_loss(x, y_pred=inference, training=False)) for _ in range(3)}) == 1
    # The moving mean moves with training only.
    moving_mean = encoder.layers[-1].moving_mean
    before = np.array(moving_mean)
    model.evaluate(x, verbose=0)
    model.predict(x, verbose=0)
    np.testing.assert_array_equal(before, moving_mean)
    model.fit(x, verbose=0)
    assert np.any(before != np.array(moving_mean))


def test_the_loss_includes_the_networks_own_losses(training_case):
    size = math.prod(training_case.event_shape)
    encoder = keras.Sequential([layers.Flatten(), layers.Dense(4, kernel_regularizer=keras.regularizers.L2(3.0))])
    decoder = keras.Sequential([layers.Dense(size, activity_regularizer=keras.regularizers.L2(2.0))])
    decoder.add(layers.Reshape(training_case.event_shape))
    model, x = training_case.model(encoder=encoder, decoder=decoder), training_case.images(4)
    for _ in range(2):  # and does not count them twice
        inference = model(x, training=True, seed=0)
        loss = model.compute_loss(x, y_pred=inference)
        bound = np.mean(model.bound(tf.constant(x), inference))
        kernel = 3.0 * np.sum(np.square(encoder.layers[-1].kernel))
        decoder(tf.reshape(inference["z"], [-1, 2]))
        (activity,) = decoder.losses  # of a sum over the batch in older Keras, of a mean in newer
        np.testing.assert_allclose(loss, -bound + kernel + activity, rtol=1e-4)


@pytest.mark.fast
def test_a_layer_that_is_falsy_is_still_the_users(training_case):
    @keras.saving.register_keras_serializable("tests")
    class Empty(keras.layers.Dense):
        def __len__(self):
            return 0

    encoder, decoder = Empty(3), Empty(5)
    model = tfzoo.create_model(training_case.name, event_shape=(5,), latent_dim=2, encoder=encoder, decoder=decoder)
    assert model.encoder is encoder
    assert model.decoder is decoder


@pytest.mark.fast
def test_networks_that_return_more_than_a_tensor(training_case):
    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match=r"^decoder must return one tensor\. Received: list$"):
        training_case.model(decoder=keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)]))


@pytest.mark.fast
def test_a_frozen_network_stays_as_it_is(training_case):
    encoder, decoder = functional(training_case)
    decoder.trainable = False
    model = training_case.compiled(encoder=encoder, decoder=decoder)
    before = decoder.get_weights()
    model.fit(training_case.images(4), verbose=0)
    for old, new in zip(before, decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
