"""Keras callbacks: pictures in TensorBoard, the best epoch, a backup and a history that survive a kill at any moment,
and what an epoch leaves of persistent chains.
"""

import csv
import math
import pathlib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfzoo import pictures
from tfzoo.atomic_file import replacing
from tfzoo.checks import check_positive
from tfzoo.types import TensorLike

__all__ = [
    "BestCheckpoint",
    "ImageGrids",
    "LatentSnapshots",
    "RecoveredImages",
    "ResumableHistory",
    "SafeBackup",
    "Snapshot",
    "read_history",
    "read_snapshots",
    "spread_epochs",
]


class ImageGrids(keras.callbacks.Callback):
    """Writes samples and reconstructions for TensorBoard at the end of epochs.

    Args:
      log_dir: where TensorBoard looks.
      images: a few images ``[B, *event_shape]`` to reconstruct.
      every: epochs between two pictures.
      value_range: what to show as black and white.
      num_samples: images in the grid of samples.
    """

    def __init__(
        self,
        log_dir: str | pathlib.Path,
        images: TensorLike,
        *,
        every: int = 1,
        value_range: tuple[float, float] = (0.0, 1.0),
        num_samples: int = 64,
    ):
        super().__init__()
        self.value_range = value_range
        self.log_dir = log_dir
        self.images = images
        self.every = check_positive("every", every)
        self.num_samples = num_samples
        self._writer: tf.summary.SummaryWriter | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._writer = tf.summary.create_file_writer(str(self.log_dir))
        # Compiled once: a model without an encoder takes hundreds of steps for a reconstruction.
        self._reconstruct = tf.function(lambda images: self.model.reconstruct(images, seed=0), autograph=False)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every or self._writer is None:
            return
        # The same noise at each epoch, so that what changes from picture to picture is the model.
        samples = self.model.sample(self.num_samples, seed=0)
        reconstructions = self._reconstruct(self.images)
        pairs = tf.concat([tf.cast(self.images, reconstructions.dtype), reconstructions], 0)
        with self._writer.as_default(step=epoch):
            for name, images, columns in (("samples", samples, 8), ("reconstructions", pairs, len(self.images))):
                tf.summary.image(name, pictures.grid(images, columns=columns, value_range=self.value_range)[None])
        self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()


class RecoveredImages(keras.callbacks.Callback):
    """Writes what a model makes of images that are masked, at the end of epochs.

    Each PNG, epoch_0012.png, has three rows: the images, what is seen of them, and one completion of each, by the
    same noise every time.

    Args:
      folder: gets the pictures.
      images: a few images ``[B, H, W, C]``.
      mask: theirs, 1 = visible; the shape of the images, or one channel.
      every: epochs between two pictures.
      value_range: what to show as black and white.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        images: TensorLike,
        mask: TensorLike,
        *,
        every: int = 1,
        value_range: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.images = images
        self.mask = mask
        self.every = check_positive("every", every)
        self.value_range = value_range

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every:
            return
        recovered = self.model.inpaint(self.images, self.mask, seed=0)[0]
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = pictures.recovery(self.images, self.mask, recovered, value_range=self.value_range)
        pictures.save(self.folder / f"epoch_{epoch + 1:04}.png", picture)


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps the best epoch as `keras.callbacks.ModelCheckpoint`: of a model with a first stage, of those after it.

    As long as the first stage goes on it is the best one of that, since losses of two stages are of two kinds. The file
    is replaced once the new one is whole.

    Args:
      path: of the file, which ends in .keras.
      past: losses of the epochs that a training goes on from, from the first epoch on.
      first_stage_epochs: of the model.
      **kwargs: `monitor`, `save_best_only` and the like of `keras.callbacks.ModelCheckpoint`.
    """

    def __init__(self, path: str | pathlib.Path, *, past: Sequence[float], first_stage_epochs: int, **kwargs: Any):
        comparable = past[first_stage_epochs:] or past
        super().__init__(path, mode="min", initial_value_threshold=min(comparable, default=None), **kwargs)
        self._path = path
        self._first_stage_epochs = first_stage_epochs

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        if epoch == self._first_stage_epochs:
            self.best = math.inf

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        with replacing(self._path) as file:
            self.filepath = str(file)
            super().on_epoch_end(epoch, logs)


class SafeBackup(keras.callbacks.BackupAndRestore):
    """`keras.callbacks.BackupAndRestore` that keeps the backup of the epoch before until the new one is whole.

    A process killed while it writes leaves a file that cannot be read; training then goes on from the epoch before.
    (Keras's own `double_checkpoint` does this for the weights, in its newer versions.) The state of the model's noise,
    which Keras leaves out of weight files, is kept too, so that a resumed training is the uninterrupted one, but for
    shuffled data, whose order begins anew. The backup stays after the last epoch, so that a run can be given more.

    Args:
      backup_dir: a folder; the one before is kept beside it, as `backup_dir` + ".previous".
    """

    def __init__(self, backup_dir: str | pathlib.Path):
        super().__init__(str(backup_dir), delete_checkpoint=False)
        self._folder = pathlib.Path(backup_dir)
        self._previous = self._folder.with_name(self._folder.name + ".previous")

    def on_train_begin(self, logs: dict | None = None) -> None:
        try:
            self._restore()
        except (OSError, EOFError, ValueError, KeyError, RuntimeError):  # h5py's and NumPy's ways to say: a torn file
            shutil.rmtree(self._folder)
            if self._previous.exists():
                self._previous.rename(self._folder)
            self._restore()

    def _restore(self) -> None:
        super().on_train_begin()
        if (self._folder / "noise.npy").exists():
            self.model.seed_generator.state.assign(np.load(self._folder / "noise.npy"))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self._folder.exists():
            beside = self._folder.with_name(self._folder.name + ".new")
            shutil.rmtree(beside, ignore_errors=True)
            try:
                shutil.copytree(self._folder, beside)
                shutil.rmtree(self._previous, ignore_errors=True)
                beside.rename(self._previous)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        super().on_epoch_end(epoch, logs)
        with replacing(self._folder / "noise.npy") as file:
            np.save(file, np.asarray(self.model.seed_generator.state))


class Snapshot(NamedTuple):
    """The codes of all training images at the end of an epoch.

    Attributes:
      epoch: from 1.
      positions: ``[N, D]``.
      labels: ``[N]``, -1 where there is none.
    """

    epoch: int
    positions: np.ndarray
    labels: np.ndarray


class LatentSnapshots(keras.callbacks.Callback):
    """Keeps the persistent chains of a model as they are after the last step of some epochs, before any correction.

    Args:
      folder: gets a file for each, epoch_0012.npz; see `read_snapshots`.
      dataset: the training data, batches of {"label", "index"}: one more pass over it finds the label of each chain.
      epochs: which, from 1.
    """

    def __init__(self, folder: str | pathlib.Path, dataset: tf.data.Dataset, epochs: Iterable[int]):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.dataset = dataset
        self.epochs = frozenset(epochs)
        self._epoch = 0
        self._labels: np.ndarray | None = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # At the end of the epoch, the model's own callbacks have moved its chains already.
        if self._epoch not in self.epochs or batch + 1 != self.params["steps"]:
            return
        positions = np.asarray(self.model.chains.positions)
        if self._labels is None:
            self._labels = np.full(len(positions), -1, np.int32)
            for element in self.dataset:
                self._labels[np.asarray(element["index"])] = np.asarray(element["label"])
        self.folder.mkdir(exist_ok=True)
        with replacing(self.folder / f"epoch_{self._epoch:04}.npz") as file:
            np.savez_compressed(file, positions=positions, labels=self._labels)


def spread_epochs(epochs: int, *, count: int = 7, every: int = 1) -> list[int]:
    """Returns `count` epochs at most, evenly spaced on a logarithmic scale from the first to the last one.

    Args:
      epochs: in all.
      count: how many.
      every: only multiples of it.
    """
    last = epochs // every
    return sorted({every * round(number) for number in np.geomspace(1, last, count)}) if last else []


def read_snapshots(folder: str | pathlib.Path) -> list[Snapshot]:
    """Returns what `LatentSnapshots` left in a folder, by epoch; nothing where there is no such folder."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("epoch_*.npz")):
        with np.load(path) as arrays:
            found.append(Snapshot(int(path.stem.removeprefix("epoch_")), arrays["positions"], arrays["labels"]))
    return sorted(found, key=lambda snapshot: snapshot.epoch)


class ResumableHistory(keras.callbacks.Callback):
    """Writes each epoch's numbers to a CSV file; epochs that are trained anew after a restart replace their old rows.

    `keras.callbacks.CSVLogger(append=True)` would leave an epoch twice where a process was killed between the row
    and the checkpoint.

    Args:
      path: of the file.
    """

    def __init__(self, path: str | pathlib.Path):
        super().__init__()
        self.path = pathlib.Path(path)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        rows = [row for row in read_history(self.path) if int(row["epoch"]) < epoch + 1]
        rows.append({"epoch": str(epoch + 1), **{key: f"{value:.6g}" for key, value in (logs or {}).items()}})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with replacing(self.path) as beside, beside.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)


def read_history(path: str | pathlib.Path) -> list[dict[str, str]]:
    """Returns the rows of a history file, none where there is no file."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
