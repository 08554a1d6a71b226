"""Inverse autoregressive flow, and masked autoregressive flow by inversion.

    (m, s) = MADE(z, context),  and for each step
    affine:  z <- m + softplus(s) z,                    log |det| = sum log softplus(s)
    gated:   g = sigmoid(s),  z <- g z + (1 - g) m,     log |det| = sum log g

Each step's Jacobian is triangular in the step's order of the variables, which changes from step to step. Forward takes
one pass a step for all variables. The inverse finds one variable after the other, D passes a step; a MAF, whose density
is the fast direction, is `tfb.Invert(iaf.bijector(context))`.

Deviations:
  Kingma et al. prefer the gated step, an average of two numbers. It can only contract, and starts at sigmoid(2) of its
  input: the affine step, which the poster prints, is the default. Its sigma is a softplus where others have exp: linear
  in the network's output, so that a large context does not overflow (test_finite_for_large_contexts_and_latents).

References:
  Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling, "Improving Variational Inference with Inverse Autoregressive
    Flow", https://arxiv.org/abs/1606.04934, eq. 13-14 and algorithm 1
  Papamakarios, Pavlakou, Murray, "Masked Autoregressive Flow for Density Estimation",
    https://arxiv.org/abs/1705.07057
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.bijectors.flow import Flow
from tfzoo.checks import check_choice, check_positive, check_widths
from tfzoo.math.loops import repeat
from tfzoo.networks.made import MADE
from tfzoo.types import Tensor

__all__ = ["IAF"]

_FAR_DOWN = -30.0  # where softplus(s) is exp(s)
# Where s starts: gates of 0.88, mostly open; deviations of 1.
_START = {"gated": 2.0, "affine": math.log(math.e - 1.0)}


@keras.saving.register_keras_serializable("tfzoo")
class IAF(Flow):
    """Inverse autoregressive flow (Kingma et al., arXiv:1606.04934), conditional on a context where there is one.

    Example::

        flow = tfzoo.bijectors.IAF(latent_dim=2, num_steps=4)
        q = tfd.TransformedDistribution(base, flow.bijector(context))  # fast to sample with its log density
        p = tfd.TransformedDistribution(base, tfb.Invert(flow.bijector(context)))  # MAF: fast log density

    Args:
      latent_dim: D, at least 1.
      num_steps: autoregressive steps, each with a network of its own.
      hidden_units: widths of each network's hidden layers.
      transformation: "affine", the general scale and shift, which starts near the identity; or "gated", which only
        ever contracts volumes: for posteriors narrower than where they start from.
      order: of the variables: "reversed" from step to step, or "permuted", a random order for each step but the first.
      activation: of the hidden layers.
      seed: of the permutations.
      **kwargs: of `keras.layers.Layer`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        num_steps: int = 4,
        hidden_units: Sequence[int] = (128, 128),
        transformation: str = "affine",
        order: str = "reversed",
        activation: str = "elu",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        self.num_steps = check_positive("num_steps", num_steps)
        self.hidden_units = check_widths("hidden_units", hidden_units)
        self.transformation = check_choice("transformation", transformation, tuple(_START))
        self.order = check_choice("order", order, ("reversed", "permuted"))
        self.activation = activation
        self.seed = int(seed)
        self.networks = [
            MADE(
                self.latent_dim,
                hidden_units=self.hidden_units,
                order=variables,
                activation=activation,
                bias=(0.0, _START[self.transformation]),
                dtype=self.dtype_policy,
                name=f"made_{t}",
            )
            for t, variables in enumerate(self.orders)
        ]

    @property
    def orders(self) -> list[list[int]]:
        """For each step, the variables from the first to the last."""
        rng = np.random.default_rng(self.seed)
        first = np.arange(self.latent_dim)
        later = range(1, self.num_steps)
        orders = [first[:: (-1) ** t] if self.order == "reversed" else rng.permutation(first) for t in later]
        return [order.tolist() for order in [first, *orders]]

    def _make_weights(self, context_dim: int | None) -> None:
        for network in self.networks:
            network.build(None if context_dim is None else (None, context_dim))

    def _step(self, network: MADE, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns shift, scale and log scale of each variable, ``[..., D]``."""
        m, s = tf.unstack(network(z, context), axis=-1)
        if self.transformation == "gated":
            gate = tf.sigmoid(s)
            return (1.0 - gate) * m, gate, tf.math.log_sigmoid(s)
        # Far down softplus(s) is exp(s), then 0, and the gradient of its logarithm NaN.
        log_scale = tf.math.log(tf.math.softplus(tf.maximum(s, _FAR_DOWN)))
        return m, tf.math.softplus(s), tf.where(s < _FAR_DOWN, s, log_scale)

    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_det = tf.zeros([], z.dtype)
        for network in self.networks:
            shift, scale, log_scale = self._step(network, z, context)
            z = shift + scale * z
            log_det += tf.reduce_sum(log_scale, axis=-1)
        return z, log_det

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        for network in reversed(self.networks):
            y = self._inverse_step(network, y, context)
        return y

    def _inverse_step(self, network: MADE, y: Tensor, context: Tensor | None) -> Tensor:
        order = tf.constant(network.order)
        if context is not None:
            y += tf.zeros_like(context[..., :1])  # the shape to which they broadcast, the same in each round

        def body(k: Tensor, z: Tensor) -> Tensor:
            # What the network says of variable k depends on those found already. Nothing else is kept: from what is
            # not yet known the others would only gather overflow.
            shift, scale, _ = (tf.gather(part, order[k], axis=-1) for part in self._step(network, z, context))
            found = (tf.gather(y, order[k], axis=-1) - shift) / scale
            return tf.where(tf.one_hot(order[k], self.latent_dim, True, False), found[..., tf.newaxis], z)

        return repeat(body, tf.zeros_like(y), self.latent_dim)

    def get_config(self) -> dict:
        own = ("num_steps", "hidden_units", "transformation", "order", "activation", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
