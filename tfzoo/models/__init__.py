"""The zoo's models, one class a file."""

from tfzoo.models.iwae import IWAE
from tfzoo.models.vae import VAE

__all__ = ["IWAE", "VAE"]
