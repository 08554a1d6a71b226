"""Dynamics on batches of positions, as pure functions on NamedTuples: `init`, `step`, `integrate`."""

from tfzoo.integrators import annealing, leapfrog, quasi_symplectic

__all__ = ["annealing", "leapfrog", "quasi_symplectic"]
