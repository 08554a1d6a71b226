"""True and approximate posterior of a two-dimensional latent, on a grid.

    p(z|x) = p(x, z) / p(x),  p(x) = sum over the grid of p(x, z) times a cell's area

With two latents the integral that inference is about can simply be done: the picture shows what an approximation
misses, and log p(x) - ELBO is its divergence KL(q || p) in nats.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from tfzoo.models.amortised import AmortisedModel
from tfzoo.types import LogProbFn, TensorLike

__all__ = ["Comparison", "compare"]

# Where the search begins: a standard normal prior has 2e-8 of its mass outside.
_SEARCHED = 6.0
# Below the maximum by so many nats, nothing is seen.
_SHOWN = 12.0
_BATCH = 2000


class Comparison(NamedTuple):
    """Two posteriors of one image.

    Attributes:
      first: grid values of the first latent, ``[N]``.
      second: of the second, ``[N]``.
      true: log p(z|x) in nats, ``[N, N]``, the first latent by row.
      approximate: log q(z|x), ``[N, N]``; None where the model has no density, but samples only.
      samples: of the approximate posterior, ``[S, 2]``.
      log_prob: log p(x) in nats, by the grid.
      elbo: of the model, by the number of samples.
    """

    first: np.ndarray
    second: np.ndarray
    true: np.ndarray
    approximate: np.ndarray | None
    samples: np.ndarray
    log_prob: float
    elbo: float


def compare(
    model: AmortisedModel, image: TensorLike, *, num_points: int = 200, num_samples: int = 1000, seed: int = 0
) -> Comparison:
    """Returns both posteriors of one image ``[*event_shape]`` where there is anything of either.

    Args:
      model: with latent_dim = 2.
      image: one example.
      num_points: N of each axis.
      num_samples: S.
      seed: of the samples.

    Raises:
      ValueError: for a model of another `latent_dim`, or without an encoder.
    """
    if not model.has_encoder:
        raise ValueError(f"a posterior beside the true one needs an encoder. Received: {type(model).__name__}")
    if model.latent_dim != 2:
        raise ValueError(f"a posterior on a grid needs latent_dim = 2. Received: {model.latent_dim}")
    images = tf.convert_to_tensor(image)[tf.newaxis]
    inference = model._infer(model._as_images(images), num_samples, model._as_seed(seed))
    samples = inference["z"][:, 0].numpy()
    samples = samples[np.isfinite(samples).all(axis=1)]

    # A coarse look at the whole prior, then a fine one at where something is.
    axis = np.linspace(-_SEARCHED, _SEARCHED, 241)
    coarse = _log_joint(model, images, axis, axis)
    rows, columns = np.nonzero(coarse > coarse.max() - _SHOWN)
    margin = axis[1] - axis[0]
    low = np.minimum([axis[rows.min()], axis[columns.min()]], np.quantile(samples, 0.002, axis=0)) - margin
    high = np.maximum([axis[rows.max()], axis[columns.max()]], np.quantile(samples, 0.998, axis=0)) + margin
    first, second = (np.linspace(low[i], high[i], num_points) for i in range(2))
    log_joint = _log_joint(model, images, first, second)
    log_prob = logsumexp(log_joint) + np.log((first[1] - first[0]) * (second[1] - second[0]))
    return Comparison(
        first,
        second,
        log_joint - log_prob,
        _log_density(model, images, first, second),
        samples,
        float(log_prob),
        float(model.elbo(images, num_samples, seed)[0]),
    )


def _log_joint(model: AmortisedModel, images: tf.Tensor, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _over(lambda z: model.log_joint(images, z), model, first, second)


def _log_density(model: AmortisedModel, images: tf.Tensor, first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    try:
        model.posterior(images)
    except NotImplementedError:
        return None
    return _over(lambda z: model.posterior(images).log_prob(z), model, first, second)


def _over(log_prob: LogProbFn, model: AmortisedModel, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns a log density of latents ``[N, 1, 2]`` over the grid."""
    points = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 1, 2)
    compiled = tf.function(log_prob, input_signature=[tf.TensorSpec([None, 1, 2], model.variable_dtype)])
    points = tf.cast(points, model.variable_dtype)
    values = [compiled(points[i : i + _BATCH]) for i in range(0, len(points), _BATCH)]
    return np.concatenate(values).astype(np.float64).reshape(len(first), len(second))
