"""Optimizers by name, with a step size that falls from epoch to epoch."""

from collections.abc import Mapping
from typing import Any

import keras

from tfzoo.optimizers import fused

__all__ = ["make_optimizer"]


def make_optimizer(
    name: str, learning_rate: float, *, decay: float, updates_per_epoch: int, options: Mapping[str, Any]
) -> keras.optimizers.Optimizer:
    """Returns an optimizer of `keras.optimizers`; the one with a fused update where there is one.

    Args:
      name: a class of `keras.optimizers`.
      learning_rate: its first step size.
      decay: factor of the step size from one epoch to the next. The epochs are counted in the optimizer's own updates,
        which are saved with it: a training that is resumed goes on at the step size that it had.
      updates_per_epoch: what makes an epoch; not looked at where nothing decays.
      options: its other arguments.

    Raises:
      ValueError: if a step size is to decay over epochs of unknown length.
    """
    schedule: Any = learning_rate
    if decay != 1:
        if updates_per_epoch < 1:
            raise ValueError(f"learning_rate_decay needs data of a known length. Received: {updates_per_epoch} updates")
        schedule = keras.optimizers.schedules.ExponentialDecay(learning_rate, updates_per_epoch, decay, staircase=True)
    return getattr(fused, name, getattr(keras.optimizers, name))(schedule, **options)
