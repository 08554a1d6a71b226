"""Run folders: one training, from its configuration to its pictures; killed and resumed without harm.

config.json           what was asked for, and on what it ran; enough to repeat it
model.keras           the best epoch so far on the validation split, or the last one (`selects_on_validation`); of a
                      training in stages the best one of the last stage, once that has begun
history.csv           a row for each epoch
backup/               the last epoch's weights and optimiser state, from which a killed run goes on
logs/                 TensorBoard: losses, grids of samples and reconstructions
latents/              of persistent chains in two dimensions: all codes after some of the epochs
recovered/            of masked images: pictures of what is made of them, after some of the epochs
metrics.json, per_image/    what was measured: `tfzoo.measurements`
samples.png, reconstructions.png    what the other verbs of the command line add
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tfzoo import data, registry
from tfzoo.atomic_file import write_json
from tfzoo.callbacks import (
    BestCheckpoint,
    ImageGrids,
    LatentSnapshots,
    RecoveredImages,
    ResumableHistory,
    SafeBackup,
    read_history,
    spread_epochs,
)
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.validation import check_images
from tfzoo.presets import PRESETS
from tfzoo.run_config import RunConfig
from tfzoo.version import __version__

__all__ = [
    "LATENTS",
    "RunConfig",
    "load",
    "load_split",
    "model_digest",
    "read_config",
    "train",
    "write_config",
]

LATENTS = "latents"  # folder of snapshots in a run


def load_split(
    config: RunConfig, split: str, *, batch_size: int | None = None, shuffle: bool | None = None
) -> tf.data.Dataset:
    """Returns a split of the run's data.

    All but the training split are binarised once, where the run binarises, and in the same way for every run: what is
    measured on them can be compared. The training split is binarised once where it is not shuffled.
    """
    options = dict(config.data_options)
    if options.get("binarize") == "dynamic" and (split != "train" or shuffle is False):
        options["binarize"] = "static"
    batch_size = batch_size or config.batch_size
    return data.load(
        config.dataset,
        split,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=config.seed if split == "train" else 0,
        **options,
    )


def read_config(folder: str | os.PathLike) -> RunConfig:
    """Returns a run's configuration.

    Raises:
      ValueError: if the folder is no run.
    """
    path = pathlib.Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text())
        names = {field.name for field in dataclasses.fields(RunConfig)}
        return RunConfig(**{key: value for key, value in values.items() if key in names})
    except (OSError, ValueError, TypeError):
        raise ValueError(f"the folder must be a run, with a config.json that can be read. Received: {folder}") from None


def load(folder: str | os.PathLike) -> tuple[RunConfig, LatentVariableModel]:
    """Returns a run's configuration and its best model.

    Raises:
      ValueError: if the folder is no run, or holds no trained model yet.
    """
    config, path = _trained(folder)
    return config, keras.saving.load_model(path)


def model_digest(folder: str | os.PathLike) -> str:
    """Returns 12 hexadecimal digits that tell a run's best model from all others it has had, or will have.

    A training may replace the model at any time: take the digest before `load`, so that what is measured is never said
    to be of a later model than it is.

    Raises:
      ValueError: as `load`.
    """
    digest = hashlib.sha256()
    with _trained(folder)[1].open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:12]


def _trained(folder: str | os.PathLike) -> tuple[RunConfig, pathlib.Path]:
    """Returns a run's configuration and where its best model is; errors as of `load`."""
    folder = pathlib.Path(folder)
    config, path = read_config(folder), folder / "model.keras"
    if not path.exists():
        raise ValueError(f"the run must have trained an epoch at least. Received: {folder}")
    return config, path


def train(
    folder: str | os.PathLike,
    config: RunConfig | None = None,
    *,
    epochs: int | None = None,
    verbose: int | str = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> LatentVariableModel:
    """Trains in a new run folder, or goes on in one.

    Args:
      folder: of the run.
      config: None goes on from the last whole epoch that the folder holds.
      epochs: in all, instead of the configuration's.
      verbose: as in `keras.Model.fit`.
      callbacks: more of them.

    Returns:
      The model after the last epoch; `load` returns the best one.

    Raises:
      ValueError: if a new run's folder is not empty or not writable, a resumed one is no run, or training diverges.
    """
    folder = pathlib.Path(folder)
    new = config is not None
    if config is None:
        config = read_config(folder)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"a new run needs a new folder; to go on with a run, resume it. Received: {folder}")
    if epochs is not None:
        trained = 0 if new else max((int(row["epoch"]) for row in read_history(folder / "history.csv")), default=0)
        if epochs < trained:
            raise ValueError(f"epochs must be at least {trained}: so many are trained. Received: {epochs}")
        config = dataclasses.replace(config, epochs=epochs)

    # All that can be wrong with the request goes wrong here, before anything is written.
    keras.utils.set_random_seed(config.seed)
    training = load_split(config, "train")
    validation = load_split(config, "validation") if config.has_validation else None
    model = config.create_model(int(training.cardinality()))
    if new and config.initial_weights is not None:
        model.adopt_weights(_initial_model(config.initial_weights))
    if config.mask and not model.takes_masks:
        raise ValueError(f"mask is for models that infer by a Markov chain. Received: {config.mask} for {config.name}")
    shown = next(iter((validation or training).unbatch().batch(8)))["image"]
    check_images(shown, model.event_shape, model.likelihood_layer.value_range)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_config(folder, config)
    except OSError as error:
        raise ValueError(f"the run's folder must be writable ({error.strerror}). Received: {folder}") from None

    monitor = "val_loss" if validation else "loss"
    past = [] if new else [float(row[monitor]) for row in read_history(folder / "history.csv") if row.get(monitor)]
    with _nothing_left(folder) if new else contextlib.nullcontext():
        model.fit(
            training,
            validation_data=validation,
            epochs=config.epochs,
            verbose=verbose,
            callbacks=[
                BestCheckpoint(
                    folder / "model.keras",
                    monitor=monitor,
                    past=past,
                    first_stage_epochs=model.first_stage_epochs,
                    save_best_only=model.selects_on_validation,
                ),
                # After the file: a loss in the history is one whose model has been kept, if it was the best.
                ResumableHistory(folder / "history.csv"),
                keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
                ImageGrids(
                    folder / "logs" / "images", shown, every=max(1, config.epochs // 20), value_range=config.value_range
                ),
                SafeBackup(folder / "backup"),
                *_latent_snapshots(folder / LATENTS, config, model),
                *_recovered_images(folder / "recovered", config),
                *callbacks,
            ],
        )
    return model


@contextlib.contextmanager
def _nothing_left(folder: pathlib.Path) -> Iterator[None]:
    """Removes a new run's folder if training fails before there is a model."""
    try:
        yield
    except Exception:
        if not (folder / "model.keras").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _latent_snapshots(
    folder: pathlib.Path, config: RunConfig, model: LatentVariableModel
) -> list[keras.callbacks.Callback]:
    """Returns what keeps codes that can be drawn, where a model has such."""
    if getattr(model, "chains", None) is None or model.latent_dim != 2:
        return []
    # Where codes are corrected, those epochs at whose end they are.
    epochs = spread_epochs(config.epochs, every=getattr(model, "correction_interval", 1))
    return [LatentSnapshots(folder, load_split(config, "train", shuffle=False), epochs)]


def _recovered_images(folder: pathlib.Path, config: RunConfig) -> list[keras.callbacks.Callback]:
    """Returns what draws recovered images as training goes on, where images are masked."""
    if not config.mask:
        return []
    batch = next(iter(load_split(config, "train", batch_size=10, shuffle=False)))
    every = max(1, config.epochs // 10)
    return [RecoveredImages(folder, batch["image"], batch["mask"], every=every, value_range=config.value_range)]


def _initial_model(source: str) -> LatentVariableModel:
    return registry.create_model(source, pretrained=True) if source in PRESETS else load(source)[1]


def write_config(folder: str | os.PathLike, config: RunConfig) -> None:
    """Writes a run's configuration, and on what it runs, into its folder."""
    values = dataclasses.asdict(config)
    devices = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    values["made_with"] = {
        "tfzoo": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "devices": [tf.config.experimental.get_device_details(d).get("device_name", d.device_type) for d in devices],
        "cores": os.cpu_count(),
    }
    write_json(pathlib.Path(folder) / "config.json", values)
