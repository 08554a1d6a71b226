"""Backups and histories survive what a kill can leave behind."""

import pathlib
import types

import keras
import numpy as np
import pytest
from PIL import Image

import tfzoo
from tfzoo.callbacks import (
    BestCheckpoint,
    LatentSnapshots,
    RecoveredImages,
    ResumableHistory,
    SafeBackup,
    read_history,
    read_snapshots,
    spread_epochs,
)

IMAGES = np.random.default_rng(0).random((20, 4), np.float32)


def make() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = tfzoo.create_model("vae", event_shape=(4,), latent_dim=2, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def train(folder: pathlib.Path, epochs: int) -> keras.Model:
    model = make()
    callbacks = [ResumableHistory(folder / "history.csv"), SafeBackup(folder / "backup")]
    model.fit(IMAGES, batch_size=20, shuffle=False, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def test_resumed_training_equals_uninterrupted_training(tmp_path: pathlib.Path) -> None:
    # With the data in one order: weights, optimiser state and noise go on as they were.
    (tmp_path / "a").mkdir()
    train(tmp_path / "a", 6)
    (tmp_path / "b").mkdir()
    train(tmp_path / "b", 3)
    train(tmp_path / "b", 6)
    one, two = read_history(tmp_path / "a" / "history.csv"), read_history(tmp_path / "b" / "history.csv")
    assert [row["epoch"] for row in two] == ["1", "2", "3", "4", "5", "6"]
    np.testing.assert_allclose([float(row["loss"]) for row in one], [float(row["loss"]) for row in two], rtol=1e-4)


def half(whole: bytes) -> bytes:
    """What a killed process leaves."""
    return whole[: len(whole) // 2]


def hollow(whole: bytes) -> bytes:
    """What a full disk leaves, and a machine that stopped."""
    return whole[: len(whole) // 10].ljust(len(whole), b"\0")


@pytest.mark.parametrize(
    ("victim", "torn"),
    [
        ("latest.weights.h5", half),
        ("latest.weights.h5", hollow),
        ("training_metadata.json", half),
        ("noise.npy", half),
        ("noise.npy", lambda whole: b""),
    ],
)
def test_a_half_written_backup_falls_back_to_the_epoch_before(tmp_path: pathlib.Path, victim: str, torn) -> None:
    train(tmp_path, 3)
    broken = tmp_path / "backup" / victim
    broken.write_bytes(torn(broken.read_bytes()))
    assert train(tmp_path, 4).history.epoch == [2, 3]
    assert [row["epoch"] for row in read_history(tmp_path / "history.csv")] == ["1", "2", "3", "4"]


@pytest.mark.fast
def test_epochs_trained_anew_replace_their_rows(tmp_path: pathlib.Path) -> None:
    history = ResumableHistory(tmp_path / "history.csv")
    for epoch, loss in [(0, 3.0), (1, 2.0), (2, 1.0), (1, 1.5)]:
        history.on_epoch_end(epoch, {"loss": loss})
    assert [(row["epoch"], row["loss"]) for row in read_history(tmp_path / "history.csv")] == [("1", "3"), ("2", "1.5")]


@pytest.mark.fast
@pytest.mark.parametrize("resumed_after", range(6))
def test_the_best_epoch_is_of_the_last_stage_once_that_has_begun(resumed_after: int) -> None:
    losses = [3.0, 1.0, 9.0, 8.0, 8.5]  # of two epochs of one kind, and three of another
    kept = []
    for done, last in ((0, resumed_after), (resumed_after, 5)):
        checkpoint = BestCheckpoint(
            "none.keras", monitor="loss", past=losses[:done], first_stage_epochs=2, save_best_only=True
        )
        for epoch in range(done, last):
            model = types.SimpleNamespace(save=lambda path, overwrite, epoch=epoch: kept.append(epoch))
            checkpoint.set_model(model)
            checkpoint.on_epoch_begin(epoch)
            checkpoint.on_epoch_end(epoch, {"loss": losses[epoch]})
    assert kept == [0, 1, 2, 3]


@pytest.mark.fast
def test_the_best_epoch_is_kept_until_the_next_one_is_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.keras"

    def save(target: pathlib.Path, overwrite: bool) -> None:
        pathlib.Path(target).write_text("half")
        if path.exists():
            raise KeyboardInterrupt
        pathlib.Path(target).write_text("whole")

    checkpoint = BestCheckpoint(path, monitor="loss", past=[], first_stage_epochs=0, save_best_only=True)
    checkpoint.set_model(types.SimpleNamespace(save=save))
    checkpoint.on_epoch_end(0, {"loss": 2.0})
    with pytest.raises(KeyboardInterrupt):
        checkpoint.on_epoch_end(1, {"loss": 1.0})
    assert [file.read_text() for file in tmp_path.iterdir()] == ["whole"]
    # A process that is killed has no time to remove its half, and no other one may take that for a whole.
    (tmp_path / ".new.model.keras").write_text("half")
    checkpoint.on_epoch_end(2, {"loss": 3.0})
    assert [file.read_text() for file in tmp_path.iterdir()] == ["whole"]


@pytest.mark.fast
def test_epochs_are_spread_evenly_on_a_logarithmic_scale() -> None:
    assert spread_epochs(30) == [1, 2, 3, 5, 10, 17, 30]
    assert spread_epochs(3) == [1, 2, 3]
    assert spread_epochs(40, count=3, every=10) == [10, 20, 40]
    assert spread_epochs(4, every=5) == []


class Chains(keras.callbacks.Callback):
    """Stands for a correction: at the end of an epoch it moves all chains."""

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seen = np.asarray(self.model.chains.positions)
        self.model.chains.positions.assign(np.full([20, 2], 100.0 + epoch))


def test_snapshots_are_of_the_chains_before_their_correction(tmp_path: pathlib.Path) -> None:
    labels = np.arange(20, dtype=np.int32) % 3
    dataset = tfzoo.data.load((IMAGES, labels), batch_size=8)
    model = tfzoo.create_model("abp", event_shape=(4,), latent_dim=2, num_steps=1, seed=0)
    model.compile(keras.optimizers.Adam(1e-2))
    correction = Chains()
    model.fit(
        dataset, epochs=3, verbose=0, callbacks=[correction, LatentSnapshots(tmp_path / "codes", dataset, [1, 3])]
    )
    first, last = read_snapshots(tmp_path / "codes")
    assert (first.epoch, last.epoch) == (1, 3)
    for snapshot in (first, last):
        np.testing.assert_array_equal(snapshot.labels, labels)
    np.testing.assert_array_equal(last.positions, correction.seen)
    assert np.abs(first.positions).max() < 10
    assert {path.name for path in (tmp_path / "codes").iterdir()} == {"epoch_0001.npz", "epoch_0003.npz"}
    assert read_snapshots(tmp_path) == []


@pytest.mark.fast
def test_recovered_images_are_written_as_training_goes_on(tmp_path: pathlib.Path) -> None:
    images = np.random.default_rng(0).random((3, 4, 4, 1)).astype(np.float32)
    mask = np.ones([3, 4, 4, 1], np.float32)
    mask[:, 2:] = 0.0
    model = tfzoo.create_model("abp", event_shape=(4, 4, 1), latent_dim=2, num_steps=1, chain="noise", seed=0)
    model.compile(keras.optimizers.SGD(1e-3))
    callback = RecoveredImages(tmp_path / "recovered", images, mask, every=2)
    model.fit({"image": images, "mask": mask}, epochs=5, verbose=0, callbacks=[callback])
    names = sorted(path.name for path in (tmp_path / "recovered").iterdir())
    assert names == ["epoch_0002.png", "epoch_0004.png"]
    pixels = np.asarray(Image.open(tmp_path / "recovered" / names[0]))
    factor = pixels.shape[1] // 20  # three images of 4 pixels, and four margins of 2
    rows = pixels[factor // 2 :: factor, factor // 2 :: factor]
    first, seen, recovered = (rows[start : start + 4, 2:6] for start in (2, 8, 14))
    np.testing.assert_array_equal(first, np.floor(images[0, ..., 0] * 255 + 0.5))
    np.testing.assert_array_equal(seen, np.where(mask[0, ..., 0] > 0, first, 128))
    np.testing.assert_array_equal(recovered[:2], first[:2])
    assert (recovered[2:] != first[2:]).any()
