"""The exact optimum over the candidates alone, by shortest augmenting paths for many rows at once.

Rows that could have a better candidate lose their target. From all rows without one, one run of Dijkstra's algorithm
finds each target's distance: the least that rows on the way would lose by moving up one by one. Prices rise by what the
targets are nearer than the farthest one used; then all paths used cost nothing, no row has a candidate better than its
own target, and paths from different rows share nothing, so all of them are walked at once.

Targets may have places for several rows: who would move in looks at all who have one.
"""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import dijkstra

__all__ = ["fill_places", "match_by_paths"]


def fill_places(wanted: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns a target for each row: the one that it wants, if it is among the first so many, or what is left.

    Args:
      wanted: a target of each row, int32 ``[N]``.
      places: how many rows each target takes, N in all, ``[M]``.
    """
    matches = np.full(len(wanted), -1, np.int32)
    rows, starts = _by_target(wanted, len(places))
    rank = np.arange(len(rows)) - starts[wanted[rows]]
    first = rows[rank < places[wanted[rows]]]
    matches[first] = wanted[first]
    left = places - np.bincount(wanted[first], minlength=len(places))
    matches[matches < 0] = np.repeat(np.arange(len(places), dtype=np.int32), left)
    return matches


def match_by_paths(
    targets: np.ndarray,
    benefits: np.ndarray,
    prices: np.ndarray,
    matches: np.ndarray,
    resolution: float,
    places: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best matching in which each row has one of its candidates, and prices that prove it.

    Args:
      targets: the candidates, int32 ``[N, K]``, among them each row's in some matching.
      benefits: theirs, ``[N, K]``, float64.
      prices: where they start, ``[M]``, float64; no price falls.
      matches: what rows have, -1 for none, int32 ``[N]``; they keep it while nothing better is near.
      resolution: a candidate may be better by so much.
      places: how many rows each target takes, N in all, ``[M]``; None for one each.
    """
    places = np.ones(len(prices), np.int32) if places is None else places
    n, start, matches = len(targets), prices, matches.copy()
    values = benefits - prices[targets]
    own = np.max(np.where(targets == matches[:, np.newaxis], values, -np.inf), axis=1)
    matches[own < values.max(axis=1) - resolution] = -1
    while len(rows := np.flatnonzero(matches < 0)):
        free = np.flatnonzero(np.bincount(matches[matches >= 0], minlength=len(places)) < places)
        graph = _graph(targets, values, matches, np.zeros(len(places)))
        distances, before, roots = dijkstra(graph, indices=rows, min_only=True, return_predecessors=True)
        distances, before, roots = distances[n:-1], before[n:-1], roots[n:-1]  # the targets'

        # The nearest free target of each row that has one.
        nearest = free[np.argsort(distances[free], kind="stable")]
        nearest = nearest[np.isfinite(distances[nearest])]
        nearest = nearest[np.sort(np.unique(roots[nearest], return_index=True)[1])]
        prices = prices + np.maximum(distances[nearest[-1]] - distances, 0.0)
        moving = nearest.astype(np.int32)
        while len(moving):
            at = before[moving]
            matches[at], moving = moving, matches[at]
            moving = moving[moving >= 0]
        values = benefits - prices[targets]
    # How far each price may fall, at most by its rise, so that each row's target stays its best.
    graph = _graph(targets, values, matches, prices - start)
    return matches, prices - dijkstra(graph, indices=n + len(places))[n:-1]


def _graph(
    targets: np.ndarray, values: np.ndarray, matches: np.ndarray, lengths: np.ndarray
) -> scipy.sparse.csr_matrix:
    """Returns who would move where: rows lead to their candidates, at what they would lose, targets to who has them.

    Args:
      targets: the candidates, ``[N, K]``.
      values: theirs, ``[N, K]``.
      matches: what rows have, -1 for none, ``[N]``.
      lengths: from one more node, the last, to the targets, ``[M]``.
    """
    (n, k), m = targets.shape, len(lengths)
    owners, starts = _by_target(matches, m)
    losses = values.max(axis=1, keepdims=True) - values
    data = np.concatenate([losses.ravel(), np.zeros(len(owners)), lengths])
    nodes = np.concatenate([targets.ravel() + n, owners, np.arange(n, n + m)])
    ends = np.concatenate([np.arange(n) * k, n * k + starts, [len(data)]])
    return scipy.sparse.csr_matrix((data, nodes, ends), shape=(n + m + 1,) * 2)


def _by_target(matches: np.ndarray, num_targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that have a target, those of each target together, and where each target's start ``[M + 1]``."""
    rows = np.flatnonzero(matches >= 0)
    rows = rows[np.argsort(matches[rows], kind="stable")]
    return rows, np.append(0, np.cumsum(np.bincount(matches[rows], minlength=num_targets)))
