"""The geometry that a decoder gives to its latent space: metric, curves, geodesics. Usable without any model."""

from tfzoo.geometry import clustering, curves, geodesic, graph, metric

__all__ = ["clustering", "curves", "geodesic", "graph", "metric"]
