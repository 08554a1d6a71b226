"""The geometry that a decoder gives to its latent space: metric, curves, geodesics. Usable without any model."""

from tfzoo.geometry import curves, geodesic, metric

__all__ = ["curves", "geodesic", "metric"]
