"""Weights of images that have no labels: no model here needs any, but without them Keras drops the weights."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["bind"]


def bind(method: Callable, *args: Any, **kwargs: Any) -> inspect.BoundArguments:
    """Returns the arguments of a call, with labels of 0, which no model looks at, for images that have only weights.

    Args:
      method: Keras's `fit` or `evaluate`, bound to a model.
      *args: as given.
      **kwargs: as given.

    Raises:
      ValueError: for `class_weight` where there are no labels.
    """
    call = inspect.signature(method).bind(*args, **kwargs)
    given = call.arguments
    x, y = given.get("x"), given.get("y")
    if given.get("class_weight") is not None and _has_no_labels(x, y):
        raise ValueError("class_weight needs labels, one for each image: sample_weight needs none. Received: no labels")
    if given.get("sample_weight") is not None:
        given["y"] = _labels(x, y)
    validation = given.get("validation_data")
    if isinstance(validation, (tuple, list)) and len(validation) == 3 and validation[2] is not None:
        x, y, sample_weight = validation
        given["validation_data"] = (x, _labels(x, y), sample_weight)
    return call


def _labels(x: Any, y: Any) -> Any:
    images = _images(x)
    return np.zeros(images.shape[0], np.float32) if y is None and hasattr(images, "shape") else y


def _has_no_labels(x: Any, y: Any) -> bool:
    if isinstance(x, tf.data.Dataset):
        return keras.utils.unpack_x_y_sample_weight(x.element_spec)[1] is None
    return y is None and hasattr(_images(x), "shape")  # what else there is Keras refuses, or finds labels in


def _images(x: Any) -> Any:
    return x.get("image") if isinstance(x, dict) else x
