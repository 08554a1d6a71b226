"""Keras's optimizers with the update of a weight in one pass over memory."""

from tfzoo.optimizers.fused import Adam, Adamax

__all__ = ["Adam", "Adamax"]
