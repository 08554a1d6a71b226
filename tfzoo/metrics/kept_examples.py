"""Examples kept whole across batches, for metrics that are no sum over examples.

A ranking or a classifier needs every example at once, and a Keras variable has a fixed shape: this holds a
tf.Variable that grows, in eager code and in a tf.function alike (not across replicas: such a metric belongs in a
callback). N appends copy O(N^2 / batch) numbers, milliseconds for a test set.
"""

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["KeptExamples"]


class KeptExamples:
    """One growing row of numbers; the owner knows how many make an example."""

    def __init__(self, dtype: tf.DType) -> None:
        self._values = tf.Variable(np.zeros(0, dtype.as_numpy_dtype), trainable=False, shape=[None])

    def append(self, batch: Tensor) -> None:
        """Adds a batch, flattened."""
        self._values.assign(tf.concat([self._values.read_value(), tf.reshape(batch, [-1])], 0))

    def values(self) -> Tensor:
        """Returns everything appended since the last `clear`, flat."""
        return self._values.read_value()

    def clear(self) -> None:
        """Forgets everything."""
        self._values.assign(tf.zeros([0], self._values.dtype))
