"""Bids for targets: the auction, on cached lists of candidates.

A row i (a source point) values target j at a_ij - p_j, with benefit a_ij = 2 <x_i, y_j> - |y_j|^2. Rows without a
target bid together, each for its best one, as much as it exceeds the second best, and epsilon more; the highest bid for
a target wins and its former owner is free again. Prices only rise. So the best of a row's cached candidates stays its
best of all as long as its value is above the bound that all others were under when the list was made; below it the row
asks for a new list.

References:
  Bertsekas, "The auction algorithm: a distributed relaxation method for the assignment problem", Annals of Operations
    Research 14, 1988.
"""

from typing import NamedTuple

import tensorflow as tf

from tfzoo.transport.lists import Lists
from tfzoo.transport.threads import compiled
from tfzoo.types import Tensor

__all__ = ["Market", "open_market", "run_rounds"]


class Market(NamedTuple):
    """Who has what, at which price.

    Attributes:
      prices: ``[M]``.
      owners: the row of each target, -1 for none, int32 ``[M]``.
      matches: the target of each row, -1 for none, int32 ``[N]``.
      bidders: rows without a target and with a valid list, int32 ``[R]``.
      stale: rows without a target whose list is used up, int32 ``[S]``.
      num_rounds: how often there were bids, int32 ``[]``.
    """

    prices: Tensor
    owners: Tensor
    matches: Tensor
    bidders: Tensor
    stale: Tensor
    num_rounds: Tensor

    @property
    def num_unmatched(self) -> Tensor:
        """How many rows have no target, int32 ``[]``."""
        return tf.size(self.bidders) + tf.size(self.stale)


def open_market(prices: Tensor, num_rows: int) -> Market:
    """Returns a market in which nobody has anything yet."""
    free = tf.fill([num_rows], -1)
    none = tf.zeros([0], tf.int32)
    return Market(prices, tf.fill(tf.shape(prices), -1), free, tf.range(num_rows), none, tf.constant(0))


_FLOATS, _INTS = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)
_NUMBER = tf.TensorSpec([], tf.int32)
_MARKET = Market(_FLOATS, _INTS, _INTS, _INTS, _INTS, _NUMBER)
_LISTS = Lists(tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.int32), _FLOATS)


@compiled(_MARKET, _LISTS, tf.TensorSpec([], tf.float32), _NUMBER, _NUMBER)
def run_rounds(market: Market, lists: Lists, epsilon: Tensor, num_left: Tensor, max_rounds: Tensor) -> Market:
    """Returns the market after rounds of bids: until all but `num_left` have a target, or many need new lists.

    Args:
      market: where it starts.
      lists: at least two candidates a row.
      epsilon: what a bid adds to the difference between the best and the second best, positive.
      num_left: so many rows may stay without a target.
      max_rounds: of the market in all.
    """
    nobody = tf.size(market.prices)  # one more target, for rows that do not bid

    def goes_on(prices: Tensor, owners: Tensor, bidders: Tensor, stale: Tensor, num_rounds: Tensor) -> Tensor:
        bidding, waiting = tf.size(bidders), tf.size(stale)
        return (
            (bidding > 0)
            & (bidding + waiting > num_left)
            & (waiting < tf.maximum(256, bidding // 4))
            & (num_rounds < max_rounds)
        )

    def bid(
        prices: Tensor, owners: Tensor, bidders: Tensor, stale: Tensor, num_rounds: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        targets = tf.gather(lists.targets, bidders)  # [R, K]
        two, at = tf.math.top_k(tf.gather(lists.benefits, bidders) - tf.gather(prices, targets), 2)
        best, second = tf.unstack(two, num=2, axis=1)
        bounds = tf.gather(lists.bounds, bidders)
        sure = best >= bounds
        wanted = tf.where(sure, tf.gather(targets, at[:, 0], batch_dims=1), nobody)
        bids = tf.gather(prices, wanted) + (best - tf.maximum(second, bounds)) + epsilon
        place = wanted[:, tf.newaxis]
        prices = tf.tensor_scatter_nd_max(prices, place, bids)

        # Of equal bids the one of the highest row wins, on every device.
        highest = sure & (bids >= tf.gather(prices, wanted))
        before = tf.gather(owners, wanted)
        nothing = tf.fill(tf.shape(bidders), -1)
        owners = tf.tensor_scatter_nd_update(owners, place, nothing)
        owners = tf.tensor_scatter_nd_max(owners, place, tf.where(highest, bidders, nothing))
        won = highest & (tf.gather(owners, wanted) == bidders)

        free = tf.where(won, before, tf.where(sure, bidders, nothing))
        stale = tf.concat([stale, tf.boolean_mask(bidders, ~sure)], axis=0)
        return prices, owners, tf.boolean_mask(free, free >= 0), stale, num_rounds + 1

    start = tf.pad(market.prices, [[0, 1]]), tf.pad(market.owners, [[0, 1]], constant_values=-1)
    prices, owners, bidders, stale, num_rounds = tf.while_loop(
        goes_on,
        bid,
        (*start, market.bidders, market.stale, market.num_rounds),
        shape_invariants=tuple(spec.shape for spec in (_FLOATS, _INTS, _INTS, _INTS, _NUMBER)),
    )
    prices, owners = prices[:-1], owners[:-1]
    owned = tf.where(owners >= 0)
    rows = tf.gather_nd(owners, owned)[:, tf.newaxis]
    matches = tf.fill(tf.shape(market.matches), -1)
    matches = tf.tensor_scatter_nd_update(matches, rows, tf.cast(owned[:, 0], tf.int32))
    return Market(prices, owners, matches, bidders, stale, num_rounds)
