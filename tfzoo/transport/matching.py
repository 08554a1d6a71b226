"""One-to-one matching from coarse to fine: a quarter of the points first, then bids, then exact paths.

    1. A quarter of the points is matched, by the same steps. What its rows would pay for the other targets, as a soft
       maximum, is where prices start.
    2. The auction gives all but a few rows a target, within epsilon of their best one; the few share what is left, and
       what they want most, with its owners. That is the end where cost and dual agree well enough; if not, fewer are
       left over, and then
    3. The optimum over the candidates, and its prices; rows that could have more elsewhere get new lists. Repeated
       until cost and dual agree, which they do exactly if asked to, up to float32.

With prices from an earlier solution step 1 falls away. With its candidates too, rows bid on these, and what they see of
all others is asked for once, at the end: their highest values, which takes a third of the time of new lists. Rows that
are surprised get new ones.

Time goes to looks at all pairs: about one and a half, where Adam on the dual needs a thousand.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from tfzoo.transport.auction import open_market, run_rounds
from tfzoo.transport.dense import solve_dense
from tfzoo.transport.lists import RESOLUTION, UNKNOWN, Lists, is_surprised, known_lists
from tfzoo.transport.paths import fill_places, match_by_paths
from tfzoo.transport.problem import Problem, squares_of
from tfzoo.transport.scan import candidates, row_maxima, soft_maxima
from tfzoo.transport.sparse import match_candidates, raise_prices
from tfzoo.types import Tensor

__all__ = ["DENSE", "Matching", "match"]

DENSE = 256  # points that are matched at once
_PART = 4  # one of so many points is in the coarse problem
_NARROW = 2.0  # directions of spread, in which long chains of rows move up
_MOST_LEFT = 4096  # rows that are given the rest at once
_WANTED = 4  # targets that each of these wants most
_MOST_SHARING = 1024  # rows that share targets anew, unless more are left
_PAYING = 8  # rows of the coarse problem that would pay a target's first price, or nearly
_SPREAD = 4  # the softness is the mean difference between the best and the fourth
_RISEN = 0.1  # of the targets may be cheaper than before, once prices are shifted back
_KEPT = 16  # candidates that a solution keeps for the next one
_GROWTH = 8  # times as many candidates may a row come to know in step 3
_HIDDEN = 0.1  # share of the tolerance that rounding may have
_PATIENCE = 400  # rounds of bids with the prices of an earlier solution, before they are lowered


class _Auction(NamedTuple):
    """How far bids go: epsilon in mean differences between a row's best two, the rows left over, rounds in all."""

    epsilon: float
    left: float
    max_rounds: int


_COARSE, _COARSE_TOLERANCE = _Auction(0.3, 0.02, 1000), 1e-2  # only its prices are needed
_FINE = _Auction(0.02, 0.005, 1000), _Auction(0.01, 0.002, 1000)  # a thousand rounds cost less than one exact step


class Matching(NamedTuple):
    """Who is matched with whom, at which prices.

    Attributes:
      matches: the target of each row, int32 ``[N]``.
      prices: ``[N]``, float64.
      maxima: upper bounds of each row's highest value at these prices, up to rounding, ``[N]``.
      candidates: what each row values most, as far as is known, the best first, int32 ``[N, K]``; K is 0 for none.
      spread: mean difference between a row's best and fourth best value.
      num_rounds: rounds of bids, those of coarser problems included.
      num_passes: looks at all pairs, likewise.
      converged: whether the tolerance was reached.
    """

    matches: np.ndarray
    prices: np.ndarray
    maxima: np.ndarray
    candidates: np.ndarray
    spread: float
    num_rounds: int
    num_passes: float
    converged: bool


def match(
    problem: Problem,
    prices: np.ndarray | None,
    known: np.ndarray | None = None,
    *,
    tolerance: float,
    max_iterations: int,
    generator: np.random.Generator,
    auctions: tuple[_Auction, ...] = _FINE,
) -> Matching:
    """Returns a one-to-one matching whose cost is within `tolerance` of the least one, relatively.

    Args:
      problem: as many source points as target points, of equal masses, or as these have places.
      prices: of the targets, from an earlier solution, ``[N]``; None for none.
      known: its candidates, int32 ``[N, K]``, if there are prices; None for none.
      tolerance: of cost - dual, relative to the cost.
      max_iterations: of step 3.
      generator: chooses the quarter.
      auctions: how far step 2 goes, at most, one after the other.
    """
    n = len(problem.source)
    if n <= DENSE:
        matches, prices = solve_dense(problem.source, problem.target, problem.places)
        values = 2.0 * problem.source @ problem.target.T - problem.squares - prices
        best = -np.sort(-values, axis=1)
        spread = float(np.mean(best[:, 0] - best[:, min(_SPREAD, len(problem.target)) - 1]))
        return Matching(matches, prices, best[:, 0], np.empty([n, 0], np.int32), spread, 0, 1.0, True)
    num_rounds, num_passes = 0, 0.0
    is_warm = prices is not None
    count = 20 if is_warm else 24
    if prices is None:
        rows, columns = generator.permutation(n)[: n // _PART], generator.permutation(n)[: n // _PART]
        coarse = match(
            problem.part(rows, columns),
            None,
            tolerance=_COARSE_TOLERANCE,
            max_iterations=max_iterations,
            generator=generator,
            auctions=(_COARSE,),
        )
        num_rounds, num_passes = coarse.num_rounds, (coarse.num_passes / _PART + 1.0) / _PART
        prices = _extend(problem, rows, coarse)
    lists = None
    if known is not None:
        lists = known_lists(problem, prices, known, generator)
    stall = _Stall(problem, prices, count, lists, is_warm=is_warm)
    if is_warm:
        auctions = (auctions[0]._replace(max_rounds=_PATIENCE), *auctions)
    matching = stall.match(auctions, tolerance, max_iterations)
    return matching._replace(
        num_rounds=num_rounds + int(stall.market.num_rounds), num_passes=num_passes + stall.num_passes
    )


def _extend(problem: Problem, rows: np.ndarray, coarse: Matching) -> np.ndarray:
    """Returns prices of all targets: what the rows of the coarse matching would pay, softly.

    A few rows far from all others would pay far more than the rest, for targets of which there are as many more now as
    there are rows: what an eighth one would pay bounds the price. Bids raise prices that are too low in a few rounds;
    of those that are too high they do not come down again.
    """
    paid, by_others = soft_maxima(
        problem.y,
        tf.gather(problem.x, rows),
        tf.constant(coarse.maxima, tf.float32),
        max(coarse.spread, RESOLUTION),
        _PAYING,
        problem.block_size,
    )
    paid, by_others = paid.numpy(), by_others.numpy()
    prices = np.minimum(paid, by_others + np.median(paid - by_others)) - problem.squares
    return prices - prices.mean()


class _Stall:
    """The market of a problem with the lists of its rows."""

    def __init__(
        self, problem: Problem, prices: np.ndarray, count: int, lists: Lists | None = None, *, is_warm: bool = False
    ) -> None:
        self.problem, self.size = problem, len(problem.source)
        self.num_passes = 0.0
        self._full_count = min(count, len(problem.target))
        self._count = self._full_count if lists is None else lists.targets.shape[1]
        self._is_warm = is_warm
        self.market = open_market(tf.constant(prices, tf.float32), self.size)
        self.lists = self._new_lists(tf.range(self.size)) if lists is None else lists
        self._is_bounded = lists is None  # whether the bounds of all lists are known
        self._last = 0.0, 0.0  # epsilon and the rows left over of the last auction
        if not self._is_bounded:
            self._lower_prices()

    def _lower_prices(self) -> None:
        """Opens the market anew, each price at most what a row would pay that has it on its list, all bounds unknown.

        Nobody would take what costs more, before the others have risen: prices of another source are such.
        """
        prices, targets = self.market.prices, self.lists.targets
        would_pay = self.lists.benefits - tf.reduce_max(self._values(), axis=1, keepdims=True)
        highest = tf.tensor_scatter_nd_max(
            tf.fill([self.size], UNKNOWN), tf.reshape(targets, [-1, 1]), tf.reshape(would_pay, [-1])
        )
        lower = tf.where(highest > UNKNOWN, tf.minimum(highest, prices), prices)
        self.market = open_market(lower, self.size)._replace(num_rounds=self.market.num_rounds)
        self.lists = self.lists._replace(bounds=tf.fill([self.size], UNKNOWN))
        self._is_bounded = False

    def _new_lists(self, rows: Tensor) -> Lists:
        problem, prices = self.problem, self.market.prices
        self.num_passes += int(tf.size(rows)) / self.size
        offsets = problem.squares32 + prices
        values, targets = candidates(problem.x, rows, problem.y, offsets, self._count, problem.block_size)
        return Lists(values + tf.gather(prices, targets), targets, tf.reduce_min(values, axis=1))

    def _renew(self, rows: Tensor) -> None:
        if int(tf.size(rows)):
            self.lists = self.lists.replace(rows, self._new_lists(rows))

    def _values(self) -> Tensor:
        return self.lists.values(self.market.prices)

    def bid(self, auction: _Auction) -> None:
        """Runs the auction until few rows are left without a target."""
        best = tf.math.top_k(self._values(), 2)[0]
        epsilon = max(auction.epsilon * float(tf.reduce_mean(best[:, 0] - best[:, 1])), RESOLUTION)
        num_left, limit = int(auction.left * self.size), auction.max_rounds
        while True:
            self.market = run_rounds(self.market, self.lists, epsilon, num_left, limit)
            num_unmatched = int(self.market.num_unmatched)
            if num_unmatched <= num_left:
                return
            if int(self.market.num_rounds) >= limit:
                if num_unmatched <= _MOST_LEFT:
                    return
                limit += auction.max_rounds
                epsilon *= 2.0
            stale = self.market.stale
            self._renew(stale)
            bidders = tf.concat([self.market.bidders, stale], axis=0)
            self.market = self.market._replace(bidders=bidders, stale=stale[:0])

    def give_the_rest(self) -> np.ndarray:
        """Returns the matches, the last few rows matched as well as possible with what is left or what they want most.

        Owners of what they want take part, and may get something else.
        """
        matches, owners = self.market.matches.numpy(), self.market.owners.numpy()
        rows, columns = np.flatnonzero(matches < 0), np.flatnonzero(owners < 0)
        num_wanted = min(_WANTED, _MOST_SHARING // max(len(rows), 1) - 1, self._count)
        if num_wanted > 0:
            best = tf.math.top_k(tf.gather(self._values(), rows), num_wanted)[1]
            wanted = np.unique(tf.gather(tf.gather(self.lists.targets, rows), best, batch_dims=1))
            wanted = wanted[owners[wanted] >= 0]
            rows, columns = np.concatenate([owners[wanted], rows]), np.concatenate([wanted, columns])
        values = self.problem.block(rows, columns) - self.market.prices.numpy()[columns]  # prices only for the speed
        matches[rows] = columns[linear_sum_assignment(values, maximize=True)[1]]
        return matches

    def match(self, auctions: tuple[_Auction, ...], tolerance: float, max_iterations: int) -> Matching:
        """Returns what an auction leads to if it is good enough, or else the optimum over better and better lists."""
        maxima, converged = np.empty(0), False
        if self.problem.places is None:
            matches, maxima, converged = self._bid_in(auctions, tolerance)
        else:
            matches = fill_places(self._favourites(), self.problem.places)
        if not (converged or self._is_bounded):
            self._count, self._is_bounded = self._full_count, True
            self.lists = self._new_lists(tf.range(self.size))
        for _ in range(0 if converged else max_iterations):
            matches, own, raised = self._best_of_candidates(matches)
            # Where prices only rise, bounds stay what they are: perhaps they are good enough.
            shifted, self.market = self.market, self.market._replace(prices=tf.constant(raised, tf.float32))
            maxima, converged = self._certify(matches, own, tolerance)
            if converged:
                break
            self.market = shifted
            self._change_prices(raised)
            highest = self._maxima(tf.constant(own, tf.float32), matches)
            rows = tf.cast(tf.where(self.lists.bounds > highest + RESOLUTION)[:, 0], tf.int32)
            if len(rows):
                self._add(rows, self._new_lists(rows))
            maxima, converged = self._certify(matches, own, tolerance)
            if converged:
                break
        prices = self.market.prices.numpy().astype(np.float64)
        best, order = tf.math.top_k(self._values(), min(_KEPT, self._count))
        kept = tf.gather(self.lists.targets, order, batch_dims=1).numpy()
        spread = float(tf.reduce_mean(best[:, 0] - best[:, min(_SPREAD, self._count) - 1]))
        return Matching(matches, prices, maxima, kept, spread, 0, 0.0, converged)

    def _favourites(self) -> np.ndarray:
        """Returns the candidate that each row values most, int32 ``[N]``."""
        best = tf.argmax(self._values(), axis=1)
        favourites: np.ndarray = tf.gather(self.lists.targets, best, batch_dims=1).numpy()
        return favourites

    def _bid_in(self, auctions: tuple[_Auction, ...], tolerance: float) -> tuple[np.ndarray, np.ndarray, bool]:
        """Returns matches, upper bounds of the rows' highest values, and whether an auction was good enough."""
        for auction, following in zip(auctions, (*auctions[1:], None), strict=True):
            if not self._is_worth(auction):
                continue
            self.bid(auction)
            matches = self.give_the_rest()
            own = self._own(matches) if self._is_bounded else None
            maxima, converged = self._certify(matches, own, tolerance)
            if converged or following is None:
                break
            if not self._is_bounded:
                self._tell_the_surprised(maxima)
            elif self._is_warm and int(self.market.num_rounds) >= auction.max_rounds:
                self._lower_prices()
        return matches, maxima, converged

    def _is_worth(self, auction: _Auction) -> bool:
        """Returns whether an auction goes further than the last one, or finds more rows without a target."""
        last, self._last = self._last, (auction.epsilon, auction.left)
        return last != self._last or int(self.market.num_unmatched) > int(auction.left * self.size)

    def _tell_the_surprised(self, maxima: np.ndarray) -> None:
        """Gives rows that see something better than all they know new lists, and takes their targets from them."""
        surprised = is_surprised(tf.constant(maxima), tf.reduce_max(self._values(), axis=1))
        rows = np.flatnonzero(surprised).astype(np.int32)
        self._renew(tf.constant(rows))
        matches, owners = self.market.matches.numpy(), self.market.owners.numpy()
        owners[matches[rows][matches[rows] >= 0]] = -1
        matches[rows] = -1
        bidders = np.flatnonzero(matches < 0).astype(np.int32)
        self.market = self.market._replace(
            owners=tf.constant(owners),
            matches=tf.constant(matches),
            bidders=tf.constant(bidders),
            stale=self.market.stale[:0],
        )  # the stale rows are among the bidders, and find out again

    def _certify(self, matches: np.ndarray, own: np.ndarray | None, tolerance: float) -> tuple[np.ndarray, bool]:
        """Returns upper bounds of the rows' highest values, and whether cost and dual agree.

        Args:
          matches: the target of each row.
          own: their benefits; None to look at all pairs, for lists without bounds.
          tolerance: of cost - dual, relative to the cost.
        """
        problem = self.problem
        if own is None:
            self.num_passes += 1
            maxima = row_maxima(problem.x, problem.y, problem.squares32 + self.market.prices).numpy()
        else:
            maxima = tf.maximum(self._maxima(tf.constant(own, tf.float32), matches), self.lists.bounds).numpy()
        prices = self.market.prices.numpy().astype(np.float64)
        cost = float(np.mean(np.sum((problem.source - problem.target[matches]) ** 2, axis=1)))
        dual = float(np.mean(squares_of(problem.source))) - float(np.mean(maxima, dtype=np.float64))
        most = max(tolerance * cost, 2.0 * RESOLUTION)
        # What rounding may hide counts, where it is small; where it is not, the dual is looked at again in float64.
        hidden = min(float(np.mean(problem.rounding(prices))), _HIDDEN * most)
        return maxima, cost - dual + float(np.sum(problem.target_masses * prices)) + hidden <= most

    def _best_of_candidates(self, matches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the best matching of candidates, its benefits, and the lowest prices that prove it."""
        prices = self.market.prices.numpy().astype(np.float64)
        own = self._own(matches)
        if self.problem.places is not None or self.problem.num_directions() <= _NARROW:
            targets = np.concatenate([self.lists.targets.numpy(), matches[:, np.newaxis]], axis=1)
            benefits = np.concatenate([self.lists.benefits.numpy(), own[:, np.newaxis]], axis=1)
            matches, raised = match_by_paths(targets, benefits, prices, matches, RESOLUTION, self.problem.places)
            return matches, self._own(matches), raised
        matches = match_candidates(self.lists, prices, matches, own)
        own = self._own(matches)
        owners = np.empty(self.size, np.int32)
        owners[matches] = np.arange(self.size)
        return matches, own, raise_prices(prices, owners, matches, own, self.lists, RESOLUTION).numpy()

    def _own(self, matches: np.ndarray) -> np.ndarray:
        """Returns the benefits of the rows' targets as their lists have them, if they do, in float64."""
        listed = self.lists.targets.numpy() == matches[:, np.newaxis]
        at = np.argmax(listed, axis=1)[:, np.newaxis]
        values = np.take_along_axis(self.lists.benefits.numpy(), at, axis=1)[:, 0]
        own = np.where(listed.any(axis=1), values, self.problem.benefits(matches).astype(np.float32))
        return own.astype(np.float64)

    def _maxima(self, own: Tensor, matches: np.ndarray) -> Tensor:
        return tf.maximum(tf.reduce_max(self._values(), axis=1), own - tf.gather(self.market.prices, matches))

    def _change_prices(self, raised: np.ndarray) -> None:
        """Sets prices that have risen, shifted back so that the most have risen little.

        A row far from all targets raises nearly all prices alike, which changes nothing but that all lists seem used
        up. Those that are lower than before, after the shift, are looked at once more by all rows.
        """
        before = self.market.prices.numpy()
        new = (raised - np.quantile(raised - before, _RISEN)).astype(np.float32)
        self.market = self.market._replace(prices=tf.constant(new))
        lowered = np.flatnonzero(new < before).astype(np.int32)
        if not len(lowered):
            return
        problem, prices, lists = self.problem, self.market.prices, self.lists
        self.num_passes += len(lowered) / self.size
        values, at = candidates(
            problem.x,
            tf.range(self.size),
            tf.gather(problem.y, lowered),
            tf.gather(problem.squares32 + prices, lowered),
            min(self._count, len(lowered)),
            problem.block_size,
        )
        bounds = lists.bounds if at.shape[1] == len(lowered) else tf.maximum(lists.bounds, values[:, -1])
        targets = tf.gather(lowered, at)
        self._add(tf.range(self.size), Lists(values + tf.gather(prices, targets), targets, bounds))

    def _add(self, rows: Tensor, new: Lists) -> None:
        self.lists = self.lists.add(rows, new, self.market.prices, self._count * _GROWTH)
