"""On a line the matching is the sorted one, and its prices are a running sum."""

import numpy as np

__all__ = ["solve_line"]


def solve_line(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the target of each row, and prices at which it is the row's best one.

    Between neighbouring targets the price changes so that a row halfway between their rows would take either.

    Args:
      source: ``[N]``, float64.
      target: ``[N]``.
    """
    rows, columns = np.argsort(source, kind="stable"), np.argsort(target, kind="stable")
    matches = np.empty(len(rows), np.int32)
    matches[rows] = columns
    x, y = source[rows], target[columns]
    steps = (x[:-1] + x[1:]) * np.diff(y) - np.diff(y**2)
    prices = np.empty(len(rows))
    prices[columns] = np.concatenate([[0.0], np.cumsum(steps)])
    return matches, prices
