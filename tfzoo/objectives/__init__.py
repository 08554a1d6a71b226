"""Bounds and estimates of log p(x), as pure functions of a log joint density."""

from tfzoo.objectives import annealed, importance
from tfzoo.objectives.bounds import elbo, iwae

__all__ = ["annealed", "elbo", "importance", "iwae"]
