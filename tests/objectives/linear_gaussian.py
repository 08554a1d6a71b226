"""tests.reference.ppca as tensors: what the objectives are given."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tests.reference.ppca import PPCA


def log_joint(model: PPCA, x: np.ndarray | tf.Tensor, dtype: tf.DType = tf.float64):
    """Log p(x, z) as a function of latents [..., B, D]."""
    weights, bias, scale = (tf.constant(value, dtype) for value in (model.weights, model.bias, model.scale))
    x = tf.cast(x, dtype)

    def log_prob(z):
        prior = tfd.Independent(tfd.Normal(tf.zeros_like(weights[0]), tf.ones_like(weights[0])), 1)
        mean = tf.linalg.matmul(z, weights, transpose_b=True) + bias
        return prior.log_prob(z) + tf.reduce_sum(tfd.Normal(mean, scale).log_prob(x), axis=-1)

    return log_prob


def prior(model: PPCA, dtype: tf.DType = tf.float64) -> tfd.Distribution:
    zeros = tf.zeros([model.weights.shape[1]], dtype)
    return tfd.Independent(tfd.Normal(zeros, tf.ones_like(zeros)), 1)


def posterior(model: PPCA, x: np.ndarray) -> tfd.Distribution:
    """The exact posterior, batch [B]."""
    mean, covariance = model.posterior(x)
    return tfd.MultivariateNormalTriL(mean, np.linalg.cholesky(covariance))


def proposal(model: PPCA, x: np.ndarray, shift: float = 0.3, stretch: float = 1.3, dtype: tf.DType = tf.float64):
    """A diagonal Gaussian beside the posterior, batch [B]: `shift` and `stretch` in posterior deviations."""
    mean, covariance = model.posterior(x)
    deviation = np.sqrt(np.diag(covariance))
    loc, scale = mean + shift * deviation, stretch * np.broadcast_to(deviation, mean.shape)
    return tfd.Independent(tfd.Normal(tf.constant(loc, dtype), tf.constant(scale, dtype)), 1)
