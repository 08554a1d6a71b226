"""Adam on the dual, the paper's solver: each step moves the potential of a target by how much too full its cell is.

    E(h) = sum_i m_i max_j (<x_i, y_j> + h_j) - sum_j n_j h_j,     dE/dh_j = (mass of the cell of j) - n_j

Every step is a look at all pairs. Cells, not pairs, are what it finds, so it takes any masses.

Deviations: second moments decay by 0.999 and the step by 0.8 where neither E nor the gradient falls (with the 0.5
printed a third of the points stays unmatched), and half the L1 norm of the gradient, which is the mass in the wrong
cells, decides when to stop (the 2-norm is below the printed 0.05 from the start for 5,000 points):
test_transport_adam.py.

References:
  An, Xie, Li, "Learning Deep Latent Variable Models by Short-Run MCMC Inference with Optimal Transport Correction",
    CVPR 2021.
"""

import numpy as np
import tensorflow as tf

from tfzoo.transport.threads import compiled
from tfzoo.types import Tensor

__all__ = ["minimize_dual"]

_FLOATS, _NUMBER = tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)
_POINTS, _REAL = tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([], tf.float32)
_LEARNING_RATE, _DECAY, _PATIENCE = 3e-3, 0.8, 20
_PROGRESS, _LEAST_RATE = 1e-6, 1e-7  # of E; steps that change nothing in float32
_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


@compiled(_POINTS, _POINTS, _FLOATS, _FLOATS, _FLOATS, _REAL, _NUMBER, _NUMBER)
def minimize_dual(
    source: Tensor,
    target: Tensor,
    source_masses: Tensor,
    target_masses: Tensor,
    potentials: Tensor,
    tolerance: Tensor,
    max_iterations: Tensor,
    block_size: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns potentials ``[M]``, their cells ``[N]``, misplaced mass, steps, other potentials ``[M]``, their maxima.

    The first ones are those with the least mass in wrong cells; the others, whose maxima are ``[N]``, have the least E.
    Where whole points cannot fill the cells, as with fewer points than cells, the first say little.

    Args:
      source: centred, of mean square 1 together with the target, ``[N, D]``.
      target: ``[M, D]``.
      source_masses: of sum 1, ``[N]``.
      target_masses: of sum 1, ``[M]``.
      potentials: where they start, ``[M]``.
      tolerance: of the mass in wrong cells, half the L1 norm of the gradient.
      max_iterations: of looks at all pairs.
      block_size: rows that are looked at together.
    """
    num_rows, num_targets = tf.shape(source)[0], tf.shape(target)[0]
    num_blocks = (num_rows + block_size - 1) // block_size

    def look(h: Tensor) -> tuple[Tensor, Tensor]:
        def body(b: Tensor, cells: tf.TensorArray, maxima: tf.TensorArray) -> tuple:
            rows = slice(b * block_size, (b + 1) * block_size)
            scores = tf.matmul(source[rows], target, transpose_b=True) + h
            best = tf.argmax(scores, axis=1, output_type=tf.int32)
            return b + 1, cells.write(b, best), maxima.write(b, tf.reduce_max(scores, axis=1))

        arrays = tuple(tf.TensorArray(dtype, size=num_blocks, infer_shape=False) for dtype in (tf.int32, tf.float32))
        _, cells, maxima = tf.while_loop(lambda b, *_: b < num_blocks, body, (0, *arrays), parallel_iterations=1)
        return tf.reshape(cells.concat(), [num_rows]), tf.reshape(maxima.concat(), [num_rows])

    def body(*state: Tensor) -> tuple:
        step, h, first, second, rate, waited, best, best_h, cells, least, lowest_h, maxima = state
        new_cells, new_maxima = look(h)
        gradient = tf.math.unsorted_segment_sum(source_masses, new_cells, num_targets) - target_masses
        misplaced = 0.5 * tf.reduce_sum(tf.abs(gradient))
        better = misplaced < best
        best_h, cells = (tf.where(better, new, old) for new, old in ((h, best_h), (new_cells, cells)))
        energy = tf.reduce_sum(source_masses * new_maxima) - tf.reduce_sum(target_masses * h)
        lower = energy < least
        waited = tf.where(better | (energy < least - _PROGRESS), 0, waited + 1)
        rate = tf.where(waited >= _PATIENCE, rate * _DECAY, rate)
        waited = tf.where(waited >= _PATIENCE, 0, waited)
        lowest_h, maxima = (tf.where(lower, new, old) for new, old in ((h, lowest_h), (new_maxima, maxima)))
        first = _FIRST * first + (1.0 - _FIRST) * gradient
        second = _SECOND * second + (1.0 - _SECOND) * tf.square(gradient)
        time = tf.cast(step + 1, tf.float32)
        mean = first / (1.0 - tf.pow(_FIRST, time))
        deviation = tf.sqrt(second / (1.0 - tf.pow(_SECOND, time)))
        h -= rate * mean / (deviation + _EPSILON)
        h -= tf.reduce_mean(h)
        best, least = tf.minimum(best, misplaced), tf.minimum(least, energy)
        return step + 1, h, first, second, rate, waited, best, best_h, cells, least, lowest_h, maxima

    nothing = tf.zeros_like(potentials)
    no_cells, no_maxima = tf.zeros([num_rows], tf.int32), tf.zeros([num_rows])
    none = tf.constant(2.0), potentials, no_cells, tf.constant(np.inf, tf.float32), potentials, no_maxima
    start = (0, potentials, nothing, nothing, _LEARNING_RATE, 0, *none)
    step, _, _, _, _, _, best, h, cells, _, lowest_h, maxima = tf.while_loop(
        lambda step, *state: (step < max_iterations) & (state[5] > tolerance) & (state[3] > _LEAST_RATE),
        body,
        start,
        parallel_iterations=1,
    )
    return h, cells, best, step, lowest_h, maxima
