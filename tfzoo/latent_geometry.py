"""The geometry of any model's latent space, by its decoder: geodesics, volumes and random walks, to be looked at."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo import random
from tfzoo.geometry import curves, geodesic, metric
from tfzoo.integrators import riemannian_brownian
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.decoder_manifold import JITTER
from tfzoo.types import Tensor, TensorLike

__all__ = ["Map", "embedding", "map_of", "paths"]

_NUM_POINTS = 64  # of a curve


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

    Walks start, drift and last as the prior's motion where it is one; else from the mean code, for the mean squared
    distance of the codes from it, over D. Volumes and walks are those of a metric with a jitter of 1e-5.

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
    walk_seed = random.as_seed([seed, 1])

    def energies() -> Tensor:
        return tf.stack([curves.energy(lambda z: embedding(model, z), each) for each in (lines, geodesics)])

    def volumes(z: Tensor) -> Tensor:
        return metric.log_volume(metric.pullback(lambda z: embedding(model, z), z, jitter=JITTER))

    def walks() -> Tensor:
        prior = model.prior()
        start, duration = getattr(prior, "loc", None), getattr(prior, "duration", None)
        if duration is None:
            start = tf.reduce_mean(codes, axis=0)
            squares = geodesic.squared_distance(
                lambda z: embedding(model, z), tf.broadcast_to(start, codes[:100].shape), codes[:100]
            )
            duration = tf.reduce_mean(squares) / model.latent_dim
        state = riemannian_brownian.integrate(
            riemannian_brownian.init(tf.broadcast_to(start, [num_walks, 2])),
            lambda z: metric.pullback(lambda z: embedding(model, z), z),
            duration=duration,
            num_steps=num_steps,
            drift=getattr(prior, "drift", True),
            jitter=JITTER,
            seed=walk_seed,
            return_trajectory=True,
        )
        return state.trajectory

    trajectories = tf.function(walks, autograph=False)().numpy()
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
