"""Run folders on data of the user's own."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tfzoo import runs


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("images")
    noise = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(noise.integers(0, 256, [20, 18, 3], np.uint8)).save(folder / f"{i}.png")
    return folder


def test_a_folder_of_images_trains_with_a_gaussian_likelihood(folder_of_images, tmp_path: pathlib.Path) -> None:
    config = runs.RunConfig(
        "vae",
        str(folder_of_images),
        {"latent_dim": 3, "likelihood": "gaussian"},
        {"image_size": 16, "value_range": [-1.0, 1.0]},
        epochs=1,
        batch_size=16,
    )
    runs.train(tmp_path / "run", config)
    loaded, model = runs.load(tmp_path / "run")
    assert loaded == config
    assert model.event_shape == (16, 16, 3)
    assert loaded.value_range == (-1.0, 1.0)
    batch = next(iter(runs.load_split(loaded, "test")))["image"]
    assert batch.numpy().min() < -0.5
    assert model.reconstruct(batch).shape == batch.shape


def test_what_is_evaluated_is_binarised_once(tmp_path: pathlib.Path) -> None:
    config = runs.RunConfig("vae", "digits", {}, {"binarize": "dynamic"})
    first, second = (np.concatenate([batch["image"] for batch in runs.load_split(config, "test")]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert set(np.unique(first)) == {0.0, 1.0}
    dataset = runs.load_split(config, "train", shuffle=False)
    one, two = (np.concatenate([batch["image"] for batch in dataset]) for _ in range(2))
    assert (one != two).any()


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text("{ half")
    for call in (runs.load, runs.train):
        with pytest.raises(ValueError, match=r"must be a run.* Received: "):
            call(tmp_path)


def test_a_run_without_a_whole_epoch_is_one_sentence(tmp_path: pathlib.Path) -> None:
    runs._write_config(tmp_path, runs.RunConfig("vae", "digits", {}, {}))
    with pytest.raises(ValueError, match=r"an epoch at least\. Received: "):
        runs.load(tmp_path)
