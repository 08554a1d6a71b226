"""N(0, I), where priors, flows and chains start."""

from collections.abc import Sequence

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.types import Tensor

__all__ = ["standard_normal"]


def standard_normal(shape: Sequence[int | Tensor], dtype: tf.DType | str, scale: float = 1.0) -> tfd.Distribution:
    """Returns N(0, scale^2 I) for a shape ``[..., D]``: batch ``[...]``, event ``[D]``."""
    zeros = tf.zeros(shape, dtype)
    return tfd.Independent(tfd.Normal(zeros, scale * tf.ones_like(zeros)), 1)
