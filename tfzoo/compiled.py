"""Graphs of functions whose callers may be eager: there, loops of many small steps are slow, and tracing is slower."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["Compiled"]


class Compiled:
    """A function that runs as a graph, also in eager code; inside a graph it is a part of that.

    One graph serves batches of all sizes. One seed and a seed for each example, of different ranks, have one each, and
    so has each value of an option that is a Python number. What else the function reads is read once: what changes must
    be a variable or an argument.

    Args:
      function: of tensors and options; its seed, if any, is a keyword argument.
      input_signature: as of `tf.function`; None learns from the second call which sizes differ.
    """

    def __init__(self, function: Callable[..., Any], input_signature: list[tf.TensorSpec] | None = None):
        self._function = function
        self._input_signature = input_signature
        self._graphs: dict[int | None, Any] = {}

    def __call__(self, *args: Any, seed: Tensor | None = None, **options: Any) -> Any:
        """Returns what the function does."""
        rank = None if seed is None else seed.shape.rank
        options = {key: value.item() if isinstance(value, np.generic) else value for key, value in options.items()}
        if rank is not None:
            options["seed"] = seed
        if not tf.executing_eagerly():
            return self._function(*args, **options)
        if rank not in self._graphs:
            self._graphs[rank] = tf.function(
                self._function, self._input_signature, autograph=False, reduce_retracing=True
            )
        return self._graphs[rank](*args, **options)

    @property
    def num_traces(self) -> int:
        """How often eager code had it traced."""
        return sum(graph.experimental_get_tracing_count() for graph in self._graphs.values())
