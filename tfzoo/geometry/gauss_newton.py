"""Curves of least energy, many at once, by Gauss and Newton's method with Levenberg and Marquardt's damping.

The energy of a curve is a sum of squares, and what the Gauss-Newton matrix leaves out of the second derivative is small
where a curve is nearly a geodesic: three or four evaluations do for most curves. Each curve has its own damping, step
and stop, and none sees another one.

Few curves need many evaluations, so each round of the loop evaluates a block of those that have not ended; memory is
that of a block.

References:
  Nocedal, Wright, "Numerical Optimization", 2006, chapter 10
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.geometry.residuals import Residuals
from tfzoo.types import Tensor

__all__ = ["Minimum", "minimize"]


class Minimum(NamedTuple):
    """What was found."""

    coefficients: Tensor  # [B, K, D]
    energy: Tensor  # [B]
    length: Tensor  # [B]
    converged: Tensor  # [B], bool
    num_iterations: Tensor  # [B], int32, evaluations


class _State(NamedTuple):
    coefficients: Tensor  # [B, K, D], the best so far
    direction: Tensor  # [B, K, D], from there
    slope: Tensor  # [B], derivative of the energy along it, not positive
    step: Tensor  # [B], how much of it is tried next
    damping: Tensor  # [B]
    energy: Tensor  # [B]
    length: Tensor  # [B]
    converged: Tensor  # [B]
    active: Tensor  # [B]
    num_iterations: Tensor  # [B]


class _Model(NamedTuple):
    energy: Tensor  # [C]
    length: Tensor  # [C]
    gradient: Tensor  # [C, K D]
    matrix: Tensor  # [C, K D, K D]


def minimize(
    residuals_fn: Callable[[Tensor, Tensor], Residuals],
    values: np.ndarray,
    start: Tensor,
    *,
    tolerance: float,
    max_iterations: int,
    block_size: int,
) -> Minimum:
    """Returns the coefficients of least energy.

    A curve has converged where ``g' H^-1 g <= tolerance * energy`` for its gradient g and Gauss-Newton matrix H, twice
    what another step promises to gain, or where that is less than rounding makes of an energy of 0. Energies never
    rise from one accepted step to the next.

    Args:
      residuals_fn: of coefficients ``[C, K, D]`` of curves, and which ones they are, int32 ``[C]``.
      values: of the basis at the times of the points, ``[P, K]``.
      start: coefficients to start from, ``[B, K, D]``.
      tolerance: positive.
      max_iterations: the most evaluations of each curve, at least 1.
      block_size: how many curves are evaluated at once, at least 1.
    """
    dtype, shape = start.dtype, start.shape[1:]
    width = shape.num_elements()
    # What rounding may make of the least eigenvalue of a matrix with a diagonal of ones.
    least_damping = 16.0 * width * float(np.finfo(dtype.as_numpy_dtype).eps)

    def advance(state: _State) -> tuple[_State]:
        rows = tf.math.top_k(
            tf.cast(state.active, tf.int32), tf.minimum(block_size, tf.shape(state.energy)[0]), sorted=False
        ).indices
        old = _State(*(tf.gather(each, rows) for each in state))
        trial = old.coefficients + old.step[:, tf.newaxis, tf.newaxis] * old.direction
        residuals = residuals_fn(trial, rows)
        model = _model(residuals.gram, values)

        falls = tf.math.is_finite(model.energy) & tf.reduce_all(tf.math.is_finite(model.matrix), axis=[-2, -1])
        falls &= old.active & (model.energy <= old.energy + 1e-4 * old.step * old.slope)
        damping = tf.where(falls, tf.where(old.step < 1.0, old.damping, 0.2 * old.damping), 4.0 * old.damping)
        damping = tf.maximum(damping, least_damping)
        _, promise = _solve(model, falls, tf.fill(tf.shape(damping), tf.constant(least_damping, dtype)))
        direction, decrease = _solve(model, falls, damping)

        ends = falls & (promise <= tolerance * model.energy + residuals.rounding)
        step = tf.where(falls, tf.ones_like(old.step), 0.25 * old.step)
        count = old.num_iterations + tf.cast(old.active, tf.int32)
        fallen = falls[:, tf.newaxis, tf.newaxis]
        new = _State(
            coefficients=tf.where(fallen, trial, old.coefficients),
            direction=tf.where(fallen, tf.reshape(direction, [-1, *shape]), old.direction),
            slope=tf.where(falls, -decrease, old.slope),
            step=step,
            damping=damping,
            energy=tf.where(falls, model.energy, old.energy),
            length=tf.where(falls, model.length, old.length),
            converged=old.converged | ends,
            active=old.active & ~ends & (step > 1e-6) & (count < max_iterations),
            num_iterations=count,
        )
        index = rows[:, tf.newaxis]
        return (
            _State(*(tf.tensor_scatter_nd_update(all_, index, some) for all_, some in zip(state, new, strict=True))),
        )

    zero = tf.zeros_like(start[:, 0, 0])
    state = _State(
        coefficients=start,
        direction=tf.zeros_like(start),
        slope=zero,
        step=zero + 1.0,
        damping=zero + 1e-3,
        energy=zero + np.inf,
        length=zero + np.inf,
        converged=tf.zeros_like(zero, tf.bool),
        active=tf.ones_like(zero, tf.bool),
        num_iterations=tf.zeros_like(zero, tf.int32),
    )
    (state,) = tf.while_loop(lambda state: tf.reduce_any(state.active), advance, (state,))
    return Minimum(state.coefficients, state.energy, state.length, state.converged, state.num_iterations)


def _model(gram: Tensor, values: np.ndarray) -> _Model:
    """Returns energy, gradient and Gauss-Newton matrix by the coefficients, from products by the points."""
    pieces, num_basis = len(values) - 1, values.shape[1]
    size = gram.shape[-1] // 2
    # What a coefficient changes of the step, and of the middle, of each piece: [S, 2, K].
    changes = np.stack([np.diff(values, axis=0), 0.5 * (values[1:] + values[:-1])], axis=1)
    pairs = np.einsum("sak,sbl->sabkl", changes, changes).reshape(4 * pieces, -1)

    squares = gram[:, :, -1, -1]
    by_points = tf.reshape(gram[:, :, :-1, -1], [-1, pieces, 2, size])
    gradient = tf.einsum("sak,csad->ckd", tf.constant(changes, gram.dtype), by_points)
    blocks = tf.reshape(gram[:, :, :-1, :-1], [-1, pieces, 2, size, 2, size])
    blocks = tf.reshape(tf.transpose(blocks, [0, 3, 5, 1, 2, 4]), [-1, 4 * pieces])
    matrix = tf.reshape(tf.matmul(blocks, tf.constant(pairs, gram.dtype)), [-1, size, size, num_basis, num_basis])
    width = num_basis * size
    return _Model(
        energy=pieces * tf.reduce_sum(squares, axis=-1),
        length=tf.reduce_sum(tf.sqrt(squares), axis=-1),
        gradient=2.0 * pieces * tf.reshape(gradient, [-1, width]),
        matrix=2.0 * pieces * tf.reshape(tf.transpose(matrix, [0, 3, 1, 4, 2]), [-1, width, width]),
    )


def _solve(model: _Model, known: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the step ``-(H + damping diag H)^-1 g`` and what g loses along it, both 0 where nothing is known."""
    g = tf.where(known[:, tf.newaxis], model.gradient, tf.zeros_like(model.gradient))
    diagonal = tf.linalg.diag_part(model.matrix)
    most = tf.reduce_max(diagonal, axis=-1, keepdims=True)
    diagonal = tf.where(known[:, tf.newaxis] & (most > 0.0), tf.maximum(diagonal, 1e-6 * most), tf.ones_like(diagonal))
    scale = tf.math.rsqrt(diagonal)
    matrix = model.matrix * scale[:, :, tf.newaxis] * scale[:, tf.newaxis, :]
    matrix = tf.where(known[:, tf.newaxis, tf.newaxis], matrix, tf.zeros_like(matrix))
    matrix = tf.linalg.set_diag(matrix, 1.0 + tf.broadcast_to(damping[:, tf.newaxis], tf.shape(diagonal)))
    scaled = tf.linalg.cholesky_solve(tf.linalg.cholesky(matrix), (scale * g)[..., tf.newaxis])[..., 0]
    return -scale * scaled, tf.reduce_sum(scale * g * scaled, axis=-1)
