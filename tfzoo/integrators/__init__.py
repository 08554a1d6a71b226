"""Dynamics on batches of positions, as pure functions on NamedTuples: `init`, `step`, `integrate`.

`kernels` has them as `tfp.mcmc.TransitionKernel`s.
"""

from tfzoo.integrators import annealing, kernels, leapfrog, quasi_symplectic, riemannian_brownian, short_run

__all__ = ["annealing", "kernels", "leapfrog", "quasi_symplectic", "riemannian_brownian", "short_run"]
