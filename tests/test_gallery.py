"""What is drawn lies within its picture."""

import pathlib

import numpy as np
import pytest
from matplotlib.figure import Figure
from tensorflow_probability import distributions as tfd

import tfzoo
from tfzoo import gallery
from tfzoo.callbacks import Snapshot


@pytest.fixture(scope="module")
def model() -> tfzoo.models.VAE:
    return tfzoo.create_model("vae", event_shape=(6,), latent_dim=2, seed=0)


def snapshots(count: int, num_labels: int) -> list[Snapshot]:
    positions = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    return [Snapshot(epoch, positions, np.arange(60) % num_labels) for epoch in range(1, count + 1)]


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_seed_is_one_of_every_prior(seed: int, model, tmp_path: pathlib.Path, monkeypatch) -> None:
    parts = tfd.MultivariateNormalDiag([[-1.0, 0.0], [1.0, 0.0]])
    prior = tfd.MixtureSameFamily(tfd.Categorical([0.0, 0.0]), parts)
    monkeypatch.setattr(model, "prior", lambda: prior)
    gallery.write_latents(model, tmp_path / "latents.png", snapshots(1, 2), seed=seed)
    assert (tmp_path / "latents.png").stat().st_size > 1000


@pytest.mark.parametrize(("count", "num_labels"), [(1, 10), (2, 10), (2, 1), (6, 10)])
def test_legend_and_titles_of_codes_are_whole(count: int, num_labels: int, model, monkeypatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(gallery, "_save_figure", lambda path, figure: drawn.append(figure))
    gallery.write_latents(model, pathlib.Path("latents.png"), snapshots(count, num_labels), costs={1: 0.5})
    figure = drawn[0]
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == num_labels + 2
    for artist in (legend, *(axes.title for axes in figure.axes if axes.get_visible())):
        box = artist.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
