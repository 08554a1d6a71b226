"""When training corrects the codes, and where it writes what they cost."""

import keras
import tensorflow as tf

__all__ = ["TransportCorrection"]


class TransportCorrection(keras.callbacks.Callback):
    """Calls the model's `correct` at the end of every L-th epoch, and logs "transport_cost".

    How many epochs it had since the last correction is a weight of the model: where `fit` is called for each epoch, or
    a training is resumed, the next correction comes when it would have.

    The logs of the epochs in between repeat the last cost of this `fit`, NaN before the first: those that write
    histories expect one set of names.

    Args:
      every: L.
    """

    def __init__(self, every: int = 1):
        super().__init__()
        self.every = every
        self._cost = float("nan")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        model = self.model
        model.uncorrected_epochs.assign_add(1.0)
        if float(tf.convert_to_tensor(model.uncorrected_epochs)) < self.every:  # a replicated variable is no number
            model.corrected.assign(0.0)
        else:
            self._cost = float(model.correct().cost)
        if logs is not None:
            logs["transport_cost"] = self._cost
