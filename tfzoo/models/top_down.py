"""What top-down models have where the user brings nothing: a generator, its scale, and a flow as the prior."""

from typing import Any

import keras

from tfzoo.checks import check_positive
from tfzoo.distributions.flow_prior import FlowPrior
from tfzoo.models.validation import check_event_shape
from tfzoo.networks import default

__all__ = ["SCALE", "flow_prior", "generator"]

SCALE = 0.3


def generator(
    decoder: keras.layers.Layer | None,
    event_shape: tuple[int, ...],
    latent_dim: int,
    scale: float | None,
    *,
    likelihood: str,
    dtype: Any,
    **sizes: Any,
) -> dict[str, Any]:
    """Returns the "decoder" and the "scale" of a model: what it was given, or `tfzoo.networks.default.generator`.

    Args:
      decoder: the user's, or None.
      event_shape: of an example.
      latent_dim: D.
      scale: of a Gaussian; `SCALE` is a default, which a Bernoulli has not.
      likelihood: "gaussian" or "bernoulli".
      dtype: of the generator, or None.
      **sizes: its `width` and `first_size`.
    """
    if decoder is None:
        shape, size = check_event_shape(event_shape), check_positive("latent_dim", latent_dim)
        decoder = default.generator(shape, size, likelihood=likelihood, dtype=dtype, **sizes)
    return {"decoder": decoder, "scale": None if likelihood == "bernoulli" and scale == SCALE else scale}


def flow_prior(
    prior: keras.layers.Layer | str | None, latent_dim: int, dtype: Any, **options: Any
) -> keras.layers.Layer | str:
    """Returns the prior that was given, or the flow with these options of `tfzoo.distributions.FlowPrior`."""
    if prior is not None:
        return prior
    return FlowPrior(latent_dim, dtype=keras.dtype_policies.get(dtype).variable_dtype, name="prior", **options)
