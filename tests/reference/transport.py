"""Slow and plain: transport between points by exact solvers of all pairs."""

import numpy as np
from scipy.optimize import linear_sum_assignment, linprog


def costs(source, target):
    difference = source.astype(np.float64)[:, np.newaxis] - target.astype(np.float64)
    return np.sum(difference**2, axis=-1)


def assignment_cost(source, target):
    """Returns the least mean squared distance of a one-to-one matching."""
    matrix = costs(source, target)
    return matrix[linear_sum_assignment(matrix)].mean()


def transport_cost(source, target, source_masses, target_masses):
    """Returns the least cost of a coupling, by linear programming."""
    n, m = len(source), len(target)
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    masses = np.concatenate([source_masses, target_masses])
    return linprog(costs(source, target).ravel(), A_eq=np.concatenate([rows, columns]), b_eq=masses).fun


def dual_value(source, target, potentials, source_masses, target_masses):
    """Returns the dual of the transport problem at the potentials h, pair by pair."""
    source, target = source.astype(np.float64), target.astype(np.float64)
    best = [max(x @ y + h for y, h in zip(target, potentials, strict=True)) for x in source]
    squares = source_masses @ np.sum(source**2, axis=1) + target_masses @ np.sum(target**2, axis=1)
    return squares - 2.0 * (source_masses @ np.array(best) - target_masses @ potentials)
