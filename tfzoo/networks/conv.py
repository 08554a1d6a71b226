"""Convolutional networks for images and volumes of any size: the ones of the Hamiltonian VAE, and DCGAN's mirror.

`encoder` / `decoder` are the networks of Caterini et al. (2018): three 5x5 convolutions of stride 2 with 16, 32 and 32
maps, a dense layer of 450 units, softplus throughout, mirrored in the decoder. They keep "same" padding, so any size
works: 28 -> 14 -> 7 -> 4 and back, 8 -> 4 -> 2 -> 1 and back, volumes alike with 5x5x5 kernels.

`dcgan_encoder` / `dcgan_decoder` are the generators of Xie et al. for 32x32 and 64x64 images (4x4 transposed
convolutions of stride 2, LeakyReLU 0.2, no normalisation) and their mirror. That of CIFAR-10 starts from 8x8.

Deviations: the authors draw weights from N(0, 1/(n_in + n_out)) with n the size of the whole feature map (a deviation
of 0.016 for the first layer at 28x28, 0.0015 for a volume of 60x50x50), so that next to nothing of z reaches the output
at first; He's rule counts what a unit really sums, and on MNIST leaves the plateau where z is ignored after 1,000 steps
instead of 2,500 (test_networks_conv.py: the output depends on z at every size). They also start the decoder's last
bias at the mean of logit(image mean); it starts at 0 here, since a network is made before it has seen data.

References:
  Caterini, Doucet, Sejdinovic, "Hamiltonian Variational Auto-Encoder", https://arxiv.org/abs/1805.11328
  Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300
"""

import math
from collections.abc import Sequence
from typing import Any

import keras

from tfzoo.checks import check_positive
from tfzoo.networks.inputs import network_input
from tfzoo.networks.transposed import Conv2DTranspose, Conv3DTranspose
from tfzoo.types import EventShape

__all__ = ["dcgan_decoder", "dcgan_encoder", "decoder", "encoder"]

_KERNEL = 5
_INITIALIZER = "he_normal"
_CONVOLUTION = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
_TRANSPOSED = {2: Conv2DTranspose, 3: Conv3DTranspose}


def _halved(sizes: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """Returns the sizes after 0, 1, ... `times` convolutions of stride 2 with "same" padding."""
    levels = [tuple(sizes)]
    for _ in range(times):
        levels.append(tuple(math.ceil(size / 2) for size in levels[-1]))
    return levels


def encoder(
    event_shape: EventShape, *, filters: Sequence[int] = (16, 32, 32), units: int = 450, dtype: Any = None
) -> keras.Sequential:
    """Returns a network from images or volumes ``[B, *event_shape]`` to features ``[B, units]``."""
    convolution = _CONVOLUTION[len(event_shape) - 1]
    layers = [
        convolution(
            count,
            _KERNEL,
            strides=2,
            padding="same",
            activation="softplus",
            kernel_initializer=_INITIALIZER,
            dtype=dtype,
        )
        for count in filters
    ]
    return keras.Sequential(
        [
            network_input(event_shape, dtype),
            *layers,
            keras.layers.Flatten(dtype=dtype),
            keras.layers.Dense(units, "softplus", kernel_initializer=_INITIALIZER, dtype=dtype),
        ],
        name="encoder",
    )


def decoder(
    event_shape: EventShape,
    latent_dim: int,
    *,
    filters: Sequence[int] = (16, 32, 32),
    units: int = 450,
    dtype: Any = None,
) -> keras.Sequential:
    """Returns the mirror of `encoder`, from latents ``[B, latent_dim]`` to ``[B, *event_shape]``, linear at the end.

    `filters` are the encoder's, in the encoder's order.
    """
    *sizes, channels = event_shape
    levels = _halved(sizes, len(filters))
    counts = [channels, *filters]
    layers = []
    for i in reversed(range(len(filters))):
        layers.append(
            _TRANSPOSED[len(sizes)](
                counts[i],
                _KERNEL,
                strides=2,
                padding="same",
                # A transposed convolution can end at 2n - 1 or 2n: take the size that the encoder came from.
                output_padding=tuple(
                    large - 2 * small + 1 for large, small in zip(levels[i], levels[i + 1], strict=True)
                ),
                activation="softplus" if i else None,
                kernel_initializer=_INITIALIZER,
                dtype=dtype,
            )
        )
    return keras.Sequential(
        [
            network_input((latent_dim,), dtype),
            keras.layers.Dense(units, "softplus", kernel_initializer=_INITIALIZER, dtype=dtype),
            keras.layers.Dense(
                math.prod(levels[-1]) * counts[-1], "softplus", kernel_initializer=_INITIALIZER, dtype=dtype
            ),
            keras.layers.Reshape((*levels[-1], counts[-1]), dtype=dtype),
            *layers,
        ],
        name="decoder",
    )


def dcgan_encoder(event_shape: EventShape, *, filters: int = 64, dtype: Any = None) -> keras.Sequential:
    """Returns the mirror of `dcgan_decoder`, from images ``[B, H, H, C]``, H = 32 or 64, to features ``[B, E]``."""
    layers = []
    for multiple in _multiples(event_shape):
        layers += [
            keras.layers.Conv2D(filters * multiple, 4, strides=2, padding="same", dtype=dtype),
            keras.layers.LeakyReLU(0.2, dtype=dtype),
        ]
    return keras.Sequential(
        [network_input(event_shape, dtype), *layers, keras.layers.Flatten(dtype=dtype)], name="encoder"
    )


def dcgan_decoder(
    event_shape: EventShape,
    latent_dim: int,
    *,
    filters: int = 64,
    first_size: int = 4,
    activation: str | None = None,
    dtype: Any = None,
) -> keras.Sequential:
    """Returns a generator from latents ``[B, latent_dim]`` to images ``[B, H, H, C]``, H = 32 or 64.

    Args:
      event_shape: (32, 32, C) or (64, 64, C).
      latent_dim: D.
      filters: maps of the last hidden layer, but for a factor of 2 at 32x32; 64 for SVHN, 128 for CelebA.
      first_size: height and width of the first maps: 4, or 8, after which the last layer is 3x3 and enlarges nothing,
        as for CIFAR-10.
      activation: of the output: "tanh" for Gaussian images in [-1, 1], None for logits.
      dtype: Keras dtype or policy of the layers.

    Raises:
      ValueError: for another `first_size`.
    """
    first_size = check_positive("first_size", first_size)
    if first_size not in (4, 8):
        raise ValueError(f"first_size must be 4 or 8. Received: {first_size}")
    multiples = _multiples(event_shape)
    xavier = "glorot_normal"
    layers = [
        Conv2DTranspose(filters * multiples[-1], first_size, kernel_initializer=xavier, dtype=dtype),
        keras.layers.LeakyReLU(0.2, dtype=dtype),
    ]
    for multiple in reversed(multiples[:-1]):
        layers += [
            Conv2DTranspose(filters * multiple, 4, strides=2, padding="same", kernel_initializer=xavier, dtype=dtype),
            keras.layers.LeakyReLU(0.2, dtype=dtype),
        ]
    layers.append(
        Conv2DTranspose(
            event_shape[-1],
            4 if first_size == 4 else 3,
            strides=2 if first_size == 4 else 1,
            padding="same",
            activation=activation,
            kernel_initializer=xavier,
            dtype=dtype,
        )
    )
    return keras.Sequential(
        [network_input((latent_dim,), dtype), keras.layers.Reshape((1, 1, latent_dim), dtype=dtype), *layers],
        name="decoder",
    )


def _multiples(event_shape: EventShape) -> list[int]:
    """Returns the widths of the hidden layers, image side first: 32 -> 16 -> 8 -> 4 takes three, 64 takes four."""
    return [2, 4, 8] if event_shape[0] == 32 else [1, 2, 4, 8]
