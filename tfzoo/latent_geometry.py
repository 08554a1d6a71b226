"""The geometry of any model's latent space, by its decoder: geodesics, volumes and Brownian motions."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.geometry import curves, geodesic, metric
from tfzoo.integrators import riemannian_brownian
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.decoder_manifold import JITTER
from tfzoo.models.validation import as_latents
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["Map", "Motion", "embedding", "map_of", "motion", "paths", "walks"]

_NUM_POINTS = 64  # of a curve
_NUM_CODES = 100  # whose distances are measured
_DRIFTING = 10  # latents at most: a drift takes D times the passes of the metric's D


class Motion(NamedTuple):
    """A Brownian motion on the manifold of a decoder.

    Attributes:
      loc: where it starts, ``[D]``.
      duration: how long it goes, ``[]``.
      drift: whether it has the Laplace-Beltrami drift.
    """

    loc: Tensor
    duration: Tensor
    drift: bool


class Map(NamedTuple):
    """A two-dimensional latent space; all are NumPy arrays.

    Attributes:
      axes: coordinates of the grid, twice ``[P]``.
      log_volume: log sqrt(det G) on it, ``[P, P]``, first axis first.
      codes: ``[N, 2]``.
      lines: straight ones between pairs of codes, ``[K, 64, 2]``.
      geodesics: between the same, ``[K, 64, 2]``.
      energies: of lines and geodesics, ``[2, K]``.
      walks: Brownian motions, ``[T + 1, W, 2]``.
    """

    axes: tuple[np.ndarray, np.ndarray]
    log_volume: np.ndarray
    codes: np.ndarray
    lines: np.ndarray
    geodesics: np.ndarray
    energies: np.ndarray
    walks: np.ndarray


def embedding(model: LatentVariableModel, z: Tensor) -> Any:
    """Returns the outputs that make a manifold of latent space, for `z` ``[N, D]``.

    Those of the model itself where it is made for that; else the mean images, and z / 1000, which keeps the metric
    regular where the decoder is flat.
    """
    if hasattr(model, "embedding"):
        return model.embedding(z)
    return model.likelihood(z).mean(), 1e-3 * z


def paths(model: LatentVariableModel, z0: TensorLike, z1: TensorLike, num_points: int) -> tuple[Tensor, Tensor]:
    """Returns codes on the straight lines and on geodesics between two batches ``[B, D]``: ``[B, num_points, D]``."""
    z0, z1 = tf.convert_to_tensor(z0), tf.convert_to_tensor(z1)
    times = tf.linspace(tf.zeros([], z0.dtype), tf.ones([], z0.dtype), num_points)[:, tf.newaxis]
    straight = z0[:, tf.newaxis] + times * (z1 - z0)[:, tf.newaxis]
    fine = max(num_points, 3)
    fine = (fine - 1) * -(-_NUM_POINTS // (fine - 1)) + 1  # a multiple of the steps, so that points are among them

    def solve() -> Tensor:
        return geodesic.solve(lambda z: embedding(model, z), z0, z1, num_points=fine).points

    points = tf.function(solve, autograph=False)()
    return straight, points[:, :: max(1, (fine - 1) // max(1, num_points - 1))][:, :num_points]


def motion(model: LatentVariableModel, codes: TensorLike, duration: float | None = None) -> Motion:
    """Returns the prior's motion where it is one; else one that goes as far as codes ``[N, D]`` are from their mean.

    That is from the mean, for the mean squared geodesic distance of the first 100 codes from it, over D; with more than
    10 latents without the drift, as the paper's, which would take D^2 passes of the decoder a step.

    Args:
      model: any model.
      codes: at least one.
      duration: in place of what it would be.
    """
    prior, codes = model.prior(), tf.convert_to_tensor(codes)
    is_motion = hasattr(prior, "duration")
    loc, drift = (
        (prior.loc, prior.drift) if is_motion else (tf.reduce_mean(codes, axis=0), model.latent_dim <= _DRIFTING)
    )
    if duration is not None:
        return Motion(loc, tf.convert_to_tensor(duration, codes.dtype), drift)
    if is_motion:
        return Motion(loc, prior.duration, drift)
    some = codes[:_NUM_CODES]

    def squares() -> Tensor:
        return geodesic.squared_distance(lambda z: embedding(model, z), tf.broadcast_to(loc, tf.shape(some)), some)

    return Motion(loc, tf.reduce_mean(tf.function(squares, autograph=False)()) / model.latent_dim, drift)


def walks(
    model: LatentVariableModel,
    start: TensorLike,
    *,
    duration: TensorLike,
    drift: bool = True,
    num_points: int = 10,
    num_steps: int = 200,
    seed: Seed = 0,
) -> Tensor:
    """Returns codes on Brownian motions on the manifold of any model's decoder, ``[B, num_points, D]``.

    The metric is that of `embedding`, with a jitter of 1e-5. `model.decode` of the last codes are Brownian samples.

    Args:
      model: any model.
      start: where they start, ``[B, D]``: the first codes.
      duration: how long they go, positive.
      drift: with the Laplace-Beltrami drift, or without, as the paper's.
      num_points: at equal times, both ends included.
      num_steps: of the integrator at least; so many that the points are among them.
      seed: an int, a pair, or one pair for each row.

    Raises:
      ValueError: if an argument is out of its range.
    """
    pieces = max(1, check_positive("num_points", num_points) - 1)
    stride = -(-check_positive("num_steps", num_steps) // pieces)
    start = as_latents(start, model.latent_dim, model.variable_dtype)
    if start.shape.rank != 2:
        raise ValueError(f"start must be [B, {model.latent_dim}]. Received: shape {tuple(start.shape)}")

    def walk() -> Tensor:
        return riemannian_brownian.integrate(
            riemannian_brownian.init(start),
            lambda z: metric.pullback(lambda z: embedding(model, z), z),
            duration=duration,
            num_steps=pieces * stride,
            drift=drift,
            jitter=JITTER,
            seed=random.as_seed(seed),
            return_trajectory=True,
        ).trajectory

    trajectory = tf.function(walk, autograph=False)()[::stride]
    return tf.transpose(trajectory, [1, 0, 2])[:, :num_points]


def map_of(
    model: LatentVariableModel,
    images: TensorLike,
    *,
    num_pairs: int = 10,
    num_walks: int = 5,
    num_steps: int = 200,
    num_points: int = 100,
    seed: int = 0,
) -> Map:
    """Surveys the latent space of a model of two latents, by the codes of some images.

    Walks are of `motion`. Volumes and walks are those of a metric with a jitter of 1e-5.

    Args:
      model: with latent_dim = 2.
      images: ``[N, *event_shape]``, at least two.
      num_pairs: K, each of two images, drawn.
      num_walks: W.
      num_steps: T of the walks.
      num_points: P of the grid.
      seed: of pairs and walks.

    Raises:
      ValueError: if there are other than two latents, or less than two images.
    """
    if model.latent_dim != 2:
        raise ValueError(f"a map is of two latents. Received: latent_dim={model.latent_dim}")
    if len(images) < 2:
        raise ValueError(f"a map needs two images at least. Received: {len(images)}")
    codes = np.asarray(model.encode(images, seed=seed))
    generator = np.random.default_rng(seed)
    pairs = np.stack([generator.choice(len(codes), 2, replace=False) for _ in range(num_pairs)])
    lines, geodesics = paths(model, codes[pairs[:, 0]], codes[pairs[:, 1]], _NUM_POINTS)

    def energies() -> Tensor:
        return tf.stack([curves.energy(lambda z: embedding(model, z), each) for each in (lines, geodesics)])

    def volumes(z: Tensor) -> Tensor:
        return metric.log_volume(metric.pullback(lambda z: embedding(model, z), z, jitter=JITTER))

    own = motion(model, codes)
    start = tf.broadcast_to(own.loc, [num_walks, 2])
    options = {"duration": own.duration, "drift": own.drift, "num_points": num_steps + 1, "num_steps": num_steps}
    trajectories = np.swapaxes(walks(model, start, seed=[seed, 1], **options), 0, 1)
    everything = np.concatenate([codes, trajectories.reshape(-1, 2)])
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = 0.1 * (high - low)
    axes = [np.linspace(low[i] - margin[i], high[i] + margin[i], num_points) for i in range(2)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2).astype(codes.dtype)
    compiled = tf.function(volumes, autograph=False)
    log_volume = np.concatenate([compiled(tf.constant(part)) for part in np.array_split(grid, -(-len(grid) // 1000))])
    return Map(
        axes=(axes[0], axes[1]),
        log_volume=log_volume.reshape(num_points, num_points),
        codes=codes,
        lines=np.asarray(lines),
        geodesics=np.asarray(geodesics),
        energies=tf.function(energies, autograph=False)().numpy(),
        walks=trajectories,
    )
