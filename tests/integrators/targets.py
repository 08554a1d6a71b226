"""Targets with exact samples and known moments, and how far samples of a chain are off them."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfzoo import random

PRECISION = np.array([[2.0, -1.2], [-1.2, 1.5]])


def standard_normal(z):
    return -0.5 * tf.reduce_sum(tf.square(z), axis=-1)


def correlated(z):
    return -0.5 * tf.reduce_sum(z * tf.linalg.matvec(tf.cast(PRECISION, z.dtype), z), axis=-1)


def curved(z):
    """z_0 ~ N(0, 1), z_1 ~ N(z_0^2 - 1, 1)."""
    return -0.5 * (tf.square(z[..., 0]) + tf.square(z[..., 1] - tf.square(z[..., 0]) + 1.0))


def gamma(z):
    """Gamma(3, 1) in each dimension; NaN below 0."""
    return tf.reduce_sum(2.0 * tf.math.log(z) - z, axis=-1)


def sample_correlated(n, rng):
    return rng.multivariate_normal(np.zeros(2), np.linalg.inv(PRECISION), size=n)


def sample_curved(n, rng):
    first, noise = rng.normal(size=(2, n))
    return np.stack([first, first**2 - 1.0 + noise], axis=-1)


def sample_gamma(n, rng):
    return rng.gamma(3.0, size=(n, 2))


COVARIANCE = np.linalg.inv(PRECISION)
# Log density, exact samples, and moments: functions of z and what they are on average.
TARGETS = {
    "correlated": (
        correlated,
        sample_correlated,
        [(lambda z, i=i, j=j: z[:, i] * z[:, j], COVARIANCE[i, j]) for i, j in [(0, 0), (0, 1), (1, 1)]]
        + [(lambda z, i=i: z[:, i], 0.0) for i in range(2)],
    ),
    "curved": (
        curved,
        sample_curved,
        [
            (lambda z: z[:, 0], 0.0),
            (lambda z: z[:, 1], 0.0),
            (lambda z: z[:, 0] ** 2, 1.0),
            (lambda z: z[:, 1] ** 2, 3.0),
            (lambda z: z[:, 0] ** 2 * z[:, 1], 2.0),
        ],
    ),
    "gamma": (
        gamma,
        sample_gamma,
        [(lambda z, i=i: z[:, i], 3.0) for i in range(2)]
        + [(lambda z, i=i: z[:, i] ** 2, 12.0) for i in range(2)]
        + [(lambda z: z[:, 0] * z[:, 1], 9.0)],
    ),
}


def transit(kernel, position, num_transitions, seed, results=None):
    """Returns positions and results after some transitions, in one graph."""

    @tf.function(autograph=False)
    def run():
        chain = tfp.mcmc.sample_chain(
            1,
            position,
            kernel=kernel,
            previous_kernel_results=results,
            num_burnin_steps=num_transitions - 1,
            trace_fn=lambda _, results: results,
            seed=random.as_seed(seed),
        )
        return chain.all_states[0], tf.nest.map_structure(lambda x: x[0], chain.trace)

    return run()


def z_score(values, expected):
    """Returns how many standard errors the mean of some values is off."""
    return (values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values)))


def z_scores(target, position, momentum):
    """Returns how many standard errors the moments are off, of positions, momenta, and both."""
    position, momentum = np.asarray(position, np.float64), np.asarray(momentum, np.float64)
    scores = [z_score(function(position), expected) for function, expected in TARGETS[target][2]]
    scores += [z_score(momentum[:, i] * momentum[:, j], float(i == j)) for i, j in [(0, 0), (0, 1), (1, 1)]]
    scores += [z_score(momentum[:, i], 0.0) for i in range(2)]
    scores += [z_score(function(position) * momentum[:, 0], 0.0) for function, _ in TARGETS[target][2]]
    return np.abs(scores)
