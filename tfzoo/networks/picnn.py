"""Partially input convex networks: scalars w(z, h), convex in z for every context h, with gradient and Hessian.

    v_{k+1} = elu(L^v_k v_k + b^v_k),   v_0 = h
    w_{k+1} = softplus(W_k (w_k * relu(L^g_k v_{k+1} + b^g_k)) + L^x_k (z * (L^s_k v_{k+1} + b^s_k))
                       + L^b_k v_{k+1} + b_k)
    w(z, h) = W_K (w_K * relu(L^g_K v_K + b^g_K)) + z . (L^s_K v_K + b^s_K),   W_k >= 0

Sums of convex functions with weights W and gates that are not negative are convex, and so are convex increasing
functions of them. The first layer has no w, so no W. Without a context the gates, the factors of z and the L^b fall
away: an input convex network.

The Hessian is a sum over the layers: with a_k the argument of softplus and P_k its Jacobian by z,

    H = sum_k P_k' diag(c_k) P_k,   c_k = (dw / dw_k) softplus''(a_k) >= 0

One pass forward carries P_k along, for the price of D gradients at most, and every matrix product is a large one.

Deviations:
  The poster prints neither the bounds of W_k nor the ReLU of the gates. Without either, the network is not convex
  (`test_networks_picnn.py::test_what_is_printed_is_not_convex`).
  Layers see v after its update, as in the authors' code, where the poster has v before it. The last layer's two maps of
    z, one after the other and both linear, are one.
  Terms of the last layer that are free of z are left out: no gradient by z sees them.
  W_k is divided by its number of inputs, as in the authors' code, so that weights of about 1 suit every width.

References:
  Amos, Xu, Kolter, "Input Convex Neural Networks", https://arxiv.org/abs/1609.07152, section 3.2
  Wang, Baptista, Marzouk, Ruthotto, Verma, "Efficient Neural Network Approaches for Conditional Optimal Transport with
    Applications in Bayesian Inference", https://arxiv.org/abs/2310.16975
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfzoo.checks import check_choice, check_positive, check_widths
from tfzoo.types import Tensor, TensorLike

__all__ = ["PICNN", "ConvexFunction", "ConvexLayer"]


class ConvexLayer(NamedTuple):
    """A hidden layer for given contexts; ``[...]`` are their leading dimensions, 1 stands for any width."""

    weight: Tensor | None  # [N_in, N], not negative; None in the first layer
    gate: Tensor  # [..., N_in or 1], not negative
    input_weight: Tensor  # [D, N]
    input_scale: Tensor  # [..., D or 1]
    bias: Tensor  # [..., N]


class ConvexFunction(NamedTuple):
    """A convex function of z in R^D for each of the given contexts; leading dimensions broadcast.

    ``sum(output * w_K) + sum(slope * z)``, with w_K from the layers.
    """

    layers: tuple[ConvexLayer, ...]
    output: Tensor  # [..., N], not negative
    slope: Tensor  # [..., D]

    def value(self, z: Tensor) -> Tensor:
        """Returns the function ``[...]`` of `z` ``[..., D]``."""
        return self._value(z, self._arguments(z))

    def gradient(self, z: Tensor) -> Tensor:
        """Returns the gradient ``[..., D]`` at `z` ``[..., D]``."""
        return self._backward(self._arguments(z))[0]

    def derivatives(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value ``[...]``, gradient ``[..., D]`` and Hessian ``[..., D, D]`` at `z` ``[..., D]``."""
        arguments = self._arguments(z)
        gradient, adjoints = self._backward(arguments)
        hessian = tf.zeros([], z.dtype)
        tangents = None
        for layer, a, adjoint in zip(self.layers, arguments, adjoints, strict=True):
            # Row d of the tangents is the derivative by z_d: [..., D, N].
            jacobian = layer.input_scale[..., tf.newaxis] * layer.input_weight
            if layer.weight is not None:
                jacobian += tf.tensordot(tangents * layer.gate[..., tf.newaxis, :], layer.weight, 1)
            first = tf.sigmoid(a)
            curvature = adjoint * first * tf.sigmoid(-a)
            weighted = jacobian * curvature[..., tf.newaxis, :]
            # Of one shape: the product of [S, 1, D, N] and [1, D, N] corrupts memory (tensorflow/tensorflow#117700).
            jacobian = tf.broadcast_to(jacobian, tf.shape(weighted))
            hessian += tf.matmul(weighted, jacobian, transpose_b=True)
            tangents = jacobian * first[..., tf.newaxis, :]
        return self._value(z, arguments), gradient, hessian

    def _value(self, z: Tensor, arguments: list[Tensor]) -> Tensor:
        last = tf.math.softplus(arguments[-1])
        return tf.reduce_sum(self.output * last, axis=-1) + tf.reduce_sum(self.slope * z, axis=-1)

    def _arguments(self, z: Tensor) -> list[Tensor]:
        """Returns what softplus is taken of, ``[..., N]`` for each layer."""
        arguments: list[Tensor] = []
        for layer in self.layers:
            a = tf.tensordot(z * layer.input_scale, layer.input_weight, 1) + layer.bias
            if layer.weight is not None:
                a += tf.tensordot(tf.math.softplus(arguments[-1]) * layer.gate, layer.weight, 1)
            arguments.append(a)
        return arguments

    def _backward(self, arguments: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Returns the gradient by z, and those by the output of each layer, which are not negative."""
        gradient, adjoint = self.slope, self.output
        adjoints = []
        for layer, a in zip(reversed(self.layers), reversed(arguments), strict=True):
            adjoints.append(adjoint)
            delta = adjoint * tf.sigmoid(a)
            gradient += layer.input_scale * tf.tensordot(delta, layer.input_weight, [[-1], [1]])
            if layer.weight is not None:
                adjoint = layer.gate * tf.tensordot(delta, layer.weight, [[-1], [1]])
        return gradient, adjoints[::-1]


@keras.saving.register_keras_serializable("tfzoo")
class PICNN(keras.layers.Layer):
    """A network w(z, h) ``[...]``, convex in z ``[..., D]``, for contexts h ``[..., E]`` or none.

    `picnn.given(context)` is the function of z alone, which has the gradient and the Hessian in closed form.

    Args:
      latent_dim: D, at least 1.
      hidden_units: widths of the layers w_1, w_2, ..., at least one.
      context_units: widths of v_1, v_2, ..., as many; None for the same ones.
      nonnegative: how the weights W are kept so. "softplus": they are the softplus of what is learned. "projection":
        Keras clips them at 0 after each step of its optimizers; for those of others, which do not, negative ones count
        as 0.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
      ValueError: if a width is not a whole number of at least 1, the widths are not as many, or `nonnegative` is
        neither.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        hidden_units: Sequence[int] = (128, 128),
        context_units: Sequence[int] | None = None,
        nonnegative: str = "softplus",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # inputs keep their precision too
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.hidden_units = check_widths("hidden_units", hidden_units)
        self.context_units = None if context_units is None else check_widths("context_units", context_units)
        if self.context_units is not None and len(self.context_units) != len(self.hidden_units):
            raise ValueError(
                f"context_units must be as many as hidden_units, {len(self.hidden_units)}. Received: {context_units!r}"
            )
        self.nonnegative = check_choice("nonnegative", nonnegative, ("softplus", "projection"))

    def build(self, z_shape: Sequence[int | None], context_shape: Sequence[int | None] | None = None) -> None:
        """Makes the weights for contexts of the shape ``[..., E]``, or for none."""
        self.context_dim = None if context_shape is None else context_shape[-1]
        widths = self.hidden_units if self.context_units is None else self.context_units
        self._context_layers = []  # of kernel and bias
        if self.context_dim is not None:
            for k, (before, after) in enumerate(zip((self.context_dim, *widths), widths)):  # noqa: B905
                self._context_layers.append(self._affine(f"context_{k}", before, after, 1.0, "zeros"))
        self._weights_of_w, self._gates, self._input_weights, self._input_scales, self._biases = [], [], [], [], []
        for k, units in enumerate((*self.hidden_units, 1)):
            last = k == len(self.hidden_units)
            context = None if self.context_dim is None else widths[min(k, len(widths) - 1)]
            if k:
                before = self.hidden_units[k - 1]
                self._weights_of_w.append(self._nonnegative_weight(f"weight_{k}", before, units))
                # Gates and factors start near 1, which is the network without a context.
                if context is not None:
                    self._gates.append(self._affine(f"gate_{k}", context, before, 0.01, "ones"))
            if last:
                self._slope = self._affine("slope", context, self.latent_dim, 0.01, "zeros")
                break
            # Features of z of about the size of z, so that softplus has something to bend.
            self._input_weights.append(
                self._weight(f"input_weight_{k}", [self.latent_dim, units], keras.initializers.LecunNormal())
            )
            if context is not None:
                self._input_scales.append(self._affine(f"input_scale_{k}", context, self.latent_dim, 0.01, "ones"))
            self._biases.append(self._affine(f"bias_{k}", context, units, 1.0, "zeros"))
        self.built = True

    def call(self, z: TensorLike, context: TensorLike | None = None) -> Tensor:
        """Returns w ``[...]`` of `z` ``[..., D]`` for a context ``[..., E]``; leading dimensions broadcast."""
        return self.given(context).value(tf.cast(z, self.variable_dtype))

    def given(self, context: TensorLike | None) -> ConvexFunction:
        """Returns the convex function for contexts ``[..., E]``, or for none."""
        v, ones = None, tf.ones([1], self.variable_dtype)
        if context is not None:
            v = tf.cast(context, self.variable_dtype)
        layers = []
        for k in range(len(self.hidden_units)):
            if v is not None:
                v = tf.nn.elu(_apply(self._context_layers[k], v))
            layers.append(
                ConvexLayer(
                    weight=self._effective(k - 1) if k else None,
                    gate=ones if v is None or not k else tf.nn.relu(_apply(self._gates[k - 1], v)),
                    input_weight=tf.convert_to_tensor(self._input_weights[k]),
                    input_scale=ones if v is None else _apply(self._input_scales[k], v),
                    bias=_apply(self._biases[k], v),
                )
            )
        output = self._effective(-1)[:, 0]
        if v is not None:
            output *= tf.nn.relu(_apply(self._gates[-1], v))
        return ConvexFunction(tuple(layers), output, _apply(self._slope, v))

    def _effective(self, k: int) -> Tensor:
        weight = tf.convert_to_tensor(self._weights_of_w[k])
        # maximum, not relu: a weight that was clipped to 0 has a gradient, and can come back.
        positive = tf.math.softplus(weight) if self.nonnegative == "softplus" else tf.maximum(weight, 0.0)
        return positive / tf.cast(tf.shape(weight)[0], weight.dtype)

    def _nonnegative_weight(self, name: str, before: int, after: int) -> keras.Variable:
        """Makes weights that count as about 1, each its own."""
        low, high = 0.5, 1.5
        if self.nonnegative == "projection":
            initializer = keras.initializers.RandomUniform(low, high)
            return self._weight(name, [before, after], initializer, keras.constraints.NonNeg())
        low, high = (math.log(math.expm1(bound)) for bound in (low, high))
        return self._weight(name, [before, after], keras.initializers.RandomUniform(low, high))

    def _affine(
        self, name: str, before: int | None, after: int, scale: float, bias: str
    ) -> tuple[keras.Variable | None, keras.Variable]:
        kernel = None
        if before is not None:
            initializer = keras.initializers.VarianceScaling(scale)
            kernel = self._weight(f"{name}_kernel", [before, after], initializer)
        return kernel, self._weight(f"{name}_bias", [after], bias)

    def _weight(self, name: str, shape: list[int], initializer: Any, constraint: Any = None) -> keras.Variable:
        # Not cast in the scope of a model of mixed precision, like everything that a density is made of.
        return self.add_weight(
            name=name, shape=tuple(shape), initializer=initializer, constraint=constraint, autocast=False
        )

    def get_config(self) -> dict:
        own = {
            "latent_dim": self.latent_dim,
            "hidden_units": self.hidden_units,
            "context_units": self.context_units,
            "nonnegative": self.nonnegative,
        }
        return {**super().get_config(), **own}


def _apply(affine: tuple[keras.Variable | None, keras.Variable], v: Tensor | None) -> Tensor:
    kernel, bias = affine
    if kernel is None or v is None:
        return tf.convert_to_tensor(bias)
    return tf.tensordot(v, tf.convert_to_tensor(kernel), 1) + bias
