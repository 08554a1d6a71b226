"""Points without mass: no coupling sees them, so they are left out, and told afterwards where they belong.

Among the others, those that lie far off would take all digits of the potentials.
"""

import numpy as np
import tensorflow as tf

from tfzoo.transport.problem import squares_of

__all__ = ["extend"]

_MARGIN = 2.0**-20  # of what is added up to a score: above float32's rounding, in which potentials may be


def extend(
    source: np.ndarray,
    target: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    cells: np.ndarray,
    potentials: np.ndarray,
    block_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cells of all source points ``[N]`` and the potentials of all targets ``[M]``.

    A source point without mass belongs to the target of mass that it values most. The potential of a target without
    mass is as high as it can be if no source point is to prefer it, the c-transform of what they have, less a margin.

    Args:
      source: in their own coordinates, ``[N, D]``.
      target: ``[M, D]``.
      rows: the source points that have mass, ``[R]``.
      columns: the targets that have mass, ``[C]``.
      cells: which of these each of `rows` belongs to, ``[R]``.
      potentials: theirs, ``[C]``.
      block_size: rows that are looked at together.
    """
    source, target = source.astype(np.float64), target.astype(np.float64)
    lengths, target_lengths = (np.sqrt(squares_of(points)) for points in (source, target))
    others = np.setdiff1d(np.arange(len(target)), columns)
    longest, highest = target_lengths[columns].max(), np.abs(potentials).max()
    whole_cells, allowed = np.empty(len(source), np.int32), np.full(len(others), np.inf)
    for start in range(0, len(source), block_size):
        block = slice(start, start + block_size)
        products = tf.matmul(source[block], target, transpose_b=True).numpy()
        scores = products[:, columns] + potentials
        whole_cells[block] = columns[np.argmax(scores, axis=1)]
        sizes = (lengths[block, np.newaxis] + longest) * (target_lengths[others] + longest) + highest
        bounds = scores.max(axis=1, keepdims=True) - products[:, others] - _MARGIN * sizes
        allowed = np.minimum(allowed, bounds.min(axis=0))
    whole_cells[rows] = columns[cells]
    whole_potentials = np.empty(len(target), potentials.dtype)
    whole_potentials[columns] = potentials
    whole_potentials[others] = np.maximum(allowed, np.finfo(potentials.dtype).min)
    return whole_cells, whole_potentials
