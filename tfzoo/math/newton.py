"""Newton's method for the gradients of strongly convex functions, many at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["Inverse", "invert_gradient"]


class Inverse(NamedTuple):
    """Where a gradient takes given values, as far as was found."""

    position: Tensor  # [..., D], the best point found
    converged: Tensor  # [...], bool
    num_iterations: Tensor  # [...], int32, evaluations of value, gradient and Hessian

    @property
    def num_unconverged(self) -> Tensor:
        """How many are not converged, int32 ``[]``."""
        return tf.reduce_sum(tf.cast(tf.logical_not(self.converged), tf.int32))


class _State(NamedTuple):
    position: Tensor  # [..., D]
    loss: Tensor  # [...], what is minimised, there
    slope: Tensor  # [...], its derivative along the direction, negative
    residual: Tensor  # [...], norm of its gradient
    direction: Tensor  # [..., D], Newton's
    step: Tensor  # [...], how much of it is tried next
    converged: Tensor  # [...]
    active: Tensor  # [...]
    num_iterations: Tensor  # [...]


def invert_gradient(
    derivatives: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    y: Tensor,
    *,
    curvature: Tensor,
    max_iterations: int,
) -> Inverse:
    """Returns the points at which the gradient of G is `y`, by minimising the convex ``G(z) - sum(y * z)``.

    Newton's method from the origin, with steps halved until the loss falls enough (Armijo), or, where its change
    drowns in rounding, until the norm of its gradient does. For a strongly convex G this ends at the one solution. Rows
    that have ended stay as they are, whatever the others need.

    A row is converged when the residual ``y - gradient`` proves the solution to be near (no more than the residual over
    the curvature away), or is what rounding of the point makes of 0. A last full step is then taken.

    No gradient flows through the result.

    Args:
      derivatives: positions ``[..., D]`` to G ``[...]``, gradient ``[..., D]`` and Hessian ``[..., D, D]``, each of its
        own position only.
      y: ``[..., D]``, with all leading dimensions.
      curvature: a lower bound of the Hessian's eigenvalues, positive, broadcasting with ``[...]``.
      max_iterations: the most evaluations, at least 1.
    """
    epsilon = float(np.finfo(y.dtype.as_numpy_dtype).eps)
    near = epsilon**0.5  # squared by the last step

    def try_step(state: _State) -> tuple[_State]:
        # Where a row has ended it is evaluated again, for nothing: shapes are fixed.
        trial = state.position + state.step[..., tf.newaxis] * state.direction
        value, gradient, hessian = derivatives(trial)
        product = tf.reduce_sum(y * trial, axis=-1)
        loss = value - product
        difference = y - gradient
        residual = tf.norm(difference, axis=-1)
        newton = tf.linalg.cholesky_solve(tf.linalg.cholesky(hessian), difference[..., tf.newaxis])[..., 0]

        drowned = 8.0 * epsilon * (1.0 + tf.abs(value) + tf.abs(product))
        falls = loss <= state.loss + 1e-4 * state.step * state.slope
        falls |= (loss <= state.loss + drowned) & (residual <= (1.0 - 1e-4 * state.step) * state.residual)
        falls &= state.active & tf.reduce_all(tf.math.is_finite(newton), axis=-1)

        size = 1.0 + tf.norm(trial, axis=-1)
        rounding = tf.linalg.matvec(tf.abs(hessian), tf.abs(trial)) + tf.abs(y)
        converged = residual <= near * size * curvature
        converged |= tf.reduce_all(tf.abs(difference) <= 4.0 * epsilon * rounding, axis=-1)
        converged &= falls

        position = tf.where(falls[..., tf.newaxis], trial, state.position)
        step = tf.where(falls, tf.ones_like(residual), 0.5 * state.step)
        return (
            _State(
                position=tf.where(converged[..., tf.newaxis], trial + newton, position),
                loss=tf.where(falls, loss, state.loss),
                slope=tf.where(falls, -tf.reduce_sum(difference * newton, axis=-1), state.slope),
                residual=tf.where(falls, residual, state.residual),
                direction=tf.where(falls[..., tf.newaxis], newton, state.direction),
                step=step,
                converged=state.converged | converged,
                active=state.active & ~converged & (step > epsilon),
                num_iterations=state.num_iterations + tf.cast(state.active, tf.int32),
            ),
        )

    y = tf.stop_gradient(y)
    row = tf.zeros_like(y[..., 0])
    start = _State(
        position=tf.zeros_like(y),
        loss=row + y.dtype.max,
        slope=row,
        residual=row + y.dtype.max,
        direction=tf.zeros_like(y),
        step=row + 1.0,
        converged=tf.zeros_like(row, tf.bool),
        active=tf.ones_like(row, tf.bool),
        num_iterations=tf.zeros_like(row, tf.int32),
    )
    (end,) = tf.while_loop(
        lambda state: tf.reduce_any(state.active), try_step, (start,), maximum_iterations=max_iterations
    )
    return Inverse(tf.stop_gradient(end.position), end.converged, end.num_iterations)
