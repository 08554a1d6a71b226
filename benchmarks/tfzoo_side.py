"""What is measured of tfzoo: its compiled training step, the same step written by hand, and `fit`.

The loss is that of pythae's "mse": a Gaussian likelihood of scale 1; it is minus the ELBO, or the weighted bound.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from networks import EVENT_SHAPE, NETWORKS

import tfzoo
from tfzoo.integrators import quasi_symplectic

__all__ = ["FITS", "STEPS", "VERSIONS"]

VERSIONS = {"tensorflow": tf.__version__, "keras": keras.__version__, "tfzoo": tfzoo.__version__}
LEARNING_RATE = 1e-3
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


MODELS: dict[str, tuple[str, dict]] = {
    "vae": ("vae", {}),
    "iwae": ("iwae", {"num_samples": 5}),
    **{f"langevin_vae_{k}": ("langevin_vae", {"num_steps": k}) for k in (2, 5)},
    **{f"hamiltonian_vae_{k}": ("hamiltonian_vae", {"num_steps": k}) for k in (2, 5)},
    # The first as pythae's; the second with a context, which pythae's flow has not.
    "iaf_vae": ("iaf_vae", {"num_steps": 2, "hidden_units": (128, 128, 128), "context_dim": None}),
    "iaf_vae_context_64": ("iaf_vae", {"num_steps": 2, "hidden_units": (128, 128, 128), "context_dim": 64}),
    "iaf_vae_context_16": ("iaf_vae", {"num_steps": 2, "hidden_units": (128, 128, 128)}),
    "hamiltonian_vae_5_first_order": ("hamiltonian_vae", {"num_steps": 5, "second_order": False}),
}


def create_model(model: str, network: str, latent_dim: int) -> keras.Model:
    """Returns a compiled model of the zoo."""
    encoder, decoder = NETWORKS[network](latent_dim)
    name, options = MODELS[model]
    built = tfzoo.create_model(
        name,
        event_shape=EVENT_SHAPE,
        latent_dim=latent_dim,
        likelihood="gaussian",
        scale=1.0,
        encoder=encoder,
        decoder=decoder,
        **options,
    )
    built.compile(optimizer=tfzoo.optimizers.Adam(LEARNING_RATE))
    return built


def zoo_step(model: str, network: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns the step that `fit` runs, compiled as Keras does, on one batch; and the number of its weights."""
    built = create_model(model, network, latent_dim)
    built.make_train_function()
    batch = {"image": images, "label": np.zeros(len(images), np.int32), "index": np.arange(len(images), dtype=np.int32)}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    batches = itertools.repeat(batch)  # not a tf.data iterator: what that costs is measured by `zoo_fit`
    step = built.train_function
    return lambda: step(batches)["loss"], sum(int(np.prod(w.shape)) for w in built.trainable_weights)


def handwritten_step(model: str, network: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns what an expert writes for this one model: a `tf.function` with nothing in it but the loss."""
    encoder, decoder = NETWORKS[network](latent_dim)
    loc_head, scale_head = keras.layers.Dense(latent_dim), keras.layers.Dense(latent_dim, "softplus")
    for head in (loc_head, scale_head):
        head.build(encoder.output_shape)
    layers = [encoder, loc_head, scale_head, decoder]
    variables = [v for layer in layers for v in layer.trainable_variables]
    optimizer = tfzoo.optimizers.Adam(LEARNING_RATE)
    optimizer.build(variables)
    num_samples = 5 if model == "iwae" else 1
    size = math.prod(EVENT_SHAPE)

    def loss_of(x: tf.Tensor) -> tf.Tensor:
        features = encoder(x, training=True)
        loc, scale = loc_head(features), scale_head(features) + 1e-6
        noise = tf.random.normal([num_samples, len(images), latent_dim])
        z = loc + scale * noise
        means = decoder(tf.reshape(z, [-1, latent_dim]), training=True)
        error = tf.reshape(means, [num_samples, len(images), size]) - tf.reshape(x, [len(images), size])
        log_likelihood = -0.5 * tf.reduce_sum(tf.square(error), -1) - size * HALF_LOG_TWO_PI
        if model == "vae":
            kl = 0.5 * tf.reduce_sum(tf.square(loc) + tf.square(scale) - 1.0 - 2.0 * tf.math.log(scale), -1)
            return tf.reduce_mean(kl - log_likelihood[0])
        log_ratio = tf.reduce_sum(0.5 * tf.square(noise) - 0.5 * tf.square(z) + tf.math.log(scale), -1)
        log_weights = log_likelihood + log_ratio
        return math.log(num_samples) - tf.reduce_mean(tf.reduce_logsumexp(log_weights, 0))

    @tf.function(autograph=False)
    def step(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = loss_of(x)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    batch = tf.constant(images)
    return lambda: step(batch), sum(int(np.prod(v.shape)) for v in variables)


def gradients(model: str, network: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns as many gradients of log p(x, z) with respect to z as `model` takes steps, one after the other."""
    built, x, z = _at_latents(model, network, latent_dim, images)

    def chain(z: tf.Tensor) -> tf.Tensor:
        for _ in range(built.num_steps):
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = built.log_joint(x, z)
            z += 1e-3 * tape.gradient(value, z)
        return tf.reduce_sum(z)

    return _compiled(chain, z), 0


def integrate(model: str, network: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns the quasi-symplectic steps of `model`, without the rest of its training step."""
    built, x, z = _at_latents(model, network, latent_dim, images)

    def flow(z: tf.Tensor) -> tf.Tensor:
        start = quasi_symplectic.init(z, tf.ones_like(z))
        end = quasi_symplectic.integrate(
            start, lambda z: built.log_joint(x, z), step_size=0.03, num_steps=built.num_steps, damping=0.01
        )
        return tf.reduce_sum(end.position)

    return _compiled(flow, z), 0


def _at_latents(model: str, network: str, latent_dim: int, images: np.ndarray) -> tuple:
    z = np.random.default_rng(1).normal(size=[len(images), latent_dim]).astype(np.float32)
    return create_model(model, network, latent_dim), tf.constant(images), tf.constant(z)


def _compiled(function: Callable[[tf.Tensor], tf.Tensor], z: tf.Tensor) -> Callable[[], float]:
    step = tf.function(function, autograph=False)
    return lambda: step(z)


class _Clock(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


@functools.lru_cache(maxsize=1)
def _dataset(count: int, batch_size: int) -> tf.data.Dataset:
    images = np.random.default_rng(0).random((count, *EVENT_SHAPE), dtype=np.float32)
    return tfzoo.data.load({"image": images}, batch_size=batch_size)


def zoo_fit(model: str, network: str, latent_dim: int, *, examples: int, batch_size: int) -> Iterator[float]:
    """Yields the seconds of each epoch of a freshly built model's `fit` on a tf.data data set, the first left out."""
    built, data = create_model(model, network, latent_dim), _dataset(examples, batch_size)
    built.fit(data, epochs=1)
    while True:
        clock = _Clock()
        built.fit(data, epochs=1, callbacks=[clock])
        yield clock.seconds[0]


STEPS = {"tfzoo": zoo_step, "by hand": handwritten_step, "gradients": gradients, "integrate": integrate}
FITS = {"tfzoo": zoo_fit}
