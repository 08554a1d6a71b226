"""Spaces whose distances are known: a linear decoder, the sphere, the hyperbolic half-plane; and a small decoder."""

import keras
import numpy as np
import tensorflow as tf

from tfzoo.networks.rbf import RBFScale

__all__ = [
    "half_plane",
    "half_plane_distance",
    "half_plane_pairs",
    "linear",
    "small_decoder",
    "sphere",
    "sphere_chart",
    "sphere_distance",
    "sphere_pairs",
]


def linear(size, num_outputs=6, seed=0):
    """A linear decoder, and its matrix [D, M]."""
    matrix = np.random.default_rng(seed).normal(size=[size, num_outputs])
    return (lambda z: tf.linalg.matmul(z, tf.constant(matrix, z.dtype)) + 3.0), matrix


def sphere(z):
    """Polar and azimuthal angles to the unit sphere."""
    polar, azimuth = tf.unstack(z, axis=-1)
    return tf.stack([tf.sin(polar) * tf.cos(azimuth), tf.sin(polar) * tf.sin(azimuth), tf.cos(polar)], axis=-1)


def sphere_chart(z):
    """Its metric."""
    return tf.linalg.diag(tf.stack([tf.ones_like(z[:, 0]), tf.sin(z[:, 0]) ** 2], axis=-1))


def sphere_distance(z0, z1):
    a, b = (sphere(tf.constant(z, tf.float64)).numpy() for z in (z0, z1))
    return 2.0 * np.arcsin(0.5 * np.linalg.norm(a - b, axis=-1))


def sphere_pairs(count, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(0.6, 2.5, [2, count]), rng.uniform(0.0, 2.2, [2, count])], axis=-1).astype(dtype)


def half_plane(z):
    """The metric of Poincaré's half-plane, (dx^2 + dy^2) / y^2."""
    return tf.eye(2, dtype=z.dtype) / (z[:, 1] ** 2)[:, tf.newaxis, tf.newaxis]


def half_plane_distance(z0, z1):
    return np.arccosh(1.0 + np.sum((z0 - z1) ** 2, axis=-1) / (2.0 * z0[..., 1] * z1[..., 1]))


def half_plane_pairs(count, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(-1.5, 1.5, [2, count]), rng.uniform(0.5, 2.5, [2, count])], axis=-1).astype(dtype)


def small_decoder(size=2, num_outputs=12, dtype="float32", seed=0):
    """A decoder of a mean and a scale, as a function and as its parts."""
    keras.utils.set_random_seed(seed)
    mean = keras.Sequential(
        [
            keras.Input((size,), dtype=dtype),
            keras.layers.Dense(16, "tanh", dtype=dtype),
            keras.layers.Dense(num_outputs, dtype=dtype),
        ]
    )
    scale = RBFScale((num_outputs // 2, 2), num_centres=7, beta=0.5, dtype=dtype)
    scale.build((None, size))
    return lambda z: (mean(z), scale(z)), mean, scale
