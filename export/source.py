"""What can be exported: a run's best model, or a preset's own weights."""

import dataclasses
import pathlib
from typing import Any

import tfzoo
from tfzoo import data, measurements, registry, runs
from tfzoo.models.base import LatentVariableModel
from tfzoo.presets import PRESETS

__all__ = ["Source", "load"]


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained model and what is known of it.

    Attributes:
      name: under which it is to be served.
      model: the model.
      preset: the preset's name, None for a model on data of the user's choice.
      data: facts of its data, None where they cannot be found any more.
      value_range: of its images: what pictures show as black and white.
      training: how it was trained, for JSON.
      measured: metric -> what was measured of this model.
    """

    name: str
    model: LatentVariableModel
    preset: str | None
    data: data.DatasetInfo | None
    value_range: tuple[float, float]
    training: dict[str, Any]
    measured: dict[str, Any]


def load(run_or_preset: str) -> Source:
    """Returns the model of a run folder, or of a preset that comes with weights.

    Raises:
      ValueError: if it is neither, or is not trained.
    """
    if pathlib.Path(run_or_preset).is_dir():
        return _of_run(pathlib.Path(run_or_preset))
    if run_or_preset not in PRESETS:
        raise ValueError(f"name a run folder, or a preset of `tfzoo list`. Received: {run_or_preset}")
    preset = PRESETS[run_or_preset]
    if preset.weights is None:
        raise ValueError(
            f"{run_or_preset} comes without weights: train it by `tfzoo train {run_or_preset} --out "
            f"runs/{run_or_preset}`, then export that folder. Received: {run_or_preset}"
        )
    config = runs.RunConfig.of(run_or_preset)
    return Source(
        name=run_or_preset,
        model=tfzoo.create_model(run_or_preset, pretrained=True),
        preset=run_or_preset,
        data=config.data_info(),
        value_range=config.value_range,
        training={"weights": preset.weights, **_training(config)},
        measured=dict(preset.measured),
    )


def _of_run(folder: pathlib.Path) -> Source:
    measured = measurements.present_metrics(folder)
    config, model = runs.load(folder)
    if float(getattr(model, "stage", 2.0)) < 2:
        raise ValueError(
            f"the run must have reached the second stage of its training, after {model.first_stage_epochs} epochs: "
            f"what its prior draws is nothing before. Received: {folder}"
        )
    try:
        facts = config.data_info()
    except (OSError, ImportError, ValueError):  # the user's own folder may have moved since
        facts = None
    return Source(
        name=config.name,
        model=model,
        preset=config.name if config.name in registry.list_presets() else None,
        data=facts,
        value_range=config.value_range,
        training={**_training(config), "epochs": config.epochs, "seed": config.seed},
        measured=measured,
    )


def _training(config: runs.RunConfig) -> dict[str, Any]:
    wanted = ("dataset", "optimizer", "learning_rate", "batch_size", "model_options", "data_options")
    preset = PRESETS.get(config.name)
    model_options = {**(preset.model_options if preset else {}), **config.model_options}
    values = {name: getattr(config, name) for name in wanted} | {"model_options": model_options}
    # A folder of this machine is nobody's business.
    return {**values, "data_options": {key: value for key, value in config.data_options.items() if key != "data_dir"}}
