"""The verbs that write pictures: `sample`, `reconstruct`, `interpolate`, `inpaint`, `recover`, `posterior`, ..."""

import pathlib

import click

from tfzoo import gallery, latent_geometry, posterior_grid, runs
from tfzoo.callbacks import read_history, read_snapshots
from tfzoo.cli.group import RUN, SEED, can_be_written, say, verb
from tfzoo.models.base import LatentVariableModel

_OUT = click.option("--out", type=click.Path(path_type=pathlib.Path), help="PNG to write [default: in the run folder].")
_SPLIT = click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
_COUNT = click.option(
    "--count", default=10, show_default=True, type=click.IntRange(1), help="Images, from the first on."
)
_INDEX = click.option("--index", "indices", multiple=True, type=click.IntRange(0), help="An image; may be repeated.")


def _open(
    run: pathlib.Path, out: pathlib.Path | None, name: str
) -> tuple[runs.RunConfig, LatentVariableModel, pathlib.Path]:
    """Returns a run's configuration and model, and the path of a picture, which can be written."""
    config, model = runs.load(run)  # first: where there is no run, its folder cannot be written either
    path = out or run / f"{name}.png"
    if not can_be_written(path.parent):
        raise ValueError(f"--out must be in a folder that can be written. Received: {path}")
    if path.is_dir():
        raise ValueError(f"--out must be a file. Received: the folder {path}")
    return config, model, path


@verb("sample", "tfzoo sample runs/vae_mnist --count 64 --seed 1")
@RUN
@click.option("--count", default=100, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=1.0, show_default=True, help="Of the prior; less than 1 is less varied.")
@_OUT
@SEED
def _sample(run: pathlib.Path, count: int, temperature: float, out: pathlib.Path | None, seed: int) -> None:
    """Draw new images from the prior as a PNG grid."""
    config, model, path = _open(run, out, "samples")
    gallery.write_samples(config, model, path, count=count, temperature=temperature, seed=seed)
    say("samples", path)


@verb("reconstruct", "tfzoo reconstruct runs/vae_mnist --index 3 --index 14")
@RUN
@_SPLIT
@_COUNT
@_INDEX
@_OUT
@SEED
def _reconstruct(
    run: pathlib.Path, split: str, count: int, indices: tuple[int, ...], out: pathlib.Path | None, seed: int
) -> None:
    """Show images and, below them, their reconstructions."""
    config, model, path = _open(run, out, "reconstructions")
    images = gallery.some_images(config, split, count, indices)
    gallery.write_reconstructions(config, model, path, images, seed=seed)
    say("reconstructions", path)


@verb("interpolate", "tfzoo interpolate runs/vae_mnist --points 12")
@RUN
@_SPLIT
@_COUNT
@click.option(
    "--points", default=10, show_default=True, type=click.IntRange(2), help="Images in a row, with both ends."
)
@click.option("--geodesic", is_flag=True, help="Two rows a pair: the straight line, and below it the geodesic.")
@_OUT
@SEED
def _interpolate(
    run: pathlib.Path, split: str, count: int, points: int, geodesic: bool, out: pathlib.Path | None, seed: int
) -> None:
    """Walk between pairs of images in the latent space.

    A PNG grid with a pair in each row. Geodesics are shortest in what the decoder shows, of whatever model.
    """
    config, model, path = _open(run, out, "interpolations")
    images = gallery.some_images(config, split, 2 * count)
    gallery.write_interpolations(config, model, path, images, num_points=points, geodesic=geodesic, seed=seed)
    say("interpolations", path)


@verb("walk", "tfzoo walk runs/vae_mnist --count 5")
@RUN
@_SPLIT
@_COUNT
@click.option("--points", default=10, show_default=True, type=click.IntRange(2), help="Images in a row.")
@click.option(
    "--duration", type=click.FloatRange(0, min_open=True), help="Of the motions [default: as far as codes are spread]."
)
@_OUT
@SEED
def _walk(
    run: pathlib.Path,
    split: str,
    count: int,
    points: int,
    duration: float | None,
    out: pathlib.Path | None,
    seed: int,
) -> None:
    """Walk at random from images, on the decoder's manifold.

    Brownian motions; a PNG grid with an image in each row.
    """
    config, model, path = _open(run, out, "walks")
    images = gallery.some_images(config, split, count)
    gallery.write_walks(config, model, path, images, num_points=points, duration=duration, seed=seed)
    say("walks", path)


@verb("inpaint", "tfzoo inpaint runs/vae_mnist --hide bottom --completions 5")
@RUN
@_SPLIT
@_COUNT
@click.option(
    "--hide", default="bottom", show_default=True, help="A half: bottom, top, left, right; box, square:20, patches:30."
)
@click.option("--completions", default=4, show_default=True, type=click.IntRange(1), help="Of each image.")
@click.option("--uncertainty", is_flag=True, help="One more row: the deviation of samples of them, white the most.")
@_OUT
@SEED
def _inpaint(
    run: pathlib.Path,
    split: str,
    count: int,
    hide: str,
    completions: int,
    uncertainty: bool,
    out: pathlib.Path | None,
    seed: int,
) -> None:
    """Complete images of which a part is hidden.

    Rows of the PNG grid: the image, what is seen of it, the completions.
    """
    config, model, path = _open(run, out, "inpaintings")
    images = gallery.some_images(config, split, count)
    gallery.write_inpaintings(
        config, model, path, images, hide=hide, completions=completions, uncertainty=uncertainty, seed=seed
    )
    say("inpaintings", path)


@verb("recover", "tfzoo recover runs/abp_masked --index 3 --index 14")
@RUN
@click.option("--split", default="train", show_default=True, type=click.Choice(["train", "validation", "test"]))
@_COUNT
@_INDEX
@_OUT
@SEED
def _recover(
    run: pathlib.Path, split: str, count: int, indices: tuple[int, ...], out: pathlib.Path | None, seed: int
) -> None:
    """Complete the images of a run that was trained with --mask.

    Rows of the PNG grid: the image, what is seen of it, a completion.
    """
    config, model, path = _open(run, out, "recovered")
    gallery.write_recoveries(config, model, path, *gallery.some_masked_images(config, split, count, indices), seed=seed)
    say("recovered", path)


@verb("posterior", "tfzoo posterior runs/iaf_vae_mnist_2d --index 3")
@RUN
@_SPLIT
@click.option("--index", default=0, show_default=True, type=click.IntRange(0), help="Which image.")
@click.option("--points", default=200, show_default=True, type=click.IntRange(10), help="Grid points of each axis.")
@click.option("--samples", default=1000, show_default=True, type=click.IntRange(1), help="Posterior samples.")
@_OUT
@SEED
def _posterior(
    run: pathlib.Path, split: str, index: int, points: int, samples: int, out: pathlib.Path | None, seed: int
) -> None:
    """Show an image's true posterior beside the approximate one.

    For models of two latents.
    """
    config, model, path = _open(run, out, f"posterior_{index}")
    image = gallery.some_images(config, split, 1, (index,))[0]
    found = posterior_grid.compare(model, image, num_points=points, num_samples=samples, seed=seed)
    gallery.write_posterior(config, path, image, found)
    say("posterior", path)


@verb("geometry", "tfzoo geometry runs/riemannian_vae_digits")
@RUN
@_SPLIT
@click.option("--count", default=500, show_default=True, type=click.IntRange(2), help="Images whose codes are shown.")
@click.option("--pairs", default=10, show_default=True, type=click.IntRange(1), help="Of codes, joined by geodesics.")
@click.option("--walks", default=5, show_default=True, type=click.IntRange(1), help="Brownian motions.")
@_OUT
@SEED
def _geometry(
    run: pathlib.Path, split: str, count: int, pairs: int, walks: int, out: pathlib.Path | None, seed: int
) -> None:
    """Show the geometry that the decoder gives to two latents.

    Volume, geodesics against lines, Brownian motions.
    """
    config, model, path = _open(run, out, "geometry")
    images = gallery.some_images(config, split, count)
    survey = latent_geometry.map_of(model, images, num_pairs=pairs, num_walks=walks, seed=seed)
    gallery.write_map(path, survey)
    say("geometry", path)


@verb("latents", "tfzoo latents runs/short_run_ot_digits")
@RUN
@_OUT
@SEED
def _latents(run: pathlib.Path, out: pathlib.Path | None, seed: int) -> None:
    """Show how the codes of training come to lie, epoch by epoch.

    For persistent chains of two latents. A panel for each epoch that training has kept, before the correction at its
    end, and one with samples of the prior; lines enclose 50 % and 95 % of the prior. The cost is the mean squared
    distance that the correction found.
    """
    _, model, path = _open(run, out, "latents")
    snapshots = read_snapshots(run / runs.LATENTS)
    if not snapshots:
        raise ValueError(
            "the run must have kept its codes, as models with persistent chains and latent_dim=2 do. "
            f"Received: {run}, {type(model).__name__} with latent_dim={model.latent_dim}"
        )
    history = read_history(run / "history.csv")
    costs = {int(row["epoch"]): float(row["transport_cost"]) for row in history if row.get("transport_cost")}
    gallery.write_latents(model, path, snapshots, costs=costs, seed=seed)
    say("latents", path)
