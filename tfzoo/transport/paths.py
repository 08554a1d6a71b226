"""The exact optimum over the candidates alone, by shortest augmenting paths for many rows at once.

Rows that could have a better candidate lose their target. From all rows without one, one run of Dijkstra's algorithm
finds each target's distance: the least that rows on the way would lose by moving up one by one. Prices rise by what the
targets are nearer than the farthest one used; then all paths used cost nothing, no row has a candidate better than its
own target, and paths from different rows share nothing, so all of them are walked at once.
"""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import dijkstra

__all__ = ["match_by_paths"]


def match_by_paths(
    targets: np.ndarray, benefits: np.ndarray, prices: np.ndarray, matches: np.ndarray, resolution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best matching in which each row has one of its candidates, and prices that prove it.

    Args:
      targets: the candidates, int32 ``[N, K]``, among them each row's in some one-to-one matching.
      benefits: theirs, ``[N, K]``, float64.
      prices: where they start, ``[N]``, float64; no price falls.
      matches: what rows have, -1 for none, int32 ``[N]``; they keep it while nothing better is near.
      resolution: a candidate may be better by so much.
    """
    n, k = targets.shape
    start, matches = prices, matches.copy()
    values = benefits - prices[targets]
    own = np.max(np.where(targets == matches[:, np.newaxis], values, -np.inf), axis=1)
    matches[own < values.max(axis=1) - resolution] = -1
    while len(rows := np.flatnonzero(matches < 0)):
        owned = np.flatnonzero(matches >= 0)
        nodes = np.full(n, -1, np.int32)
        nodes[matches[owned]] = owned
        free = np.flatnonzero(nodes < 0)
        nodes[free] = n + np.arange(len(free))
        losses = values.max(axis=1, keepdims=True) - values
        starts = np.minimum(np.arange(n + len(free) + 1), n) * k
        graph = scipy.sparse.csr_matrix((losses.ravel(), nodes[targets].ravel(), starts), shape=(len(starts) - 1,) * 2)
        distances, before, roots = dijkstra(graph, indices=rows, min_only=True, return_predecessors=True)

        # The nearest free target of each row that has one.
        nearest = np.argsort(distances[n:], kind="stable")
        nearest = nearest[np.isfinite(distances[n:][nearest])]
        nearest = nearest[np.sort(np.unique(roots[n:][nearest], return_index=True)[1])]
        prices = prices + np.maximum(distances[n + nearest[-1]] - distances[nodes], 0.0)
        at, target = n + nearest, free[nearest].astype(np.int32)
        while len(at):
            at = before[at]
            matches[at], target = target, matches[at]
            at, target = at[target >= 0], target[target >= 0]
        values = benefits - prices[targets]
    return matches, prices - _spare(targets, values, prices - start, matches)


def _spare(targets: np.ndarray, values: np.ndarray, rises: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Returns by how much each price may fall, at most by its rise, so that each row's target stays its best."""
    n, k = targets.shape
    owners = np.argsort(matches).astype(np.int32)
    losses = values.max(axis=1, keepdims=True) - values
    # One more node leads to the owner of each target, at the length of its rise.
    data = np.concatenate([losses.ravel(), rises])
    nodes = np.concatenate([owners[targets].ravel(), owners])
    starts = np.append(np.arange(n + 1) * k, n * (k + 1))
    graph = scipy.sparse.csr_matrix((data, nodes, starts), shape=(n + 1, n + 1))
    return dijkstra(graph, indices=n)[owners]
