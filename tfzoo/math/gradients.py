"""Gradients of a batch of log densities, each with respect to its own position."""

import tensorflow as tf

from tfzoo.types import LogProbFn, Tensor

__all__ = ["value_and_gradient"]


def value_and_gradient(log_prob_fn: LogProbFn, position: Tensor, *, second_order: bool = True) -> tuple[Tensor, Tensor]:
    """Returns ``log_prob_fn(position)`` ``[...]`` and its gradient ``[..., D]``, by one pass forward and one back.

    Args:
      log_prob_fn: positions ``[..., D]`` to log densities ``[...]``, each of its own position only.
      position: ``[..., D]``.
      second_order: False makes the gradient a constant to whoever differentiates this result.

    Raises:
      ValueError: if `log_prob_fn` returns another shape or an integer.
    """
    with tf.GradientTape() as tape:
        tape.watch(position)
        value = tf.convert_to_tensor(log_prob_fn(position))
    if not value.dtype.is_floating or not value.shape.is_compatible_with(position.shape[:-1]):
        raise ValueError(
            f"log_prob_fn must return one number for each position, {position.dtype.name} {position.shape[:-1]}. "
            f"Received: {value.dtype.name} {value.shape}"
        )
    gradient = tape.gradient(value, position, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    # What is known of the position is known of the value: TFP makes an unknown size of a 1 beside an unknown one.
    value = tf.ensure_shape(value, position.shape[:-1])
    return value, gradient if second_order else tf.stop_gradient(gradient)
