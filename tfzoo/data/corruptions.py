"""Binarisation of images in [0, 1]: each pixel becomes 1 with its grey value as the probability.

    dynamic   b = [u < x], u fresh for every call's seed
    static    b = [u_i < x_i], u_i a function of (seed, i) alone, i the example's index

Both are pure functions. Dynamic binarisation is one random op for the batch and the cheaper one; static binarisation
is one random op per example, and `tfzoo.data.load` therefore does it once, on the whole set, where that is in memory.

References:
  Salakhutdinov and Murray, On the quantitative analysis of deep belief networks, ICML 2008 (static).
  Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2015, arXiv:1509.00519 (dynamic).
"""

import tensorflow as tf

from tfzoo.types import TensorLike

__all__ = ["dynamic_binarize", "static_binarize"]

ALGORITHM = "philox"  # named, so that every device draws the same; the automatic choice is half as fast on top


def dynamic_binarize(images: TensorLike, seed: TensorLike) -> tf.Tensor:
    """Draws Bernoulli pixels for a batch.

    Args:
      images: float32 of any shape, values in [0, 1].
      seed: integers `[2]`; the same seed and shape give the same draw.

    Returns:
      float32 of the same shape, values 0 and 1. A pixel of 0 stays 0, a pixel of 1 stays 1.
    """
    images = tf.convert_to_tensor(images, tf.float32)
    uniform = tf.random.stateless_uniform(
        tf.shape(images), seed, alg=ALGORITHM
    )  # in [0, 1): never below 0, always below 1
    return tf.ensure_shape(tf.cast(uniform < images, tf.float32), images.shape)


def static_binarize(images: TensorLike, index: TensorLike, seed: int) -> tf.Tensor:
    """Draws Bernoulli pixels that depend on the seed and on each example's index only.

    Args:
      images: float32 `[B, ...]`, values in [0, 1].
      index: integers `[B]`, the examples' indices in their split.
      seed: an int.

    Returns:
      float32 `[B, ...]`, values 0 and 1: the same for an example whatever the order and the batch it comes in.
    """
    images = tf.convert_to_tensor(images, tf.float32)
    index = tf.cast(index, tf.int64)  # [B]
    seeds = tf.stack([tf.fill(tf.shape(index), tf.constant(seed, tf.int64)), index], axis=-1)  # [B, 2]
    shape = tf.shape(images)[1:]
    uniform = tf.map_fn(
        lambda pair: tf.random.stateless_uniform(shape, pair, alg=ALGORITHM),
        seeds,
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.float32),
    )
    return tf.cast(uniform < images, tf.float32)
