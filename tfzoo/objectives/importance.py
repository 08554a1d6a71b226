"""Importance-sampled log p(x), in bounded memory.

    log p(x) ~ log (1/S) sum_s w_s,   w_s = p(x, z_s) / q(z_s|x),   z_s ~ q(z|x)

The estimate is a lower bound in expectation, below log p(x) by about Var(w) / (2 S mean(w)^2). Samples are drawn and
weighed chunk by chunk, and only the running sums stay, so memory does not grow with S.

References:
  Burda, Grosse, Salakhutdinov, "Importance Weighted Autoencoders", https://arxiv.org/abs/1509.00519, section 5
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.types import LogProbFn, Seed, Tensor

__all__ = ["Estimate", "estimate", "estimate_from_weights", "log_prob"]

# Rows that pass through the decoder at once: large enough to keep two to sixteen cores busy, and at the 10,000 images
# of a test set still one sample at a time.
_ROWS = 4_000


class Estimate(NamedTuple):
    """An importance-sampled likelihood and how far to trust it.

    Attributes:
      log_prob: the estimate of log p(x) in nats, ``[B]``.
      standard_error: of `log_prob`, by the delta method, ``[B]``; too small where few samples carry the weight, and
        infinite where nothing can be said: from one sample, or where every weight is 0.
      effective_sample_size: ``(sum w)^2 / sum w^2``, ``[B]``, between 1 and S; 0 where every weight is 0.
    """

    log_prob: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor


def estimate(
    log_joint: LogProbFn,
    proposal: tfd.Distribution,
    *,
    num_samples: int = 1000,
    chunk_size: int | None = None,
    seed: Seed = None,
) -> Estimate:
    """Estimates log p(x) with its standard error and effective sample size.

    Args:
      log_joint: log p(x, z), from ``[S, B, D]`` to ``[S, B]``.
      proposal: q(z|x), batch ``[B]``, event ``[D]``.
      num_samples: S.
      chunk_size: how many of the S samples are drawn and weighed at once. The default keeps the rows of a chunk,
        samples times examples, near 4,000. The noise of a sample depends on the seed and on `chunk_size`.
      seed: see `tfzoo.random.as_seed`.

    Returns:
      An `Estimate`.

    Raises:
      ValueError: if `num_samples` or `chunk_size` is not positive.
    """

    def draw(size: int, seed: Tensor) -> Tensor:
        z = random.sample(proposal, size, seed)
        return log_joint(z) - proposal.log_prob(z)

    static = proposal.batch_shape.num_elements()
    return estimate_from_weights(
        draw,
        proposal.batch_shape_tensor()[0] if static is None else static,
        num_samples=num_samples,
        chunk_size=chunk_size,
        seed=seed,
        dtype=proposal.dtype,
    )


def estimate_from_weights(
    log_weights: Callable[[int, Tensor], Tensor],
    batch_size: int | Tensor,
    *,
    num_samples: int = 1000,
    chunk_size: int | None = None,
    seed: Seed = None,
    dtype: tf.DType = tf.float32,
) -> Estimate:
    """Estimates log p(x) from weights that anyone draws: of a flow's samples, of annealed chains.

    Args:
      log_weights: of a number of samples and a seed, to log weights ``[samples, B]`` with E exp = p(x); -inf counts
        as a sample of weight 0.
      batch_size: B.
      num_samples: as in `estimate`.
      chunk_size: as in `estimate`.
      seed: as in `estimate`.
      dtype: of the weights.

    Returns:
      An `Estimate`.

    Raises:
      ValueError: as `estimate`.
    """
    num_samples = check_positive("num_samples", num_samples)
    chunk_size = None if chunk_size is None else check_positive("chunk_size", chunk_size)
    seed = random.as_seed(seed)
    if chunk_size is None:
        # A batch of unknown size: a guess that suits a request.
        rows = 32 if tf.is_tensor(batch_size) else _ROWS // max(batch_size, 1)
        chunk_size = max(1, min(num_samples, rows))
    num_chunks, remainder = divmod(num_samples, chunk_size)

    class Sums(NamedTuple):
        largest: Tensor  # the largest log weight so far, [B]
        first: Tensor  # sum of w / exp(largest), [B]
        second: Tensor  # sum of the squares, [B]

    def add(sums: Sums, index: Tensor, size: int) -> Sums:
        drawn = log_weights(size, random.fold_in(seed, index))  # [size, B]
        largest = tf.maximum(sums.largest, tf.reduce_max(drawn, axis=0))
        # A weight of zero everywhere (log weight -inf) must not make inf - inf.
        reference = tf.where(tf.math.is_inf(largest), tf.zeros_like(largest), largest)
        shrink = tf.exp(sums.largest - reference)
        weights = tf.exp(drawn - reference)
        return Sums(
            largest,
            sums.first * shrink + tf.reduce_sum(weights, axis=0),
            sums.second * shrink**2 + tf.reduce_sum(weights**2, axis=0),
        )

    zeros = tf.zeros([batch_size], dtype)
    sums = Sums(zeros - float("inf"), zeros, zeros)
    if num_chunks > 1:
        _, sums = tf.while_loop(
            lambda index, _: index < num_chunks,
            lambda index, sums: (index + 1, add(sums, index, chunk_size)),
            (tf.constant(0), sums),
            maximum_iterations=num_chunks,
            parallel_iterations=1,
        )
    elif num_chunks:
        sums = add(sums, tf.constant(0), chunk_size)
    if remainder:
        sums = add(sums, tf.constant(num_chunks), remainder)

    count = tf.cast(num_samples, dtype)
    effective = tf.math.divide_no_nan(sums.first**2, sums.second)
    # Var(w) / (S mean(w)^2) = (S / ESS - 1) / (S - 1), with the unbiased variance.
    variance = tf.maximum(count / effective - 1.0, 0.0) / (count - 1.0)
    return Estimate(
        log_prob=sums.largest + tf.math.log(sums.first) - tf.math.log(count),
        standard_error=tf.sqrt(variance) if num_samples > 1 else zeros + float("inf"),
        effective_sample_size=effective,
    )


def log_prob(
    log_joint: LogProbFn,
    proposal: tfd.Distribution,
    *,
    num_samples: int = 1000,
    chunk_size: int | None = None,
    seed: Seed = None,
) -> Tensor:
    """Returns the importance-sampled estimate of log p(x) in nats, ``[B]``; arguments as `estimate`."""
    return estimate(log_joint, proposal, num_samples=num_samples, chunk_size=chunk_size, seed=seed).log_prob
