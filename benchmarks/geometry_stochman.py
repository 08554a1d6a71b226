"""What is measured of geometry on stochman: its own layers, whose Jacobians it has in closed form, threads tuned."""

import os
from collections.abc import Callable

import geometry_case as case
import numpy as np
import stochman
import torch
from stochman import CubicSpline, nnj
from stochman.geodesic import geodesic_minimizing_energy
from stochman.manifold import EmbeddedManifold
from torch import nn

__all__ = ["FITS", "STEPS", "VERSIONS", "energies"]

VERSIONS = {"torch": torch.__version__, "stochman": stochman.__version__}
FITS: dict = {}
torch.set_num_threads(os.cpu_count() or 1)


class _RBF(nnj.AbstractJacobian, nn.Module):
    """Basis functions, which stochman leaves to its users."""

    def __init__(self, centres: np.ndarray) -> None:
        super().__init__()
        self.centres = torch.tensor(centres)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-case.BETA * torch.cdist(x, self.centres) ** 2)

    def _jacobian_wrt_input_mult_left_vec(
        self, x: torch.Tensor, val: torch.Tensor, jac_in: torch.Tensor
    ) -> torch.Tensor:
        along = -2.0 * case.BETA * val[..., None] * (x[:, None] - self.centres)
        return along @ jac_in


class _Shift(nnj.AbstractJacobian, nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1e-9

    def _jacobian_wrt_input_mult_left_vec(
        self, x: torch.Tensor, val: torch.Tensor, jac_in: torch.Tensor
    ) -> torch.Tensor:
        del x, val
        return jac_in


class _Decoder(EmbeddedManifold):
    def __init__(self, latent_dim: int, kind: str = "both") -> None:
        arrays = {name: torch.tensor(array) for name, array in case.weights(latent_dim).items()}
        layers: list[nn.Module] = []
        for i in range(3):
            kernel = arrays[f"kernel{i}"]
            layers += [nnj.Linear(*kernel.shape), nnj.Tanh()]
            layers[-2].weight.data, layers[-2].bias.data = kernel.T.contiguous(), arrays[f"bias{i}"]
        self.parts = [nnj.Sequential(*layers[:-1])]
        if kind == "both":
            precision = nnj.PosLinear(64, 784, bias=False)
            precision.weight.data = arrays["raw_weights"].T.contiguous()
            rbf = _RBF(arrays["centres"].numpy())
            self.parts.append(nnj.Sequential(rbf, precision, _Shift(), nnj.Sqrt(), nnj.Reciprocal()))
        for part in self.parts:
            part.requires_grad_(False)

    def embed(self, points: torch.Tensor, jacobian: bool = False) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        flat = points.reshape(-1, points.shape[-1])
        if jacobian:
            both = [part(flat, jacobian=True) for part in self.parts]
            return torch.cat([y for y, _ in both], -1), torch.cat([j for _, j in both], 1)
        return torch.cat([part(flat) for part in self.parts], -1).reshape(*points.shape[:-1], -1)


def pullback(kind: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns the metric at 1,000 points."""
    del images
    decoder, z = _Decoder(latent_dim, kind), torch.tensor(case.points(latent_dim))

    def run() -> float:
        with torch.no_grad():
            return float(decoder.metric(z).sum())

    return run, 0


def _solve(latent_dim: int, kind: str) -> tuple[_Decoder, CubicSpline]:
    decoder = _Decoder(latent_dim, kind)
    curve = CubicSpline(*(torch.tensor(z) for z in case.pairs(latent_dim)), num_nodes=case.NUM_NODES)
    geodesic_minimizing_energy(curve, decoder, eval_grid=case.NUM_POINTS)
    return decoder, curve


def geodesics(kind: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns 100 geodesics by its defaults, as `connecting_geodesic` finds them."""
    del images
    return lambda: float(_solve(latent_dim, kind)[1].params.detach().sum()), 0


def energies(latent_dim: int) -> dict[str, list[float]]:
    """Returns the energies of the geodesics."""
    decoder, curve = _solve(latent_dim, "both")
    with torch.no_grad():
        found = decoder.curve_energy(curve(torch.linspace(0, 1, case.NUM_POINTS)), reduction=None)
    return {"energies": found.tolist()}


STEPS = {"pullback": pullback, "geodesics": geodesics}
