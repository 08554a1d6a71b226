"""Alternating back-propagation: a generator trained by Langevin inference, without an encoder or a correction.

It is `tfzoo.models.short_run_ot` with alpha = 0.

References:
  Han, Lu, Zhu, Wu, "Alternating Back-Propagation for Generator Network", https://arxiv.org/abs/1606.08571
"""

from typing import Any

import keras

from tfzoo.models.mcmc import MCMCModel

__all__ = ["ABP"]


@keras.saving.register_keras_serializable("tfzoo")
class ABP(MCMCModel):
    """Alternating back-propagation (Han et al., arXiv:1606.08571): a generator learned by Langevin inference.

    Example::

        model = tfzoo.create_model("abp", event_shape=(28, 28, 1), latent_dim=64)
        model.compile(optimizer=keras.optimizers.Adam(1e-3))
        model.fit(tfzoo.data.load("mnist", "train", batch_size=100, value_range=(-1, 1)), epochs=10)

    Args:
      chain: "persistent" (the data needs an "index") or "noise".
      **kwargs: see `tfzoo.models.mcmc.MCMCModel`.
    """

    def __init__(self, *, event_shape: tuple[int, ...], chain: str = "persistent", **kwargs: Any) -> None:
        super().__init__(event_shape=event_shape, chain=chain, **kwargs)
        self.build()
