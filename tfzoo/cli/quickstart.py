"""The verb `quickstart`."""

import pathlib
import time

import click

from tfzoo import runs
from tfzoo.cli.exporting import export_and_verify
from tfzoo.cli.group import say, verb
from tfzoo.cli.measuring import measure
from tfzoo.cli.training import draw_pictures, fit
from tfzoo.presets import PRESETS
from tfzoo.progress import console


@verb("quickstart", "tfzoo quickstart")
@click.option("--out", type=click.Path(path_type=pathlib.Path), default="runs/quickstart", show_default=True)
@click.option("--epochs", default=PRESETS["vae_digits"].epochs, show_default=True, type=click.IntRange(1))
def _quickstart(out: pathlib.Path, epochs: int) -> None:
    """Train, evaluate, draw from and export a VAE, on digits.

    They are scikit-learn's, handwritten; it takes under a minute.
    """
    started = time.monotonic()
    folder, number = out, 1
    while folder.exists():
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
    console.print("[bold]1. Train[/bold] a variational autoencoder on 1,297 handwritten digits of 8x8 pixels")
    fit(folder, runs.RunConfig.of("vae_digits", epochs=epochs))
    console.print("[bold]2. Evaluate[/bold] it on the test split, in nats an image")
    measure(folder, ["elbo", "nll", "mse"])
    console.print("[bold]3. Look[/bold] at samples and reconstructions")
    draw_pictures(folder)
    console.print("[bold]4. Export[/bold] a SavedModel for TensorFlow Serving, and check it")
    export_and_verify(runs.load(folder)[1], folder / "saved_model")
    say("model", folder / "model.keras")
    say("history", folder / "history.csv")
    say("TensorBoard logs", folder / "logs")
    console.print(f"Done in {time.monotonic() - started:.0f} s. Next: tfzoo --help")
