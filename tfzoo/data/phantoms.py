"""Synthetic volumes of a coiled tube, like the lumen of a cochlea: as many as needed, no patient, no download.

The tube's centre line is a helico-spiral about an axis,

    radius(theta) = a exp(-b theta),  height(theta) proportional to theta,  0 <= theta <= 2 pi turns,

and the tube gets thinner towards the apex. Each volume has its own number of turns (2.25 to 2.75), proportions, tilt
(up to 45 degrees), rotation about its axis, size, place, contrast, sharpness and noise. With the proportions drawn
from, neighbouring turns do not touch. A human cochlea of 9 mm fills 60x50x50 voxels of 0.2 mm as these tubes do.

A voxel's intensity grows linearly across the wall, from background to tube, over 1 to 2 voxels: the part of the voxel
that lies in the tube (partial volume), blurred by the scanner. Then Gaussian noise is added, and [0, 1] kept.

References:
  Yoo, Wang, Rubinstein and Vannier, Three-dimensional geometric modeling of the cochlea using helico-spiral
    approximation, IEEE Transactions on Biomedical Engineering 47(10), 2000 (the centre line).
"""

import functools

import numpy as np

from tfzoo.data.catalogue import CATALOGUE
from tfzoo.data.listing import rows_of
from tfzoo.data.sources import Table

__all__ = ["load_spiral_tubes", "spiral_tubes"]

SMALLEST_SIDE = 24  # voxels; the apical tube would be thinner than a voxel in less
STEP = 0.7  # voxels between points of the centre line: the wall is smooth to 0.03 voxels
SET_SEED = 20  # of the named data set, for good


def spiral_tubes(
    count: int, volume_shape: tuple[int, int, int] = (60, 50, 50), *, seed: int = 0, start: int = 0
) -> np.ndarray:
    """Makes volumes of coiled tubes.

    Args:
      count: how many.
      volume_shape: (T, H, W), each 24 at least. The tube lies wholly inside.
      seed: an int, not negative. Volume i is a function of `seed`, i and `volume_shape`: the same however many are
        made.
      start: the i of the first volume.

    Returns:
      float32 `[count, T, H, W, 1]` in [0, 1].

    Raises:
      ValueError: on a negative count, seed or start, or a shape that is too small.
    """
    if min(count, seed, start) < 0:
        raise ValueError(f"`count`, `seed` and `start` must not be negative. Received: {count}, {seed} and {start}")
    if len(volume_shape) != 3 or min(volume_shape) < SMALLEST_SIDE:
        raise ValueError(f"`volume_shape` must be a triple of ints from {SMALLEST_SIDE} on. Received: {volume_shape!r}")
    volumes = np.empty((count, *volume_shape, 1), np.float32)
    for row in range(count):
        volumes[row, ..., 0] = _spiral_tube(volume_shape, seed, start + row)
    return volumes


def load_spiral_tubes(split: str) -> Table:
    """The data set "spiral_tubes": one split, uint8 `[N, 60, 50, 50, 1]`, without labels."""
    facts = CATALOGUE["spiral_tubes"]
    rows = rows_of(facts.num_examples, split)
    images = _quantized(facts.event_shape[:3], rows.start, rows.stop)
    return Table(images, np.full(len(images), -1, np.int32), 255.0)


@functools.lru_cache(maxsize=3)  # train, validation, test: a training asks for them several times
def _quantized(volume_shape: tuple[int, int, int], start: int, stop: int) -> np.ndarray:
    volumes = np.empty((stop - start, *volume_shape, 1), np.uint8)
    for row, index in enumerate(range(start, stop)):
        volumes[row, ..., 0] = np.rint(255 * _spiral_tube(volume_shape, SET_SEED, index))
    volumes.flags.writeable = False
    return volumes


def _spiral_tube(volume_shape: tuple[int, int, int], seed: int, index: int) -> np.ndarray:
    """One volume, float32 `[T, H, W]`."""
    # RandomState's stream is frozen by NumPy's compatibility policy, default_rng's is not.
    random = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, index])))
    points, radii = _centre_line(random, np.array(volume_shape))
    wall = random.uniform(1.0, 2.0)
    background, tube, noise = random.uniform([0.05, 0.6, 0.005], [0.2, 0.9, 0.03])
    inside = np.clip(_depth(volume_shape, points, radii, wall) / wall + 0.5, 0, 1)
    volume = background + (tube - background) * inside + noise * random.standard_normal(volume_shape)
    return np.clip(volume, 0, 1).astype(np.float32)


def _centre_line(random: np.random.RandomState, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points `[P, 3]` and tube radii `[P]`, in voxels, of a random tube that fits a volume."""
    turns, apex, height, thick, thin = random.uniform([2.25, 0.18, 0.9, 0.17, 0.45], [2.75, 0.25, 1.2, 0.22, 0.55])
    part = np.linspace(0, 1, 1000)  # of the way to the apex, by angle
    radius, theta = apex**part, 2 * np.pi * turns * part
    line = np.stack([height * part, radius * np.cos(theta), radius * np.sin(theta)], axis=1)  # base radius 1
    tube = thick * (1 - (1 - thin) * part)

    azimuth, tilt, heading = random.uniform([0, 0, 0], [2 * np.pi, np.pi / 4, 2 * np.pi])
    line = line @ (_rotation(0, heading) @ _rotation(2, tilt) @ _rotation(0, azimuth)).T

    low, high = (line - tube[:, None]).min(0), (line + tube[:, None]).max(0)
    room = sides - 4.0  # two voxels on each side, for the blurred wall
    scale = random.uniform(0.75, 1.0) * np.min(room / (high - low))
    place = random.uniform(-0.5, 0.5, 3) * (room - scale * (high - low))
    line = scale * (line - (low + high) / 2) + (sides - 1) / 2 + place

    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    even = np.interp(np.arange(0, length[-1], STEP), length, part)  # the same distance between all points
    return np.stack([np.interp(even, part, axis) for axis in line.T], axis=1), scale * np.interp(even, part, tube)


def _rotation(axis: int, angle: float) -> np.ndarray:
    """The matrix `[3, 3]` of a rotation about a coordinate axis."""
    first, second = (i for i in range(3) if i != axis)
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def _depth(volume_shape: tuple[int, int, int], points: np.ndarray, radii: np.ndarray, wall: float) -> np.ndarray:
    """How deep each voxel lies under the tube's surface; at least `wall` above it for those far outside.

    The tube is the union of balls about its points, so that only the voxels near each of them have to be looked at.
    """
    depth = np.full(volume_shape, -wall, np.float32)
    sides = np.array(volume_shape)
    for point, radius in zip(points, radii, strict=True):
        low = np.maximum(np.ceil(point - radius - wall).astype(int), 0)
        high = np.minimum(np.floor(point + radius + wall).astype(int) + 1, sides)
        squares = [(np.arange(low[i], high[i]) - point[i]).astype(np.float32) ** 2 for i in range(3)]
        distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        near = depth[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        np.maximum(near, radius - distance, out=near)
    return depth
