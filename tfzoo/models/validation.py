"""What a model accepts as images, latents and masks: one clear sentence for anything else.

Shapes and dtypes are checked always; values (NaN, range) only where they can be seen, that is outside of graphs.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.distributions.energy_prior import EnergyPrior
from tfzoo.distributions.vamp_prior import VampPrior
from tfzoo.types import EventShape, Tensor, TensorLike

__all__ = [
    "as_images",
    "as_latents",
    "as_mask",
    "check_event_shape",
    "check_images",
    "check_mask",
    "check_prior",
    "values_in_range",
]


def check_event_shape(event_shape: Sequence[int] | None) -> EventShape:
    """Returns the shape of one example as a tuple of positive ints, or raises ValueError."""
    problem = ValueError(
        f"event_shape must be the shape of one example, such as (28, 28, 1) or (10,). Received: {event_shape!r}"
    )
    try:
        shape = tuple(operator.index(size) for size in event_shape)  # type: ignore[union-attr]
    except TypeError:
        raise problem from None
    if not shape or any(size < 1 for size in shape):
        raise problem
    return shape


def check_prior(prior: keras.layers.Layer, model: Any) -> keras.layers.Layer:
    """Returns a prior that a model can have, or raises ValueError.

    Args:
      prior: the layer.
      model: with `latent_dim`, `event_shape`, `has_encoder` and `has_normalised_prior`.
    """
    if prior.latent_dim != model.latent_dim:
        raise ValueError(f"prior must be over latent_dim = {model.latent_dim}. Received: {prior.latent_dim}")
    if isinstance(prior, VampPrior):
        if not model.has_encoder:
            raise ValueError("prior must not need an encoder, which this model has not. Received: VampPrior")
        if prior.event_shape != model.event_shape:
            raise ValueError(f"prior must have pseudo-inputs {model.event_shape}. Received: {prior.event_shape}")
    if model.has_normalised_prior and isinstance(prior, EnergyPrior):
        raise ValueError(
            "prior must have a normalised density; an energy is learned by latent_ebm. Received: EnergyPrior"
        )
    return prior


def values_in_range(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Returns a boolean scalar: all values are numbers within `value_range`."""
    low, high = value_range
    if math.isinf(high):
        return tf.reduce_all(tf.math.is_finite(images))
    return tf.reduce_all((images >= low) & (images <= high))  # a NaN compares false


def _received(value: TensorLike) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(str, value))}"
    if shape is None:
        return type(value).__name__
    return f"dtype {getattr(value.dtype, 'name', value.dtype)}, shape {tuple(shape)}"


def _check_float(name: str, value: TensorLike, batch_shape: str) -> TensorLike:
    """Returns `value` as it is, or as an array where it is neither array nor tensor, if it is floating point."""
    if isinstance(value, dict):
        or_dict = "" if name == "z" else ', or a dict with the key "image"'
        raise ValueError(f"{name} must be an array{or_dict}. Received: {_received(value)}")
    if not tf.is_tensor(value) and not hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except ValueError:
            raise ValueError(
                f"{name} must be an array of numbers {batch_shape}. Received: {_received(value)}"
            ) from None
    try:
        floating = tf.as_dtype(value.dtype).is_floating
    except TypeError:  # strings, dates
        floating = False
    if not floating:
        hint = " (divide 8-bit images by 255)" if name.startswith("image") else ""
        raise ValueError(f"{name} must be floating point{hint}. Received: {_received(value)}")
    return value


def _check_values(name: str, images: TensorLike, value_range: tuple[float, float]) -> None:
    low, high = value_range
    if isinstance(images, np.ndarray):
        # No copy, since an array may be a whole data set. Rounded, since 1 + 1e-16 is 1 to a model.
        smallest, largest = np.float32(np.min(images)), np.float32(np.max(images))  # NaN where there is one
        fine = np.isfinite(smallest) and np.isfinite(largest) and low <= smallest and largest <= high
    else:
        fine = bool(values_in_range(images, value_range))
    if not fine:
        images = np.asarray(images)
        allowed = "finite" if math.isinf(high) else f"in [{low:g}, {high:g}]"
        count = int(np.sum(np.isnan(images)))
        seen = f"{count} NaN" if count else f"values from {np.min(images):g} to {np.max(images):g}"
        raise ValueError(f"{name} must be {allowed}, the range of the likelihood. Received: {seen}")


def check_images(
    images: TensorLike, event_shape: EventShape, value_range: tuple[float, float], *, name: str = "images"
) -> TensorLike:
    """Returns `images`, or what a dict has under "image"; as an array where it was neither array nor tensor.

    A `tf.TensorSpec` is checked alike, for what can be known of its tensors.

    Raises:
      ValueError: unless `images` is a non-empty floating-point batch ``[B, *event_shape]`` of numbers in `value_range`.
    """
    expected = f"[B, {', '.join(map(str, event_shape))}]"
    if isinstance(images, dict) and "image" in images:
        images = images["image"]
    images = _check_float(name, images, expected)
    shape = tf.TensorShape(images.shape)
    if not shape.is_compatible_with([None, *event_shape]):
        raise ValueError(f"{name} must have shape {expected}. Received: shape {tuple(shape)}")
    if shape.rank and shape[0] == 0:
        raise ValueError(f"{name} must hold at least one example. Received: shape {tuple(shape)}")
    if isinstance(images, np.ndarray) or (tf.executing_eagerly() and not isinstance(images, tf.TypeSpec)):
        _check_values(name, images, value_range)
    return images


def as_images(
    images: TensorLike,
    event_shape: EventShape,
    value_range: tuple[float, float],
    dtype: tf.DType,
    *,
    name: str = "images",
) -> Tensor:
    """Returns images that have passed `check_images` as a tensor of `dtype`."""
    images = tf.cast(check_images(images, event_shape, value_range, name=name), dtype)
    return tf.ensure_shape(images, [None, *event_shape])


def as_latents(z: TensorLike, latent_dim: int, dtype: tf.DType) -> Tensor:
    """Returns latents ``[..., D]`` as a tensor of `dtype`, or raises ValueError."""
    expected = f"[..., {latent_dim}]"
    z = tf.cast(_check_float("z", z, expected), dtype)
    rank = z.shape.rank
    if rank is not None and (rank < 1 or not z.shape[-1:].is_compatible_with([latent_dim])):
        raise ValueError(f"z must have shape {expected}. Received: shape {tuple(z.shape)}")
    if rank is not None and 0 in z.shape.as_list():
        raise ValueError(f"z must hold at least one example. Received: shape {tuple(z.shape)}")
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(z)):
        raise ValueError("z must be finite. Received: NaN or infinity")
    return z


def check_mask(mask: TensorLike, event_shape: EventShape) -> TensorLike:
    """Returns a mask (1 = visible) as it is, or as an array where it was neither array nor tensor.

    It may leave out the batch, and have one channel for all. A `tf.TensorSpec` is checked alike.

    Raises:
      ValueError: for a shape that does not broadcast to ``[B, *event_shape]``, values other than 0 and 1, or an example
        of which nothing is visible.
    """
    if not hasattr(mask, "dtype"):
        mask = np.asarray(mask)
    shape = tf.TensorShape(mask.shape)
    sizes = [] if shape.rank is None else shape.as_list()
    pairs = zip(sizes[::-1], event_shape[::-1], strict=False)
    if len(sizes) > len(event_shape) + 1 or any(size not in (None, 1, own) for size, own in pairs):
        expected = f"[B, {', '.join(map(str, event_shape))}]"
        raise ValueError(f"mask must broadcast to the images' shape {expected}. Received: {_received(mask)}")
    if isinstance(mask, np.ndarray) or (tf.executing_eagerly() and not isinstance(mask, tf.TypeSpec)):
        values = np.asarray(mask)
        if not np.all((values == 0) | (values == 1)):
            raise ValueError("mask must be 0 (hidden) or 1 (visible). Received: other values")
        of_examples = values.reshape(len(values), -1) if values.ndim > len(event_shape) else values.reshape(1, -1)
        blind = int(np.sum(~np.any(of_examples, axis=1)))
        if blind:
            raise ValueError(f"mask must leave a pixel of each image visible. Received: {blind} without any")
    return mask


def as_mask(mask: TensorLike, images: Tensor) -> Tensor:
    """Returns a mask that has passed `check_mask`, of the shape and dtype of `images`: 0 and 1, also inside of graphs.

    Inside of graphs, where values cannot be seen, a pixel is visible where the mask is above 1/2.
    """
    mask = check_mask(mask, tuple(images.shape[1:]))
    try:
        return tf.broadcast_to(tf.cast(tf.cast(mask, images.dtype) > 0.5, images.dtype), tf.shape(images))
    except (tf.errors.InvalidArgumentError, ValueError):
        raise ValueError(
            f"mask must broadcast to the images' shape {tuple(images.shape)}. Received: {_received(mask)}"
        ) from None
