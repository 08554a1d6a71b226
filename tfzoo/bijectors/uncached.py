"""Bijectors that compute anew each time they are asked.

TFP's bijectors remember what they returned by the tensor they were given and by equal constructor arguments, whatever
has become of the weights since, and whether or not a gradient tape was watching. These do not, and two of them are
equal only if they are one. A `tfb.Chain` of them still remembers: make a fresh one for each use, which costs nothing.
"""

from typing import Any

import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfzoo.types import Tensor, TensorLike

__all__ = ["UncachedBijector"]


class UncachedBijector(tfb.Bijector):
    """A `tfb.Bijector` without memory; subclasses are written as any other."""

    # TFP would share what it remembers between bijectors with equal arguments.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    # A fresh tensor each time, for TFP remembers by the identity of what it is given.

    def forward(self, x: TensorLike, name: str = "forward", **kwargs: Any) -> Tensor:
        """Returns the image of `x`, of its shape."""
        return super().forward(tf.identity(x), name, **kwargs)

    def inverse(self, y: TensorLike, name: str = "inverse", **kwargs: Any) -> Tensor:
        """Returns what `forward` maps to `y`, of its shape."""
        return super().inverse(tf.identity(y), name, **kwargs)

    def forward_log_det_jacobian(
        self, x: TensorLike, event_ndims: int | None = None, name: str = "forward_log_det_jacobian", **kwargs: Any
    ) -> Tensor:
        """Returns log |det| of the Jacobian of `forward` at `x`, ``[...]``."""
        return super().forward_log_det_jacobian(tf.identity(x), event_ndims, name, **kwargs)

    def inverse_log_det_jacobian(
        self, y: TensorLike, event_ndims: int | None = None, name: str = "inverse_log_det_jacobian", **kwargs: Any
    ) -> Tensor:
        """Returns log |det| of the Jacobian of `inverse` at `y`, ``[...]``."""
        return super().inverse_log_det_jacobian(tf.identity(y), event_ndims, name, **kwargs)
