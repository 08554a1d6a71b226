"""Training that stops with one clear sentence where the data or the loss is not finite.

The error comes before any other callback of the same batch or epoch, so that no checkpoint holds the broken weights.
"""

import contextlib
import math
import re
import types
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfzoo.models import sample_weights

__all__ = ["StopOnNonFinite", "fit", "one_sentence"]

# Of tfzoo.models.validation, of tfzoo.models.replicas, and of the assertion in a training step.
_SENTENCE = re.compile(r"(?:images|index|mask|Keras) must .*?Received: [^\n\]\x1b]*")


_PRIOR_SHARE = 0.05  # of a learned prior's chains may diverge in an epoch: beyond, the last epoch was the good one
_HINT = "look for NaN in the data, or lower the learning rate"


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises ValueError at the first batch with a loss that is not finite, or the first epoch with such weights.

    And after an epoch in which all chains of inference diverged, or more than a twentieth of a learned prior's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    @property
    def _hint(self) -> str:
        return getattr(self.model, "divergence_hint", _HINT)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._check("loss", (logs or {}).get("loss", 0.0), f" at batch {batch}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # The last step may have broken the weights after its loss was found.
        self._check("val_loss", (logs or {}).get("val_loss", 0.0), "")
        for weight in self.model.trainable_weights:
            if not tf.reduce_all(tf.math.is_finite(weight.value)):
                self._check(f"weight {weight.path}", math.nan, "")
        for name in ("diverged", "val_diverged"):
            if float((logs or {}).get(name, 0.0)) >= 1.0:
                raise ValueError(
                    f"some chains must stay finite: lower step_size. Received: {name} 1.0, all of epoch {epoch + 1}"
                )
        share = float((logs or {}).get("prior_diverged", 0.0))
        if share > _PRIOR_SHARE:
            raise ValueError(
                f"the prior's chains must stay near its codes: {self._hint}. "
                f"Received: prior_diverged {share:.2f} of epoch {epoch + 1}"
            )

    def _check(self, name: str, value: Any, where: str) -> None:
        if not math.isfinite(float(value)):
            raise ValueError(
                f"the loss must stay finite: {self._hint}. "
                f"Received: {name} {float(value)}{where} of epoch {self._epoch + 1}"
            )


@contextlib.contextmanager
def one_sentence() -> Iterator[None]:
    """Turns pages about an error in the images, as graphs and Keras write them, into the sentence that they hold."""
    try:
        yield
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        found = _SENTENCE.search(str(error))
        if not found:
            raise
        raise ValueError(found[0]) from None


def fit(
    keras_fit: types.MethodType, own_callbacks: Sequence[keras.callbacks.Callback], *args: Any, **kwargs: Any
) -> keras.callbacks.History:
    """Calls Keras's `fit` with `StopOnNonFinite` before the user's callbacks, and with errors of one sentence.

    Args:
      keras_fit: the bound method of the base class.
      own_callbacks: the model's own, which come before the user's too.
      *args: as given.
      **kwargs: as given.
    """
    call = sample_weights.bind(keras_fit, *args, **kwargs)
    if isinstance(call.arguments.get("x"), (tf.data.Dataset, tf.distribute.DistributedDataset, types.GeneratorType)):
        call.arguments.setdefault("shuffle", False)  # it shuffles itself; Keras would warn that it cannot
    callbacks = call.arguments.get("callbacks")
    own = [StopOnNonFinite(), *own_callbacks]
    if isinstance(callbacks, keras.callbacks.CallbackList):
        # It is a callback too, and keeps its flags and parameters. Its History, if it has one, is what `fit` returns.
        own.append(callbacks)
        call.arguments["callbacks"] = keras.callbacks.CallbackList(own, add_history=True, model=keras_fit.__self__)
    else:
        callbacks = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
        call.arguments["callbacks"] = [*own, *callbacks]
    with one_sentence():
        return keras_fit(*call.args, **call.kwargs)
