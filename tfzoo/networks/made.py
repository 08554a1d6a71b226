"""Masked autoregressive network (MADE): output i depends on the variables before i only, and on a context.

    degree of variable j: its place in the order, 1..D;   of a hidden unit: 0..D-1, evenly
    a unit of degree m sees variables and hidden units of degree <= m;   output i sees hidden units of degree < i

Units of degree 0 see nothing but the context. They let it reach the first output through all hidden layers, and make a
single variable (D = 1) no special case; without a context they would be constants, and are left out where D > 1.

The context enters the first hidden layer additively, through a kernel of its own: latents ``[S, B, D]`` meet a context
``[B, E]`` without being tiled.

References:
  Germain, Gregor, Murray, Larochelle, "MADE: Masked Autoencoder for Distribution Estimation",
    https://arxiv.org/abs/1502.03509, section 3
  Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", https://arxiv.org/abs/1606.04934
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.checks import check_positive, check_widths
from tfzoo.types import Tensor

__all__ = ["MADE"]

# Of the output kernel's usual deviation: a flow of such networks starts near what its biases say.
_OUTPUT_SCALE = 0.1


@keras.saving.register_keras_serializable("tfzoo")
class MADE(keras.layers.Layer):
    """Network from ``[..., D]`` and a context ``[..., E]`` to `num_outputs` numbers for each variable.

    Args:
      latent_dim: D.
      num_outputs: P, numbers for each variable.
      hidden_units: widths of the hidden layers, at least one.
      order: a permutation of 0..D-1, the variables from the first to the last; None for 0, 1, ..., D-1.
      activation: of the hidden layers, smooth where the flow is to be.
      bias: where the outputs start, one number for each of the P.

    Raises:
      ValueError: if `hidden_units` is empty, or `order` is no permutation.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        num_outputs: int = 2,
        hidden_units: Sequence[int] = (128, 128),
        order: Sequence[int] | None = None,
        activation: str = "elu",
        bias: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.num_outputs = check_positive("num_outputs", num_outputs)
        self.hidden_units = check_widths("hidden_units", hidden_units)
        self.order = tuple(range(latent_dim)) if order is None else tuple(int(i) for i in order)
        self.activation = activation
        self.bias = tuple(bias or [0.0] * num_outputs)
        if sorted(self.order) != list(range(latent_dim)):
            raise ValueError(f"order must be a permutation of 0..{latent_dim - 1}. Received: {order!r}")

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Makes the weights for contexts of the shape ``[..., E]``, or for none."""
        degrees = np.empty(self.latent_dim, int)
        degrees[list(self.order)] = 1 + np.arange(self.latent_dim)
        lowest = 0 if input_shape is not None or self.latent_dim == 1 else 1
        number = self.latent_dim - lowest
        hidden = [lowest + np.arange(width) * number // width for width in self.hidden_units]
        masks = [after >= before[:, np.newaxis] for before, after in zip([degrees, *hidden], hidden, strict=False)]
        masks.append(np.repeat(degrees > hidden[-1][:, np.newaxis], self.num_outputs, axis=1))
        self._masks = [mask.astype(self.variable_dtype) for mask in masks]
        small = keras.initializers.VarianceScaling(_OUTPUT_SCALE**2, "fan_avg", "uniform")
        last = len(masks) - 1
        self.kernels = [
            self._weight(f"kernel_{k}", mask.shape, small if k == last else "glorot_uniform")
            for k, mask in enumerate(masks)
        ]
        self.biases = [self._weight(f"bias_{k}", (width,), "zeros") for k, width in enumerate(self.hidden_units)]
        self.biases.append(self._weight("bias_of_outputs", (self.latent_dim, self.num_outputs), self._start))
        if input_shape is not None:
            self.context_kernel = self._weight("context_kernel", (input_shape[-1], self.hidden_units[0]))
        self.built = True

    def _weight(self, name: str, shape: Sequence[int | None], initializer: Any = "glorot_uniform") -> keras.Variable:
        # Not cast in the scope of a model of mixed precision, like everything that a density is made of.
        return self.add_weight(shape=tuple(shape), initializer=initializer, autocast=False, name=name)

    def _start(self, shape: Sequence[int], dtype: Any = None) -> Tensor:
        return tf.broadcast_to(tf.constant(self.bias, tf.as_dtype(dtype)), shape)

    def call(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns ``[..., D, P]``; `context` as given to `build`."""
        activation = keras.activations.get(self.activation)
        hidden = z
        for k, (kernel, bias) in enumerate(zip(self.kernels[:-1], self.biases[:-1], strict=True)):
            hidden = tf.tensordot(hidden, kernel * self._masks[k], 1) + bias
            if k == 0 and context is not None:
                given = tf.tensordot(context, self.context_kernel, 1)
                # Of equal ranks, since Grappler drops an axis of [1, 1, H] + [1, H], for which the gradient then fails.
                while given.shape.rank is not None and given.shape.rank < (hidden.shape.rank or 0):
                    given = given[tf.newaxis]
                hidden += given
            hidden = activation(hidden)
        outputs = tf.tensordot(hidden, self.kernels[-1] * self._masks[-1], 1)
        outputs = tf.reshape(outputs, tf.concat([tf.shape(outputs)[:-1], [self.latent_dim, self.num_outputs]], 0))
        return outputs + self.biases[-1]

    def get_config(self) -> dict:
        own = ("latent_dim", "num_outputs", "hidden_units", "order", "activation", "bias")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
