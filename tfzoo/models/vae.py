"""Variational autoencoder.

    bound = E_q log p(x|z) - KL(q(z|x) || p(z)),  the mean of `num_samples` samples

Cheap: one pass through each network. Reparametrised samples carry the gradient.

References:
  Kingma, Welling, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114
  Rezende, Mohamed, Wierstra, "Stochastic Backpropagation and Approximate Inference in Deep Generative Models",
    https://arxiv.org/abs/1401.4082
"""

from typing import Any

import keras

from tfzoo.models.flow_posterior import FlowPosteriorModel

__all__ = ["VAE"]


@keras.saving.register_keras_serializable("tfzoo")
class VAE(FlowPosteriorModel):
    """Variational autoencoder (Kingma and Welling, arXiv:1312.6114).

    Its posterior is a diagonal Gaussian, or any flow (`posterior="iaf"`).

    Example::

        model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=64)
        model.compile(optimizer=keras.optimizers.Adamax(5e-4))
        model.fit(tfzoo.data.load("mnist", "train", batch_size=100, binarize="dynamic"), epochs=10)

    Args:
      **kwargs: see `tfzoo.models.flow_posterior.FlowPosteriorModel`.
    """

    def __init__(self, *, event_shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(event_shape=event_shape, **kwargs)
        self.build()
