"""What rows know of the targets: the few that each values most, and a bound of the others.

Prices only rise in an auction: the best of a row's candidates stays its best of all as long as its value is above the
bound. Exact steps change prices both ways, and there lists grow.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.transport.problem import Problem
from tfzoo.transport.scan import row_maxima, scores_at
from tfzoo.types import Tensor

__all__ = ["RESOLUTION", "UNKNOWN", "Lists", "is_surprised", "known_lists"]

RESOLUTION = 1e-6  # of values in float32

UNKNOWN = -3e38  # bound of a row of whose other targets nothing is known, and benefit of a candidate that is none
_GATHERED = 2**23  # coordinates of candidates that are held at once
_ASKED, _SURPRISED = 128, 0.05  # of so many rows so many may see something better than what they know


class Lists(NamedTuple):
    """The best candidates of each row.

    Attributes:
      benefits: a_ij of the candidates, ``[N, K]``; `UNKNOWN` for none, a target that stands before it already.
      targets: which they are, int32 ``[N, K]``.
      bounds: no other target has a value above it, ``[N]``.
    """

    benefits: Tensor
    targets: Tensor
    bounds: Tensor

    def values(self, prices: Tensor) -> Tensor:
        """Returns what rows would gain by their candidates, ``[N, K]``."""
        return self.benefits - tf.gather(prices, self.targets)

    def replace(self, rows: Tensor, new: "Lists") -> "Lists":
        """Returns the lists with those of `rows` replaced."""
        at = rows[:, tf.newaxis]
        return Lists(*(tf.tensor_scatter_nd_update(old, at, part) for old, part in zip(self, new, strict=True)))

    def add(self, rows: Tensor, new: "Lists", prices: Tensor, most: int) -> "Lists":
        """Returns the lists with new candidates ``[R, C]`` added to those of `rows`, whose bounds become the new ones.

        What was known stays, up to the best `most` of each row at these prices. With the new ones only, the rows of a
        cluster whose prices have risen would know nothing but other clusters, could not find back, and would raise the
        prices of those, and so on.
        """
        at = rows[:, tf.newaxis]
        is_known = tf.zeros(tf.shape(new.targets), tf.bool)
        for known in tf.unstack(tf.gather(self.targets, rows), axis=1):
            is_known |= new.targets == known[:, tf.newaxis]
        added = tf.where(is_known, UNKNOWN, new.benefits)
        # Where there is nothing to add, a target that the row knows stands once more, as none.
        targets = tf.repeat(self.targets[:, :1], new.targets.shape[1], axis=1)
        benefits = tf.tensor_scatter_nd_update(tf.fill(tf.shape(targets), UNKNOWN), at, added)
        targets = tf.tensor_scatter_nd_update(targets, at, new.targets)
        grown = Lists(
            tf.concat([self.benefits, benefits], axis=1),
            tf.concat([self.targets, targets], axis=1),
            tf.tensor_scatter_nd_update(self.bounds, at, new.bounds),
        )
        if grown.targets.shape[1] <= most:
            return grown
        best, order = tf.math.top_k(grown.values(prices), most + 1)
        benefits, targets = (tf.gather(part, order[:, :most], batch_dims=1) for part in grown[:2])
        return Lists(benefits, targets, tf.maximum(grown.bounds, best[:, most]))


def known_lists(
    problem: Problem, prices: np.ndarray, known: np.ndarray, generator: np.random.Generator
) -> Lists | None:
    """Returns lists of what each row knows; None if too many see something better at these prices."""
    some = generator.permutation(len(known))[:_ASKED]
    targets = tf.constant(known)
    rows = max(1, min(problem.block_size, _GATHERED // (known.shape[1] * problem.source.shape[1])))
    benefits = scores_at(problem.x, problem.y, problem.squares32, targets, rows)
    prices32 = tf.constant(prices, tf.float32)
    highest = row_maxima(tf.gather(problem.x, some), problem.y, problem.squares32 + prices32)
    best = tf.reduce_max(tf.gather(benefits, some) - tf.gather(prices32, known[some]), axis=1)
    if np.mean(is_surprised(highest, best)) > _SURPRISED:
        return None
    return Lists(benefits, targets, tf.fill([len(known)], UNKNOWN))


def is_surprised(highest: Tensor, best: Tensor) -> np.ndarray:
    """Returns which rows see something better than the best they know, by more than rounding."""
    return (highest > best + RESOLUTION * (1.0 + tf.abs(best))).numpy()
