"""Priors over latents: Keras layers whose `distribution()` is a TFP distribution with batch ``[]``, event ``[D]``."""

from typing import Any

import keras
from tensorflow_probability import distributions as tfd

from tfzoo.distributions.standard_normal import standard_normal
from tfzoo.distributions.vamp_prior import VampPrior

__all__ = ["StandardNormalPrior", "get"]


@keras.saving.register_keras_serializable("tfzoo")
class StandardNormalPrior(keras.layers.Layer):
    """N(0, I) in `latent_dim` dimensions; it has no weights."""

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim

    def distribution(self, temperature: float = 1.0) -> tfd.Distribution:
        """Returns the prior, batch ``[]``, event ``[D]``; `temperature` is its deviation."""
        return standard_normal([self.latent_dim], self.variable_dtype, temperature)

    def get_config(self) -> dict:
        return {**super().get_config(), "latent_dim": self.latent_dim}


def get(
    prior: keras.layers.Layer | str | None, latent_dim: int, event_shape: tuple[int, ...], dtype: Any = None
) -> keras.layers.Layer:
    """Returns the prior called "standard" (or None) or "vamp", or the layer itself."""
    if prior is None or prior == "standard":
        return StandardNormalPrior(latent_dim, dtype=dtype, name="prior")
    if prior == "vamp":
        return VampPrior(latent_dim, event_shape, dtype=dtype, name="prior")
    if not isinstance(prior, keras.layers.Layer):
        raise ValueError(f'prior must be "standard", "vamp", or a layer of tfzoo.distributions. Received: {prior!r}')
    return prior
