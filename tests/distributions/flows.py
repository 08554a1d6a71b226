"""Trainable distributions as TFP's users write them; a fresh process imports them to load what was saved."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

tfd, tfb = tfp.distributions, tfp.bijectors


@keras.saving.register_keras_serializable("tests")
def autoregressive(latent_dim):
    network = tfb.AutoregressiveNetwork(params=2, hidden_units=[8, 8], activation="tanh")
    base = tfd.Sample(tfd.Normal(0.0, 1.0), latent_dim)
    return tfd.TransformedDistribution(base, tfb.MaskedAutoregressiveFlow(network))


@keras.saving.register_keras_serializable("tests")
def real_nvp(latent_dim):
    def coupling(fraction):
        return tfb.RealNVP(
            fraction_masked=fraction, shift_and_log_scale_fn=tfb.real_nvp_default_template([8], activation=tf.tanh)
        )

    base = tfd.MultivariateNormalDiag(tf.zeros(latent_dim), tf.ones(latent_dim))
    return tfd.TransformedDistribution(base, tfb.Chain([coupling(0.5), coupling(-0.5)]))


@keras.saving.register_keras_serializable("tests")
def mixture(latent_dim):
    loc = tf.Variable(tf.random.stateless_normal([3, latent_dim], [0, 1]))
    scale = tfp.util.TransformedVariable(tf.ones([3, latent_dim]), tfb.Softplus())
    return tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.Variable(tf.zeros(3))), tfd.MultivariateNormalDiag(loc, scale)
    )


# factory -> how many trainable variables it makes
FLOWS = {autoregressive: 6, real_nvp: 8, mixture: 3}
