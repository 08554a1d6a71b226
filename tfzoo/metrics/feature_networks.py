"""Networks that turn images into features or class probabilities, by name or brought along.

`classifier` loads the small networks that come with the package, `inception_v3` keras.applications' network. FID and
the inception score also take any callable, images ``[B, H, W, C]`` -> ``[B, F]`` or ``[B, K]``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.image_classifier import ARCHITECTURES, WEIGHTS, ImageClassifier, build_network, load_weights
from tfzoo.metrics.validation import describe
from tfzoo.types import Tensor, TensorLike

__all__ = [
    "Network",
    "answers_in_batches",
    "classifier",
    "feature_function",
    "inception_v3",
    "network_config",
    "network_from_config",
    "probability_function",
]

# What the metrics take: a name, one of our classifiers, a callable, or None where the input is the answer already.
Network = str | ImageClassifier | Callable[[Any], Any] | None


def classifier(name: str) -> ImageClassifier:
    """Returns a small classifier with the weights that come with the package.

    Accuracy on test images that training never saw, grey and dynamically binarised (each pixel a Bernoulli draw of
    its grey value):

    ===============  ==============  =======  =========  ==============================================
    name             images          grey     binarised  test images
    ===============  ==============  =======  =========  ==============================================
    "mnist"          [B, 28, 28, 1]  99.53 %  99.24 %    the official 10,000
    "fashion_mnist"  [B, 28, 28, 1]  92.01 %  86.44 %    the official 10,000
    "digits"         [B, 8, 8, 1]    99.44 %  89.72 %    360 of train_test_split(random_state=0, stratify=y)
    ===============  ==============  =======  =========  ==============================================

    Args:
      name: "mnist", "fashion_mnist" or "digits" (scikit-learn's 8x8 digits, divided by 16).

    Returns:
      An `ImageClassifier`: ``features(images)`` and ``probabilities(images)`` of images in [0, 1].

    Raises:
      ValueError: for another name.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"`name` must be one of {', '.join(sorted(ARCHITECTURES))}. Received: {name!r}")
    architecture = ARCHITECTURES[name]
    network = build_network(architecture)
    load_weights(network, WEIGHTS / f"{name}_classifier.npz")
    return ImageClassifier(network, name=name, image_shape=architecture.image_shape)


def inception_v3(weights: str | None = "imagenet") -> ImageClassifier:
    """Returns keras.applications' InceptionV3: 2048 pooled features and ImageNet's 1,000 class probabilities.

    Images of any size in [0, 1], grey ones repeated to three channels, are resized to 299x299 (bilinear, without
    antialiasing) and scaled to [-1, 1]. Keras's ImageNet weights are not the TensorFlow 2015 graph that the papers
    and pytorch-fid use, so FIDs and inception scores computed here compare with each other, not with published ones.

    Args:
      weights: "imagenet" (downloaded by Keras on first use), the path of a weights file, or None for random ones.

    Raises:
      RuntimeError: if the weights cannot be had.
    """
    try:
        inception = keras.applications.InceptionV3(weights=weights, classifier_activation=None)
    except Exception:  # noqa: BLE001 - a failed download is a bare Exception in Keras
        raise RuntimeError(
            "InceptionV3's weights cannot be had: download them where there is a network, with "
            "`keras.applications.InceptionV3()`, and copy ~/.keras/models here, or use tfzoo.metrics.classifier. "
            f"Received: weights={weights!r}"
        ) from None
    network = keras.Model(inception.inputs[0], [inception.get_layer("avg_pool").output, inception.outputs[0]])
    return ImageClassifier(network, name="inception_v3", image_shape=(None, None, None), prepare=_prepare_for_inception)


def _prepare_for_inception(images: Tensor) -> Tensor:
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"`images` must have 1 or 3 channels. Received: {describe(images)}")
    colour = tf.tile(images, [1, 1, 1, 3 // images.shape[-1]])
    return 2.0 * tf.image.resize(colour, [299, 299]) - 1.0


def _named(name: str) -> ImageClassifier:
    return inception_v3() if name == "inception_v3" else classifier(name)


def feature_function(network: Network) -> Callable[[Any], Any] | None:
    """Returns the callable images -> features ``[B, F]`` that `network` stands for."""
    network = _named(network) if isinstance(network, str) else network
    return network.features if isinstance(network, ImageClassifier) else network


def probability_function(network: Network) -> Callable[[Any], Any] | None:
    """Returns the callable images -> class probabilities ``[B, K]`` that `network` stands for."""
    network = _named(network) if isinstance(network, str) else network
    return network.probabilities if isinstance(network, ImageClassifier) else network


def network_config(network: Network) -> Any:
    """Returns what a metric's config says of its network: a name, or a Keras serialization of the callable."""
    if isinstance(network, ImageClassifier):
        return network.name
    return network if network is None or isinstance(network, str) else keras.saving.serialize_keras_object(network)


def network_from_config(config: Any) -> Network:
    """Returns the network of `network_config`."""
    return keras.saving.deserialize_keras_object(config) if isinstance(config, Mapping) else config


def answers_in_batches(
    function: Callable[[Any], Any] | None, images: TensorLike | Iterable[Any], batch_size: int
) -> Iterator[np.ndarray]:
    """Yields a network's answers batch by batch.

    Args:
      function: images -> ``[B, ...]``; None = the images are the answers already.
      images: an array or tensor ``[N, ...]``, or an iterable (a tf.data.Dataset, say) of batches: arrays, or dicts
        with an "image".
      batch_size: how many rows of an array at a time.

    Raises:
      ValueError: for a `batch_size` below 1 or a batch without an "image".
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1. Received: {batch_size}")
    if hasattr(images, "shape"):
        array: Any = images
        batches: Iterable[Any] = (array[i : i + batch_size] for i in range(0, len(array) or 1, batch_size))
    else:
        batches = images
    for batch in batches:
        if isinstance(batch, Mapping):
            if "image" not in batch:
                raise ValueError(f"A batch must have an 'image'. Received: keys {sorted(batch)}")
            batch = batch["image"]
        elif not hasattr(batch, "shape"):
            raise ValueError(f"A batch must be an array or a dict with an 'image'. Received: {describe(batch)}")
        yield np.asarray(batch if function is None else function(batch))
