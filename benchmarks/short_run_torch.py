"""What is measured of a short-run Langevin chain on PyTorch: a loop with autograd, threads and allocator tuned."""

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

__all__ = ["FITS", "STEPS", "VERSIONS"]

VERSIONS = {"torch": torch.__version__}
FITS: dict = {}
SCALE, STEP_SIZE = 0.3, 0.1
torch.set_num_threads(os.cpu_count() or 1)


def _decoder(network: str, latent_dim: int) -> tuple[nn.Module, tuple[int, ...]]:
    if network == "mlp":
        layers = [
            nn.Linear(latent_dim, 512),
            nn.ReLU(),
            nn.Linear(512, 784),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 28, 28)),
        ]
        return nn.Sequential(*layers), (1, 28, 28)
    if network == "small":
        layers = [nn.Linear(latent_dim, 7 * 7 * 64), nn.Unflatten(1, (64, 7, 7)), nn.ConvTranspose2d(64, 32, 4, 2, 1)]
        layers += [nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Sigmoid()]
        return nn.Sequential(*layers), (1, 28, 28)
    layers = [nn.Unflatten(1, (latent_dim, 1, 1)), nn.ConvTranspose2d(latent_dim, 128, 4, 1, 0), nn.LeakyReLU(0.2)]
    layers += [nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.LeakyReLU(0.2), nn.ConvTranspose2d(64, 32, 4, 2, 1)]
    layers += [nn.LeakyReLU(0.2), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh()]
    return nn.Sequential(*layers), (3, 32, 32)


def chain(kind: str, network: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns a chain of `kind` steps."""
    decoder, shape = _decoder(network, latent_dim)
    decoder.requires_grad_(False)
    x = torch.rand(len(images), *shape)
    start = torch.randn(len(images), latent_dim)

    def run() -> float:
        z = start.clone()
        for _ in range(int(kind)):
            z.requires_grad_(True)
            energy = 0.5 * ((x - decoder(z)) ** 2).sum() / SCALE**2 + 0.5 * (z**2).sum()
            (gradient,) = torch.autograd.grad(energy, z)
            z = z.detach() - 0.5 * STEP_SIZE**2 * gradient + STEP_SIZE * torch.randn_like(z)
        return float(z.sum())

    return run, sum(p.numel() for p in decoder.parameters())


STEPS = {"torch": chain}
