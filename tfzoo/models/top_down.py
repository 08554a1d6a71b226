"""What top-down models share: a generator, its scale and a flow prior where the user brings none; their chains."""

from typing import Any

import keras
import tensorflow as tf

from tfzoo.checks import check_positive
from tfzoo.distributions.flow_prior import FlowPrior
from tfzoo.integrators import short_run
from tfzoo.models.validation import check_event_shape
from tfzoo.networks import default
from tfzoo.types import Tensor

__all__ = ["SCALE", "chunk_size", "flow_prior", "generator", "posterior_chains"]

SCALE = 0.3
_CHUNK = 500


def chunk_size(model: keras.Model, x: Tensor) -> int | None:
    """Returns how many chains run at once outside of training, for images ``[B, ...]``; None for all."""
    # A batch of unknown size is a server's request. XLA has no chunks, and Keras's own steps may be its.
    in_xla = not tf.executing_eagerly() and model.compiled and model.jit_compile
    return _CHUNK if not in_xla and (x.shape[0] or 0) > _CHUNK else None


def posterior_chains(
    model: keras.Model,
    x: Tensor,
    start: Tensor,
    mask: Tensor | None,
    *,
    num_steps: int,
    step_size: float,
    noise: bool,
    chunk_size: int | None,
    seed: Tensor | None = None,
) -> short_run.State:
    """Returns the state of Langevin chains on log p(visible pixels, z) after `num_steps` steps.

    Args:
      model: a `tfzoo.models.base.LatentVariableModel`.
      x: images ``[B, *event_shape]``, checked.
      start: where the chains start, ``[B, D]``.
      mask: of the images, 1 = visible; None where all pixels are.
      num_steps: K.
      step_size: s, as of `tfzoo.integrators.short_run`.
      noise: False leaves it out.
      chunk_size: so many chains at once, as the function of this name has it; None for all.
      seed: of the noise.
    """

    def log_prob_fn(z: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return model._log_likelihood(x, z, mask=mask) + model._log_prior(z)

    return short_run.integrate(
        short_run.init(start),
        log_prob_fn,
        step_size=step_size,
        num_steps=num_steps,
        temperature=1.0 if noise else None,
        seed=seed,
        data=(x,) if mask is None else (x, mask),
        chunk_size=chunk_size,
    )


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
