"""Lower bounds on log p(x): the evidence lower bound and its importance-weighted form.

    ELBO    = E_q [ log p(x, z) - log q(z|x) ]
    IWAE_S  = E   [ log (1/S) sum_s p(x, z_s) / q(z_s|x) ],   z_1..z_S ~ q(z|x)

Both are functions of the same log weights log p(x, z) - log q(z|x), so ``iwae`` with one sample is ``elbo`` with one
sample, number by number. IWAE rises with S and tends to log p(x).

References:
  Kingma, Welling, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114, eq. 2
  Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", https://arxiv.org/abs/1509.00519, eq. 8
"""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.types import LogProbFn, Seed, Tensor

__all__ = ["elbo", "iwae", "log_mean_exp"]


def log_mean_exp(log_weights: Tensor, axis: int = 0) -> Tensor:
    """Returns ``log mean exp`` over `axis`, without overflow."""
    count = tf.cast(tf.shape(log_weights)[axis], log_weights.dtype)
    return tf.reduce_logsumexp(log_weights, axis=axis) - tf.math.log(count)


def _log_weights(log_joint: LogProbFn, posterior: tfd.Distribution, num_samples: int, seed: Seed) -> Tensor:
    z = random.sample(posterior, check_positive("num_samples", num_samples), random.as_seed(seed))  # [S, B, D]
    return log_joint(z) - posterior.log_prob(z)  # [S, B]


def elbo(log_joint: LogProbFn, posterior: tfd.Distribution, *, num_samples: int = 1, seed: Seed = None) -> Tensor:
    """Estimates the evidence lower bound from `num_samples` samples of the posterior.

    Args:
      log_joint: log p(x, z), from ``[S, B, D]`` to ``[S, B]``.
      posterior: q(z|x), batch ``[B]``, event ``[D]``.
      num_samples: S.
      seed: see `tfzoo.random.as_seed`.

    Returns:
      Nats ``[B]``; unbiased. Its variance is 0 where q is the true posterior.

    Raises:
      ValueError: if `num_samples` is not positive.
    """
    return tf.reduce_mean(_log_weights(log_joint, posterior, num_samples, seed), axis=0)


def iwae(log_joint: LogProbFn, posterior: tfd.Distribution, *, num_samples: int = 1, seed: Seed = None) -> Tensor:
    """Estimates the importance-weighted bound of `num_samples` samples; arguments and result as `elbo`."""
    return log_mean_exp(_log_weights(log_joint, posterior, num_samples, seed))
