"""Increasing maps of one number whose parameters are the output of a network: what a coupling or the like does to each.

Parameters of 0 give the identity, or nearly so. `forward` is base to posterior, as in every flow.

References:
  Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", https://arxiv.org/abs/1605.08803
  Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", https://arxiv.org/abs/1807.03039
  Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", https://arxiv.org/abs/1906.04032
"""

import abc
import math
from typing import NamedTuple

import tensorflow as tf

from tfzoo.checks import check_positive_number, check_whole
from tfzoo.types import Tensor

__all__ = ["Affine", "Elementwise", "SigmoidAffine", "Spline"]


class Elementwise(abc.ABC):
    """A map of numbers ``[..., M]`` with `num_parameters` n each, ``[..., M, n]``; leading dimensions broadcast."""

    num_parameters: int

    @abc.abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the image of `x` and the logarithm of the derivative, ``[..., M]`` each."""

    @abc.abstractmethod
    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        """Returns what `forward` maps to `y`, ``[..., M]``."""

    def inverse_and_log_slope(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what `forward` maps to `y` and the logarithm of the inverse's derivative, ``[..., M]`` each."""
        x = self.inverse(y, parameters)
        return x, -self.forward(x, parameters)[1]


class Affine(Elementwise):
    """``y = x / scale - shift`` with ``log(scale) = 2 tanh(s / 2)``: RealNVP's form, its bound fixed.

    The papers write the inverse, ``x = (y + shift) * scale``.
    """

    num_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the image of `x` and the logarithm of the derivative, ``[..., M]`` each."""
        log_scale = self._log_scale(parameters[..., 1])
        y = x * tf.exp(-log_scale) - parameters[..., 0]
        return y, -log_scale + tf.zeros_like(y)

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        """Returns what `forward` maps to `y`, ``[..., M]``."""
        return (y + parameters[..., 0]) * tf.exp(self._log_scale(parameters[..., 1]))

    def inverse_and_log_slope(self, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what `forward` maps to `y` and the logarithm of the inverse's derivative, ``[..., M]`` each."""
        log_scale = self._log_scale(parameters[..., 1])
        x = (y + parameters[..., 0]) * tf.exp(log_scale)
        return x, log_scale + tf.zeros_like(x)

    def _log_scale(self, raw: Tensor) -> Tensor:
        return 2.0 * tf.tanh(0.5 * raw)


class SigmoidAffine(Affine):
    """As `Affine` with Glow's ``scale = sigmoid(s + 2)``, which starts at 0.88.

    It stays above 0.001 here, for `forward` divides by it.
    """

    def _log_scale(self, raw: Tensor) -> Tensor:
        return tf.math.log(1e-3 + (1.0 - 1e-3) * tf.sigmoid(raw + 2.0))


class Spline(Elementwise):
    """A monotonic rational-quadratic spline on [-bound, bound], the identity outside, with a continuous derivative.

    Args:
      num_bins: pieces, at least 2.
      bound: where the identity begins, positive.

    Raises:
      ValueError: if there are too few bins, or the bound is not positive.
    """

    # As a share of equal bins, and as a slope: what keeps the inverse well-conditioned.
    _MIN_BIN = 0.05
    _MIN_SLOPE = 0.01

    def __init__(self, num_bins: int, bound: float) -> None:
        self.num_bins = check_whole("num_bins", num_bins, 2)
        self.bound = check_positive_number("bound", bound)
        self.num_parameters = 3 * self.num_bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the image of `x` and the logarithm of the derivative, ``[..., M]`` each."""
        x = x + tf.zeros_like(parameters[..., 0])
        # By this, far points meet no arithmetic that overflows, for their gradients would be NaN.
        inside = tf.abs(x) < self.bound
        within = tf.where(inside, x, 0.0)
        xs, ys, slopes = self.knots(parameters)
        piece = _piece(within, xs, (xs, ys, slopes))
        t = (within - piece.x) / piece.width
        rest = t * (1.0 - t)
        denominator = piece.mean + piece.bend * rest
        y = piece.y + piece.height * (piece.mean * tf.square(t) + piece.slope * rest) / denominator
        numerator = piece.next_slope * tf.square(t) + 2.0 * piece.mean * rest + piece.slope * tf.square(1.0 - t)
        log_slope = 2.0 * tf.math.log(piece.mean / denominator) + tf.math.log(numerator)
        return tf.where(inside, y, x), tf.where(inside, log_slope, 0.0)

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        """Returns what `forward` maps to `y`, ``[..., M]``."""
        y = y + tf.zeros_like(parameters[..., 0])
        inside = tf.abs(y) < self.bound
        within = tf.where(inside, y, 0.0)
        xs, ys, slopes = self.knots(parameters)
        piece = _piece(within, ys, (xs, ys, slopes))
        # The root of a t^2 + b t + c in [0, 1], in the form that does not cancel. All three are slopes, for any bound.
        rise = (within - piece.y) / piece.height
        a = piece.mean - piece.slope + rise * piece.bend
        b = piece.slope - rise * piece.bend
        c = -piece.mean * rise
        # Positive but for rounding; not 0, where the root has no gradient.
        discriminant = tf.maximum(tf.square(b) - 4.0 * a * c, 1e-12)
        t = -2.0 * c / (b + tf.sqrt(discriminant))
        return tf.where(inside, piece.x + t * piece.width, y)

    def knots(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns places, values and slopes of the num_bins + 1 knots, ``[..., M, num_bins + 1]`` each."""
        widths, heights, slopes = tf.split(parameters, [self.num_bins, self.num_bins, self.num_bins - 1], axis=-1)
        one = tf.ones_like(slopes[..., :1])
        # softplus gives 1 where the parameter is 0: the identity.
        slopes = self._MIN_SLOPE + tf.nn.softplus(slopes + math.log(math.expm1(1.0 - self._MIN_SLOPE)))
        return self._places(widths), self._places(heights), tf.concat([one, slopes, one], axis=-1)

    def _places(self, raw: Tensor) -> Tensor:
        shares = self._MIN_BIN / self.num_bins + (1.0 - self._MIN_BIN) * tf.nn.softmax(raw)
        inner = self.bound * (2.0 * tf.cumsum(shares, axis=-1)[..., :-1] - 1.0)
        # The ends are exact, not up to rounding.
        end = self.bound * tf.ones_like(inner[..., :1])
        return tf.concat([-end, inner, end], axis=-1)


class _Piece(NamedTuple):
    """The piece of a spline that a number falls in, ``[..., M]`` each."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor  # at its beginning
    next_slope: Tensor
    mean: Tensor  # the slope of the chord
    bend: Tensor


def _piece(value: Tensor, places: Tensor, knots: tuple[Tensor, Tensor, Tensor]) -> _Piece:
    """Returns the piece for `value` ``[..., M]`` among `places`, the knots' x or y."""
    # Chosen by a mask, not by tf.gather: that one, as in tfb.RationalQuadraticSpline, is wrong in tf.vectorized_map.
    is_after = tf.cast(value[..., tf.newaxis] >= places[..., 1:-1], value.dtype)
    one = tf.ones_like(is_after[..., :1])
    mask = tf.concat([one, is_after], axis=-1) - tf.concat([is_after, tf.zeros_like(one)], axis=-1)

    def choose(values: Tensor) -> Tensor:
        return tf.reduce_sum(mask * values, axis=-1)

    x, y, slope = (choose(knot[..., :-1]) for knot in knots)
    width, height = (choose(knot[..., 1:] - knot[..., :-1]) for knot in knots[:2])
    next_slope, mean = choose(knots[2][..., 1:]), height / width
    return _Piece(x, y, width, height, slope, next_slope, mean, slope + next_slope - 2.0 * mean)
