"""Shortest paths on a graph of codes: the way the data go, as a start for geodesics and as a distance between many.

Each code is joined to its nearest neighbours in latent space, by an edge as long as its ends are apart in the image of
the decoder. Paths on it go around what no code lies in, where a straight line may be stuck.

References:
  Tenenbaum, de Silva, Langford, "A Global Geometric Framework for Nonlinear Dimensionality Reduction",
    Science 290, 2000
"""

import numpy as np
import scipy.sparse
import tensorflow as tf
from scipy.sparse.csgraph import dijkstra

from tfzoo.checks import check_positive
from tfzoo.geometry import curves
from tfzoo.geometry.arguments import EmbeddingFn, as_points, check_functions
from tfzoo.math.metric_tensors import MetricFn
from tfzoo.types import TensorLike

__all__ = ["Graph"]

_BLOCK = 4096  # edges that are decoded at once


class Graph:
    """The k nearest neighbours of codes, with lengths; in NumPy, for eager code.

    graph = tfzoo.geometry.graph.Graph(decoder, codes)
    geodesic = tfzoo.geometry.geodesic.solve(decoder, z0, z1, initial=graph.paths(z0, z1))

    Attributes:
      codes: ``[N, D]``.
      edges: lengths, a symmetric sparse array ``[N, N]``.
    """

    def __init__(
        self,
        embedding_fn: EmbeddingFn | None,
        codes: TensorLike,
        *,
        metric_fn: MetricFn | None = None,
        num_neighbours: int = 10,
    ) -> None:
        """Finds the neighbours, and decodes both ends of each edge.

        Args:
          embedding_fn: the decoder, as in `tfzoo.geometry.geodesic.solve`, or None where `metric_fn` is given.
          codes: ``[N, D]``, at least 2.
          metric_fn: points ``[N, D]`` to metrics ``[N, D, D]``.
          num_neighbours: k, less than N; more where there are that few.

        Raises:
          ValueError: for fewer than 2 codes or another shape, or a number that is not positive.
        """
        check_functions(embedding_fn, metric_fn)
        self.codes = as_points("codes", codes).numpy()
        if self.codes.ndim != 2 or len(self.codes) < 2:
            raise ValueError(f"codes must be at least 2 points [N, D]. Received: shape {self.codes.shape}")
        self._functions = embedding_fn, metric_fn
        from sklearn.neighbors import NearestNeighbors  # late: a second to import

        count = min(check_positive("num_neighbours", num_neighbours), len(self.codes) - 1)
        self._neighbours = NearestNeighbors(n_neighbors=count).fit(self.codes)
        pairs = self._neighbours.kneighbors_graph().tocoo()
        lengths = self._lengths(self.codes[pairs.row], self.codes[pairs.col])
        # An edge of length 0 would be none.
        lengths = np.maximum(lengths, np.finfo(lengths.dtype).tiny)
        edges = scipy.sparse.csr_matrix((lengths, (pairs.row, pairs.col)), shape=pairs.shape)
        self.edges = edges.maximum(edges.T)

    def distances(self, indices: np.ndarray) -> np.ndarray:
        """Returns lengths ``[S, N]`` of shortest paths from codes `indices` ``[S]``, infinite where there are none."""
        return dijkstra(self.edges, directed=False, indices=indices)

    def paths(self, z0: TensorLike, z1: TensorLike, *, num_points: int = 32) -> np.ndarray:
        """Returns shortest paths ``[B, num_points, D]`` from `z0` to `z1`, at constant speed.

        By way of the codes next to either end. Straight lines where these are the same, or not connected.

        Args:
          z0: ``[B, D]``.
          z1: ``[B, D]``.
          num_points: of each path, at least 2.

        Raises:
          ValueError: for other shapes.
        """
        ends = [as_points("z0", z0).numpy(), as_points("z1", z1).numpy()]
        for name, z in zip(("z0", "z1"), ends, strict=True):
            if z.ndim != 2 or z.shape[1] != self.codes.shape[1] or z.shape != ends[0].shape:
                raise ValueError(f"{name} must be points [B, {self.codes.shape[1]}]. Received: shape {z.shape}")
        if check_positive("num_points", num_points) < 2:
            raise ValueError(f"num_points must be at least 2, the ends. Received: {num_points}")
        first, last = (self._neighbours.kneighbors(z, 1, return_distance=False)[:, 0] for z in ends)
        ways = [self._lengths(z, self.codes[near]) for z, near in zip(ends, (first, last), strict=True)]
        sources, rows = np.unique(first, return_inverse=True)
        lengths, before = dijkstra(self.edges, directed=False, indices=sources, return_predecessors=True)
        paths = np.empty([len(first), num_points, self.codes.shape[1]], ends[0].dtype)
        for i, row in enumerate(rows):
            nodes = _trace(before[row], first[i], last[i])
            points = np.concatenate([ends[0][i : i + 1], self.codes[nodes], ends[1][i : i + 1]])
            total = ways[0][i] + lengths[row, nodes]
            times = np.concatenate([[0.0], total, total[-1:] + ways[1][i]])
            if len(nodes) < 2:
                points, times = points[[0, -1]], np.array([0.0, 1.0])
            at = np.linspace(0.0, times[-1], num_points)
            paths[i] = np.stack([np.interp(at, times, column) for column in points.T], axis=1)
        return paths

    def _lengths(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        pairs = np.stack([starts, ends], axis=1)
        blocks = [
            curves.squared_steps(self._functions[0], tf.constant(pairs[i : i + _BLOCK]), self._functions[1])
            for i in range(0, len(pairs), _BLOCK)
        ]
        return np.sqrt(np.concatenate(blocks)[:, 0]) if blocks else np.zeros([0])


def _trace(before: np.ndarray, first: int, last: int) -> np.ndarray:
    """Returns the nodes on the way from `first` to `last`; only `first` where there is none."""
    nodes = [last]
    while nodes[-1] != first:
        if before[nodes[-1]] < 0:
            return np.array([first])
        nodes.append(before[nodes[-1]])
    return np.array(nodes[::-1])
