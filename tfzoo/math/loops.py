"""The one loop: compiled by XLA, traced once, and differentiable."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["repeat"]


def repeat(body: Callable[[Tensor, Any], Any], state: Any, num_steps: int) -> Any:
    """Applies ``state = body(k, state)`` for k = 0, ..., `num_steps` - 1.

    Args:
      body: of the number of the step, int32 ``[]``, and a (nested) tuple of tensors; keeps shapes and dtypes.
      state: the first one.
      num_steps: a Python int: XLA differentiates a loop only where the number of its rounds has a limit.

    Returns:
      The last state; the first one for no step, without a trace of `body`.
    """
    if not num_steps:
        return state
    return tf.while_loop(
        lambda k, _: k < num_steps,
        lambda k, state: (k + 1, body(k, state)),
        (tf.constant(0), state),
        maximum_iterations=num_steps,
    )[1]
