"""Optimal transport between points: exact matchings of 100,000 of them in little memory, usable without any model."""

from tfzoo.transport import semidiscrete
from tfzoo.transport.divergence import divergence

__all__ = ["divergence", "semidiscrete"]
