"""A lower bound on log p(x) by annealing, for a batch, or for examples that must not depend on each other."""

from collections.abc import Callable

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.objectives import annealed
from tfzoo.types import Tensor

__all__ = ["annealed_bound"]


def annealed_bound(
    log_joint: Callable[[Tensor, Tensor], Tensor],
    start: tfd.Distribution,
    x: Tensor,
    seed: Tensor,
    *,
    num_chains: int,
    num_steps: int,
) -> Tensor:
    """Returns the bound of each image, ``[B]``.

    Args:
      log_joint: images ``[B, *event_shape]`` and latents to log p(x, z).
      start: normalised distribution of the latents that is annealed from.
      x: images ``[B, *event_shape]``.
      seed: ``[2]``, or one for each image ``[B, 2]``.
      num_chains: for each image.
      num_steps: temperatures.
    """

    def lower_bound(x: Tensor, seed: Tensor) -> Tensor:
        options = {"num_steps": num_steps, "num_chains": num_chains, "seed": seed}
        return annealed.log_prob_bounds(lambda z: log_joint(x, z), start, **options).lower

    if seed.shape.rank == 1:
        return lower_bound(x, seed)
    # The chains of an example must not depend on its neighbours.
    return tf.map_fn(lambda row: lower_bound(row[0][tf.newaxis], row[1])[0], (x, seed), fn_output_signature=start.dtype)
