"""Keras networks, tensors to tensors: what encoders and decoders are made of."""

from tfzoo.networks import conv, default, mlp

__all__ = ["conv", "default", "mlp"]
