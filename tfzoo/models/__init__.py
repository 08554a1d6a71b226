"""The zoo's models, one class a file."""

from tfzoo.models.abp import ABP
from tfzoo.models.hamiltonian_vae import HamiltonianVAE
from tfzoo.models.iaf_vae import IAFVAE
from tfzoo.models.iwae import IWAE
from tfzoo.models.langevin_vae import LangevinVAE
from tfzoo.models.latent_ebm import LatentEBM
from tfzoo.models.latent_flow import LatentFlow
from tfzoo.models.latent_flow_vae import LatentFlowVAE
from tfzoo.models.pcp_map_vae import PCPMapVAE
from tfzoo.models.riemannian_vae import RiemannianVAE
from tfzoo.models.short_run_ot import ShortRunOT
from tfzoo.models.vae import VAE

__all__ = [
    "ABP",
    "IAFVAE",
    "IWAE",
    "VAE",
    "HamiltonianVAE",
    "LangevinVAE",
    "LatentEBM",
    "LatentFlow",
    "LatentFlowVAE",
    "PCPMapVAE",
    "RiemannianVAE",
    "ShortRunOT",
]
