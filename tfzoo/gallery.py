"""Pictures of a run's model: each function writes one PNG grid."""

import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfzoo import data, pictures, random, runs
from tfzoo.atomic_file import replacing
from tfzoo.callbacks import Snapshot
from tfzoo.latent_geometry import Map, motion, paths, walks
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.inpainting import deviation
from tfzoo.posterior_grid import Comparison
from tfzoo.types import Tensor, TensorLike

__all__ = [
    "some_images",
    "some_masked_images",
    "write_inpaintings",
    "write_interpolations",
    "write_latents",
    "write_map",
    "write_posterior",
    "write_reconstructions",
    "write_recoveries",
    "write_samples",
    "write_walks",
]


def some_images(config: runs.RunConfig, split: str, count: int, indices: tuple[int, ...] = ()) -> Tensor:
    """Returns the images at `indices` of a run's split, or else its first `count`.

    Raises:
      ValueError: if the split has no such index.
    """
    return _some(config, split, count, indices)["image"]


def some_masked_images(
    config: runs.RunConfig, split: str, count: int, indices: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor]:
    """Returns images as `some_images`, and their masks.

    Raises:
      ValueError: if the split has no such index, or the run has no masks.
    """
    if not config.mask:
        raise ValueError("the run must be one on masked images: tfzoo train ... --mask square:20. Received: whole ones")
    found = _some(config, split, count, indices)
    return found["image"], found["mask"]


def _some(config: runs.RunConfig, split: str, count: int, indices: tuple[int, ...]) -> dict[str, Tensor]:
    wanted = list(indices) or list(range(count))
    found = {}
    for batch in runs.load_split(config, split, batch_size=500, shuffle=False):
        for row, index in enumerate(batch["index"].numpy().tolist()):
            if index in wanted:
                found[index] = {key: batch[key][row] for key in ("image", "mask") if key in batch}
        if len(found) == len(set(wanted)):
            break
    missing = [index for index in wanted if index not in found]
    if missing and indices:
        raise ValueError(f"index must be one of the {split} split's. Received: {missing[0]}")
    kept = [found[index] for index in wanted if index in found]
    return {key: tf.stack([each[key] for each in kept]) for key in kept[0]}


def _save(config: runs.RunConfig, path: pathlib.Path, images: TensorLike, columns: int) -> None:
    pictures.save(path, pictures.grid(images, columns=columns, value_range=config.value_range))


def write_samples(
    config: runs.RunConfig,
    model: LatentVariableModel,
    path: pathlib.Path,
    *,
    count: int = 100,
    temperature: float = 1.0,
    seed: int = 0,
) -> None:
    """Draws `count` images from the prior."""
    images = model.sample(count, seed=seed, temperature=temperature)
    _save(config, path, images, int(np.ceil(np.sqrt(count))))


def write_reconstructions(
    config: runs.RunConfig, model: LatentVariableModel, path: pathlib.Path, images: Tensor, *, seed: int = 0
) -> None:
    """Shows images (above) and their reconstructions (below)."""
    pairs = tf.concat([images, tf.cast(model.reconstruct(images, seed=seed), images.dtype)], 0)
    _save(config, path, pairs, len(images))


def write_interpolations(
    config: runs.RunConfig,
    model: LatentVariableModel,
    path: pathlib.Path,
    images: Tensor,
    *,
    num_points: int = 10,
    geodesic: bool = False,
    seed: int = 0,
) -> None:
    """Walks from each image of the first half to one of the second, a row each.

    With `geodesic` there are two rows for each pair: along the straight line, and along the geodesic below it.

    Raises:
      ValueError: for less than two images.
    """
    if len(images) < 2:
        raise ValueError(f"an interpolation needs two images at least. Received: {len(images)}")
    half = len(images) // 2
    if geodesic:
        codes = model.encode(images[: 2 * half], seed=seed)
        both = tf.stack(paths(model, codes[:half], codes[half:], num_points), axis=1)  # [half, 2, num_points, D]
        walk = model.decode(tf.reshape(both, [-1, model.latent_dim]))
    else:
        walk = model.interpolate(images[:half], images[half : 2 * half], num_points, seed=seed)
    _save(config, path, tf.reshape(walk, [-1, *model.event_shape]), num_points)


def write_walks(
    config: runs.RunConfig,
    model: LatentVariableModel,
    path: pathlib.Path,
    images: Tensor,
    *,
    duration: float | None = None,
    num_points: int = 10,
    seed: int = 0,
) -> None:
    """Walks at random from the codes of images, a row each: Brownian motions on the decoder's manifold.

    With no duration they go as long as the prior's motion, or for other priors as far as these codes are spread.
    """
    codes = model.encode(images, seed=seed)
    own = motion(model, codes, duration)
    walk = walks(model, codes, duration=own.duration, drift=own.drift, num_points=num_points, seed=seed)
    walk = model.decode(tf.reshape(walk, [-1, model.latent_dim]))
    _save(config, path, tf.reshape(walk, [-1, *model.event_shape]), num_points)


def write_inpaintings(
    config: runs.RunConfig,
    model: LatentVariableModel,
    path: pathlib.Path,
    images: Tensor,
    *,
    hide: str = "bottom",
    completions: int = 4,
    uncertainty: bool = False,
    seed: int = 0,
) -> None:
    """Completes images of which a part is hidden; rows: the images, what is seen of them, the completions.

    Args:
      config: of the run.
      model: its model.
      path: of the PNG.
      images: ``[N, H, W, C]``.
      hide: a kind of `tfzoo.data.masks`; random masks are those of the indices 0, 1, ...
      completions: rows of them.
      uncertainty: one more row: the deviation of the completions at each pixel, over all channels; black is 0, white
        the largest of all. Chains are noisy then: completions are samples.
      seed: of masks and completions.

    Raises:
      ValueError: unless the model is one of images, `hide` is known, and a deviation has two completions.
    """
    if len(model.event_shape) != 3:
        raise ValueError(f"inpainting shows images [H, W, C]. Received: event_shape {model.event_shape}")
    height, width, _ = model.event_shape
    mask = data.masks.Mask.of(hide).draw(np.arange(len(images)), (height, width), seed)
    # Models with an encoder complete by samples in any case.
    options = {"noise": True} if uncertainty and "inpaint" in model.own_signatures else {}
    completed = tf.cast(model.inpaint(images, mask, completions, seed=seed, **options), images.dtype)
    rows = [*completed]
    if uncertainty:
        spread = tf.sqrt(tf.reduce_mean(tf.square(deviation(completed)), axis=-1, keepdims=True))
        low, high = config.value_range
        brightness = low + (high - low) * tf.math.divide_no_nan(spread, tf.reduce_max(spread))
        rows.append(tf.broadcast_to(brightness, images.shape))
    pictures.save(path, pictures.recovery(images, mask, *rows, value_range=config.value_range))


def write_recoveries(
    config: runs.RunConfig,
    model: LatentVariableModel,
    path: pathlib.Path,
    images: Tensor,
    mask: Tensor,
    *,
    seed: int = 0,
) -> None:
    """Completes images by the run's own masks; rows: the images, what is seen of them, a completion."""
    completed = model.inpaint(images, mask, 1, seed=seed)[0]
    pictures.save(path, pictures.recovery(images, mask, completed, value_range=config.value_range))


def write_posterior(config: runs.RunConfig, path: pathlib.Path, image: TensorLike, comparison: Comparison) -> None:
    """Shows an image, its true posterior and the approximate one, on the same axes and with the same colours.

    Where the model has no density of z, its samples are shown by a histogram.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    picture, true, approximate = figure.subplots(1, 3, width_ratios=(0.7, 1, 1))
    shown = pictures.grid(np.asarray(image)[np.newaxis], columns=1, value_range=config.value_range)
    picture.imshow(shown.squeeze(), cmap="gray", vmin=0, vmax=255)
    picture.set_axis_off()
    picture.set_title(f"log p(x) = {comparison.log_prob:.2f} nats")
    first, second = comparison.first, comparison.second
    densities = np.exp(comparison.true)
    options = {"vmin": 0.0, "vmax": densities.max(), "cmap": "viridis", "rasterized": True}
    true.pcolormesh(first, second, densities.T, **options)
    true.set_title("p(z|x)")
    gap = comparison.log_prob - comparison.elbo
    if comparison.approximate is None:
        bins = [np.linspace(axis[0], axis[-1], 61) for axis in (first, second)]
        approximate.hist2d(*comparison.samples.T, bins=bins, density=True, **options)
        approximate.set_title(f"samples of q(z|x), ELBO {gap:.2f} nats below")
    else:
        approximate.pcolormesh(first, second, np.exp(comparison.approximate).T, **options)
        approximate.set_title(f"q(z|x), ELBO {gap:.2f} nats below")
    for axes in (true, approximate):
        axes.set(xlabel="z_1", ylabel="z_2", xlim=first[[0, -1]], ylim=second[[0, -1]])
    _save_figure(path, figure)


def write_latents(
    model: LatentVariableModel,
    path: pathlib.Path,
    snapshots: Sequence[Snapshot],
    *,
    costs: Mapping[int, float] | None = None,
    seed: int = 0,
) -> None:
    """Shows two-dimensional codes over the epochs, coloured by label, and as many samples of the prior, all alike.

    Two lines enclose 50 % and 95 % of the prior, where it is densest.

    Args:
      model: with latent_dim = 2, for its prior.
      path: of the PNG.
      snapshots: a panel each.
      costs: epoch -> transport cost from its codes to the prior.
      seed: of the prior's samples.
    """
    columns = min(4, len(snapshots) + 1)
    rows = -(-(len(snapshots) + 1) // columns)
    labels = np.unique(np.concatenate([snapshot.labels for snapshot in snapshots]))
    width, entries = 2.9 * columns, len(labels) + 2
    legend_columns = min(6, int(width / 1.8))  # the longest entry with its line is 1.7 inches wide
    height = 3.4 * rows + 0.2 + 0.25 * -(-entries // legend_columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    everything = np.abs(np.concatenate([snapshot.positions for snapshot in snapshots]))
    reach = max(3.5, 1.05 * float(np.quantile(everything, 0.998)))
    colours = dict(zip(labels.tolist(), matplotlib.color_sequences["tab10"] * len(labels), strict=False))
    size = float(np.clip(6000 / len(snapshots[0].labels), 0.5, 8.0))

    for axes, snapshot in zip(panels.flat, snapshots, strict=False):
        order = np.random.default_rng(seed).permutation(len(snapshot.labels))  # no label lies over the others
        shown = [colours[label] for label in snapshot.labels[order].tolist()]
        axes.scatter(*snapshot.positions[order].T, s=size, c=shown, linewidths=0, alpha=0.7, rasterized=True)
        cost = (costs or {}).get(snapshot.epoch)
        axes.set_title(f"epoch {snapshot.epoch}" + (f", cost {cost:.3g}" if cost is not None else ""))
    last = panels.flat[len(snapshots)]
    own_seed = random.as_seed([seed, 1])
    samples = np.asarray(model.prior().sample(len(snapshots[0].labels), seed=own_seed))
    last.scatter(*samples.T, s=size, c="0.45", linewidths=0, alpha=0.7, rasterized=True)
    last.set_title("prior")
    for i, axes in enumerate(panels.flat):
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.locator_params(nbins=5)
        if i > len(snapshots):
            axes.set_visible(False)
        else:
            _draw_mass(axes, model, reach)
        if i % columns == 0:
            axes.set_ylabel("z_2")
        if i + columns > len(snapshots):  # nothing is below
            axes.set_xlabel("z_1")
            axes.xaxis.set_tick_params(labelbottom=True)
    for label, colour in colours.items():
        panels[0, 0].scatter([], [], s=30, color=colour, label="no label" if label < 0 else f"label {label}")
    for share, style in ((50, "solid"), (95, "dashed")):
        panels[0, 0].plot([], [], color="black", linestyle=style, linewidth=1.0, label=f"{share} % of the prior")
    figure.legend(loc="outside lower center", ncols=legend_columns, frameon=False)
    _save_figure(path, figure)


def write_map(path: pathlib.Path, survey: Map) -> None:
    """Shows a two-dimensional latent space: its log volume, lines against geodesics, and Brownian motions."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes in (left, right):
        shown = axes.pcolormesh(*survey.axes, survey.log_volume.T, cmap="viridis", rasterized=True)
        axes.scatter(*survey.codes.T, s=3, c="white", linewidths=0, alpha=0.5, rasterized=True)
        axes.set(xlabel="z_1", ylabel="z_2")
    for curves, style in ((survey.lines, "--"), (survey.geodesics, "-")):
        left.plot(*np.moveaxis(curves, -1, 0).swapaxes(1, 2), style, color="tab:red", linewidth=1.2)
    lines, geodesics = survey.energies[:, survey.energies[0] > 0.0]  # codes may coincide
    saved = 1.0 - np.mean(geodesics / lines) if len(lines) else 0.0
    left.set_title(f"geodesics have {100 * saved:.0f} % less energy than lines (dashed)")
    right.plot(*np.moveaxis(survey.walks, -1, 0), linewidth=0.8)
    right.set_title(f"{survey.walks.shape[1]} Brownian motions")
    figure.colorbar(shown, ax=(left, right), label="log sqrt(det G)")
    _save_figure(path, figure)


def _draw_mass(axes: Axes, model: LatentVariableModel, reach: float) -> None:
    """Draws the borders of the densest regions with half and 95 % of the prior's mass, solid and dashed."""
    prior = model.prior()
    levels = np.quantile(prior.log_prob(prior.sample(50_000, seed=[0, 0])), [0.05, 0.5])
    axis = np.linspace(-reach, reach, 201, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis), axis=-1)
    log_prob = np.asarray(prior.log_prob(tf.cast(points, prior.dtype)))
    axes.contour(axis, axis, log_prob, levels, colors="black", linestyles=["dashed", "solid"], linewidths=1.0)


def _save_figure(path: pathlib.Path, figure: Figure) -> None:
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
