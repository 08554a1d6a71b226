"""Points as the solvers want them: centred, of mean square 1 together, in float64 and in float32.

Squared distances between centred points and between the points themselves differ by that of the means, in every
coupling of the same masses. Centred, squares do not cancel in float32; scaled, tolerances mean the same in every unit.

Sums over many points are NumPy's or TensorFlow's own: a BLAS library's threads wait busily for more work, and take the
cores from what comes next.
"""

import numpy as np
import tensorflow as tf

from tfzoo.transport import scan

__all__ = ["EXACT_PAIRS", "Problem", "squares_of"]

EXACT_PAIRS = 2**25  # so many pairs are looked at in float64 for the dual
_FINEST = 4e-6  # gap of prices in float32, and of equal points, of the points' mean squares
_TIE_SIZE, _TIE_DIMENSIONS = 1.5e-3, 4
_MOST_FAR = 0.05  # share of prices that may be farther off than those of optima
_SOME = 250  # points of each side that tell how all of them spread


def _mean(masses: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.einsum("n,n...->...", masses, values)


def _centred(points: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns the points without their mean; of a single one, repeated, not what rounding leaves of it."""
    return np.zeros_like(points) if np.all(points == points[0]) else points - mean


def squares_of(points: np.ndarray) -> np.ndarray:
    """Returns the square of each point's norm ``[N]``."""
    return np.einsum("nd,nd->n", points, points)


class Problem:
    """Source and target points with their masses.

    Attributes:
      source: centred and scaled, ``[N, D]``, float64.
      target: likewise, ``[M, D]``.
      x: the source in float32.
      y: the target in float32.
      squares: |y_j|^2, ``[M]``, float64.
      squares32: in float32.
      source_masses: of sum 1, ``[N]``, float64.
      target_masses: likewise, ``[M]``.
      places: how many rows each target takes, in a part of equal points; None for one each, or for masses.
      shift: the squared distance of the means, which every coupling costs beside what `cost` and `dual` tell.
      block_size: rows that are looked at together.
    """

    places: np.ndarray | None = None

    def __init__(
        self,
        source: np.ndarray,
        target: np.ndarray,
        source_masses: np.ndarray,
        target_masses: np.ndarray,
        block_size: int | None,
    ) -> None:
        source, target = source.astype(np.float64), target.astype(np.float64)
        self._mean, mean = _mean(source_masses, source), _mean(target_masses, target)
        self.shift = float(np.sum((self._mean - mean) ** 2))
        self._original_target = target
        source, target = _centred(source, self._mean), _centred(target, mean)
        square = _mean(source_masses, squares_of(source)) + _mean(target_masses, squares_of(target))
        self._scale = float(np.sqrt(square)) or 1.0
        self._ties: tuple[np.ndarray, np.ndarray] | None = None
        self._untied: tuple[np.ndarray, np.ndarray] | None = None
        self.source_masses, self.target_masses = source_masses, target_masses
        self.block_size = min(block_size or scan.default_block_size(len(target)), len(source))
        self._set_points(source / self._scale, target / self._scale)

    def _set_points(self, source: np.ndarray, target: np.ndarray) -> None:
        self.source, self.target = source, target
        self.x, self.y = tf.constant(source, tf.float32), tf.constant(target, tf.float32)
        self.squares = squares_of(target)
        self.squares32 = tf.constant(self.squares, tf.float32)

    def part(self, rows: np.ndarray, columns: np.ndarray) -> "Problem":
        """Returns the problem of some points, as many rows as columns, in the same coordinates and of equal masses.

        Where targets have places, each column is one of all places.
        """
        if self.places is None:
            return self.of(self.source[rows], self.target[columns])
        targets = np.repeat(np.arange(len(self.places)), self.places)[columns]
        targets, places = np.unique(targets, return_counts=True)
        return self.of(self.source[rows], self.target[targets], places)

    def of(self, source: np.ndarray, target: np.ndarray, places: np.ndarray | None = None) -> "Problem":
        """Returns the problem of points that have this one's coordinates already, all rows of equal mass.

        It has no units of its own: costs, duals and potentials are for the whole one to tell.
        """
        problem = object.__new__(Problem)
        problem._ties = problem._untied = None
        problem.source_masses = problem.target_masses = np.full(len(source), 1.0 / len(source))
        if places is not None:
            problem.places, problem.target_masses = places, places / len(source)
        problem.block_size = min(self.block_size, len(source))
        problem._set_points(source, target)
        return problem

    def break_ties(self, generator: np.random.Generator) -> None:
        """Sets equal points apart, by a little noise in coordinates of their own.

        Rows that see equal values everywhere would all ask for the same targets. What the noise may change in the dual
        is taken off it.
        """
        source, target = self._untied = self.source, self.target
        shape = len(source) + len(target), _TIE_DIMENSIONS
        noise = _TIE_SIZE * generator.uniform(-1.0, 1.0, size=shape)
        ties = self._ties = noise[: len(source)], noise[len(source) :]
        self._set_points(np.concatenate([source, ties[0]], axis=1), np.concatenate([target, ties[1]], axis=1))

    def benefits(self, matches: np.ndarray) -> np.ndarray:
        """Returns 2 <x_i, y_j> - |y_j|^2 for the target j of each row, ``[N]``, in float64."""
        return 2.0 * np.einsum("nd,nd->n", self.source, self.target[matches]) - self.squares[matches]

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Returns 2 <x_i, y_j> - |y_j|^2 for some rows and some targets, in float64."""
        products = tf.matmul(self.source[rows], self.target[columns], transpose_b=True).numpy()
        return 2.0 * products - self.squares[columns]

    def num_directions(self) -> float:
        """Returns in how many directions the points spread, 1 to D: the participation ratio of their variances."""
        some = [points[:: max(1, len(points) // _SOME)] for points in (self.source, self.target)]
        points = tf.constant(np.concatenate(some))
        products = tf.matmul(points, points, transpose_b=True).numpy()
        return float(np.trace(products) ** 2 / max(np.sum(products**2), np.finfo(float).tiny))

    def typical_difference(self) -> float:
        """Returns by how much one matching of two rows is better than the other, as a median over some."""
        source, target = (points[:: max(1, len(points) // _SOME)] for points in (self.source, self.target))
        values = 2.0 * np.einsum("nd,md->nm", source, target)
        # What a row has at all targets, or a target at all rows, makes no difference. Medians ignore far points.
        values -= np.median(values, axis=0)
        values -= np.median(values, axis=1, keepdims=True)
        return float(np.median(np.abs(values)))

    def cost(self, matches: np.ndarray) -> float:
        """Returns the mean squared distance over the rows that have a target, by their masses, less `shift`.

        It is in the points' units, as the dual is: both would lose to a large shift what they differ by.
        """
        source, target = self._points()
        masses = np.where(matches >= 0, self.source_masses, 0.0)
        masses /= masses.sum()
        # Without some rows, or with cells of wrong masses, the means are not those of the points that are matched.
        cells = np.bincount(np.maximum(matches, 0), masses, len(target))
        beside = _mean(masses - self.source_masses, source) - _mean(cells - self.target_masses, target)
        along = np.sum(beside * self._mean_difference()) / self._scale
        return float(_mean(masses, squares_of(source - target[matches])) + 2.0 * along) * self._scale**2

    def dual(self, prices: np.ndarray, maxima: np.ndarray | None = None) -> float:
        """Returns the dual at these prices, less `shift`: no coupling costs less.

        Small problems are looked at again in float64. For larger ones rounding is bounded, and taken off.

        Args:
          prices: ``[M]``, float64.
          maxima: what float32 finds as upper bounds of each row's highest value, ``[N]``; None to look again, at
            problems of any size.
        """
        source, target = self._points()
        squares = squares_of(target)
        if maxima is None or source.shape[0] * target.shape[0] <= EXACT_PAIRS:
            maxima = scan.row_maxima(*map(tf.constant, (source, target, squares + prices))).numpy()
        else:
            maxima = maxima.astype(np.float64) + self.rounding(prices)
        value = _mean(self.source_masses, squares_of(source) - maxima)
        return float(value - _mean(self.target_masses, prices)) * self._scale**2

    def is_within(self, tolerance: float, cost: float, dual: float) -> bool:
        """Returns whether cost and dual are so near, relatively, or as near as float32 can bring them."""
        return cost - dual <= max(tolerance * cost, _FINEST * self._scale**2)

    def rounding(self, prices: np.ndarray) -> np.ndarray:
        """Returns bounds of what rounding may take off each row's highest value in float32, ``[N]``."""
        largest = np.sqrt(self.squares.max())
        sizes = 2.0 * np.linalg.norm(self.source, axis=1) * largest + np.abs(self.squares + prices).max()
        rounding = 2.0**-23 * (self.source.shape[1] + 4) * sizes
        if self._ties is not None:
            far = np.linalg.norm(self._ties[1], axis=1).max()
            rounding += 2.0 * np.linalg.norm(self._ties[0], axis=1) * far + far**2
        return rounding

    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        return (self.source, self.target) if self._untied is None else self._untied

    def _mean_difference(self) -> np.ndarray:
        return self._mean - _mean(self.target_masses, self._original_target)

    def _along_mean(self) -> np.ndarray:
        return np.einsum("md,d->m", self._original_target, self._mean)

    def potentials(self, prices: np.ndarray) -> np.ndarray:
        """Returns h ``[M]``, centred: x goes to the j of the highest <x, y_j> + h_j, in the points' own coordinates."""
        _, target = self._points()
        h = -0.5 * self._scale**2 * (squares_of(target) + prices) - self._along_mean()
        return h - h.mean()

    def prices(self, potentials: np.ndarray) -> np.ndarray | None:
        """Returns the prices of these potentials, with mean 0, none farther off than prices of optima can be.

        None where many are farther off: they are no potentials of such points.
        """
        source, target = self._points()
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is far off too
            h = potentials.astype(np.float64) + self._along_mean()
            prices = -2.0 * h / self._scale**2 - squares_of(target)
            prices = prices - np.median(prices)
        # A row moves from one target to another for the difference of its benefits.
        x, y = (np.sqrt(squares_of(points).max()) for points in (source, target))
        farthest = 4.0 * x * y + y**2
        if np.mean(np.abs(prices) <= farthest) < 1.0 - _MOST_FAR:
            return None
        prices = np.clip(prices, -farthest, farthest)
        return prices - prices.mean()
