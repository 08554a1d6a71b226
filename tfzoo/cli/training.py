"""The verb `train`."""

import contextlib
import datetime
import pathlib
from typing import Any

import click
import yaml

from tfzoo import gallery, runs
from tfzoo.cli.group import SEEDS, say, verb
from tfzoo.progress import EpochBar

__all__ = ["draw_pictures", "fit"]


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set takes KEY=VALUE. Received: {setting!r}")
        try:
            values[key.replace("-", "_")] = _parse_value(value)
        except (yaml.YAMLError, ValueError):  # ValueError: of dates that are none
            raise click.UsageError(f"--set takes KEY=VALUE with a value in YAML. Received: {setting!r}") from None
    return values


def _parse_value(text: str) -> Any:
    value = yaml.safe_load(text)
    with contextlib.suppress(ValueError):  # YAML 1.1 takes 1e-3, without a point, for a word
        return float(value) if isinstance(value, str) else value
    return value


def _parse_classes(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    try:
        return None if value is None else [int(label) for label in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"--classes takes labels, such as 0,1. Received: {value!r}") from None


@verb("train", "tfzoo train vae_mnist --epochs 50    or    tfzoo train vae --data fashion_mnist --set latent_dim=32")
@click.argument("name", metavar="PRESET|MODEL", required=False)
@click.option("--data", "dataset", help="Name of a data set, folder or .npz; a preset has its own.")
@click.option("--data-dir", type=click.Path(path_type=pathlib.Path), help="Where tensorflow-datasets keeps its data.")
@click.option("--out", type=click.Path(path_type=pathlib.Path), help="Run folder [default: runs/NAME-TIME].")
@click.option("--resume", type=click.Path(path_type=pathlib.Path), help="Go on with this run from its last epoch.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs in all.")
@click.option("--batch-size", type=click.IntRange(1), help="Examples a step, over all replicas.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--optimizer", help="A class of keras.optimizers, such as Adamax.")
@click.option("--held-out", type=click.IntRange(0), help="Label that is not trained on, to be found as an anomaly.")
@click.option("--classes", metavar="LABELS", callback=_parse_classes, help="Only these labels, such as 0,1.")
@click.option("--binarize", type=click.Choice(["dynamic", "static", "none"]), help="How grey values become 0 and 1.")
@click.option("--mask", metavar="KIND", help="Hide square:20, patches:30, box or a half of each image in training.")
@click.option("--image-size", type=click.IntRange(1), help="Resize images to squares.")
@click.option("--spacing", type=click.FloatRange(0, min_open=True), help="Resample scans to so many millimetres.")
@click.option("--volume-shape", type=click.IntRange(1), nargs=3, help="Crop or pad volumes to T H W voxels.")
@click.option("--window", type=float, nargs=2, help="Intensities of scans that become 0 and 1, such as -1000 2000.")
@click.option("--value-range", type=click.Choice(["0,1", "-1,1"]), help="Of the images; Bernoulli needs 0,1 [default].")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the model; may be repeated.")
@click.option("--initial-weights", metavar="PRESET|RUN", help="Start from its networks.")
@click.option("--seed", type=SEEDS, help="Of weights, noise and data order.")
@click.option("--strategy", type=click.Choice(["mirrored"]), help="Train on all GPUs of this machine.")
@click.option("--mixed-precision", is_flag=True, help="Compute in float16 with float32 weights (for GPUs).")
@click.option("--jit-compile", is_flag=True, help="Compile the training step with XLA.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def _train(
    name: str | None,
    dataset: str | None,
    data_dir: pathlib.Path | None,
    out: pathlib.Path | None,
    resume: pathlib.Path | None,
    epochs: int | None,
    held_out: int | None,
    classes: list[int] | None,
    binarize: str | None,
    mask: str | None,
    image_size: int | None,
    spacing: float | None,
    volume_shape: tuple[int, int, int] | None,
    window: tuple[float, float] | None,
    value_range: str | None,
    settings: tuple[str, ...],
    quiet: bool,
    **changes: Any,
) -> None:
    """Train a preset, or a model on a data set, into a run folder.

    The folder gets model.keras (the best epoch on the validation split; the last one of models that infer by a Markov
    chain), config.json, history.csv, TensorBoard logs, samples.png and reconstructions.png; with --mask, pictures of
    recovered images. A run that was killed goes on with --resume and loses one epoch at most.
    """
    if resume is not None:
        _check_resumes(click.get_current_context())
        folder = resume
        fit(folder, None, epochs, quiet)
    else:
        if name is None:
            raise click.UsageError("Name a preset or a model; `tfzoo list` has them.")
        shaping = {"image_size": image_size, "spacing": spacing, "volume_shape": volume_shape, "window": window}
        data_options: dict[str, Any] = {key: value for key, value in shaping.items() if value}
        if binarize:
            data_options["binarize"] = None if binarize == "none" else binarize
        if value_range:
            data_options["value_range"] = [float(end) for end in value_range.split(",")]
        if held_out is not None:
            data_options["held_out"] = held_out
        if mask is not None:
            data_options["mask"] = mask
        if classes is not None:
            data_options["classes"] = classes
        if data_dir:
            data_options["data_dir"] = str(data_dir)
        config = runs.RunConfig.of(
            name,
            dataset,
            model_options=_parse_settings(settings),
            data_options=data_options,
            **{key: value for key, value in {**changes, "epochs": epochs}.items() if value is not None},
        )
        folder = out or pathlib.Path("runs") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        fit(folder, config, quiet=quiet)
    draw_pictures(folder)
    say("run", folder)


def _check_resumes(context: click.Context) -> None:
    """Raises UsageError for what a run has decided when it was new."""
    given = [
        parameter.opts[0].upper() if isinstance(parameter, click.Argument) else parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in ("resume", "epochs", "quiet", "debug")
        and context.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"--resume goes on with what its run has; --epochs may be new. Received: {' '.join(given)}"
        )


def fit(folder: pathlib.Path, config: runs.RunConfig | None, epochs: int | None = None, quiet: bool = False) -> None:
    """Trains with a progress bar; see `tfzoo.runs.train`."""
    bar = EpochBar()
    try:
        runs.train(folder, config, epochs=epochs, callbacks=[] if quiet else [bar])
    finally:
        bar.close()


def draw_pictures(folder: pathlib.Path) -> None:
    """Writes samples and reconstructions of a run's model beside it."""
    config, model = runs.load(folder)
    gallery.write_samples(config, model, folder / "samples.png")
    say("samples", folder / "samples.png")
    images = gallery.some_images(config, "test", 10)
    gallery.write_reconstructions(config, model, folder / "reconstructions.png", images)
    say("reconstructions", folder / "reconstructions.png")
