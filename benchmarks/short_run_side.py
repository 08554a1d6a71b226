"""What is measured of short-run Langevin chains on TensorFlow: ours, the bare gradients, TFP's kernel, and bfloat16."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tfzoo_side
from networks import EVENT_SHAPE, NETWORKS

from tfzoo.integrators import short_run
from tfzoo.networks import conv

__all__ = ["FITS", "STEPS", "VERSIONS", "drift_of_bfloat16"]

VERSIONS = tfzoo_side.VERSIONS
FITS = tfzoo_side.FITS
SCALE, STEP_SIZE = 0.3, 0.1

Step = tuple[Callable[[], float], int]
DCGAN_SHAPE = (32, 32, 3)


def _decoder(network: str, latent_dim: int, dtype: str = "float32") -> keras.Model:
    """Returns the decoder of a dtype policy; "keras" stands for float32 with Keras's own layers alone."""
    if dtype == "keras":
        return keras.models.clone_model(_decoder(network, latent_dim), clone_function=_layer_of_keras)
    keras.utils.set_random_seed(0)
    if network == "dcgan":
        return conv.dcgan_decoder(DCGAN_SHAPE, latent_dim, filters=16, activation="tanh", dtype=dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        return NETWORKS[network](latent_dim)[1]
    finally:
        keras.config.set_dtype_policy("float32")


def _layer_of_keras(layer: keras.layers.Layer) -> keras.layers.Layer:
    kind = keras.layers.Conv2DTranspose if isinstance(layer, keras.layers.Conv2DTranspose) else type(layer)
    return kind.from_config(layer.get_config())


def _log_joint(network: str, latent_dim: int, count: int, dtype: str = "float32") -> tuple[Callable, keras.Model]:
    shape = DCGAN_SHAPE if network == "dcgan" else EVENT_SHAPE
    x = tf.constant(np.random.default_rng(0).random((count, *shape), dtype=np.float32))
    decoder = _decoder(network, latent_dim, dtype)

    def log_joint(z: tf.Tensor) -> tf.Tensor:
        squares = tf.reduce_sum(tf.math.squared_difference(x, tf.cast(decoder(z), tf.float32)), axis=[1, 2, 3])
        return -0.5 * squares / SCALE**2 - 0.5 * tf.reduce_sum(tf.square(z), axis=-1)

    return log_joint, decoder


def _start(count: int, latent_dim: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(1).normal(size=[count, latent_dim]).astype(np.float32))


def _timed(function: Callable, start: tf.Tensor, decoder: keras.Model) -> Step:
    step = tf.function(lambda z: tf.reduce_sum(function(z)), autograph=False)
    return lambda: float(step(start)), decoder.count_params()  # a number that is read is a step that has ended


def ours(kind: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns a chain; `kind` is "<number of steps>", and perhaps " mixed_bfloat16" or " keras", as of `_decoder`."""
    num_steps, _, dtype = kind.partition(" ")
    log_joint, decoder = _log_joint(network, latent_dim, len(images), dtype or "float32")

    def run(z: tf.Tensor) -> tf.Tensor:
        state = short_run.init(z)
        return short_run.integrate(
            state, log_joint, step_size=STEP_SIZE, num_steps=int(num_steps), seed=tf.constant([0, 1])
        ).position

    return _timed(run, _start(len(images), latent_dim), decoder)


def gradients(kind: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns the same number of passes through the decoder, forward and back to z, in one graph, and no more."""
    log_joint, decoder = _log_joint(network, latent_dim, len(images))
    num_steps = int(kind)

    def body(k: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = log_joint(z)
        return k + 1, z + 1e-6 * tape.gradient(value, z)

    def run(z: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda k, _: k < num_steps, body, (tf.constant(0), z), maximum_iterations=num_steps)[1]

    return _timed(run, _start(len(images), latent_dim), decoder)


def tfp_langevin(kind: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns the same chain by TFP."""
    log_joint, decoder = _log_joint(network, latent_dim, len(images))
    kernel = tfp.mcmc.UncalibratedLangevin(log_joint, step_size=STEP_SIZE**2)

    def run(z: tf.Tensor) -> tf.Tensor:
        return tfp.mcmc.sample_chain(
            1, z, kernel=kernel, num_burnin_steps=int(kind) - 1, trace_fn=None, seed=tf.constant([0, 1])
        )

    return _timed(run, _start(len(images), latent_dim), decoder)


def drift_of_bfloat16(network: str, latent_dim: int, num_steps: int, count: int = 100) -> dict[str, float]:
    """Returns how far bfloat16 takes a chain without noise from where float32 does, per coordinate, and log p there."""
    ends, values, weights = [], [], None
    for dtype in ("float32", "mixed_bfloat16"):
        log_joint, decoder = _log_joint(network, latent_dim, count, dtype)
        if weights is not None:
            decoder.set_weights(weights)
        weights = decoder.get_weights()
        state = tf.function(
            lambda z, log_joint=log_joint: short_run.integrate(
                short_run.init(z), log_joint, step_size=STEP_SIZE, num_steps=num_steps, temperature=None
            ),
            autograph=False,
        )(_start(count, latent_dim))
        ends.append(state.position.numpy())
        exact, reference = _log_joint(network, latent_dim, count)
        reference.set_weights(weights)
        values.append(exact(state.position).numpy())
    moved = ends[0] - _start(count, latent_dim).numpy()
    return {
        "difference": float(np.sqrt(np.mean((ends[1] - ends[0]) ** 2))),
        "moved": float(np.sqrt(np.mean(moved**2))),
        "log_joint_difference": float(np.mean(values[1] - values[0])),
    }


STEPS = {"ours": ours, "gradients": gradients, "tfp": tfp_langevin}
