"""Points that repeat: one target that has places for as many rows.

Copies of a point would fill a row's list of candidates, and rows that are copies would ask for the same targets, round
by round. Seen once, with its places, a point is one candidate; exact paths match rows with places in a fraction of the
time that bids would take. Matching is symmetric, so the side with fewer distinct points is the target. Where few points
are equal, or most are by all that float32 can tell, a little noise sets them apart.
"""

import numpy as np
import tensorflow as tf

from tfzoo.transport.lists import RESOLUTION
from tfzoo.transport.matching import DENSE, Matching, match
from tfzoo.transport.problem import Problem, squares_of
from tfzoo.transport.scan import row_maxima

__all__ = ["match_points"]

_MANY = 0.6  # share of distinct points, at most


def match_points(
    problem: Problem,
    prices: np.ndarray | None,
    known: np.ndarray | None = None,
    *,
    tolerance: float,
    max_iterations: int,
    generator: np.random.Generator,
) -> Matching:
    """Returns what `match` does, with the same arguments, for points of which any may be equal.

    Where many are, candidates neither help nor are kept.
    """
    n = len(problem.source)
    if n <= DENSE:
        return match(problem, prices, tolerance=tolerance, max_iterations=max_iterations, generator=generator)
    along: np.ndarray = generator.normal(size=problem.source.shape[1:])
    (rows, source_groups), (columns, groups) = (_distinct(each, along) for each in (problem.source, problem.target))
    fewest = min(len(rows), len(columns))

    def match_once(part: Problem, start: np.ndarray | None) -> Matching:
        return match(part, start, tolerance=tolerance, max_iterations=max_iterations, generator=generator)

    if fewest > _MANY * n:
        if len(rows) < n or len(columns) < n or problem.typical_difference() < RESOLUTION:
            problem.break_ties(generator)
        return match(problem, prices, known, tolerance=tolerance, max_iterations=max_iterations, generator=generator)
    none = np.empty([n, 0], np.int32)
    if len(columns) == fewest:
        part = problem.of(problem.source, problem.target[columns], np.bincount(groups))
        found = match_once(part, None if prices is None else prices[columns])
        matches = _deal(found.matches, groups)
        return found._replace(matches=matches, prices=found.prices[groups], candidates=none)
    # Prices of one side are what the best of the other is worth, at its prices.
    source, squares = problem.source[rows], squares_of(problem.source[rows])
    start = None if prices is None else _maxima(source, problem, prices) - squares
    found = match_once(problem.of(problem.target, source, np.bincount(source_groups)), start)
    matches = np.argsort(_deal(found.matches, source_groups)).astype(np.int32)
    prices = found.maxima - problem.squares
    maxima = _maxima(source, problem, prices)[source_groups]
    return found._replace(matches=matches, prices=prices, maxima=maxima, candidates=none)


def _distinct(points: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns one index of each distinct point ``[K]``, and which of them each point is ``[N]``."""
    positions = np.einsum("nd,d->n", points, along)
    if len(np.unique(positions)) < len(points):
        _, first, groups = np.unique(positions, return_index=True, return_inverse=True)
        if np.array_equal(points[first][groups], points):  # others may lie alike along this direction
            return first, groups
    return np.arange(len(points)), np.arange(len(points))


def _maxima(source: np.ndarray, problem: Problem, prices: np.ndarray) -> np.ndarray:
    offsets = problem.squares32 + tf.constant(prices, tf.float32)
    maxima: np.ndarray = row_maxima(tf.constant(source, tf.float32), problem.y, offsets).numpy()
    return maxima


def _deal(wanted: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns a point for each row, of the group that it wants ``[N]``; each group has as many rows as points."""
    points = np.empty(len(groups), np.int32)
    points[np.argsort(wanted, kind="stable")] = np.argsort(groups, kind="stable")
    return points
