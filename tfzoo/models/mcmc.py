"""Models without an encoder: z given x by short-run Langevin dynamics on log p(x, z).

Training alternates between inference, K steps of the chain of each example, and learning, gradient steps of the decoder
(and of a learned prior) on log p(x, z) at the inferred codes. A chain starts anew from N(0, I) ("noise") or where it
was left in the last epoch ("persistent"). No gradient goes through a chain.

Of images with a mask (data with a "mask", 1 = visible) the visible pixels alone are inferred and learned from, exactly:
what is hidden may be anything. That is unsupervised recovery: a model of whole images is learned from parts of them.

Two ways of inference for images of no training set, both from N(0, I):

    "descent"    the chain without noise, 20 K steps: towards a mode of p(z|x); how the papers' codes reconstruct
    "short_run"  the chain of training, K steps with its noise: a sample of the short-run posterior

References:
  Han, Lu, Zhu, Wu, "Alternating Back-Propagation for Generator Network", https://arxiv.org/abs/1606.08571
  An, Xie, Li, "Learning Deep Latent Variable Models by Short-Run MCMC Inference with Optimal Transport Correction",
    CVPR 2021
  Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300 (inference at test time)
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_choice, check_positive, check_positive_number
from tfzoo.compiled import Compiled
from tfzoo.integrators import short_run
from tfzoo.integrators.arguments import check_num_steps
from tfzoo.models import inpainting, top_down
from tfzoo.models.annealed_bound import annealed_bound
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.masked import as_visible, take_mask
from tfzoo.models.persistent_chains import PersistentChains, batch_index, count_examples
from tfzoo.models.validation import as_mask
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["MCMCModel"]

_CHAINS = ("persistent", "noise")
_INFERENCES = ("descent", "short_run")
_DESCENT = 20  # times as many steps as a chain of training


class MCMCModel(LatentVariableModel):
    """Base class of the models that infer by Langevin dynamics.

    Args:
      chain: where the chains of training start: "persistent" or "noise".
      num_steps: K, Langevin steps per training step.
      step_size: s, the deviation of the noise of a step; see `tfzoo.integrators.short_run`.
      noise: False leaves the noise out.
      num_learning_steps: gradient steps of the decoder per training step.
      inference: "descent" or "short_run": how `encode`, `reconstruct` and `anomaly_score` infer.
      num_examples: N of persistent chains; None lets `fit` find it.
      num_annealing_steps: temperatures of `log_prob`, unless it is given others.
      width: factor of the widths of the default generators of 28x28, 32x32 and 64x64 images.
      first_size: of the first maps of those of 32x32 and 64x64 images: 4, or 8 as the paper's for CIFAR-10.
      decoder: None takes `tfzoo.networks.default.generator`.
      **kwargs: see `tfzoo.models.base.LatentVariableModel`; the likelihood is Gaussian with scale 0.3 here.

    Raises:
      ValueError: if an argument is out of its range.
    """

    # The joint density after a short chain from noise says little about a model: the last epoch is kept.
    selects_on_validation = False
    takes_masks = True
    divergence_hint = (
        "look for NaN in the data, for wrong values in its masks and, under XLA, for an index beyond the table of "
        "chains, or lower the learning rate"
    )
    own_signatures = ("inpaint",)
    num_served_samples = 16

    def __init__(
        self,
        *,
        event_shape: tuple[int, ...],
        likelihood: str = "gaussian",
        scale: float | None = top_down.SCALE,
        chain: str = "noise",
        num_steps: int = 30,
        step_size: float = 0.03,
        noise: bool = True,
        num_learning_steps: int = 1,
        inference: str = "descent",
        num_examples: int | None = None,
        num_annealing_steps: int = 200,
        latent_dim: int = 64,
        width: float = 1.0,
        first_size: int = 4,
        decoder: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        sizes = {"width": width, "first_size": first_size, "dtype": kwargs.get("dtype")}
        own = top_down.generator(decoder, event_shape, latent_dim, scale, likelihood=likelihood, **sizes)
        super().__init__(event_shape=event_shape, latent_dim=latent_dim, likelihood=likelihood, **own, **kwargs)
        self.width = check_positive_number("width", width)
        self.first_size = check_positive("first_size", first_size)
        self.autocast = False  # codes pass through `call`, and must not be rounded to half precision there
        self.chain = check_choice("chain", chain, _CHAINS)
        self.num_steps = check_num_steps(num_steps)
        self.step_size = check_positive_number("step_size", step_size)
        self.noise = noise
        self.num_learning_steps = check_positive("num_learning_steps", num_learning_steps)
        self.inference = check_choice("inference", inference, _INFERENCES)
        self.num_annealing_steps = check_positive("num_annealing_steps", num_annealing_steps)
        self._compiled_chains = Compiled(functools.partial(top_down.posterior_chains, self))
        self._compiled_bound = Compiled(self._annealed_bound)
        self.diverged = keras.metrics.Mean(name="diverged")
        self.chains: Any = None  # PersistentChains, where chains are kept
        if chain == "persistent":
            self.chains = PersistentChains(
                num_examples, self.latent_dim, seed=self.seed, dtype=self.variable_dtype, name="chains"
            )

    # === Inference ===

    def _run(
        self,
        x: Tensor,
        start: Tensor,
        seed: Tensor | None,
        *,
        num_steps: int,
        mask: Tensor | None = None,
        noise: bool = True,
        chunked: bool = False,
    ) -> short_run.State:
        """Returns the state of the chains ``[B, D]`` after `num_steps` steps from `start`."""
        chunk_size = top_down.chunk_size(self, x) if chunked else None
        options = {"num_steps": num_steps, "step_size": self.step_size, "noise": noise, "chunk_size": chunk_size}
        return self._compiled_chains(x, start, mask, seed=seed, **options)

    def _from_noise(self, x: Tensor, seed: Tensor) -> Tensor:
        """Returns a start for each image, ``[B, D]``."""
        size = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
        noise = random.normal([size, self.latent_dim], seed, self.variable_dtype)
        return tf.ensure_shape(noise, [x.shape[0], self.latent_dim])

    def _inference_steps(self, num_steps: int | None, inference: str) -> int:
        """Returns the steps of a chain outside of training: as asked for, or the model's own."""
        if num_steps is not None:
            return check_positive("num_steps", num_steps)
        return self.num_steps * (_DESCENT if inference == "descent" else 1)

    def _infer(
        self, x: Tensor, seed: Tensor, inference: str, mask: Tensor | None = None, num_steps: int | None = None
    ) -> Tensor:
        """Returns codes ``[B, D]`` of images that no chain belongs to."""
        start_seed, noise_seed = random.split(seed)
        descent = inference == "descent"
        return self._run(
            x,
            self._from_noise(x, start_seed),
            noise_seed,
            num_steps=self._inference_steps(num_steps, inference),
            mask=mask,
            noise=self.noise and not descent,
            chunked=True,
        ).position

    def encode(self, x: TensorLike, seed: Seed = None, *, num_steps: int | None = None) -> Tensor:
        """Returns one latent code for each image, ``[B, D]``: the end of its chain.

        Args:
          x: images as in the base class; of a dict with a "mask" (1 = visible), what is visible.
          seed: of where the chain starts, and of its noise.
          num_steps: of a chain; None takes the model's, 20 `num_steps` by "descent" and `num_steps` by "short_run".

        Raises:
          ValueError: as in the base class, or for a mask that is none.
        """
        images, mask = self._as_masked(x)
        return self._infer(images, self._as_seed(seed, images.shape[0]), self.inference, mask, num_steps)

    def _encode(self, x: Tensor, seed: Tensor) -> Tensor:
        return self._infer(x, seed, self.inference)

    def _as_masked(self, x: TensorLike) -> tuple[Tensor, Tensor | None]:
        """Returns images ``[B, *event_shape]`` and, of a dict with a "mask", the mask; what it hides is 0 then."""
        x, mask = take_mask(x)
        images = self._as_images(x)
        return (images, None) if mask is None else as_visible(images, mask)

    def posterior(self, x: TensorLike) -> tfd.Distribution:
        """Raises NotImplementedError: the law of a chain's end has no density that could be evaluated."""
        raise NotImplementedError(
            "the density of a short-run chain is not tractable: take samples from encode of a model with "
            'inference="short_run".'
        )

    def call(self, x: TensorLike, training: bool = False, seed: Seed = None) -> dict[str, Tensor]:
        """Returns the inference for a batch: "z" ``[1, B, D]``, by the chain of training from N(0, I).

        In training it is the example's own chain, and a dict with codes under "z" ``[B, D]`` passes them on. Of a dict
        with a "mask" the visible pixels count, and the mask ``[B, *event_shape]`` is passed on.
        """
        images, mask = self._as_masked(x)
        if isinstance(x, dict) and "z" in x:
            z = x["z"]
        else:
            z = self._infer(images, self._as_seed(seed, images.shape[0]), "short_run", mask)
        return {"z": z[tf.newaxis]} if mask is None else {"z": z[tf.newaxis], "mask": mask}

    def bound(self, x: Tensor, inference: dict[str, Tensor], training: bool = False) -> Tensor:
        """Returns log p(x, z) at the inferred codes, ``[B]``: no bound on log p(x), but what learning raises."""
        z = inference["z"][0]
        return self._log_likelihood(x, z, training, inference.get("mask")) + self._log_prior(z)

    def compute_loss(self, x: TensorLike = None, *args: Any, **kwargs: Any) -> Tensor:
        """Returns minus the mean bound, of what is visible where `y_pred` brings a mask."""
        return super().compute_loss(self._as_masked(x)[0], *args, **kwargs)

    def predict_step(self, data: TensorLike) -> Tensor:
        """Returns reconstructions, from what is visible where the data has a "mask"."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        images, mask = self._as_masked(x)
        images = self._asserted(images)
        return self.reconstruct(images if mask is None else {"image": images, "mask": mask})

    # === Training ===

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Infers the batch's codes, then takes `num_learning_steps` gradient steps at them."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        images, mask = self._as_masked(x)
        images, index = self._asserted(images), None
        if self.chains is not None:
            index = batch_index(x)
            start = self.chains.read(index)
            # XLA leaves the check of the index out, and takes another row for one that is not there: a NaN loss then.
            is_known = tf.reshape(self.chains.has(index), [-1, *[1] * len(self.event_shape)])
            images = tf.where(is_known, images, tf.constant(float("nan"), images.dtype))
        seen = {"image": images} if mask is None else {"image": images, "mask": mask}
        start_seed, noise_seed = random.split(self._as_seed(None))
        if self.chains is None:
            start = self._from_noise(images, start_seed)

        def move(state: short_run.State) -> short_run.State:
            return self._run(images, state.position, noise_seed, num_steps=self.num_steps, mask=mask, noise=self.noise)

        state = self._before_learning(short_run.init(start), move)
        logs: dict[str, Tensor] = {}
        for _ in range(self.num_learning_steps):
            # Keras's own step, on codes that are constants to it.
            logs = super().train_step(({**seen, "z": state.position}, y, sample_weight))
        state = self._after_learning(state, move)
        self.diverged.update_state(1.0 - tf.cast(state.is_finite, tf.float32))
        if index is not None:
            self.chains.update(index, state.position)
        return {**logs, "diverged": self.diverged.result()}

    def _before_learning(self, state: short_run.State, move: Callable) -> short_run.State:
        """Returns the chains that a training step learns from; `move` takes them K steps further."""
        return move(state)

    def _after_learning(self, state: short_run.State, move: Callable) -> short_run.State:
        """Returns the chains as a training step leaves them."""
        return state

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`; persistent chains need data with an "index", see `tfzoo.data.load`.

        The table of chains is made before the first step, for the largest index that one pass over the data finds.
        """
        self._check_data(x)
        if self.chains is not None and not self.chains.built:
            with self.distribute_strategy.scope():
                self.chains.build((count_examples(x),))
        return super().fit(x, *args, **kwargs)

    # === Using it ===

    def log_prob(
        self, x: TensorLike, num_samples: int = 16, seed: Seed = None, *, num_steps: int | None = None
    ) -> Tensor:
        """Returns log p(x) in nats, ``[B]``, by annealed importance sampling from the prior.

        A lower bound in expectation that tightens with both numbers; see `tfzoo.objectives.annealed`.

        Args:
          x: images ``[B, *event_shape]``.
          num_samples: chains for each image.
          seed: an int, a pair, or one pair per example ``[B, 2]``; None for fresh noise.
          num_steps: temperatures; None takes `num_annealing_steps`.
        """
        check_positive("num_samples", num_samples)
        num_steps = self.num_annealing_steps if num_steps is None else check_positive("num_steps", num_steps)
        x = self._as_images(x)
        seed = self._as_seed(seed, x.shape[0])
        return self._compiled_bound(x, seed=seed, num_samples=num_samples, num_steps=num_steps)

    def annealing_start(self, x: TensorLike) -> tfd.Distribution:
        """Returns the prior, whatever the images."""
        return self.prior()

    def _annealed_bound(self, x: Tensor, *, seed: Tensor, num_samples: int, num_steps: int) -> Tensor:
        def log_joint(x: Tensor, z: Tensor) -> Tensor:
            return self._log_likelihood(x, z) + self._log_prior(z)

        return annealed_bound(log_joint, self.annealing_start(x), x, seed, num_chains=num_samples, num_steps=num_steps)

    def inpaint(
        self,
        x: TensorLike,
        mask: TensorLike,
        num_samples: int = 1,
        seed: Seed = None,
        *,
        num_steps: int | None = None,
        noise: bool | None = None,
    ) -> Tensor:
        """Returns completions of partly seen images, ``[num_samples, B, *event_shape]``, the visible pixels kept.

        Each is decoded from the end of a chain of its own, on the density of the visible pixels alone. More than 500
        chains go in turns, with one seed for all by other noise.

        Args:
          x: images ``[B, *event_shape]``; what the mask hides is not looked at, but must be numbers in range.
          mask: 1 = visible, 0 = missing; broadcast to the images. A pixel of each must be visible.
          num_samples: chains for each image.
          seed: as in `encode`.
          num_steps: of a chain; None takes those of `encode`.
          noise: True for samples of p(z | visible pixels), but for the steps' error; None takes what `encode` does.
        """
        check_positive("num_samples", num_samples)
        x = self._as_images(x)
        mask, seed = as_mask(mask, x), self._as_seed(seed, x.shape[0])
        num_steps = self._inference_steps(num_steps, self.inference)
        if noise is None:
            noise = self.noise and self.inference != "descent"

        def move(x: Tensor, mask: Tensor, z: Tensor, seed: Tensor) -> Tensor:
            return self._run(x, z, seed, num_steps=num_steps, mask=mask, noise=noise, chunked=True).position

        return inpainting.from_chains(
            x, mask, start=self._from_noise, move=move, decode=self.decode, num_samples=num_samples, seed=seed
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "chain": self.chain,
            "num_steps": self.num_steps,
            "step_size": self.step_size,
            "noise": self.noise,
            "num_learning_steps": self.num_learning_steps,
            "inference": self.inference,
            "num_annealing_steps": self.num_annealing_steps,
            "width": self.width,
            "first_size": self.first_size,
            "num_examples": self.chains.num_examples if self.chains is not None else None,
        }
