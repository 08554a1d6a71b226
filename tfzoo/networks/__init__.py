"""Keras networks, tensors to tensors: what encoders and decoders are made of."""

from tfzoo.networks import (
    constrained,
    conv,
    default,
    energy,
    generator,
    made,
    mlp,
    picnn,
    rbf,
    training_mode,
    transposed,
)

__all__ = [
    "constrained",
    "conv",
    "default",
    "energy",
    "generator",
    "made",
    "mlp",
    "picnn",
    "rbf",
    "training_mode",
    "transposed",
]
