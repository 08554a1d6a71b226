"""What every flow of the zoo is: a Keras layer that owns weights, and makes bijectors from them and a context.

    flow = IAF(latent_dim=2, num_steps=4)
    q = tfd.TransformedDistribution(base, flow.bijector(context))

The layer is tracked, trained and saved by Keras; the bijector is a plain `tfb.Bijector`, made fresh for each use. It
reads the weights when it is used and lists them as its variables, so TFP's own trainers (`tfp.vi`) find them too.

`forward` goes from the base to the posterior: that direction is the fast one of every flow here, which makes sampling
with the density of what was sampled cheap. `tfb.Invert(flow.bijector(context))` has the fast density instead. Put
flows in a row by `FlowChain`: a `tfb.Chain` of inverted ones gives the same density, but asks each for its inverse too.
"""

import abc
import inspect
import weakref
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd
from tensorflow_probability import util as tfp_util

from tfzoo.bijectors.uncached import UncachedBijector
from tfzoo.checks import check_positive
from tfzoo.types import Tensor, TensorLike

__all__ = ["Flow", "FlowBijector"]

# Who calls `FlowBijector.forward` for the density of an inverted flow, the nearest first.
_DENSITY = [tfb.Invert.inverse.__code__, tfd.TransformedDistribution.experimental_local_measure.__code__]


class Flow(keras.layers.Layer, abc.ABC):
    """Base class of the flows: a diffeomorphism of R^D for each context in R^E.

    The width E of the context is learned from `build((None, E))` or from the first context; `build(None)`, or a first
    use without one, makes a flow that takes none.

    A subclass makes its weights in `_make_weights`, and brings `_forward` and `_inverse`, in which latents and context
    have broadcast leading dimensions and the precision of the weights.

    Args:
      latent_dim: D, at least 1.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
      ValueError: if `latent_dim` is not a whole number of at least 1.
    """

    def __init__(self, latent_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.context_dim: int | None = None

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Makes the weights for contexts of the shape ``[..., E]``, or for none."""
        self.context_dim = None if input_shape is None else input_shape[-1]
        self._make_weights(self.context_dim)
        self.built = True

    @abc.abstractmethod
    def _make_weights(self, context_dim: int | None) -> None:
        """Makes all weights."""

    @abc.abstractmethod
    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the image ``[..., D]`` of `z` ``[..., D]`` and log |det| of the Jacobian ``[...]``."""

    @abc.abstractmethod
    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        """Returns the `z` ``[..., D]`` that `_forward` maps to `y` ``[..., D]``."""

    def _inverse_and_log_det(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns `_inverse` and log |det| of its Jacobian ``[...]``; a flow that has both at once says so here."""
        z = self._inverse(y, context)
        return z, -self._forward(z, context)[1]

    def bijector(self, context: TensorLike | None = None) -> "FlowBijector":
        """Returns the bijector for a context: forward is base to posterior.

        Args:
          context: ``[..., E]``, floating point; its leading dimensions are the bijector's batch. None for a flow that
            takes none.

        Raises:
          ValueError: if the context is missing, unasked for, of another width, or not floating point.
        """
        return FlowBijector(self, self._as_context(context))

    def forward_and_log_det(self, z: TensorLike, context: TensorLike | None = None) -> tuple[Tensor, Tensor]:
        """Returns both at once for `z` ``[..., D]``: the image ``[..., D]`` and log |det| of the Jacobian ``[...]``."""
        return self._forward(self._as_latents(z), self._as_context(context))

    def inverse_and_log_det(self, y: TensorLike, context: TensorLike | None = None) -> tuple[Tensor, Tensor]:
        """Returns both at once for `y` ``[..., D]``: what is mapped to it ``[..., D]``, and the inverse's log |det|."""
        return self._inverse_and_log_det(self._as_latents(y), self._as_context(context))

    def _as_latents(self, z: TensorLike) -> Tensor:
        z = tf.convert_to_tensor(z, self.variable_dtype)
        if not z.shape.rank or not z.shape[-1:].is_compatible_with([self.latent_dim]):
            raise ValueError(f"an event must be [..., {self.latent_dim}]. Received: shape {z.shape}")
        return z

    def _as_context(self, context: TensorLike | None) -> Tensor | None:
        if context is not None:
            context = tf.convert_to_tensor(context)
            if not context.dtype.is_floating or not context.shape.rank or context.shape[-1] is None:
                raise ValueError(
                    "context must be floating point, [..., E] with a known E. "
                    f"Received: dtype {context.dtype.name}, shape {context.shape}"
                )
            context = tf.cast(context, self.variable_dtype)
        if not self.built:
            with tf.init_scope():  # the weights must not belong to the graph of whoever asks first
                self.build(None if context is None else (None, context.shape[-1]))
        shape = None if context is None else context.shape
        if (shape and shape[-1]) != self.context_dim:
            wanted = "left out, as this flow takes none" if self.context_dim is None else f"[..., {self.context_dim}]"
            raise ValueError(f"context must be {wanted}. Received: {'none' if shape is None else f'shape {shape}'}")
        return context

    def get_config(self) -> dict:
        return {**super().get_config(), "latent_dim": self.latent_dim}


class _Forwarded:
    """What `FlowBijector.forward` was given by a density, and returned; no attribute that tf.Module looks into."""

    start: Tensor | None = None
    end: Callable[[], Tensor | None] | None = None


class FlowBijector(UncachedBijector):
    """A flow with its context as a `tfb.Bijector`; `Flow.bijector` makes it.

    Args:
      flow: the layer that has the weights.
      context: ``[..., E]`` or None.
      validate_args: as in TFP.
      name: of the operations.
    """

    def __init__(self, flow: Flow, context: Tensor | None, validate_args: bool = False, name: str = "flow") -> None:
        parameters = dict(locals())
        self._flow = flow
        self._context = context
        # TFP looks for variables in the attributes of a tf.Module; a Keras layer is none.
        self._weights = [weight.value for weight in flow.weights]
        self._forwarded = _Forwarded()
        with tf.name_scope(name) as name:
            super().__init__(
                forward_min_event_ndims=1,
                dtype=tf.as_dtype(flow.variable_dtype),
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    @property
    def flow(self) -> Flow:
        """The layer that has the weights."""
        return self._flow

    @property
    def context(self) -> Tensor | None:
        """The context, ``[..., E]``, or None."""
        return self._context

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType | None, num_classes: int | None = None) -> dict[str, Any]:
        return {"context": tfp_util.ParameterProperties(event_ndims=1)}

    # The density of an inverted bijector asks for the inverse's log-determinant at what `forward` just returned, which
    # must not cost an inverse. Only there is it remembered, and only once: nobody else sees that tensor, so no tape can
    # have been opened, no gradient asked for, and no weight changed in between.

    def forward(self, x: TensorLike, name: str = "forward", **kwargs: Any) -> Tensor:
        """Returns the image of `x` ``[..., D]``."""
        x = tf.convert_to_tensor(x, dtype_hint=self.dtype)
        y = super().forward(x, name, **kwargs)
        if _is_for_a_density(inspect.currentframe()):
            self._forwarded.start, self._forwarded.end = x, weakref.ref(y)
        return y

    def inverse_log_det_jacobian(
        self, y: TensorLike, event_ndims: int | None = None, name: str = "inverse_log_det_jacobian", **kwargs: Any
    ) -> Tensor:
        """Returns log |det| of the Jacobian of `inverse` at `y`, ``[...]``."""
        start, end = self._forwarded.start, self._forwarded.end
        self._forwarded.start = self._forwarded.end = None
        if start is not None and end is not None and end() is y:
            return -self.forward_log_det_jacobian(start, event_ndims, **kwargs)
        return super().inverse_log_det_jacobian(y, event_ndims, name, **kwargs)

    def _forward(self, x: Tensor) -> Tensor:
        return self._flow._forward(self._flow._as_latents(x), self._context)[0]

    def _forward_log_det_jacobian(self, x: Tensor) -> Tensor:
        return self._flow._forward(self._flow._as_latents(x), self._context)[1]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._flow._inverse(self._flow._as_latents(y), self._context)

    def _inverse_log_det_jacobian(self, y: Tensor) -> Tensor:
        return self._flow._inverse_and_log_det(self._flow._as_latents(y), self._context)[1]


def _is_for_a_density(frame: FrameType | None) -> bool:
    """Returns whether `frame` was called by `tfb.Invert.inverse`, and that by the density of a distribution of TFP."""
    callers = []
    for _ in _DENSITY:
        frame = frame and frame.f_back
        callers.append(frame and frame.f_code)
    return callers == _DENSITY
