"""When training corrects the codes, and where it writes what they cost."""

import keras

__all__ = ["TransportCorrection"]


class TransportCorrection(keras.callbacks.Callback):
    """Calls the model's `correct` at the end of every L-th epoch, and logs "transport_cost".

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
        if (epoch + 1) % self.every:
            self.model.corrected.assign(0.0)
        else:
            self._cost = float(self.model.correct().cost)
        if logs is not None:
            logs["transport_cost"] = self._cost
