"""Integrators in plain NumPy, one chain at a time, line by line as the papers should have them."""

import numpy as np


def quasi_symplectic(position, momentum, gradient, *, step_sizes, damping, kicks=None):
    """Drift-damp-kick-drift; `step_sizes` [K, D] or [K]; `kicks` [K, D] are added to the momentum."""
    q, p = np.array(position), np.array(momentum)
    for k, t in enumerate(step_sizes):
        e = np.exp(-damping * t / 2)
        p = e * p
        q = q + t / 2 * p
        p = p + t * gradient(q) + (0.0 if kicks is None else kicks[k])
        q = q + t / 2 * p
        p = e * p
    return q, p


def leapfrog(position, momentum, gradient, *, step_sizes, tempering=None):
    """Kick-drift-kick; `tempering` [K] multiplies the momentum after each step."""
    q, p = np.array(position), np.array(momentum)
    for k, t in enumerate(step_sizes):
        p = p + t / 2 * gradient(q)
        q = q + t * p
        p = p + t / 2 * gradient(q)
        p = p * (1.0 if tempering is None else tempering[k])
    return q, p


def printed_algorithm_1(position, momentum, gradient, *, step_sizes, damping):
    """Algorithm 1 of arXiv:2009.01675 as printed: the gradient is taken from the position, and from no momentum."""
    q, p = np.array(position), np.array(momentum)
    for t in step_sizes:
        e = np.exp(-damping * t / 2)
        q_half = q - t / 2 * gradient(q)
        p = e * p
        q, p = q_half + t / 2 * p, e * p
    return q, p
