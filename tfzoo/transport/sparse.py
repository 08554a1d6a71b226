"""The exact optimum over the candidates alone, and prices that prove it.

Candidates are few, so shortest augmenting paths on the sparse graph take a fraction of one look at all pairs. The
prices are the longest paths in the graph of who would rather have what: raised until each row's own target is its best
candidate (Bellman and Ford), starting where they are and looking only at rows whose own price has just moved.

Both count in whole steps of float32's resolution. Else rows between nearly equal targets outbid each other by rounding
errors, practically for ever, and prices go round in circles.
"""

import numpy as np
import scipy.sparse
import tensorflow as tf
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from tfzoo.transport.lists import UNKNOWN, Lists
from tfzoo.transport.threads import compiled
from tfzoo.types import Tensor

__all__ = ["match_candidates", "raise_prices"]

_GRID = 2.0**-24
_DOUBLES = tf.TensorSpec([None], tf.float64)
_FLOATS, _INTS = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)


def match_candidates(lists: Lists, prices: np.ndarray, matches: np.ndarray, benefits: np.ndarray) -> np.ndarray:
    """Returns the best matching in which each row has one of its candidates, or the target that it has now.

    Args:
      lists: the candidates.
      prices: ``[M]``; they change nothing but the speed: near the optimum, most rows then take their best.
      matches: the targets that rows have now, a permutation ``[N]``.
      benefits: theirs, ``[N]``.
    """
    targets = lists.targets.numpy()
    steps = np.rint(prices / _GRID)
    values = np.rint(lists.benefits.numpy().astype(np.float64) / _GRID) - steps[targets]
    own = np.rint(benefits / _GRID) - steps[matches]
    best = np.maximum(values.max(axis=1), own)
    extra = np.flatnonzero(~(targets == matches[:, np.newaxis]).any(axis=1))
    n, k = targets.shape
    rows = np.concatenate([np.repeat(np.arange(n, dtype=np.int32), k), extra.astype(np.int32)])
    columns = np.concatenate([targets.ravel(), matches[extra]])
    loss = np.concatenate([(best[:, np.newaxis] - values).ravel(), (best - own)[extra]])
    known = np.concatenate([(lists.benefits.numpy() != np.float32(UNKNOWN)).ravel(), np.ones(len(extra), bool)])
    rows, columns, loss = rows[known], columns[known], loss[known]
    # A weight of 0 would be an edge that is not there.
    graph = scipy.sparse.coo_matrix((loss + 1.0, (rows, columns)), shape=(n, len(prices))).tocsr()
    return min_weight_full_bipartite_matching(graph)[1].astype(np.int32)


@compiled(
    _DOUBLES,
    _INTS,
    _INTS,
    _DOUBLES,
    Lists(tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.int32), _FLOATS),
    tf.TensorSpec([], tf.float64),
)
def raise_prices(
    prices: Tensor, owners: Tensor, matches: Tensor, benefits: Tensor, lists: Lists, resolution: Tensor
) -> Tensor:
    """Returns the lowest prices, from `prices` up, at which no row has a candidate better than its own target.

    Args:
      prices: where they start, ``[M]``.
      owners: the row of each target, int32 ``[M]``.
      matches: the target of each row, the best over the candidates, int32 ``[N]``.
      benefits: its benefit, ``[N]``, the one of the list where it is a candidate.
      lists: the candidates.
      resolution: a candidate may be better by so much.
    """
    prices, benefits = (tf.round(part / _GRID) * _GRID for part in (prices, benefits))

    def body(step: Tensor, prices: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        targets = tf.gather(lists.targets, rows)
        own = tf.gather(benefits, rows) - tf.gather(prices, tf.gather(matches, rows))
        wanted = tf.round(tf.cast(tf.gather(lists.benefits, rows), tf.float64) / _GRID) * _GRID - own[:, tf.newaxis]
        better = wanted > tf.gather(prices, targets) + resolution
        at = tf.boolean_mask(targets, better)[:, tf.newaxis]
        raised = tf.tensor_scatter_nd_max(prices, at, tf.boolean_mask(wanted, better))
        moved = tf.cast(tf.where(raised > prices)[:, 0], tf.int32)
        return step + 1, raised, tf.gather(owners, moved)

    limit = tf.size(matches) + 1  # no path is longer
    _, prices, _ = tf.while_loop(
        lambda step, prices, rows: (tf.size(rows) > 0) & (step < limit),
        body,
        (tf.constant(0), prices, tf.range(tf.size(matches))),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None]), tf.TensorShape([None])),
    )
    return prices
