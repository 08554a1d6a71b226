"""Training in two stages: some epochs, then something that needs the codes of all training images, then the rest."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["TwoStages", "batches_of", "check_readable"]

_MAX_IMAGES = 60_000  # that are looked at between the stages
_BATCH = 500


class TwoStages(keras.callbacks.Callback):
    """Calls the model's `begin_second_stage(batches)` before the first epoch of its second stage.

    How many epochs it had is a weight of the model: a training that is resumed, by a backup or from a file, goes on in
    its stage.

    Args:
      data: returns what `fit` was given.
    """

    def __init__(self, data: Callable[[], Any]) -> None:
        super().__init__()
        self._data = data

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        model = self.model
        # As tensors: a replicated variable is no number.
        stage, done = (float(tf.convert_to_tensor(each)) for each in (model.stage, model.epochs_done))
        if stage < 2 and done >= model.first_stage_epochs:
            model.begin_second_stage(batches_of(self._data()))
        model.enter_stage()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.model.epochs_done.assign_add(1.0)

    def on_train_end(self, logs: dict | None = None) -> None:
        if float(tf.convert_to_tensor(self.model.stage)) < 2:
            done = round(float(tf.convert_to_tensor(self.model.epochs_done)))
            warnings.warn(
                f"training ended after {done} epochs, in the first of its two stages: what the second one learns, the "
                f"prior and the scale, is where it started. first_stage_epochs is {self.model.first_stage_epochs}.",
                stacklevel=2,
            )


def check_readable(data: Any) -> None:
    """Raises ValueError for data that can be read once only, such as a generator."""
    # A dict without images has an error of its own.
    known = isinstance(data, (tf.data.Dataset, keras.utils.PyDataset, dict))
    if not known and not hasattr(data, "shape"):
        raise ValueError(
            "training in two stages needs data that can be read again: an array, a dict, a tf.data.Dataset or a "
            f"keras.utils.PyDataset. Received: {type(data).__name__}"
        )


def batches_of(data: Any) -> Iterator[Any]:
    """Yields batches of images of what `fit` was given, 60,000 images at the most.

    Raises:
      ValueError: for data that can be read once only.
    """
    check_readable(data)
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        elements = data if isinstance(data, tf.data.Dataset) else (data[i] for i in range(len(data)))
        first = (keras.utils.unpack_x_y_sample_weight(element)[0] for element in elements)
        batches = (batch["image"] if isinstance(batch, dict) else batch for batch in first)
    else:
        images = data["image"] if isinstance(data, dict) else data
        order = np.random.default_rng(0).permutation(len(images))[:_MAX_IMAGES]
        batches = (np.asarray(images)[order[i : i + _BATCH]] for i in range(0, len(order), _BATCH))
    count = 0
    for batch in batches:
        yield batch
        count += len(batch)
        if count >= _MAX_IMAGES:
            return
