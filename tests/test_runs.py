"""Run folders on data of the user's own."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from tfzoo import callbacks, runs


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
    dataset = runs.load_split(config, "train")
    (one, first), (two, second) = (
        [np.concatenate([batch[key] for batch in batches]) for key in ("image", "index")]
        for batches in (list(dataset), list(dataset))
    )
    one, two = one[np.argsort(first)], two[np.argsort(second)]
    assert (one != two).any()


def test_test_images_are_binarised_alike_for_every_run() -> None:
    def images(split: str, seed: int) -> np.ndarray:
        config = runs.RunConfig("vae", "digits", {}, {"binarize": "dynamic"}, seed=seed)
        return np.concatenate([batch["image"] for batch in runs.load_split(config, split, shuffle=False)])

    for split in ("validation", "test"):
        np.testing.assert_array_equal(images(split, 0), images(split, 7))
    assert (images("train", 0) != images("train", 7)).any()


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text("{ half")
    for call in (runs.load, runs.train):
        with pytest.raises(ValueError, match=r"must be a run.* Received: "):
            call(tmp_path)


def test_a_run_without_a_whole_epoch_is_one_sentence(tmp_path: pathlib.Path) -> None:
    runs.write_config(tmp_path, runs.RunConfig("vae", "digits", {}, {}))
    with pytest.raises(ValueError, match=r"an epoch at least\. Received: "):
        runs.load(tmp_path)


def test_training_that_fails_before_there_is_a_model_leaves_nothing(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^the loss must stay finite"):
            runs.train(folder, runs.RunConfig("vae", "digits", {}, {}, epochs=1, learning_rate=1e10))
        assert not folder.exists()
    config = runs.RunConfig("vae", "digits", {"latent_dim": 2}, {}, epochs=1, batch_size=500)
    runs.train(folder, config)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ValueError, match=r"^a new run needs a new folder"):
        runs.train(folder, config)
    assert sorted(folder.rglob("*")) == before


def test_a_run_knows_its_data_from_every_working_directory(folder_of_images, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(folder_of_images.parent)
    for name in (folder_of_images.name, f"./{folder_of_images.name}/"):
        config = runs.RunConfig.of("vae", name, data_options={"data_dir": "tfds"}, initial_weights=name)
        assert config.dataset == config.initial_weights == str(folder_of_images)
        assert config.data_options["data_dir"] == str(folder_of_images.parent / "tfds")
    (folder_of_images.parent / "digits").mkdir()
    assert runs.RunConfig.of("vae", "digits", initial_weights="vae_mnist").initial_weights == "vae_mnist"
    assert runs.RunConfig.of("vae", "digits").dataset == "digits"
    assert runs.RunConfig.of("vae", "no_such").dataset == "no_such"


@pytest.mark.parametrize("optimizer", ["Optimizer", "schedules", "get", "nil"])
def test_what_is_no_optimizer_is_refused(optimizer: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^optimizer must be a class of keras\.optimizers\. Received: '{optimizer}'$"
    ):
        runs.RunConfig.of("vae", "digits", optimizer=optimizer)


@pytest.mark.parametrize("key", ["seed", "name"])
def test_options_of_the_run_are_none_of_its_model(key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key} is no option of a run's model\. Received: 3$"):
        runs.RunConfig.of("vae", "digits", model_options={key: 3})


def test_training_images_are_binarised_once_where_they_are_measured() -> None:
    config = runs.RunConfig("vae", "digits", {}, {"binarize": "dynamic"})
    dataset = runs.load_split(config, "train", shuffle=False)
    one, two = (np.concatenate([batch["image"] for batch in dataset]) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_the_model_of_an_epoch_is_kept_before_its_loss_is_written_down(tmp_path: pathlib.Path, monkeypatch) -> None:
    def killed(*_, **__):
        raise KeyboardInterrupt

    runs.train(tmp_path / "run", runs.RunConfig("vae", "digits", {"latent_dim": 2}, {}, epochs=1))
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.BestCheckpoint, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            runs.train(tmp_path / "run", epochs=2)
    # A loss in the history that has no file would be one that the same epoch, trained again, does not fall below.
    assert len(callbacks.read_history(tmp_path / "run" / "history.csv")) == 1
    trained = runs.train(tmp_path / "run", epochs=2)
    _, kept = runs.load(tmp_path / "run")
    assert int(kept.optimizer.iterations) == int(trained.optimizer.iterations)


def test_a_run_with_two_optimizers_and_falling_step_sizes_goes_on(tmp_path: pathlib.Path) -> None:
    config = runs.RunConfig.of(
        "latent_flow",
        "digits",
        model_options={"latent_dim": 2, "num_steps": 1, "flow_steps": 1, "flow_width": 4},
        data_options={"value_range": [-1.0, 1.0]},
        learning_rate=1e-3,
        optimizer_options={"beta_1": 0.5},
        learning_rate_decay=0.5,
        prior_learning_rate=1e-4,
        batch_size=500,
        epochs=1,
    )
    runs.train(tmp_path / "run", config)
    loaded, model = runs.load(tmp_path / "run")
    assert loaded == config
    assert (model.optimizer.beta_1, model.prior_optimizer.beta_1) == (0.5, 0.5)
    # Three batches of 1,297 digits: the next epoch is the second.
    for each in (model, runs.train(tmp_path / "run", epochs=2)):
        epoch = int(each.optimizer.iterations) // 3
        assert int(each.prior_optimizer.iterations) == 3 * epoch
        assert float(each.optimizer.learning_rate) == pytest.approx(1e-3 * 0.5**epoch)
        assert float(each.prior_optimizer.learning_rate) == pytest.approx(1e-4 * 0.5**epoch)
    assert epoch == 2
    with pytest.raises(ValueError, match=r"^learning_rate_decay needs data of a known length\. Received: 0 updates$"):
        config.create_model()


def test_a_preset_brings_its_optimizers_and_another_one_goes_without_their_arguments() -> None:
    config = runs.RunConfig.of("latent_ebm_svhn")
    assert (config.learning_rate, config.prior_learning_rate, config.learning_rate_decay) == (1e-4, 2e-5, 0.998)
    assert config.optimizer_options == {"beta_1": 0.5}
    assert runs.RunConfig.of("latent_ebm_svhn", optimizer="SGD").optimizer_options == {}
