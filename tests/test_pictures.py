"""Grids show what they are given."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tfzoo import pictures

pytestmark = pytest.mark.fast


def test_grid_places_images_row_by_row() -> None:
    images = np.stack([np.full([3, 4, 1], value) for value in (0.0, 0.25, 0.5, 0.75, 1.0)])
    canvas = pictures.grid(images, columns=2)
    assert canvas.shape == (3 * 5 + 2, 2 * 6 + 2, 1)
    assert [canvas[3 + 5 * (i // 2), 3 + 6 * (i % 2), 0] for i in range(5)] == [0, 64, 128, 191, 255]
    assert (canvas[0] == 255).all()  # margin


def test_values_beyond_the_range_are_clipped_and_other_ranges_are_shown_alike() -> None:
    low, high = np.full([1, 2, 2, 3], -5.0), np.full([1, 2, 2, 3], 5.0)
    assert pictures.grid(low, columns=1)[3, 3].tolist() == [0, 0, 0]
    assert pictures.grid(high, columns=1)[3, 3].tolist() == [255, 255, 255]
    ramp = np.linspace(0, 1, 16).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(
        pictures.grid(ramp, columns=1), pictures.grid(2 * ramp - 1, columns=1, value_range=(-1, 1))
    )


@pytest.mark.parametrize("shape", [(2, 6, 5, 4, 1), (2, 10), (2, 5, 5, 2)])
def test_volumes_vectors_and_odd_channels_can_be_shown(shape: tuple, tmp_path: pathlib.Path) -> None:
    pictures.save(tmp_path / "x.png", pictures.grid(np.random.default_rng(0).random(shape), columns=2))
    assert np.ptp(np.asarray(Image.open(tmp_path / "x.png"))) > 100


def test_small_grids_are_enlarged_without_smoothing(tmp_path: pathlib.Path) -> None:
    picture = np.array([[[0], [255]], [[255], [0]]], np.uint8)
    pictures.save(tmp_path / "x.png", picture)
    pixels = np.asarray(Image.open(tmp_path / "x.png"))
    assert set(np.unique(pixels)) == {0, 255}
    assert pixels.shape == (1024, 1024)
    assert list(tmp_path.iterdir()) == [tmp_path / "x.png"]
