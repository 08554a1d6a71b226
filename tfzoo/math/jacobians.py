"""Jacobians of functions of batches of points, each output of its own point only.

With D inputs and M outputs, forward mode costs D passes and reverse mode M. Forward mode is done by differentiating
``u -> J'u``, which is linear in u, D times by u: all D passes share one evaluation of the function, where as many
`tf.autodiff.ForwardAccumulator`s would evaluate it D times. Needs two derivatives of every operation, as they do.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["directional_derivative", "outputs", "value_and_jacobian"]


def outputs(fn: Callable[[Tensor], Any], z: Tensor) -> tuple[Tensor, ...]:
    """Returns what `fn` makes of `z`, always as a tuple, each flattened to ``[N, M]`` and of the dtype of `z`.

    Args:
      fn: points ``[N, D]`` to one output ``[N, ...]`` or a tuple (or list) of such.
      z: ``[N, D]``.

    Raises:
      ValueError: if an output is no real number, or not one for each point.
    """
    result = fn(z)
    flat = []
    for y in result if isinstance(result, (tuple, list)) else (result,):
        y = tf.convert_to_tensor(y)
        if not y.dtype.is_floating or y.shape.rank == 0 or not y.shape[:1].is_compatible_with(z.shape[:1]):
            raise ValueError(
                f"a function of {z.shape[0]} points must return floating-point numbers for each of them, [N, ...]. "
                f"Received: {y.dtype.name} {y.shape}"
            )
        size = y.shape[1:].num_elements()
        flat.append(tf.cast(tf.reshape(y, [tf.shape(z)[0], -1 if size is None else size]), z.dtype))
    return tuple(flat)


def value_and_jacobian(fn: Callable[[Tensor], Any], z: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Returns the outputs ``[N, M]`` of `fn` at `z` ``[N, D]``, and their derivatives ``[N, D, M]``.

    By forward mode, unless there are fewer outputs than inputs. Arguments and errors as `outputs`; D must be known.
    """
    size = z.shape[-1]
    with tf.GradientTape(persistent=True) as outer:
        with tf.GradientTape(persistent=True) as inner:
            inner.watch(z)
            values = outputs(fn, z)
        widths = [y.shape[-1] for y in values]
        if None not in widths and sum(widths) < size:
            return values, tuple(_by_rows(inner, y, z) for y in values)
        directions = tuple(tf.zeros_like(y) for y in values)
        outer.watch(directions)
        pulled = inner.gradient(values, z, directions, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    # One column of the Jacobians after the other.
    columns = [
        outer.gradient(pulled, directions, unit, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for unit in _units(z, size)
    ]
    return values, tuple(tf.stack(column, axis=1) for column in zip(*columns, strict=True))


def directional_derivative(
    fn: Callable[[Tensor], Any], z: Tensor, direction: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Returns the outputs ``[N, M]`` of `fn` at `z` ``[N, D]``, and J v for `direction` v ``[N, D]``, ``[N, M]``.

    Arguments and errors as `outputs`.
    """
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(z)
            values = outputs(fn, z)
        directions = tuple(tf.zeros_like(y) for y in values)
        outer.watch(directions)
        pulled = inner.gradient(values, z, directions, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    tangents = outer.gradient(pulled, directions, direction, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return values, tuple(tangents)


def _units(z: Tensor, size: int) -> Sequence[Tensor]:
    """Returns the unit vectors, each as large as `z`."""
    return [tf.broadcast_to(row, tf.shape(z)) for row in tf.unstack(tf.eye(size, dtype=z.dtype))]


def _by_rows(tape: tf.GradientTape, y: Tensor, z: Tensor) -> Tensor:
    """Returns the derivatives ``[N, D, M]`` of `y` by reverse mode."""
    zero = tf.UnconnectedGradients.ZERO
    rows = [tape.gradient(y, z, unit, unconnected_gradients=zero) for unit in _units(y, y.shape[-1])]
    return tf.stack(rows, axis=-1)
