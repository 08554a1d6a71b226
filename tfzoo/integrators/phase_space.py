"""States of dynamics with a momentum, and what becomes of chains that diverge.

A chain diverges where a step would take it to a position or a momentum that is not finite, or so far away that the
squares of the numbers on the way to its log density overflow, or where it is asked for a log density that is not
finite. It is stopped at its last sound state and marked; the log density is never asked for at a place beyond reach.
So a diverged chain has finite numbers. Where it left by too large a step, its gradients are finite too, if those of the
log density are within reach, which a batch of chains that share weights needs: a mask cannot take a NaN out of a sum of
gradients.
"""

from typing import NamedTuple

import tensorflow as tf

from tfzoo.integrators.arguments import as_tensor
from tfzoo.types import Tensor, TensorLike

__all__ = ["State", "held_within_reach", "init", "keep_finite", "within_reach"]


class State(NamedTuple):
    """Positions and momenta of chains.

    Attributes:
      position: ``[..., D]``.
      momentum: ``[..., D]``.
      log_det: log |det d(position, momentum) / d(first position, first momentum)|, ``[...]``.
      is_finite: False for chains that have diverged and stand still since, bool ``[...]``.
    """

    position: Tensor
    momentum: Tensor
    log_det: Tensor
    is_finite: Tensor


def init(position: TensorLike, momentum: TensorLike) -> State:
    """Returns the state before the first step; chains that start beyond reach are marked, and rest at the origin.

    Args:
      position: ``[..., D]``, floating point.
      momentum: ``[..., D]``.

    Raises:
      ValueError: if the shapes or dtypes differ, or there is no dimension D.
    """
    position = tf.convert_to_tensor(position)
    if not position.dtype.is_floating or position.shape.rank == 0:
        raise ValueError(f"position must be floating point [..., D]. Received: {position.dtype.name} {position.shape}")
    momentum = as_tensor("momentum", momentum, position.dtype)
    if not position.shape.is_compatible_with(momentum.shape):
        raise ValueError(f"position and momentum must be of one shape. Received: {position.shape} and {momentum.shape}")
    sound = within_reach(position) & within_reach(momentum)
    origin = tf.zeros_like(position)  # where chains rest that start beyond reach
    position, momentum = (tf.where(sound[..., tf.newaxis], vector, origin) for vector in (position, momentum))
    return State(position, momentum, tf.zeros_like(position[..., 0]), sound)


def within_reach(*vectors: Tensor) -> Tensor:
    """Returns whether vectors ``[..., D]`` are all small enough to compute with, ``[...]``; False for NaN."""
    # Of all at once, since this is done at every step.
    numbers = vectors[0] if len(vectors) == 1 else tf.concat(vectors, axis=-1)
    return tf.reduce_all(tf.abs(numbers) < _reach(numbers.dtype), axis=-1)


def held_within_reach(vector: Tensor) -> Tensor:
    """Returns ``[..., D]``, its numbers brought to the edge of reach where they are beyond; there it has no gradient.

    What was beyond is not `within_reach` afterwards, either.
    """
    reach = _reach(vector.dtype)
    return tf.clip_by_value(vector, -reach, reach)


def _reach(dtype: tf.DType) -> float:
    # The fourth root: a square of a square does not overflow. 4e9 in float32.
    return float(dtype.max**0.25)


def keep_finite(
    old: State, position: Tensor, momentum: Tensor, log_det: Tensor, value: Tensor, middle: Tensor | None = None
) -> State:
    """Returns the state after a step where all of it is sound, and the old one elsewhere.

    Args:
      old: the state before the step.
      position: at the end, ``[..., D]``.
      momentum: at the end.
      log_det: of the step.
      value: the log density that the step has asked for, ``[...]``.
      middle: where it was asked for; None for at the end.
    """
    vectors = (position, momentum) if middle is None else (middle, position, momentum)
    going = old.is_finite & tf.math.is_finite(value) & within_reach(*vectors)
    return State(
        tf.where(going[..., tf.newaxis], position, old.position),
        tf.where(going[..., tf.newaxis], momentum, old.momentum),
        tf.where(going, old.log_det + log_det, old.log_det),
        going,
    )
