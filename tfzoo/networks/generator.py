"""The generator of 28x28 images that detects anomalies in Xie et al.: two dense layers, two transposed convolutions.

    z [D] -> 1024 -> 7x7x128 -> 14x14x64 -> 28x28xC

with kernels of 2x2 and stride 2, so that the patches of a layer do not overlap.

Deviations from the authors' code:
  - no batch normalisation. With it, a chain of Langevin dynamics would depend on the other images of its batch, and a
    score on how many of these are anomalies; what a server joins to one batch would change the answers
    (test_networks_generator.py: an image depends on its own latents only);
  - LeakyReLU of slope 0.2 as in the authors' larger generators, not ReLU: without the normalisation, a unit whose input
    is negative everywhere would stay silent for good.

References:
  Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300
"""

from typing import Any

import keras

from tfzoo.checks import check_positive_number
from tfzoo.networks.inputs import network_input
from tfzoo.networks.transposed import Conv2DTranspose
from tfzoo.types import EventShape

__all__ = ["generator"]

_UNITS, _FILTERS = 1024, (128, 64)


def generator(
    event_shape: EventShape,
    latent_dim: int,
    *,
    width: float = 1.0,
    activation: str | None = "tanh",
    dtype: Any = None,
) -> keras.Sequential:
    """Returns a generator from latents ``[B, latent_dim]`` to images ``[B, 28, 28, C]``.

    Args:
      event_shape: (28, 28, C).
      latent_dim: D.
      width: factor of the widths of all hidden layers; 1 is the paper's.
      activation: of the output: "tanh" for Gaussian images in [-1, 1], None for logits.
      dtype: Keras dtype or policy of the layers.

    Raises:
      ValueError: for images of another size, or a width that is not positive.
    """
    if len(event_shape) != 3 or tuple(event_shape[:2]) != (28, 28):
        raise ValueError(f"event_shape must be (28, 28, C) for this generator. Received: {tuple(event_shape)}")
    check_positive_number("width", width)
    units, wide, narrow = (max(1, round(width * count)) for count in (_UNITS, *_FILTERS))
    xavier = "glorot_normal"
    return keras.Sequential(
        [
            network_input((latent_dim,), dtype),
            keras.layers.Dense(units, kernel_initializer=xavier, dtype=dtype),
            keras.layers.LeakyReLU(0.2, dtype=dtype),
            keras.layers.Dense(7 * 7 * wide, kernel_initializer=xavier, dtype=dtype),
            keras.layers.LeakyReLU(0.2, dtype=dtype),
            keras.layers.Reshape((7, 7, wide), dtype=dtype),
            Conv2DTranspose(narrow, 2, strides=2, kernel_initializer=xavier, dtype=dtype),
            keras.layers.LeakyReLU(0.2, dtype=dtype),
            Conv2DTranspose(
                event_shape[-1], 2, strides=2, activation=activation, kernel_initializer=xavier, dtype=dtype
            ),
        ],
        name="decoder",
    )
