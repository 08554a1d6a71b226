"""What is measured of geometry on this library: metrics, passes through the decoder, geodesics and their energies."""

from collections.abc import Callable

import geometry_case as case
import keras
import numpy as np
import scipy.optimize
import tensorflow as tf

from tfzoo.geometry import curves, geodesic, metric
from tfzoo.networks.rbf import RBFScale

__all__ = ["FITS", "STEPS", "VERSIONS", "energies"]

VERSIONS = {"tensorflow": tf.__version__, "keras": keras.__version__}
FITS: dict = {}
Step = tuple[Callable[[], float], int]
OPTIONS = {"num_nodes": case.NUM_NODES, "num_points": case.NUM_POINTS}


def _decoder(latent_dim: int, kind: str = "both") -> Callable:
    arrays = case.weights(latent_dim)
    activations = ["tanh", "tanh", None]
    mean = keras.Sequential([keras.Input((latent_dim,))])
    for i, activation in enumerate(activations):
        kernel = arrays[f"kernel{i}"]
        mean.add(keras.layers.Dense(kernel.shape[1], activation))
        mean.layers[-1].set_weights([kernel, arrays[f"bias{i}"]])
    scale = RBFScale((784,), num_centres=64, beta=case.BETA)
    scale.build((None, latent_dim))
    scale.set_weights([arrays["centres"], arrays["raw_weights"]])
    return mean if kind == "mean" else lambda z: (mean(z), scale(z))


def _timed(function: Callable, *inputs: np.ndarray) -> Step:
    compiled = tf.function(function, autograph=False)
    tensors = [tf.constant(array) for array in inputs]

    def run() -> float:
        return float(np.sum(compiled(*tensors).numpy()))

    return run, 0


def pullback(kind: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns the metric at 1,000 points; `kind` is "mean" or "both", the scale too."""
    del images
    decoder = _decoder(latent_dim, kind)
    return _timed(lambda z: metric.pullback(decoder, z), case.points(latent_dim))


def one_pass(kind: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns one forward-mode pass at 1,000 points, images and their derivatives along one direction."""
    del images
    decoder = _decoder(latent_dim, kind)

    def run(z: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
        with tf.autodiff.ForwardAccumulator(z, direction) as accumulator:
            images = decoder(z)
        images = images if isinstance(images, tuple) else (images,)
        return tf.add_n([tf.reduce_sum(each) for each in (*images, *accumulator.jvp(images))])

    return _timed(run, case.points(latent_dim), np.ones_like(case.points(latent_dim)))


def geodesics(kind: str, latent_dim: int, images: np.ndarray) -> Step:
    """Returns 100 geodesics."""
    del images
    decoder = _decoder(latent_dim, kind)
    return _timed(lambda z0, z1: geodesic.solve(decoder, z0, z1, **OPTIONS).energy, *case.pairs(latent_dim))


def energies(latent_dim: int) -> dict[str, list[float]]:
    """Returns the energies of the geodesics, and those by SciPy's L-BFGS in the same space of splines in float64."""
    arrays = {name: tf.constant(array, tf.float64) for name, array in case.weights(latent_dim).items()}

    def decoder(z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        h = z
        for i in range(3):
            h = (tf.tanh if i < 2 else tf.identity)(h @ arrays[f"kernel{i}"] + arrays[f"bias{i}"])
        v = tf.exp(-case.BETA * tf.reduce_sum((z[:, tf.newaxis] - arrays["centres"]) ** 2, axis=-1))
        return h, tf.math.rsqrt(v @ tf.math.softplus(arrays["raw_weights"]) + 1e-9)

    z0, z1 = (tf.constant(z, tf.float64) for z in case.pairs(latent_dim))
    basis = curves.spline(case.NUM_NODES, np.linspace(0.0, 1.0, case.NUM_POINTS))
    shape = [basis.values.shape[1], latent_dim]

    @tf.function(autograph=False)
    def value_and_gradient(w: tf.Tensor, i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(w)
            energy = curves.energy(decoder, curves.points(basis, z0[i], z1[i], tf.reshape(w, shape)))
        return energy, tape.gradient(energy, w)

    reference = []
    for i in range(len(z0)):
        found = scipy.optimize.minimize(
            lambda w, i=i: [each.numpy() for each in value_and_gradient(tf.constant(w), tf.constant(i))],
            np.zeros(np.prod(shape)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9},
        )
        reference.append(float(found.fun))
    ours = geodesic.solve(_decoder(latent_dim), *case.pairs(latent_dim), **OPTIONS)
    exact = curves.energy(decoder, curves.points(basis, z0, z1, tf.cast(ours.coefficients, tf.float64)))
    straight = curves.energy(decoder, curves.points(basis, z0, z1, tf.zeros([len(z0), *shape], tf.float64)))
    return {
        "energies": exact.numpy().tolist(),
        "reference": reference,
        "straight": straight.numpy().tolist(),
        "converged": float(np.mean(ours.converged)),
        "evaluations": float(np.mean(ours.num_iterations)),
    }


STEPS = {"pullback": pullback, "pass": one_pass, "geodesics": geodesics}
