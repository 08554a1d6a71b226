"""The command line: train, evaluate, sample, reconstruct, interpolate, inpaint, export, list, quickstart.

Exit status 0: done; 1: an error, said in one line; 2: a command that cannot be understood.
"""

import datetime
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import rich.table
import tensorflow as tf
import yaml

from tfzoo import data, evaluation, gallery, registry, runs, verification
from tfzoo.models.base import LatentVariableModel
from tfzoo.presets import PRESETS
from tfzoo.progress import EpochBar, bars, console
from tfzoo.version import __version__

__all__ = ["main"]

_RUN = click.argument("run", type=click.Path(path_type=pathlib.Path))
_SEED = click.option("--seed", default=0, show_default=True, help="The same seed gives the same result.")


class _Command(click.Command):
    """A verb with `--debug`, and an example under its help."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "epilog": f"Example:  {example}"})
        debug = click.Option(
            ["--debug"], is_flag=True, expose_value=False, help="Show the whole traceback of an error."
        )
        self.params.append(debug)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def _cli() -> None:
    """Deep latent-variable models whose inference is a flow: train, measure, look, export."""


def _verb(name: str, example: str) -> Callable[[Callable], click.Command]:
    return _cli.command(name, cls=_Command, example=example)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = _cli.main(arguments, prog_name="tfzoo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. A training goes on from its last epoch with: tfzoo train --resume RUN", err=True)
        sys.exit(1)
    except Exception as error:
        if "--debug" in arguments:
            raise
        click.echo(f"Error: {' '.join(str(error).split()) or type(error).__name__}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


# === Options ===


def _parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set takes KEY=VALUE. Received: {setting!r}")
        values[key.replace("-", "_")] = yaml.safe_load(value)
    return values


def _say(what: str, path: pathlib.Path) -> None:
    console.print(f"{what:>16}  {path}")


# === Verbs ===


@_verb("list", "tfzoo list")
def _list() -> None:
    """List models, presets and data sets, with what each preset was measured at."""
    table = rich.table.Table("preset", "model", "data", "epochs", "measured", "reported by the paper")
    for name in registry.list_presets():
        preset = PRESETS[name]
        measured = ", ".join(f"{k} {v}" for k, v in preset.measured.items()) or "not measured yet"
        reported = ", ".join(f"{k} {v}" for k, v in preset.reported.items()) or "nothing for this model and data"
        table.add_row(name, preset.model, preset.dataset, str(preset.epochs), measured, reported)
    console.print(f"models     {', '.join(registry.list_models())}")
    console.print(f"data sets  {', '.join(data.list_datasets())}, a folder of images or scans, a file of arrays")
    console.print(table)


@_verb("train", "tfzoo train vae_mnist --epochs 50    or    tfzoo train vae --data fashion_mnist --set latent_dim=32")
@click.argument("name", metavar="PRESET|MODEL", required=False)
@click.option("--data", "dataset", help="Name of a data set, folder or .npz; a preset has its own.")
@click.option("--data-dir", type=click.Path(path_type=pathlib.Path), help="Where tensorflow-datasets keeps its data.")
@click.option("--out", type=click.Path(path_type=pathlib.Path), help="Run folder [default: runs/NAME-TIME].")
@click.option("--resume", type=click.Path(path_type=pathlib.Path), help="Go on with this run from its last epoch.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs in all.")
@click.option("--batch-size", type=click.IntRange(1), help="Examples a step, over all replicas.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--optimizer", help="A class of keras.optimizers, such as Adamax.")
@click.option("--binarize", type=click.Choice(["dynamic", "static", "none"]), help="How grey values become 0 and 1.")
@click.option("--image-size", type=click.IntRange(1), help="Resize images to squares.")
@click.option("--spacing", type=click.FloatRange(0, min_open=True), help="Resample scans to so many millimetres.")
@click.option("--volume-shape", type=click.IntRange(1), nargs=3, help="Crop or pad volumes to T H W voxels.")
@click.option("--window", type=float, nargs=2, help="Intensities of scans that become 0 and 1, such as -1000 2000.")
@click.option("--value-range", type=click.Choice(["0,1", "-1,1"]), help="Of the images; Bernoulli needs 0,1 [default].")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the model; may be repeated.")
@click.option("--seed", type=int, help="Of weights, noise and data order.")
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
    binarize: str | None,
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

    The folder gets model.keras (the best epoch on the validation split), config.json, history.csv, TensorBoard logs,
    samples.png and reconstructions.png. A run that was killed goes on with --resume and loses one epoch at most.
    """
    if resume is not None:
        if name is not None:
            raise click.UsageError("--resume takes the model from its run: leave out the name.")
        folder = resume
        _fit(folder, None, epochs, quiet)
    else:
        if name is None:
            raise click.UsageError("Name a preset or a model; `tfzoo list` has them.")
        shaping = {"image_size": image_size, "spacing": spacing, "volume_shape": volume_shape, "window": window}
        data_options: dict[str, Any] = {key: value for key, value in shaping.items() if value}
        if binarize:
            data_options["binarize"] = None if binarize == "none" else binarize
        if value_range:
            data_options["value_range"] = [float(end) for end in value_range.split(",")]
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
        _fit(folder, config, quiet=quiet)
    _pictures(folder)
    _say("run", folder)


def _fit(folder: pathlib.Path, config: runs.RunConfig | None, epochs: int | None = None, quiet: bool = False) -> None:
    bar = EpochBar()
    try:
        runs.train(folder, config, epochs=epochs, callbacks=[] if quiet else [bar])
    finally:
        bar.close()


def _pictures(folder: pathlib.Path) -> None:
    config, model = runs.load(folder)
    gallery.write_samples(config, model, folder / "samples.png")
    _say("samples", folder / "samples.png")
    images = gallery.some_images(config, "test", 10)
    gallery.write_reconstructions(config, model, folder / "reconstructions.png", images)
    _say("reconstructions", folder / "reconstructions.png")


@_verb("evaluate", "tfzoo evaluate runs/vae_mnist --metrics elbo,nll,mse --samples 1000")
@_RUN
@click.option("--metrics", default="elbo,nll,mse", show_default=True, help=f"Of {', '.join(evaluation.METRICS)}.")
@click.option("--samples", default=1000, show_default=True, type=click.IntRange(1), help="Importance samples an image.")
@click.option("--generated", type=click.IntRange(2), help="Generated images [default: as many as the split has].")
@click.option("--ais-images", default=20, show_default=True, type=click.IntRange(1), help="Images for the metric ais.")
@click.option("--ais-steps", default=200, show_default=True, type=click.IntRange(1), help="Its temperatures.")
@click.option("--ais-chains", default=8, show_default=True, type=click.IntRange(1), help="Its chains an image.")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test", "all"]))
@click.option("--images", type=click.IntRange(1), help="Only the first so many images of the split.")
@click.option("--batch-size", default=100, show_default=True, type=click.IntRange(1))
@_SEED
def _evaluate(
    run: pathlib.Path, metrics: str, ais_images: int, ais_steps: int, ais_chains: int, **options: Any
) -> None:
    """Measure a run's model; writes metrics.json beside it."""
    annealing = evaluation.Annealing(ais_images, ais_steps, ais_chains)
    _measure(run, [name.strip() for name in metrics.split(",") if name.strip()], annealing=annealing, **options)


def _measure(
    run: pathlib.Path,
    metrics: list[str],
    *,
    samples: int = 1000,
    generated: int | None = None,
    split: str = "test",
    images: int | None = None,
    batch_size: int = 100,
    annealing: evaluation.Annealing | None = None,
    seed: int = 0,
) -> None:
    config, model = runs.load(run)
    dataset = runs.load_split(config, split, batch_size=batch_size, shuffle=False)
    if images:
        dataset = dataset.unbatch().take(images).batch(batch_size)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-images // batch_size)))
    with bars() as progress:
        results = evaluation.evaluate(
            model,
            dataset,
            metrics,
            dataset_name=config.dataset,
            value_range=config.value_range,
            num_samples=samples,
            num_generated=generated,
            annealing=annealing or evaluation.Annealing(),
            seed=seed,
            progress=progress,
        )
    path = runs.add_metrics(run, {name: {**values, "split": split} for name, values in results.items()})
    table = rich.table.Table("metric", "value", "standard error", "images", "how")
    for name, values in results.items():
        error = values.get("standard_error")
        table.add_row(
            name,
            f"{values[name]:.4g}" if abs(values[name]) < 1 else f"{values[name]:.2f}",
            f"{error:.2g}" if error is not None else "",
            str(values.get("num_images", "")),
            values["estimator"],
        )
    console.print(table)
    _say("metrics", path)


def _picture_path(run: pathlib.Path, out: pathlib.Path | None, name: str) -> pathlib.Path:
    path = out or run / f"{name}.png"
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"--out must be in a folder that can be written. Received: {path}")
    return path


_OUT = click.option("--out", type=click.Path(path_type=pathlib.Path), help="PNG to write [default: in the run folder].")
_SPLIT = click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
_COUNT = click.option(
    "--count", default=10, show_default=True, type=click.IntRange(1), help="Images, from the first on."
)
_INDEX = click.option("--index", "indices", multiple=True, type=click.IntRange(0), help="An image; may be repeated.")


@_verb("sample", "tfzoo sample runs/vae_mnist --count 64 --seed 1")
@_RUN
@click.option("--count", default=100, show_default=True, type=click.IntRange(1))
@_OUT
@_SEED
def _sample(run: pathlib.Path, count: int, out: pathlib.Path | None, seed: int) -> None:
    """Draw new images from the prior as a PNG grid."""
    path = _picture_path(run, out, "samples")
    gallery.write_samples(*runs.load(run), path, count=count, seed=seed)
    _say("samples", path)


@_verb("reconstruct", "tfzoo reconstruct runs/vae_mnist --index 3 --index 14")
@_RUN
@_SPLIT
@_COUNT
@_INDEX
@_OUT
@_SEED
def _reconstruct(
    run: pathlib.Path, split: str, count: int, indices: tuple[int, ...], out: pathlib.Path | None, seed: int
) -> None:
    """Show images (above) and their reconstructions (below) as a PNG grid."""
    path = _picture_path(run, out, "reconstructions")
    config, model = runs.load(run)
    images = gallery.some_images(config, split, count, indices)
    gallery.write_reconstructions(config, model, path, images, seed=seed)
    _say("reconstructions", path)


@_verb("interpolate", "tfzoo interpolate runs/vae_mnist --points 12")
@_RUN
@_SPLIT
@_COUNT
@click.option(
    "--points", default=10, show_default=True, type=click.IntRange(2), help="Images in a row, with both ends."
)
@_OUT
@_SEED
def _interpolate(run: pathlib.Path, split: str, count: int, points: int, out: pathlib.Path | None, seed: int) -> None:
    """Walk between pairs of images in the latent space; a PNG grid with a pair in each row."""
    path = _picture_path(run, out, "interpolations")
    config, model = runs.load(run)
    images = gallery.some_images(config, split, 2 * count)
    gallery.write_interpolations(config, model, path, images, num_points=points, seed=seed)
    _say("interpolations", path)


@_verb("inpaint", "tfzoo inpaint runs/vae_mnist --hide bottom --completions 5")
@_RUN
@_SPLIT
@_COUNT
@click.option("--hide", default="bottom", show_default=True, type=click.Choice(["bottom", "top", "left", "right"]))
@click.option("--completions", default=4, show_default=True, type=click.IntRange(1), help="Of each image.")
@_OUT
@_SEED
def _inpaint(
    run: pathlib.Path, split: str, count: int, hide: str, completions: int, out: pathlib.Path | None, seed: int
) -> None:
    """Complete images of which a half is hidden; rows: the image, what is seen of it, the completions."""
    path = _picture_path(run, out, "inpaintings")
    config, model = runs.load(run)
    images = gallery.some_images(config, split, count)
    gallery.write_inpaintings(config, model, path, images, hide=hide, completions=completions, seed=seed)
    _say("inpaintings", path)


@_verb("export", "tfzoo export runs/vae_mnist served/vae_mnist")
@_RUN
@click.argument("path", metavar="DIR", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--samples", default=100, show_default=True, type=click.IntRange(1), help="Behind the signature log_prob."
)
def _export(run: pathlib.Path, path: pathlib.Path, samples: int) -> None:
    """Write a SavedModel, load it in a fresh process that imports TensorFlow only, and compare its numbers."""
    _, model = runs.load(run)
    _export_and_verify(model, path, samples)


def _export_and_verify(model: LatentVariableModel, path: pathlib.Path, samples: int) -> None:
    model.export(path, num_samples=samples)
    differences = verification.verify_export(model, path)
    worst = max(differences, key=lambda name: differences[name])
    console.print(
        f"{'verified':>16}  {len(differences)} signatures in a fresh process; the largest relative difference is "
        f"{differences[worst]:.1e} ({worst})"
    )
    _say("SavedModel", path)


@_verb("quickstart", "tfzoo quickstart")
@click.option("--out", type=click.Path(path_type=pathlib.Path), default="runs/quickstart", show_default=True)
@click.option("--epochs", default=PRESETS["vae_digits"].epochs, show_default=True, type=click.IntRange(1))
def _quickstart(out: pathlib.Path, epochs: int) -> None:
    """Train, evaluate, draw from and export a VAE on scikit-learn's handwritten digits, in under a minute."""
    started = time.monotonic()
    folder, number = out, 1
    while folder.exists():
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
    console.print("[bold]1. Train[/bold] a variational autoencoder on 1,297 handwritten digits of 8x8 pixels")
    _fit(folder, runs.RunConfig.of("vae_digits", epochs=epochs))
    console.print("[bold]2. Evaluate[/bold] it on the test split, in nats an image")
    _measure(folder, ["elbo", "nll", "mse"])
    console.print("[bold]3. Look[/bold] at samples and reconstructions")
    _pictures(folder)
    console.print("[bold]4. Export[/bold] a SavedModel for TensorFlow Serving, and check it")
    _export_and_verify(runs.load(folder)[1], folder / "saved_model", 100)
    _say("model", folder / "model.keras")
    _say("history", folder / "history.csv")
    _say("TensorBoard logs", folder / "logs")
    console.print(f"Done in {time.monotonic() - started:.0f} s. Next: tfzoo --help")


if __name__ == "__main__":
    main()
