"""How many replicas share a training step, and whether this Keras can share it."""

import keras
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["mean_or_zero", "num_replicas"]

_FIRST_KERAS = (3, 10)


def num_replicas() -> int:
    """Returns over how many replicas Keras sums gradients and metrics here; 1 without a strategy.

    Raises:
      ValueError: for several replicas under a Keras that does not: before 3.8 the loss in the logs is that of a part,
        before 3.10 metrics are those of the first replica.
    """
    count = tf.distribute.get_strategy().num_replicas_in_sync
    if count > 1 and tuple(int(part) for part in keras.__version__.split(".")[:2]) < _FIRST_KERAS:
        raise ValueError(f"Keras must be 3.10 or later for several replicas. Received: Keras {keras.__version__}")
    return count


def mean_or_zero(values: Tensor) -> Tensor:
    """Returns the mean over a replica's images, 0 where there are none: the last batch may have too few for all."""
    mean = tf.reduce_mean(values)
    return tf.where(tf.size(values) > 0, mean, tf.zeros_like(mean))
