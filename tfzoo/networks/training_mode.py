"""Whether a network computes something else in training than at inference, as dropout and batch normalisation do."""

import inspect

import keras

__all__ = ["has_training_mode"]

# They are told, and compute the same.
_ALIKE = (keras.Sequential, keras.layers.Dense, keras.layers.EinsumDense)


def has_training_mode(network: keras.layers.Layer) -> bool:
    """Returns False where no part of `network` takes notice of whether it is in training.

    True where that is not known: for layers with an argument `training` that are not Keras's own linear ones.
    """
    parts = network._flatten_layers()  # Keras has no public name for them
    return any("training" in inspect.signature(layer.call).parameters for layer in parts if type(layer) not in _ALIKE)
