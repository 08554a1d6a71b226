"""Small problems at once: the exact matching of a few hundred points, and the prices that prove it."""

import numpy as np
from scipy.optimize import linear_sum_assignment

__all__ = ["solve_dense"]


def solve_dense(source: np.ndarray, target: np.ndarray, places: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the target of each row ``[N]``, and prices ``[M]`` at which it is the row's best one; float64.

    Args:
      source: x, ``[N, D]``.
      target: y, ``[M, D]``.
      places: how many rows each target takes, N in all, ``[M]``; None for one each.
    """
    places = np.ones(len(target), int) if places is None else places
    targets = np.repeat(np.arange(len(target)), places)
    benefits = (2.0 * source @ target.T - np.sum(target**2, axis=1))[:, targets]
    matches = linear_sum_assignment(benefits, maximize=True)[1]
    owners = np.argsort(matches)
    # lead_kj: by how much the owner of target k would rather have j. The prices are the longest paths.
    lead = (benefits - benefits[np.arange(len(matches)), matches][:, np.newaxis])[owners]
    prices = np.zeros(len(matches))
    resolution = 1e-13 * (1.0 + np.abs(benefits).max())
    for _ in range(len(matches)):
        raised = np.maximum(prices, (prices[:, np.newaxis] + lead).max(axis=0))
        done = np.all(raised <= prices + resolution)
        prices = raised
        if done:
            break
    # All places of a target cost the same, up to rounding.
    return targets[matches].astype(np.int32), prices[np.cumsum(places) - 1]
