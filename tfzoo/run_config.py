"""What a run is made with: a model or a preset, a data set, and how it is trained."""

import dataclasses
import pathlib
from collections.abc import Container, Mapping
from typing import Any

import keras
import tensorflow as tf

from tfzoo import data, registry
from tfzoo.models.base import LatentVariableModel
from tfzoo.optimizers.by_name import make_optimizer
from tfzoo.presets import PRESETS

__all__ = ["RunConfig"]

# What a run takes over from its preset.
_OF_PRESET = ("optimizer", "learning_rate", "learning_rate_decay", "prior_learning_rate", "batch_size", "epochs")
# Data options on which the shape of an example depends.
_SHAPING = ("image_size", "spacing", "volume_shape")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run was asked for.

    Attributes:
      name: a model or a preset.
      dataset: a name or folder that `tfzoo.data.load` takes.
      model_options: arguments of `tfzoo.create_model`.
      data_options: arguments of `tfzoo.data.load`.
      optimizer: a class of `keras.optimizers`.
      learning_rate: its step size.
      optimizer_options: its other arguments.
      learning_rate_decay: factor of the step size from one epoch to the next.
      prior_learning_rate: step size of a second optimizer of the same kind, for the prior; None for one in all.
      batch_size: examples a step (over all replicas).
      epochs: in all.
      seed: of the weights, the noise and the order of the data.
      strategy: "mirrored" trains on all GPUs; None on one device.
      mixed_precision: compute in float16 with float32 weights; for GPUs.
      jit_compile: compile the step with XLA.
      initial_weights: a preset that has weights, or a run folder, from which training starts; see
        `tfzoo.models.base.LatentVariableModel.adopt_weights`.
    """

    name: str
    dataset: str
    model_options: dict[str, Any]
    data_options: dict[str, Any]
    optimizer: str = "Adam"
    learning_rate: float = 1e-3
    batch_size: int = 100
    epochs: int = 10
    seed: int = 0
    strategy: str | None = None
    mixed_precision: bool = False
    jit_compile: bool = False
    initial_weights: str | None = None
    optimizer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate_decay: float = 1.0
    prior_learning_rate: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        dataset: str | None = None,
        *,
        model_options: Mapping[str, Any] | None = None,
        data_options: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> "RunConfig":
        """Returns the configuration of a preset, or of a model on a data set, with changes.

        Args:
          name: a model or a preset.
          dataset: None takes the preset's.
          model_options: arguments of the model, beside or instead of the preset's.
          data_options: arguments of `tfzoo.data.load`, beside or instead of the preset's.
          **changes: of the other attributes.

        Raises:
          ValueError: for an unknown name or optimizer, or a model without a data set.
        """
        preset = PRESETS.get(name)
        if preset:
            of_preset = {key: getattr(preset, key) for key in _OF_PRESET}
            if "optimizer" not in changes:  # another one has other arguments
                of_preset["optimizer_options"] = dict(preset.optimizer_options)
            changes = {**of_preset, **changes}
            data_options = {**preset.data_options, **(data_options or {})}
            dataset = dataset or preset.dataset
        elif dataset is None:
            registry.create_model(name, event_shape=(1,))  # an unknown name is the greater mistake
            raise ValueError(f"the model {name} needs a data set. Received: none")
        data_options = dict(data_options or {})
        # A run is gone on with, and measured, from other working directories too.
        dataset = _name_or_path(dataset, data.list_datasets())
        if data_options.get("data_dir"):
            data_options["data_dir"] = _resolved(data_options["data_dir"])
        if changes.get("initial_weights"):
            changes["initial_weights"] = _name_or_path(changes["initial_weights"], PRESETS)
        config = cls(name, dataset, dict(model_options or {}), data_options, **changes)
        for key in ("seed", "name"):
            if key in config.model_options:
                raise ValueError(f"{key} is no option of a run's model. Received: {config.model_options[key]!r}")
        kind = getattr(keras.optimizers, config.optimizer, None)
        if not isinstance(kind, type) or kind is keras.optimizers.Optimizer:
            raise ValueError(f"optimizer must be a class of keras.optimizers. Received: {config.optimizer!r}")
        return config

    @property
    def value_range(self) -> tuple[float, float]:
        """The range of the images: what pictures show as black and white."""
        low, high = self.data_options.get("value_range", (0.0, 1.0))
        return float(low), float(high)

    @property
    def held_out(self) -> int | None:
        """The label that training has not seen, None where it has seen all."""
        return self.data_options.get("held_out")

    @property
    def mask(self) -> str | None:
        """The kind of masks that training looked through, None where it saw whole images."""
        return self.data_options.get("mask")

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split."""
        return self.held_out is None and "validation" in self.data_info().num_examples

    def data_info(self) -> data.DatasetInfo:
        """The facts of the data set, as the options make them."""
        return data.info(self.dataset, **{name: self.data_options.get(name) for name in _SHAPING})

    def create_model(self, steps_per_epoch: int = 0) -> LatentVariableModel:
        """Returns the compiled model, made under the strategy asked for; a learning rate's decay needs the steps."""
        options = dict(self.model_options)
        preset = PRESETS.get(self.name)
        reshaped = preset is not None and any(self.data_options.get(name) for name in _SHAPING)
        if preset is None or preset.dataset != self.dataset or reshaped:
            options.setdefault("event_shape", self.data_info().event_shape)
        if self.mixed_precision:
            options["dtype"] = "mixed_float16"
        strategy = tf.distribute.MirroredStrategy() if self.strategy == "mirrored" else tf.distribute.get_strategy()
        with strategy.scope():
            model = registry.create_model(self.name, seed=self.seed, **options)
            updates = steps_per_epoch * getattr(model, "num_learning_steps", 1)

            def make(rate: float) -> keras.optimizers.Optimizer:
                decay, options = self.learning_rate_decay, self.optimizer_options
                return make_optimizer(self.optimizer, rate, decay=decay, updates_per_epoch=updates, options=options)

            prior_rate = self.prior_learning_rate
            model.compile(
                optimizer=make(self.learning_rate),
                prior_optimizer=None if prior_rate is None else make(prior_rate),
                jit_compile=self.jit_compile,
            )
        return model


def _name_or_path(source: str, names: Container[str]) -> str:
    """Returns the absolute path of a file or folder; a name, and what is not there, stays as it is."""
    path = _resolved(source)
    return path if source not in names and pathlib.Path(path).exists() else source


def _resolved(path: str) -> str:
    return str(pathlib.Path(path).expanduser().resolve())
