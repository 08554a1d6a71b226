"""Probabilistic PCA in plain NumPy: the latent-variable model whose every density is known.

z ~ N(0, I),  x = W z + b + s e,  e ~ N(0, I)
"""

import math
from typing import NamedTuple

import numpy as np


class PPCA(NamedTuple):
    weights: np.ndarray  # [N, D]
    bias: np.ndarray  # [N]
    scale: float

    def sample(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Latents [count, D] and observations [count, N]."""
        z = rng.normal(size=(count, self.weights.shape[1]))
        noise = rng.normal(size=(count, len(self.bias)))
        return z, np.stack([self.weights @ row for row in z]) + self.bias + self.scale * noise

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Exact log p(x) of each row."""
        covariance = self.weights @ self.weights.T + self.scale**2 * np.eye(len(self.bias))
        return np.array([normal_log_prob(row, self.bias, covariance) for row in x])

    def log_joint(self, x: np.ndarray, z: np.ndarray) -> float:
        """Log p(x, z) of one pair."""
        prior = normal_log_prob(z, np.zeros(len(z)), np.eye(len(z)))
        noise = self.scale**2 * np.eye(len(x))
        return prior + normal_log_prob(x, self.weights @ z + self.bias, noise)

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means [B, D] and the common covariance [D, D] of p(z|x)."""
        covariance = np.linalg.inv(np.eye(self.weights.shape[1]) + self.weights.T @ self.weights / self.scale**2)
        return np.stack([covariance @ self.weights.T @ (row - self.bias) / self.scale**2 for row in x]), covariance


def normal_log_prob(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Log density of a multivariate normal at one point."""
    _, log_det = np.linalg.slogdet(covariance)
    difference = x - mean
    square = difference @ np.linalg.solve(covariance, difference)
    return -0.5 * (square + log_det + len(x) * math.log(2.0 * math.pi))


def make(latent_dim: int, num_pixels: int, seed: int = 0, scale: float = 0.7) -> PPCA:
    """A random model."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(num_pixels, latent_dim)) / math.sqrt(latent_dim)
    return PPCA(weights, rng.normal(size=num_pixels), scale)
