"""Stateless random numbers: seeds, noise per batch or per example, and replicas.

A seed is a pair ``int32 [2]``, or one pair per example ``int32 [B, 2]``. With a pair per example, an example's noise
depends on its own pair only, never on the size of the batch or on its neighbours: what an endpoint needs that joins
the requests of several clients. Replicas of `tf.distribute` draw by different seeds, of `fold_in_replica`.

Every draw names its algorithm (Philox), since the default changes with the device. TensorFlow turns the same bits into
other floating-point numbers under XLA, so `uniform` and `normal` do that themselves: a seed gives the same noise in
eager code, in graphs and under XLA (test_random.py), at no more than the price of TensorFlow's own.
"""

import math
import secrets
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.types import Seed, Tensor

__all__ = ["as_seed", "bernoulli", "fold_in", "fold_in_replica", "normal", "sample", "split", "uniform"]

_ALGORITHM = "philox"
# Binary digits of a significand.
_DIGITS = {tf.bfloat16: 8, tf.float16: 11, tf.float32: 24, tf.float64: 53}


def as_seed(seed: Seed, num_examples: int | None = None) -> Tensor:
    """Returns `seed` as ``int32 [2]`` or ``int32 [B, 2]``.

    Args:
      seed: an int (64 bits are used), a pair, one pair per example, or None for a fresh one. None is for eager code:
        inside a `tf.function` it would be drawn once, at tracing.
      num_examples: B, where it is known.

    Raises:
      ValueError: if it is none of these, or pairs are not as many as examples.
    """
    if seed is None:
        seed = secrets.randbits(63)
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        words = np.array([int(seed) >> 32 & 0xFFFFFFFF, int(seed) & 0xFFFFFFFF], np.uint32)
        return tf.constant(words.view(np.int32))
    if not tf.is_tensor(seed):
        seed = np.asarray(seed)
    if not tf.as_dtype(seed.dtype).is_integer or len(seed.shape) not in (1, 2) or seed.shape[-1] != 2:
        raise ValueError(
            "seed must be an int, a pair of integers [2], or one pair per example [B, 2]. "
            f"Received: dtype {tf.as_dtype(seed.dtype).name}, shape {tuple(seed.shape)}"
        )
    if len(seed.shape) == 2 and not tf.TensorShape(seed.shape[:1]).is_compatible_with([num_examples]):
        raise ValueError(
            f"seed must hold one pair for each of the {num_examples} examples. Received: shape {tuple(seed.shape)}"
        )
    return tf.cast(seed, tf.int32)


def _per_example(seed: Tensor) -> bool:
    return len(seed.shape) == 2


def fold_in(seed: Tensor, data: int | Tensor) -> Tensor:
    """Returns a new seed of the shape of `seed`, made from it and the integer `data`."""
    if _per_example(seed):
        return _fold_in_each(seed, data)
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(data, tf.int32), alg=_ALGORITHM)


def split(seed: Tensor, num: int = 2) -> list[Tensor]:
    """Returns `num` independent seeds, each of the shape of `seed`."""
    if _per_example(seed):
        return tf.unstack(_fold_in_each(seed, tf.range(num)[:, tf.newaxis]), num)
    return [fold_in(seed, i) for i in range(num)]


def _fold_in_each(seed: Tensor, data: int | Tensor) -> Tensor:
    """Returns ``[..., B, 2]`` for seeds ``[B, 2]`` and integers that go with ``[..., B]``.

    All rows at once, by SplitMix64 (Steele, Lea and Flood 2014): what TensorFlow has for one seed would take a loop
    over the examples. Seeds are mixed before `data` is added, so that neighbours have nothing in common.
    """
    added = tf.bitcast(tf.cast(data, tf.int64) + 1, tf.uint64) * tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    return tf.bitcast(_mixed(_mixed(tf.bitcast(seed, tf.uint64)) + added), tf.int32)


def _mixed(words: Tensor) -> Tensor:
    """Returns SplitMix64's one-to-one map of 64 bits, in which each bit depends on all bits."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words ^= tf.bitwise.right_shift(words, tf.constant(shift, tf.uint64))
        words *= tf.constant(factor, tf.uint64)
    return words ^ tf.bitwise.right_shift(words, tf.constant(31, tf.uint64))


def fold_in_replica(seed: Tensor) -> Tensor:
    """Returns a seed that differs between the replicas of `tf.distribute`, and is `seed` where there is only one.

    A `keras.random.SeedGenerator` has the same state on every replica, so without this each would draw the same noise.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return seed
    return fold_in(seed, context.replica_id_in_sync_group)


def uniform(
    shape: Tensor | tf.TensorShape | Sequence[int | Tensor], seed: Tensor, dtype: tf.DType = tf.float32
) -> Tensor:
    """Returns uniform noise in [0, 1) of `shape`; with one seed per example see `normal`."""
    digits = _DIGITS[tf.as_dtype(dtype)]  # as many as keep the result below 1
    word = tf.int64 if digits > 32 else tf.int32
    shift = tf.constant(8 * word.size - digits, word)
    # The shift keeps the sign: integers from -2^(digits - 1) on.
    return tf.cast(tf.bitwise.right_shift(_bits(_sizes(shape), seed, word), shift), dtype) * 2.0**-digits + 0.5


def normal(
    shape: Tensor | tf.TensorShape | Sequence[int | Tensor], seed: Tensor, dtype: tf.DType = tf.float32
) -> Tensor:
    """Returns standard normal noise of `shape`, of rank 1 at least.

    With one seed per example the example axis is the last but one, as in latents ``[..., B, D]``.
    """
    *leading, size = _sizes(shape)
    # Box and Muller: two normals, the halves of the last axis, from two uniforms.
    first, second = tf.unstack(uniform([2, *leading, (size + 1) // 2], seed, dtype))
    radius, angle = tf.sqrt(-2.0 * tf.math.log(1.0 - first)), 2.0 * math.pi * second
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)[..., :size]


def bernoulli(probs: Tensor, seed: Tensor) -> Tensor:
    """Returns zeros and ones with the probabilities `probs` ``[B, ...]``, of its shape and dtype."""
    if _per_example(seed):
        # An example's pixels on one axis, so that the example axis is the last but one.
        flat = tf.reshape(probs, [tf.shape(probs)[0], -1])
        return tf.reshape(tf.cast(uniform(tf.shape(flat), seed, probs.dtype) < flat, probs.dtype), tf.shape(probs))
    return tf.cast(uniform(tf.shape(probs), seed, probs.dtype) < probs, probs.dtype)


def _sizes(shape: Tensor | tf.TensorShape | Sequence[int | Tensor]) -> list[int | Tensor]:
    """Returns the sizes of `shape`, as ints where they are known."""
    if not isinstance(shape, tf.Tensor):
        return list(shape)
    known = tf.get_static_value(shape, partial=True)
    known = [None] * shape.shape[0] if known is None else known
    return [shape[i] if size is None else int(size) for i, size in enumerate(known)]


def _bits(sizes: list[int | Tensor], seed: Tensor, dtype: tf.DType) -> Tensor:
    def draw(sizes: list[int | Tensor], seed: Tensor) -> Tensor:
        return tf.random.stateless_uniform(sizes, seed, minval=None, maxval=None, dtype=dtype, alg=_ALGORITHM)

    if not _per_example(seed):
        return draw(sizes, seed)
    *leading, _, size = sizes
    own = [*leading, size]  # what one example draws: [..., D]
    static = [None if tf.is_tensor(length) else length for length in own]
    count = tf.shape(seed)[0]
    if None in static:
        # TensorFlow cannot stack no rows at all unless it knows their shape: a row too many, where there is none.
        seed = tf.pad(seed, [[0, tf.cast(count == 0, tf.int32)], [0, 0]])
    rows = tf.map_fn(lambda row: draw(own, row), seed, fn_output_signature=tf.TensorSpec(static, dtype))  # [B, ..., D]
    rows = rows[:count] if None in static else rows
    rank = len(sizes)
    return tf.transpose(rows, [*range(1, rank - 1), 0, rank - 1])


def sample(distribution: tfd.Distribution, num_samples: int | Tensor, seed: Tensor) -> Tensor:
    """Draws ``[S, B, D]`` from a distribution over latents, batch ``[B]`` (or batch ``[]`` and one seed per example).

    With one seed ``[2]`` a batch ``[]`` gives ``[S, D]``, and events may be images. With one seed per example each row
    of the result depends on its own seed and its own parameters only. Normals and bijectors of them are drawn for all
    rows at once and by `normal`, Bernoullis by `bernoulli` where there is one seed, and a distribution that has a
    `sample_each(num_samples, seed)` by that, from ``[B, 2]`` to ``[S, B, D]``. Others go row by row where there is one
    seed per example: mixtures by `uniform` and the draws of their components, and any other one by its own `sample`,
    which may have other numbers under XLA.

    Raises:
      ValueError: if there is another number of seeds than of examples.
    """
    per_example = _per_example(seed)
    batch = distribution.batch_shape
    if per_example and batch.rank == 1 and not batch.is_compatible_with(seed.shape[:1]):
        raise ValueError(
            f"seed must hold one pair for each of the {batch[0]} examples. Received: shape {tuple(seed.shape)}"
        )
    if per_example and hasattr(distribution, "sample_each"):
        return distribution.sample_each(num_samples, seed)
    if hasattr(distribution, "bijector"):  # a tfd.TransformedDistribution, of one class or another
        base = distribution.distribution
        alike = base.batch_shape.rank == batch.rank and base.batch_shape.is_compatible_with(batch)
        if base.event_shape.rank == 1 and (alike or (per_example and base.batch_shape.rank == 0)):
            return distribution.bijector.forward(sample(base, num_samples, seed))
    if isinstance(distribution, (tfd.Independent, tfd.Sample)) and isinstance(distribution.distribution, tfd.Normal):
        return _sample_normal(distribution, num_samples, seed)
    if not per_example:
        if isinstance(distribution, tfd.Independent) and isinstance(distribution.distribution, tfd.Bernoulli):
            probs = distribution.distribution.probs_parameter()
            probs = tf.broadcast_to(probs, tf.concat([[num_samples], tf.shape(probs)], 0))
            return tf.cast(bernoulli(probs, seed), distribution.dtype)
        # TFP's samples of a mixture that is reparameterised have gradients that ours have not.
        if (
            isinstance(distribution, tfd.MixtureSameFamily)
            and distribution.reparameterization_type == tfd.NOT_REPARAMETERIZED
        ):
            return _sample_mixture(distribution, num_samples, seed)
        return distribution.sample(num_samples, seed=seed)
    if batch.rank == 0:
        rows = tf.map_fn(
            lambda row: sample(distribution, num_samples, row), seed, fn_output_signature=distribution.dtype
        )
    else:
        rows = tf.map_fn(
            # The ellipsis before the index: behind it, TFP would compare the index with an ellipsis, and fail.
            lambda item: sample(distribution[..., item[0]], num_samples, item[1]),
            (tf.range(tf.shape(seed)[0]), seed),
            fn_output_signature=distribution.dtype,
        )  # [B, S, D]
    return tf.transpose(rows, [1, 0, *range(2, rows.shape.rank or 3)])


def _sample_normal(distribution: tfd.Independent | tfd.Sample, num_samples: int | Tensor, seed: Tensor) -> Tensor:
    base = distribution.distribution
    loc, scale = base.loc, base.scale
    if isinstance(distribution, tfd.Sample):
        event = (..., *[tf.newaxis] * distribution.event_shape.rank)
        loc, scale = loc[event], scale[event]
    sizes = _sizes(tf.concat([distribution.batch_shape_tensor(), distribution.event_shape_tensor()], 0))
    known = distribution.batch_shape.concatenate(distribution.event_shape)
    if known.rank is not None:  # a size of 1, too, stays known where the others are not
        sizes = [size if length is None else length for size, length in zip(sizes, known, strict=True)]
    if _per_example(seed):
        sizes = [tf.shape(seed)[0], sizes[-1]]
    return loc + scale * normal([num_samples, *sizes], seed, base.dtype)


def _sample_mixture(mixture: tfd.MixtureSameFamily, num_samples: int | Tensor, seed: Tensor) -> Tensor:
    which, seed = split(seed)
    of_components = sample(mixture.components_distribution, num_samples, seed)  # [S, ..., K, *event]
    probs = tf.cumsum(mixture.mixture_distribution.probs_parameter(), axis=-1)
    rank = 1 + mixture.batch_shape.rank
    point = uniform(tf.shape(of_components)[:rank], which, probs.dtype)
    chosen = tf.cast(point[..., tf.newaxis] >= probs[..., :-1] / probs[..., -1:], tf.int32)
    return tf.gather(of_components, tf.reduce_sum(chosen, axis=-1), axis=rank, batch_dims=rank)
