"""Log densities for the integrators: as TensorFlow functions of [..., D], and their gradients in NumPy."""

import numpy as np
import tensorflow as tf


class Quartic:
    """-z'Az/2 - sum z^4/10: correlated, and no Gaussian."""

    def __init__(self, size, seed=0):
        root = np.random.default_rng(seed).normal(size=(size, size))
        self.matrix = root @ root.T / size + np.eye(size)

    def log_prob(self, z):
        linear = tf.linalg.matvec(tf.cast(self.matrix, z.dtype), z)
        return -0.5 * tf.reduce_sum(z * linear, -1) - 0.1 * tf.reduce_sum(z**4, -1)

    def gradient(self, z):
        return -self.matrix @ z - 0.4 * z**3

    def energy(self, position, momentum):
        return 0.5 * np.sum(momentum**2, -1) - self.log_prob(tf.constant(position)).numpy()


def standard_normal(z):
    return -0.5 * tf.reduce_sum(tf.square(z), -1)


def flat(z):
    return tf.zeros_like(z[..., 0])


def phase_point(*shape, seed=1):
    """Returns a position and a momentum, float64 [*shape] each."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape), rng.normal(size=shape)


def log_abs_det_of_jacobian(flow, position, momentum):
    """Log |det| of a map of (position, momentum), by autodiff, for one chain [D]."""
    size = len(position)

    @tf.function(autograph=False)
    def jacobian(u):
        with tf.GradientTape() as tape:
            tape.watch(u)
            state = flow(u[:size], u[size:])
            end = tf.concat([state.position, state.momentum], 0)
        return tape.jacobian(end, u, experimental_use_pfor=False)

    return np.linalg.slogdet(jacobian(tf.constant(np.concatenate([position, momentum]))).numpy())[1]
