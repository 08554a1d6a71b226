"""Adam and Adamax of Keras, each weight updated by TensorFlow's one kernel for it.

Keras 3 writes an update as a dozen operations, each of which reads or writes a whole weight or slot; TensorFlow has the
same update as one kernel, on CPU, on GPU and for XLA. All else is Keras's: arguments, slots and their names in a
checkpoint, schedules, clipping, weight decay, averages, loss scaling, `tf.distribute`. What a kernel does not do
(sparse gradients, AMSGrad, Adamax on weights in bfloat16) is left to Keras.

The kernels take 1 - beta in the weights' own type: of beta_2 = 0.999 in float32 it is 5e-5 off, relatively, and so is
the second moment.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["Adam", "Adamax"]


def _resource(variable: Any) -> tf.Tensor:
    """Returns the resource of a `tf.Variable` or `keras.Variable`; this replica's, within an update."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


def _arguments(optimizer: Any, gradient: tf.Tensor, variable: Any, learning_rate: Any, slots: Sequence[str]) -> dict:
    """Returns what both kernels take: Keras counts from 0 the updates done, Kingma & Ba (2015) from 1 the one to do."""
    index, dtype = optimizer._get_variable_index(variable), variable.dtype
    beta_1, beta_2 = (tf.convert_to_tensor(b, dtype) for b in (optimizer.beta_1, optimizer.beta_2))
    step = tf.cast(optimizer.iterations + 1, dtype)
    return {
        "var": _resource(variable),
        "m": _resource(getattr(optimizer, slots[0])[index]),
        "v": _resource(getattr(optimizer, slots[1])[index]),
        "beta1_power": tf.pow(beta_1, step),
        "beta2_power": tf.pow(beta_2, step),
        "lr": tf.cast(learning_rate, dtype),
        "beta1": beta_1,
        "beta2": beta_2,
        "epsilon": tf.convert_to_tensor(optimizer.epsilon, dtype),
        "grad": tf.cast(gradient, dtype),
    }


@keras.saving.register_keras_serializable(package="tfzoo")
class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` in less time: the same arguments, slots and numbers, but for rounding.

    Source: Kingma & Ba, "Adam" (2015), algorithm 1, with the order of operations of its section 2.

    ```python
    model.compile(optimizer=tfzoo.optimizers.Adam(1e-3))
    ```
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one weight and its two moments."""
        if self.amsgrad or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        slots = ("_momentums", "_velocities")
        tf.raw_ops.ResourceApplyAdam(**_arguments(self, gradient, variable, learning_rate, slots))


@keras.saving.register_keras_serializable(package="tfzoo")
class Adamax(keras.optimizers.Adamax):
    """`keras.optimizers.Adamax` in less time: the same arguments, slots and numbers, but for rounding.

    Source: Kingma & Ba, "Adam" (2015), algorithm 2.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one weight, its first moment and its infinity norm."""
        if isinstance(gradient, tf.IndexedSlices) or tf.as_dtype(variable.dtype) == tf.bfloat16:
            super().update_step(gradient, variable, learning_rate)
            return
        arguments = _arguments(self, gradient, variable, learning_rate, ("_m", "_u"))
        del arguments["beta2_power"]  # the norm is a maximum: it has no bias to correct
        tf.raw_ops.ResourceApplyAdaMax(**arguments)
