"""k-means of codes by geodesic instead of straight distances: clusters that follow the data around corners.

Distances are lengths of shortest paths on the graph of neighbours, and centres are codes (medoids): the code of a
cluster with the least sum of squared lengths of paths that stay within it. Neither needs a geodesic to be solved for.
Paths from a cluster's present centre stay within it by themselves, so that no step raises the inertia. Those from other
codes might be shorter through another cluster, but to know would take a search of the whole graph from every code.

References:
  Arvanitidis, Hansen, Hauberg, "Latent Space Oddity: on the Curvature of Deep Generative Models",
    https://arxiv.org/abs/1710.11379, section 5.1: clustering in latent space by geodesic distance
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import dijkstra

from tfzoo.checks import check_positive
from tfzoo.geometry.graph import Graph

__all__ = ["Clusters", "kmeans"]


class Clusters(NamedTuple):
    """What was found.

    Attributes:
      labels: the cluster of each code, int ``[N]``; those that no path leads to have the label of the nearest centre.
      centres: ``[K, D]``, codes.
      inertia: the sum of squared distances to the centres.
    """

    labels: np.ndarray
    centres: np.ndarray
    inertia: float


def kmeans(
    graph: Graph, num_clusters: int, *, seed: int = 0, max_iterations: int = 100, num_starts: int = 10
) -> Clusters:
    """Returns the best clusters of the codes of `graph` in `num_starts` runs of Lloyd's iteration from k-means++.

    Args:
      graph: of the codes, `tfzoo.geometry.graph.Graph`.
      num_clusters: K, at most N.
      seed: of the first centres.
      max_iterations: of each run.
      num_starts: runs.

    Raises:
      ValueError: for numbers that are not positive, or more clusters than codes.
    """
    for name, value in {"max_iterations": max_iterations, "num_starts": num_starts}.items():
        check_positive(name, value)
    if check_positive("num_clusters", num_clusters) > len(graph.codes):
        raise ValueError(f"num_clusters must be at most {len(graph.codes)}, the codes. Received: {num_clusters}")
    generator = np.random.default_rng(seed)
    runs = [_run(graph, num_clusters, generator, max_iterations) for _ in range(num_starts)]
    return min(runs, key=lambda clusters: clusters.inertia)


def _run(graph: Graph, num_clusters: int, generator: np.random.Generator, max_iterations: int) -> Clusters:
    centres = _spread(graph, num_clusters, generator)
    for _ in range(max_iterations):
        squares = _squares(graph, centres)
        labels = squares.argmin(axis=0)
        moved = centres.copy()
        for k in range(num_clusters):
            members = np.flatnonzero(labels == k)
            if len(members):  # none where codes coincide
                within = dijkstra(graph.edges[members][:, members], directed=False)
                moved[k] = members[_finite(within**2).sum(axis=0).argmin()]
        if np.array_equal(moved, centres):
            break
        centres = moved
    squares = _squares(graph, centres)
    return Clusters(squares.argmin(axis=0), graph.codes[centres], float(squares.min(axis=0).sum()))


def _spread(graph: Graph, num_clusters: int, generator: np.random.Generator) -> np.ndarray:
    """Returns codes by k-means++: each next one by its squared distance to those before."""
    centres = [int(generator.integers(len(graph.codes)))]
    while len(centres) < num_clusters:
        least = _squares(graph, np.array(centres)).min(axis=0)
        least[centres] = 0.0
        left = np.setdiff1d(np.arange(len(least)), centres)
        weights = least[left] if least[left].sum() > 0.0 else np.ones(len(left))
        centres.append(int(generator.choice(left, p=weights / weights.sum())))
    return np.array(centres)


def _squares(graph: Graph, centres: np.ndarray) -> np.ndarray:
    """Returns squared distances ``[K, N]``, with what stands for infinity where no path leads."""
    return _finite(graph.distances(centres) ** 2)


def _finite(squares: np.ndarray) -> np.ndarray:
    known = np.isfinite(squares)
    return np.where(known, squares, 10.0 * (1.0 + squares[known].max()))
