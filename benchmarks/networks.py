"""The networks of the benchmarks, as Keras layers; `pythae_side.py` has the same ones for PyTorch.

    mlp    784 - 512 (ReLU);  D - 512 (ReLU) - 784 (sigmoid): pythae's default
    small  two 4x4 convolutions of stride 2, 32 and 64 maps (ReLU);
           D - 7x7x64, two transposed convolutions, 32 maps (ReLU) and 1 (sigmoid)

The mean and the scale (pythae: log variance) are two linear heads on the encoder's features.
"""

import keras

from tfzoo.networks.transposed import Conv2DTranspose

__all__ = ["EVENT_SHAPE", "NETWORKS"]

EVENT_SHAPE = (28, 28, 1)


def mlp(latent_dim: int) -> tuple[keras.Sequential, keras.Sequential]:
    """Returns the encoder and the decoder of pythae's default."""
    encoder = [keras.layers.Flatten(), keras.layers.Dense(512, "relu")]
    decoder = [
        keras.layers.Dense(512, "relu"),
        keras.layers.Dense(784, "sigmoid"),
        keras.layers.Reshape(EVENT_SHAPE),
    ]
    return _pair(encoder, decoder, latent_dim)


def small(latent_dim: int) -> tuple[keras.Sequential, keras.Sequential]:
    """Returns the encoder and the decoder of the small convolutional pair."""
    encoder = [
        keras.layers.Conv2D(32, 4, strides=2, padding="same", activation="relu"),
        keras.layers.Conv2D(64, 4, strides=2, padding="same", activation="relu"),
        keras.layers.Flatten(),
    ]
    decoder = [
        keras.layers.Dense(7 * 7 * 64),
        keras.layers.Reshape((7, 7, 64)),
        keras.layers.Conv2DTranspose(32, 4, strides=2, padding="same", activation="relu"),
        Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid"),
    ]
    return _pair(encoder, decoder, latent_dim)


def _pair(encoder: list, decoder: list, latent_dim: int) -> tuple[keras.Sequential, keras.Sequential]:
    return (
        keras.Sequential([keras.Input(EVENT_SHAPE), *encoder]),
        keras.Sequential([keras.Input((latent_dim,)), *decoder]),
    )


NETWORKS = {"mlp": mlp, "small": small}
