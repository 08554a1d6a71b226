"""Missing pixels: from chains of codes, or by Metropolis-within-Gibbs from an amortised posterior.

`from_chains` decodes the ends of chains on log p(z, x_visible), as the papers of short-run inference do (Xie et al.).

`metropolis_within_gibbs` has the target p(z, x_missing | x_visible). Each step proposes z' ~ q(z | x), x the image as
completed so far, accepts it with probability min(1, r),

    r = p(x, z') q(z | x) / (p(x, z) q(z' | x)),

and draws the missing pixels from p(x_missing | z). With r taken as 1 this is the pseudo-Gibbs sampler of Rezende et
al., which leaves the target invariant only where q is exact; with the test it always does.

References:
  Rezende, Mohamed, Wierstra, "Stochastic Backpropagation", https://arxiv.org/abs/1401.4082, section 6
  Mattei, Frellsen, "Leveraging the Exact Likelihood of Deep Latent Variable Models",
    https://arxiv.org/abs/1802.04826, algorithm 1
  Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300, section 4.3
"""

from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.models.masked import visible
from tfzoo.types import LogProbFn, Tensor

__all__ = ["deviation", "from_chains", "metropolis_within_gibbs"]


def from_chains(
    x: Tensor,
    mask: Tensor,
    *,
    start: Callable[[Tensor, Tensor], Tensor],
    move: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    num_samples: int,
    seed: Tensor,
) -> Tensor:
    """Returns completions ``[S, B, *event_shape]``: the visible pixels of `x`, and decoded ends of chains elsewhere.

    Args:
      x: images ``[B, *event_shape]``.
      mask: of the same shape, 1 = visible.
      start: images and a seed to where their chains start, ``[B, D]``.
      move: images with 0 in place of what is hidden, their masks, starts and a seed to the ends of their chains.
      decode: latents to images.
      num_samples: S chains for each image.
      seed: ``[2]``, or ``[B, 2]``: then each image's completions depend on its own seed only.
    """
    start_seeds, noise_seeds = zip(*(random.split(each) for each in random.split(seed, num_samples)), strict=True)
    z = tf.concat([start(x, each) for each in start_seeds], 0)
    shape = tf.concat([[num_samples], tf.shape(x)], 0)
    rows = tf.concat([[-1], tf.shape(x)[1:]], 0)
    x, mask = (tf.reshape(tf.broadcast_to(each, shape), rows) for each in (x, mask))  # [S B, ...]
    noise_seed = tf.concat(noise_seeds, 0) if seed.shape.rank == 2 else noise_seeds[0]
    z = move(visible(x, mask), mask, z, noise_seed)
    return tf.reshape(tf.where(mask > 0, x, decode(z)), shape)


def metropolis_within_gibbs(
    x: Tensor,
    mask: Tensor,
    *,
    posterior: Callable[[Tensor], tfd.Distribution],
    likelihood: Callable[[Tensor], tfd.Distribution],
    log_prior: LogProbFn,
    num_samples: int,
    num_steps: int,
    seed: Tensor,
) -> Tensor:
    """Returns completions ``[S, B, *event_shape]``: the visible pixels of `x`, and means of the last step elsewhere.

    Args:
      x: images ``[B, *event_shape]``.
      mask: of the same shape, 1 = visible.
      posterior: images to q(z|x).
      likelihood: latents to p(x|z).
      log_prior: latents to log p(z).
      num_samples: S chains for each image.
      num_steps: K, at least 1.
      seed: ``[2]``.
    """
    shape = tf.concat([[num_samples], tf.shape(x)], 0)
    mask = tf.cast(tf.reshape(tf.broadcast_to(mask, shape), tf.concat([[-1], shape[2:]], 0)), tf.bool)  # [S B, ...]
    seen = tf.reshape(tf.broadcast_to(x, shape), tf.shape(mask))

    def fill(z: Tensor, seed: Tensor) -> Tensor:
        return tf.where(mask, seen, random.sample(likelihood(z), 1, seed)[0])

    def log_ratio(images: Tensor, q: tfd.Distribution, z: Tensor) -> Tensor:
        return likelihood(z).log_prob(images) + log_prior(z) - q.log_prob(z)

    def body(k: Tensor, images: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        propose, accept, draw = random.split(random.fold_in(seed, k), 3)
        q = posterior(images)
        proposal = random.sample(q, 1, propose)[0]
        log_accept = log_ratio(images, q, proposal) - log_ratio(images, q, z)
        accepted = tf.math.log(random.uniform(tf.shape(log_accept), accept, z.dtype)) < log_accept
        z = tf.where(accepted[:, tf.newaxis], proposal, z)
        return k + 1, fill(z, draw), z

    # Where to begin: the missing pixels at the mean image of the visible ones' code.
    start = tf.where(mask, seen, tf.zeros_like(seen))
    z = random.sample(posterior(start), 1, random.fold_in(seed, num_steps))[0]
    images = fill(z, random.fold_in(seed, num_steps + 1))
    _, _, z = tf.while_loop(
        lambda k, *_: k < num_steps,
        body,
        (tf.constant(0), images, z),
        maximum_iterations=num_steps,
        parallel_iterations=1,
    )
    return tf.reshape(tf.where(mask, seen, likelihood(z).mean()), shape)


def deviation(completions: Tensor) -> Tensor:
    """Returns the standard deviation ``[B, *event_shape]`` of completions ``[S, B, *event_shape]`` at each pixel.

    It maps how uncertain an inpainting is: 0 at what is visible. Completions that are samples of p(z | visible pixels)
    give the posterior predictive deviation of the mean image; those of chains without noise only say how far several
    starts end from each other.

    Raises:
      ValueError: for fewer than two completions.
    """
    count = completions.shape[0]
    if count < 2:
        raise ValueError(f"completions must be at least 2 for a deviation. Received: {count}")
    # Less the first one: the mean of equal numbers may be rounded, that of zeros is not.
    return tf.math.reduce_std(completions - completions[:1], axis=0) * (count / (count - 1)) ** 0.5
