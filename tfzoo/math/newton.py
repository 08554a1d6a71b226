"""Newton's method for the gradients of strongly convex functions, many at once."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["Inverse", "invert_gradient"]


class Inverse(NamedTuple):
    """Where a gradient takes given values, as far as was found."""

    position: Tensor  # [..., D], the best point found
    converged: Tensor  # [...], bool
    num_iterations: Tensor  # [...], int32, evaluations of gradient and Hessian

    @property
    def num_unconverged(self) -> Tensor:
        """How many are not converged, int32 ``[]``."""
        return tf.reduce_sum(tf.cast(tf.logical_not(self.converged), tf.int32))


class _State(NamedTuple):
    position: Tensor  # [..., D]
    residual: Tensor  # [...], norm of it there
    direction: Tensor  # [..., D], Newton's
    step: Tensor  # [...], how much of it is tried next
    converged: Tensor  # [...]
    active: Tensor  # [...]
    num_iterations: Tensor  # [...]


def invert_gradient(
    gradient_and_hessian: Callable[[Tensor], tuple[Tensor, Tensor]], y: Tensor, *, max_iterations: int
) -> Inverse:
    """Returns the points at which the gradient is `y`, which minimise the convex ``G(z) - sum(y * z)``.

    Newton's method from the origin, with steps halved until the norm of the residual ``y - gradient`` falls, which it
    does along Newton's direction; for a strongly convex G this ends at the one solution. A row is converged when what
    is left to go is so little that one more full step, which is taken, squares it below rounding, or when the residual
    is what rounding of the point makes of 0. Rows that have ended stay as they are, whatever the others need.

    No gradient flows through the result.

    Args:
      gradient_and_hessian: positions ``[..., D]`` to ``[..., D]`` and ``[..., D, D]``, each of its own position only.
      y: ``[..., D]``, with all leading dimensions.
      max_iterations: the most evaluations, at least 1.
    """
    epsilon = tf.experimental.numpy.finfo(y.dtype.as_numpy_dtype).eps
    close = float(epsilon) ** 0.5

    def try_step(state: _State) -> tuple[_State]:
        # Where a row has ended its old point is tried again, for nothing: shapes are fixed.
        trial = state.position + (state.step[..., tf.newaxis] * state.direction)
        gradient, hessian = gradient_and_hessian(trial)
        difference = y - gradient
        residual = tf.norm(difference, axis=-1)
        falls = state.active & (residual <= (1.0 - 1e-4 * state.step) * state.residual)
        newton = tf.linalg.cholesky_solve(tf.linalg.cholesky(hessian), difference[..., tf.newaxis])[..., 0]
        size = 1.0 + tf.reduce_max(tf.abs(trial), axis=-1)
        rounding = tf.linalg.matvec(tf.abs(hessian), tf.abs(trial)) + tf.abs(y)
        near = tf.reduce_max(tf.abs(newton), axis=-1) <= close * size
        near |= tf.reduce_all(tf.abs(difference) <= 4.0 * epsilon * rounding, axis=-1)
        converged = falls & near & tf.reduce_all(tf.math.is_finite(newton), axis=-1)
        position = tf.where(falls[..., tf.newaxis], trial, state.position)
        position = tf.where(converged[..., tf.newaxis], trial + newton, position)
        step = tf.where(falls, tf.ones_like(residual), state.step / 2.0)
        return (
            _State(
                position=position,
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
