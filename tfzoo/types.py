"""Type aliases, and the letters that stand for sizes in comments and docstrings.

    B  examples in a batch          S  samples per example (importance samples, chains)
    D  latent dimension             E  width of an encoder's features
    H, W, C  image height, width and channels      T, H, W, C  a volume's
    K  steps of an integrator or a flow            N  examples in a data set

Shapes are written outermost first: latents are ``[S, B, D]`` or ``[B, D]``, images ``[B, H, W, C]``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["EventShape", "LogProbFn", "Seed", "Tensor", "TensorLike"]

Tensor = tf.Tensor
TensorLike = Any  # what tf.convert_to_tensor takes: a tensor, a variable, an array, nested lists of numbers
Seed = int | Sequence[int] | np.ndarray | tf.Tensor | None  # see tfzoo.random.as_seed
LogProbFn = Callable[[tf.Tensor], tf.Tensor]  # positions [..., D] -> log density [...]
EventShape = tuple[int, ...]  # the shape of one example: (28, 28, 1), (60, 50, 50, 1), (10,)
