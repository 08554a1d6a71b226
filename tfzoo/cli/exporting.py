"""The verb `export`."""

import pathlib

import click

from tfzoo import runs, verification
from tfzoo.cli.group import RUN, say, verb
from tfzoo.models import saved_model
from tfzoo.models.base import LatentVariableModel
from tfzoo.progress import console

__all__ = ["export_and_verify"]


@verb("export", "tfzoo export runs/vae_mnist served/vae_mnist")
@RUN
@click.argument("path", metavar="DIR", type=click.Path(path_type=pathlib.Path))
@click.option(
    "--samples",
    type=click.IntRange(1),
    help="Behind the signature log_prob [default: the model's own]. Models without an encoder anneal so many chains "
    "for each image: seconds to minutes a request, and some runs of them here.",
)
@click.option("--steps", type=click.IntRange(1), help="Of a Markov chain that infers [default: the model's own].")
def _export(run: pathlib.Path, path: pathlib.Path, samples: int | None, steps: int | None) -> None:
    """Write a SavedModel, and check it in a fresh process.

    That process imports TensorFlow only; its numbers are compared with the model's. An earlier export is replaced once
    the new one has passed.
    """
    _, model = runs.load(run)
    export_and_verify(model, path, samples, steps)


def export_and_verify(
    model: LatentVariableModel, path: pathlib.Path, samples: int | None = None, steps: int | None = None
) -> None:
    """Exports a model, checks the export in a fresh process, and says how well it agrees.

    An earlier export is replaced once the new one has passed.
    """
    with saved_model.replacing(path) as new:
        model.export(new, num_samples=samples, num_steps=steps)
        differences = verification.verify_export(model, new, num_steps=steps)
    worst = max(differences, key=lambda name: differences[name])
    console.print(
        f"{'verified':>16}  {len(differences)} signatures in a fresh process; the largest relative difference is "
        f"{differences[worst]:.1e} ({worst})"
    )
    say("SavedModel", path)
