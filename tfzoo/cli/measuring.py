"""The verbs `evaluate` and `compare`."""

import pathlib
from collections.abc import Callable
from typing import Any

import click
import rich.table

from tfzoo import evaluation, measurements, recovery, runs
from tfzoo.cli.group import RUN, SEED, can_be_written, say, verb
from tfzoo.progress import bars, console

__all__ = ["measure"]

_METRICS = (*evaluation.METRICS, "recovery")


@verb("evaluate", "tfzoo evaluate runs/vae_mnist --metrics elbo,nll,mse --samples 1000")
@RUN
@click.option("--metrics", help=f"Of {', '.join(_METRICS)} [default: elbo,nll,mse; mse without an encoder].")
@click.option("--samples", default=1000, show_default=True, type=click.IntRange(1), help="Importance samples an image.")
@click.option("--generated", type=click.IntRange(2), help="Generated images [default: as many as the split has].")
@click.option("--ais-images", default=20, show_default=True, type=click.IntRange(1), help="Images for the metric ais.")
@click.option("--ais-steps", default=200, show_default=True, type=click.IntRange(1), help="Its temperatures.")
@click.option("--ais-chains", default=8, show_default=True, type=click.IntRange(1), help="Its chains an image.")
@click.option("--held-out", type=click.IntRange(0), help="Label of the anomalies of auprc [default: the run's].")
@click.option(
    "--mask", "masks", multiple=True, metavar="KIND", help="Of recovery: box, square:20, ... [default: the run's]."
)
@click.option(
    "--completions", default=1, show_default=True, type=click.IntRange(1), help="Of recovery: the mean of so many."
)
@click.option("--completion-steps", type=click.IntRange(1), help="Of the chain to each [default: the model's].")
@click.option("--runs", "num_runs", default=10, show_default=True, type=click.IntRange(1), help="Test runs of auprc.")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test", "all"]))
@click.option("--images", type=click.IntRange(1), help="Only so many, chosen at random: the same ones for every run.")
@click.option("--batch-size", default=100, show_default=True, type=click.IntRange(1))
@SEED
def _evaluate(
    run: pathlib.Path, metrics: str | None, ais_images: int, ais_steps: int, ais_chains: int, **options: Any
) -> None:
    """Measure a run's model; writes metrics.json beside it.

    What the file has of the run's earlier models is dropped.
    """
    annealing = evaluation.Annealing(ais_images, ais_steps, ais_chains)
    names = None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    if names == []:
        raise click.UsageError(f"--metrics takes names, such as elbo,nll. Received: {metrics!r}")
    measure(run, names, annealing=annealing, **options)


def measure(
    run: pathlib.Path,
    metrics: list[str] | None = None,
    *,
    samples: int = 1000,
    generated: int | None = None,
    split: str = "test",
    images: int | None = None,
    batch_size: int = 100,
    annealing: evaluation.Annealing | None = None,
    held_out: int | None = None,
    num_runs: int = 10,
    masks: tuple[str, ...] = (),
    completions: int = 1,
    completion_steps: int | None = None,
    seed: int = 0,
) -> None:
    """Measures a run's model on a split, prints a table, and adds to the run's metrics.

    Each metric is written down as soon as it is measured, and is in the table though a later one fails.
    """
    digest = runs.model_digest(run)  # first: a training may write another model meanwhile
    config, model = runs.load(run)
    if held_out not in (None, config.held_out):
        own = "none" if config.held_out is None else config.held_out
        raise ValueError(f"--held-out must be the label that the run was trained without, {own}. Received: {held_out}")
    dataset = runs.load_split(config, split, batch_size=batch_size, shuffle=False)
    if images:
        dataset = evaluation.subset(dataset, images, batch_size=batch_size, held_out=config.held_out)
    names = evaluation.default_metrics(model) if metrics is None else metrics
    # What can be wrong is looked at before hours of work.
    measurements.read_metrics(run)
    for folder in (run, run / "per_image"):
        if (folder == run or folder.exists()) and not can_be_written(folder):
            raise ValueError(f"the run's folder must be writable. Received: {folder}")
    for name in names:
        if name not in _METRICS:
            raise ValueError(f"metrics must be among {', '.join(_METRICS)}. Received: {name!r}")
    if "recovery" in names:
        recovery.check_masks(model, dataset, masks)
    elif masks or completions != 1 or completion_steps:
        raise ValueError(f"--mask, --completions and --completion-steps are of recovery. Received: {', '.join(names)}")
    training = runs.load_split(config, "train", batch_size=batch_size, shuffle=False) if "recovery" in names else None

    def settings(name: str) -> dict[str, Any]:
        if name.startswith("recovery"):
            return {"completions": completions, "steps": completion_steps}
        return {"samples": samples} if name == "nll" else {}

    results = _Results(run, split, digest, settings)
    try:
        with bars() as progress:
            evaluation.evaluate(
                model,
                dataset,
                [name for name in names if name != "recovery"],
                dataset_name=config.dataset,
                value_range=config.value_range,
                num_samples=samples,
                num_generated=generated,
                annealing=annealing or evaluation.Annealing(),
                held_out=config.held_out,
                num_runs=num_runs,
                seed=seed,
                progress=progress,
                done=results.add,
            )
            if training is not None:
                recovery.measure(
                    model,
                    dataset,
                    training,
                    masks=masks,
                    value_range=config.value_range,
                    num_completions=completions,
                    num_steps=completion_steps,
                    seed=seed,
                    progress=progress,
                    done=results.add,
                )
    finally:
        results.show()


class _Results:
    """What is measured of a run: written down as it comes, shown at the end.

    Args:
      run: its folder.
      split: what it is measured on.
      model: `runs.model_digest` of what is measured.
      settings: a metric's name -> what its values depend on.
    """

    def __init__(self, run: pathlib.Path, split: str, model: str, settings: Callable[[str], dict[str, Any]]) -> None:
        self._run = run
        self._split = split
        self._model = model
        self._settings = settings
        self._table = _table("metric", "value", "standard error", "images", "how")
        self._path: pathlib.Path | None = None

    def add(self, name: str, values: dict[str, Any]) -> None:
        """Writes down a metric's dict, as of `evaluation.evaluate`."""
        values = {**values, "split": self._split}
        per_image = values.pop("per_image", None)
        if per_image is not None:
            settings = self._settings(name)
            measurements.write_per_image(self._run, name, self._split, per_image, model=self._model, settings=settings)
        self._path = measurements.add_metrics(self._run, {name: values}, model=self._model)
        error = values.get("standard_error")
        self._table.add_row(
            name,
            f"{values[name]:.4g}" if abs(values[name]) < 1 else f"{values[name]:.2f}",
            f"{error:.2g}" if error is not None else "",
            str(values.get("num_images", "")),
            values["estimator"],
        )

    def show(self) -> None:
        """Prints a table of all that there is."""
        if self._path is not None:
            console.print(self._table)
            say("metrics", self._path)


@verb("compare", "tfzoo compare runs/langevin_vae_mnist runs/vae_mnist --metric nll")
@RUN
@click.argument("others", nargs=-1, required=True, type=click.Path(path_type=pathlib.Path))
@click.option("--metric", default="nll", show_default=True, help="What `tfzoo evaluate` has measured of all of them.")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test", "all"]))
def _compare(run: pathlib.Path, others: tuple[pathlib.Path, ...], metric: str, split: str) -> None:
    """Compare runs image by image, with standard errors.

    What is printed is the mean of RUN - OTHER. Images differ far more than models do, so a difference of two means can
    be certain where the means are not. Only images that both runs were measured on count; a run that was trained on
    since is to be measured again.
    """
    first = measurements.read_per_image(run, metric, split)
    table = _table("run", "other", f"{metric}, difference", "standard error", "images")
    for other in others:
        measurements.check_comparable(run, other, metric, split)
        difference, error, count = evaluation.paired_difference(
            first, measurements.read_per_image(other, metric, split)
        )
        table.add_row(str(run), str(other), f"{difference:+.4g}", f"{error:.2g}", str(count))
    console.print(table)


def _table(*headers: str) -> rich.table.Table:
    """Returns an empty table whose long words, paths say, are broken where there is no room for them, and not cut."""
    return rich.table.Table(*(rich.table.Column(header, overflow="fold") for header in headers))
