"""Learned numbers within bounds: step sizes, temperatures, and their like."""

import math
from typing import Any

import keras
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["ConstrainedVariable", "InverseTemperatures"]


@keras.saving.register_keras_serializable("tfzoo")
class ConstrainedVariable(keras.layers.Layer):
    """A learned array whose numbers stay in an interval.

    `value()` is ``lower + (upper - lower) sigmoid(raw)``, or ``lower + exp(raw)`` without an upper bound.

    Args:
      shape: of the array.
      initial: where it starts, a number strictly between the bounds.
      lower: bound.
      upper: bound, or None for none.

    Raises:
      ValueError: if the bounds are not in order, or `initial` is not strictly between them.
    """

    def __init__(
        self, shape: tuple[int, ...], initial: float, *, lower: float = 0.0, upper: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not lower < initial < (math.inf if upper is None else upper):
            interval = f"above {lower}" if upper is None else f"between {lower} and {upper}"
            raise ValueError(f"{self.name} must start strictly {interval}. Received: {initial}")
        self.shape = tuple(shape)
        self.initial = initial
        self.lower = lower
        self.upper = upper
        if upper is None:
            raw = math.log(initial - lower)
        else:
            raw = math.log(initial - lower) - math.log(upper - initial)
        # Not cast in the scope of a model of mixed precision, like everything that a density is made of.
        self.raw = self.add_weight(
            shape=self.shape, initializer=keras.initializers.Constant(raw), autocast=False, name="raw"
        )
        self.built = True

    def value(self) -> Tensor:
        """Returns the array, of the shape given."""
        raw = tf.convert_to_tensor(self.raw)
        if self.upper is None:
            return self.lower + tf.exp(raw)
        return self.lower + (self.upper - self.lower) * tf.sigmoid(raw)

    def get_config(self) -> dict:
        own = {"shape": self.shape, "initial": self.initial, "lower": self.lower, "upper": self.upper}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("tfzoo")
class InverseTemperatures(keras.layers.Layer):
    """Learned inverse temperatures 0 < b_1 < ... < b_K = 1, equally spaced at first.

    Args:
      num_steps: K.
    """

    def __init__(self, num_steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_steps = num_steps
        self.raw = self.add_weight(shape=(num_steps,), initializer="zeros", autocast=False, name="raw")
        self.built = True

    def value(self) -> Tensor:
        """Returns b_1..b_K, ``[num_steps]``."""
        rising = tf.cumsum(tf.nn.softmax(tf.convert_to_tensor(self.raw)))
        # The last is 1 by definition, not up to rounding.
        return tf.concat([rising[:-1], tf.ones_like(rising[-1:])], axis=0)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_steps": self.num_steps}
