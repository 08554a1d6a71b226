"""Graphs of functions whose callers may be eager: there, loops of many small steps are slow, and tracing is slower."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["Compiled"]


class Compiled:
    """A function that runs as a graph, also in eager code; inside a graph it is a part of that.

    One graph serves batches of all sizes: the first axis of its tensors is free in it. One seed and a seed for each
    example, of different ranks, have one graph each, and so has each value of an option that is a Python number. What
    else the function reads is read once: what changes must be a variable or an argument.

    Args:
      function: of tensors, batches first, and options; its seed, if any, is a keyword argument.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self._graph = tf.function(function, autograph=False)

    def __call__(self, *args: Any, seed: Tensor | None = None, **options: Any) -> Any:
        """Returns what the function does."""
        options = {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}
        if seed is not None:
            options["seed"] = seed
        if not tf.executing_eagerly():
            return self._function(*args, **options)
        any_args, any_options = tf.nest.map_structure(_of_any_size, (args, options))
        if seed is not None and seed.shape.rank == 1:
            any_options["seed"] = tf.TensorSpec(seed.shape, seed.dtype)  # a pair, and no batch
        # The graph that the call below then finds; traced where there is none.
        self._graph.get_concrete_function(*any_args, **any_options)
        return self._graph(*args, **options)

    @property
    def num_traces(self) -> int:
        """How often eager code had it traced."""
        return self._graph.experimental_get_tracing_count()


def _of_any_size(value: Any) -> Any:
    """Returns what stands for the tensors that differ from this one in the size of a batch, the first axis."""
    if not tf.is_tensor(value):
        return value
    return tf.TensorSpec([None, *value.shape[1:]] if value.shape.rank else value.shape, value.dtype)
