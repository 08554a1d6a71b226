"""What is measured of the flows: alone, beside TFP's, and in the training step of a VAE."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tfzoo_side
from networks import NETWORKS
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfzoo.bijectors import IAF, CouplingFlow, PCPMap
from tfzoo.networks import conv

__all__ = ["FITS", "STEPS", "VERSIONS"]

VERSIONS = tfzoo_side.VERSIONS
CONTEXT_DIM = 64
WIDTHS = (128, 128)

FLOWS: dict[str, Callable] = {
    "iaf": lambda size: IAF(size, num_steps=2, hidden_units=WIDTHS),
    "coupling": lambda size: CouplingFlow(size, num_steps=4, hidden_units=WIDTHS),
    "spline": lambda size: CouplingFlow(size, num_steps=4, hidden_units=WIDTHS, transformation="spline"),
    "pcp_map": lambda size: PCPMap(size, hidden_units=WIDTHS),
}

Step = tuple[Callable[[], float], int]


def _noise(count: int, size: int, seed: int = 1) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=[count, size]).astype(np.float32))


def _timed(function: Callable, *inputs: tf.Tensor) -> Callable[[], float]:
    step = tf.function(lambda *inputs: tf.reduce_sum(function(*inputs)), autograph=False)
    return lambda: float(step(*inputs))  # a number that is read is a step that has ended


def sample(flow: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns a flow from base to posterior with its log-determinant, for a batch of contexts."""
    layer = FLOWS[flow](latent_dim)
    layer.build((None, CONTEXT_DIM))

    def run(z: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        y, log_det = layer.forward_and_log_det(z, context)
        return tf.reduce_sum(y, -1) + log_det

    inputs = _noise(len(images), latent_dim), _noise(len(images), CONTEXT_DIM, seed=2)
    return _timed(run, *inputs), layer.count_params()


def encoder(flow: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns one pass of an encoder."""
    layer = conv.encoder((28, 28, 1)) if network == "hvae" else NETWORKS[network](latent_dim)[0]
    return _timed(lambda x: layer(x, training=False), tf.constant(images)), layer.count_params()


def our_maf(flow: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns the log density of a batch under our MAF, one step without a context."""
    layer = IAF(latent_dim, num_steps=1, hidden_units=WIDTHS, activation="relu")
    layer.build(None)

    def log_prob(x: tf.Tensor) -> tf.Tensor:
        return tfd.TransformedDistribution(_standard(latent_dim), tfb.Invert(layer.bijector())).log_prob(x)

    return _timed(log_prob, _noise(len(images), latent_dim)), layer.count_params()


def tfp_maf(flow: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns the same of TFP's."""
    layer = tfb.AutoregressiveNetwork(2, hidden_units=list(WIDTHS), activation="relu")
    q = tfd.TransformedDistribution(_standard(latent_dim), tfb.MaskedAutoregressiveFlow(layer))
    x = _noise(len(images), latent_dim)
    q.log_prob(x)
    return _timed(q.log_prob, x), layer.count_params()


def _standard(latent_dim: int) -> tfd.Distribution:
    return tfd.Independent(tfd.Normal(tf.zeros(latent_dim), 1.0), 1)


def hessian(flow: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns the map of a PCP-Map with its log-determinant: the Hessian of the potential, and its Cholesky factor."""
    return sample("pcp_map", network, latent_dim, images)


def map_gradients(flow: str, network: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns D gradients of a PCP-Map's potential, one after the other."""
    layer = FLOWS["pcp_map"](latent_dim)
    layer.build((None, CONTEXT_DIM))

    def run(z: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        potential = layer.picnn.given(context)

        def body(k: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return k + 1, z + 1e-3 * potential.gradient(z)

        return tf.while_loop(lambda k, z: k < latent_dim, body, (0, z))[1]

    inputs = _noise(len(images), latent_dim), _noise(len(images), CONTEXT_DIM, seed=2)
    return _timed(run, *inputs), layer.count_params()


STEPS = {
    **tfzoo_side.STEPS,
    "sample": sample,
    "encoder": encoder,
    "our maf": our_maf,
    "tfp maf": tfp_maf,
    "hessian": hessian,
    "map gradients": map_gradients,
}
FITS = tfzoo_side.FITS
