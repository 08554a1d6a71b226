"""The input of a network, in the precision of its weights."""

from typing import Any

import keras

from tfzoo.types import EventShape

__all__ = ["network_input"]


def network_input(shape: EventShape, dtype: Any) -> keras.KerasTensor:
    """Returns the input of a `keras.Sequential` whose layers have the Keras dtype or policy `dtype`.

    A plain `keras.Input(shape)` is float32, and would round what a float64 network is given.
    """
    return keras.Input(shape, dtype=keras.dtype_policies.get(dtype).variable_dtype)
