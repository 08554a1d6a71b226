"""Keras callbacks: pictures in TensorBoard, and a backup and a history that survive a kill at any moment."""

import csv
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf

from tfzoo import pictures
from tfzoo.types import TensorLike

__all__ = ["ImageGrids", "ResumableHistory", "SafeBackup", "read_history"]


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
        self.every = every
        self.num_samples = num_samples
        self._writer: tf.summary.SummaryWriter | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every or self._writer is None:
            return
        # The same noise at each epoch, so that what changes from picture to picture is the model.
        samples = self.model.sample(self.num_samples, seed=0)
        pairs = tf.concat([self.images, self.model.reconstruct(self.images, seed=0)], 0)
        with self._writer.as_default(step=epoch + 1):
            for name, images, columns in (("samples", samples, 8), ("reconstructions", pairs, len(self.images))):
                tf.summary.image(name, pictures.grid(images, columns=columns, value_range=self.value_range)[None])
        self._writer.flush()

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()


class SafeBackup(keras.callbacks.BackupAndRestore):
    """`keras.callbacks.BackupAndRestore` that keeps the backup of the epoch before until the new one is whole.

    A process killed while it writes leaves a file that cannot be read; training then goes on from the epoch before.
    (Keras's own `double_checkpoint` does this for the weights, in its newer versions.) The state of the model's noise,
    which Keras leaves out of weight files, is kept too, so that a resumed training is the uninterrupted one. The backup
    stays after the last epoch, so that a run can be given more.

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
        except (OSError, ValueError, KeyError):
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
            shutil.copytree(self._folder, beside)
            shutil.rmtree(self._previous, ignore_errors=True)
            beside.rename(self._previous)
        super().on_epoch_end(epoch, logs)
        np.save(self._folder / "noise.npy", np.asarray(self.model.seed_generator.state))


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
        beside = self.path.with_name(f".{self.path.name}.new")
        with beside.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
        beside.replace(self.path)


def read_history(path: str | pathlib.Path) -> list[dict[str, str]]:
    """Returns the rows of a history file, none where there is no file."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
