"""Small image classifiers that come with the package: features for FID, class probabilities for the inception score.

ImageNet's classes mean nothing on digits or clothes (its Inception scores MNIST at about 2, where 10 is
possible), so the scores that papers report on such data need a classifier of that data. Each network here is five 3x3
convolutions with batch normalisation, a global average pool (the features) and one dense layer (the logits):

    28x28x1 -> 32 -> 32 /2 -> 64 -> 64 /2 -> 128 -> mean over pixels [B, 128] -> logits [B, 10]
      8x8x1 -> 32 -> 32    -> 64 -> 64 /2 -> 64  -> mean over pixels [B, 64]  -> logits [B, 10]

They were trained by ``tfzoo.metrics.train_classifier`` on grey and dynamically binarised images, half and half, so that
samples of a Bernoulli model may be given as means or as draws. Weights are kept in float16 and computed in float32.

References:
  Heusel et al. 2017, GANs trained by a two time-scale update rule, arXiv:1706.08500 (features of a classifier).
  Salimans et al. 2016, Improved techniques for training GANs, arXiv:1606.03498 (probabilities of a classifier).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.validation import as_images
from tfzoo.types import Tensor, TensorLike

__all__ = [
    "ARCHITECTURES",
    "WEIGHTS",
    "Architecture",
    "ImageClassifier",
    "build_network",
    "load_weights",
    "save_weights",
]

WEIGHTS = Path(__file__).parent / "weights"
_CHUNK = 500


class Architecture(NamedTuple):
    """Image shape, and each convolution's (filters, stride, padding)."""

    image_shape: tuple[int, int, int]
    convolutions: Sequence[tuple[int, int, str]]
    num_classes: int


_LARGE = Architecture(
    (28, 28, 1), ((32, 1, "same"), (32, 2, "same"), (64, 1, "same"), (64, 2, "same"), (128, 1, "valid")), 10
)
_SMALL = Architecture(
    (8, 8, 1), ((32, 1, "same"), (32, 1, "same"), (64, 1, "same"), (64, 2, "same"), (64, 1, "same")), 10
)
ARCHITECTURES = {"digits": _SMALL, "fashion_mnist": _LARGE, "mnist": _LARGE}


class ImageClassifier:
    """A trained network with its two answers: features (for FID) and class probabilities (for the inception score).

    Args:
      network: Keras model, prepared images -> (features ``[B, F]``, logits ``[B, K]``).
      name: what `tfzoo.metrics` calls it; metrics write it into their config.
      image_shape: (H, W, C) of the images it takes; None where any will do.
      prepare: maps images in [0, 1] to the network's input; None = as they are.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        name: str,
        image_shape: Sequence[int | None],
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.network = network
        self.name = name
        self.image_shape = tuple(image_shape)
        self.num_features, self.num_classes = (int(output.shape[-1]) for output in network.outputs)
        self._prepare = prepare or tf.identity

        def call(prepared: Tensor) -> tuple[Tensor, Tensor]:
            features, logits = network(prepared, training=False)
            return tf.cast(features, tf.float32), tf.nn.softmax(tf.cast(logits, tf.float32))

        self._network = tf.function(call, input_signature=[tf.TensorSpec(network.inputs[0].shape, tf.float32)])

    def features(self, images: TensorLike) -> Tensor:
        """Returns the penultimate layer ``[B, F]`` of float images ``[B, H, W, C]`` in [0, 1].

        Raises:
          ValueError: for integers, another shape, no images, NaN, or values outside [0, 1].
        """
        return self._answers(images)[0]

    def probabilities(self, images: TensorLike) -> Tensor:
        """Returns class probabilities ``[B, K]`` of float images ``[B, H, W, C]`` in [0, 1].

        Raises:
          ValueError: as `features`.
        """
        return self._answers(images)[1]

    def _answers(self, images: TensorLike) -> tuple[Tensor, Tensor]:
        images = as_images(images, "images", image_shape=self.image_shape)
        if tf.is_symbolic_tensor(images) or len(images) <= _CHUNK:
            return self._network(self._prepare(images))
        # Activations of a whole test set at once would take gigabytes.
        chunks = [self._network(self._prepare(images[i : i + _CHUNK])) for i in range(0, len(images), _CHUNK)]
        features, probabilities = zip(*chunks, strict=True)
        return tf.concat(features, 0), tf.concat(probabilities, 0)


def build_network(architecture: Architecture) -> keras.Model:
    """Returns the freshly initialised network, images ``[B, H, W, 1]`` -> (features ``[B, F]``, logits ``[B, 10]``)."""
    single = {"dtype": "float32"}  # whatever the global policy: a score must not change with mixed precision
    images = keras.Input(architecture.image_shape, name="images", **single)
    hidden = images
    for i, (filters, stride, padding) in enumerate(architecture.convolutions):
        # Batch normalisation brings the bias.
        convolution = keras.layers.Conv2D(
            filters, 3, stride, padding, use_bias=False, name=f"convolution_{i}", **single
        )
        hidden = convolution(hidden)
        hidden = keras.layers.BatchNormalization(name=f"normalization_{i}", **single)(hidden)
        hidden = keras.layers.ReLU(name=f"relu_{i}", **single)(hidden)
    features = keras.layers.GlobalAveragePooling2D(name="features", **single)(hidden)
    dropped = keras.layers.Dropout(0.2, name="dropout", **single)(features)
    logits = keras.layers.Dense(architecture.num_classes, name="logits", **single)(dropped)
    return keras.Model(images, [features, logits])


def save_weights(network: keras.Model, path: str | Path) -> None:
    """Writes the network's weights as float16 arrays named ``layer/variable`` into an .npz file."""
    arrays: dict[str, Any] = {
        f"{layer.name}/{variable.name}": np.asarray(variable, np.float16)
        for layer in network.layers
        if not isinstance(layer, keras.layers.Dropout)  # its only variable is a seed
        for variable in layer.weights
    }
    np.savez_compressed(path, **arrays)


def load_weights(network: keras.Model, path: str | Path) -> None:
    """Fills the network from a file of `save_weights`."""
    with np.load(path) as arrays:
        for name in arrays.files:
            layer_name, variable_name = name.split("/")
            (variable,) = (v for v in network.get_layer(layer_name).weights if v.name == variable_name)
            variable.assign(arrays[name].astype(np.float32))
