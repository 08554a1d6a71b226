"""Mixture of the posteriors of pseudo-inputs, which are learned.

    p(z) = 1 / K  sum over k of q(z | u_k),    u_1 ... u_K as large as an example

The prior that makes the bound the largest is the mean of q(z|x) over the training data; a few inputs stand for these
here. The q is the model's own: what the encoder learns changes the prior, and p(z) has a gradient by its weights.

Deviation from the authors' code: pseudo-inputs may have any values. Theirs go through a hard tanh, beyond whose limits
they would no longer be learned.

References:
  Tomczak, Welling, "VAE with a VampPrior", https://arxiv.org/abs/1705.07120, equation 9
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.checks import check_positive
from tfzoo.types import Tensor

__all__ = ["VampPrior"]


@keras.saving.register_keras_serializable("tfzoo")
class VampPrior(keras.layers.Layer):
    """Mixture of posteriors as a prior (Tomczak and Welling, arXiv:1705.07120), for models with an encoder.

    Example::

        prior = tfzoo.distributions.VampPrior(64, (28, 28, 1), num_components=500)
        model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=64, prior=prior)  # or prior="vamp"

    Args:
      latent_dim: D.
      event_shape: of an example, and of a pseudo-input.
      num_components: K. A density of N codes takes memory for N K D numbers.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.
    """

    def __init__(
        self, latent_dim: int, event_shape: tuple[int, ...], *, num_components: int = 100, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.latent_dim = check_positive("latent_dim", latent_dim)
        self.event_shape = tuple(check_positive("event_shape", size) for size in event_shape)
        self.num_components = check_positive("num_components", num_components)
        self.pseudo_inputs: Any = None
        self.build()

    def build(self, input_shape: object = None) -> None:
        if self.pseudo_inputs is not None:
            return
        self.pseudo_inputs = self.add_weight(
            name="pseudo_inputs",
            shape=(self.num_components, *self.event_shape),
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            autocast=False,
        )
        self.built = True

    def distribution(self, posterior: Callable[[Tensor], tfd.Distribution]) -> tfd.Distribution:
        """Returns p(z), batch ``[]``, event ``[D]``.

        Args:
          posterior: from examples ``[K, *event_shape]`` to q(z|x), batch ``[K]``, event ``[D]``.
        """
        components = posterior(tf.convert_to_tensor(self.pseudo_inputs))
        logits = tf.zeros([self.num_components], self.variable_dtype)
        return tfd.MixtureSameFamily(tfd.Categorical(logits), components)

    def get_config(self) -> dict:
        own = {"latent_dim": self.latent_dim, "event_shape": self.event_shape, "num_components": self.num_components}
        return {**super().get_config(), **own}
