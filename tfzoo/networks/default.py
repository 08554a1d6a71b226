"""The networks a model takes when its user brings none, chosen by the shape of an example.

| event_shape | networks |
|---|---|
| (32, 32, C), (64, 64, C) | `conv.dcgan_encoder`, `conv.dcgan_decoder` |
| any other (H, W, C), and volumes (T, H, W, C), from 16 pixels a side on | `conv.encoder`, `conv.decoder` |
| smaller ones, vectors (N,) and every other rank | `mlp.encoder`, `mlp.decoder` |

Models without an encoder take `generator`: for 28x28 images `tfzoo.networks.generator`, else the decoder above.
"""

from typing import Any

import keras

from tfzoo.checks import check_positive_number
from tfzoo.networks import conv, mlp
from tfzoo.networks.generator import generator as image_generator
from tfzoo.types import EventShape

__all__ = ["decoder", "encoder", "generator"]


def _is_dcgan(event_shape: EventShape) -> bool:
    return len(event_shape) == 3 and tuple(event_shape[:2]) in ((32, 32), (64, 64))


def _is_conv(event_shape: EventShape) -> bool:
    # Three convolutions of stride 2 leave nothing of a smaller image.
    return len(event_shape) in (3, 4) and min(event_shape[:-1]) >= 16


def encoder(event_shape: EventShape, *, dtype: Any = None) -> keras.Sequential:
    """Returns a network from ``[B, *event_shape]`` to features ``[B, E]``."""
    if _is_dcgan(event_shape):
        return conv.dcgan_encoder(event_shape, dtype=dtype)
    if _is_conv(event_shape):
        return conv.encoder(event_shape, dtype=dtype)
    return mlp.encoder(event_shape, dtype=dtype)


def decoder(
    event_shape: EventShape, latent_dim: int, *, likelihood: str = "bernoulli", dtype: Any = None
) -> keras.Sequential:
    """Returns a network from latents ``[B, D]`` to logits or means ``[B, *event_shape]``.

    With a Gaussian likelihood the generators of 32x32 and 64x64 images end in tanh, for images in [-1, 1].
    """
    if _is_dcgan(event_shape):
        activation = "tanh" if likelihood == "gaussian" else None
        return conv.dcgan_decoder(event_shape, latent_dim, activation=activation, dtype=dtype)
    if _is_conv(event_shape):
        return conv.decoder(event_shape, latent_dim, dtype=dtype)
    return mlp.decoder(event_shape, latent_dim, dtype=dtype)


def generator(
    event_shape: EventShape,
    latent_dim: int,
    *,
    likelihood: str,
    width: float = 1.0,
    first_size: int = 4,
    dtype: Any = None,
) -> keras.Sequential:
    """Returns the network of a model that learns by Markov chains, from latents ``[B, D]`` to logits or means.

    Args:
      event_shape: of one example.
      latent_dim: D.
      likelihood: "gaussian" ends the generators of 28x28, 32x32 and 64x64 images in tanh.
      width: factor of the widths of these three.
      first_size: 4 or 8, of 32x32 and 64x64 images: see `tfzoo.networks.conv.dcgan_decoder`.
      dtype: Keras dtype or policy of the layers.

    Raises:
      ValueError: for a width or a first size of other shapes.
    """
    check_positive_number("width", width)
    activation = "tanh" if likelihood == "gaussian" else None
    if first_size != 4 and not _is_dcgan(event_shape):
        raise ValueError(
            f"first_size is of the generators of 32x32 and 64x64 images. Received: {first_size} for {event_shape}"
        )
    if len(event_shape) == 3 and tuple(event_shape[:2]) == (28, 28):
        return image_generator(event_shape, latent_dim, width=width, activation=activation, dtype=dtype)
    if _is_dcgan(event_shape):
        filters = max(1, round(64 * width))
        return conv.dcgan_decoder(
            event_shape, latent_dim, filters=filters, first_size=first_size, activation=activation, dtype=dtype
        )
    if width != 1:
        raise ValueError(
            f"width is of the generators of 28x28, 32x32 and 64x64 images. Received: width={width} for {event_shape}"
        )
    return decoder(event_shape, latent_dim, likelihood=likelihood, dtype=dtype)
