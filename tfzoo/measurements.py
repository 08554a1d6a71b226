"""What was measured of a run, in its folder, and whether it is still so.

metrics.json          a dict for each metric, of the run's present model
per_image/            a metric's value for each image of a split, after a comment on what was measured of which model

A training that goes on replaces the model: each number has the digest of the model it is of.
"""

import json
import os
import pathlib
from typing import Any

import numpy as np

from tfzoo.atomic_file import replacing, write_json
from tfzoo.run_config import RunConfig
from tfzoo.runs import model_digest, read_config

__all__ = [
    "add_metrics",
    "check_comparable",
    "present_metrics",
    "read_metrics",
    "read_per_image",
    "write_per_image",
]


def add_metrics(folder: str | os.PathLike, results: dict[str, dict[str, Any]], *, model: str) -> pathlib.Path:
    """Adds results to a run's metrics.json, in place of earlier ones of the same name, and returns its path.

    Each gets its "model" beside it. Earlier results of another one are dropped: the run has been trained on since.

    Args:
      folder: of the run.
      results: a dict for each metric.
      model: `runs.model_digest` of what was measured.
    """
    path = pathlib.Path(folder) / "metrics.json"
    added = {name: {**values, "model": model} for name, values in results.items()}
    write_json(path, {**_of_model(read_metrics(folder), model), **added})
    return path


def present_metrics(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns those results of a run's metrics.json that are of its present model.

    Raises:
      ValueError: as `runs.load` and `read_metrics`.
    """
    return _of_model(read_metrics(folder), model_digest(folder))


def _of_model(results: dict[str, Any], model: str) -> dict[str, Any]:
    return {name: each for name, each in results.items() if isinstance(each, dict) and each.get("model") == model}


def read_metrics(folder: str | os.PathLike) -> dict[str, Any]:
    """Returns what a run's metrics.json has; nothing where there is none.

    Raises:
      ValueError: if it cannot be read.
    """
    path = pathlib.Path(folder) / "metrics.json"
    try:
        values = json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"a run's metrics.json must be that of tfzoo evaluate, or not there. Received: {path}")
    return values


def write_per_image(
    folder: str | os.PathLike,
    metric: str,
    split: str,
    values: tuple[np.ndarray, np.ndarray],
    *,
    model: str,
    settings: dict[str, Any] | None = None,
) -> pathlib.Path:
    """Writes a metric's value for each image, and returns the file's path.

    The file begins with a comment, what was measured of which model and how, which `check_comparable` reads; then
    ``index,value`` by row.

    Args:
      folder: of the run.
      metric: its name.
      split: of the run's data.
      values: the images' indices ``[N]`` and their values ``[N]``.
      model: `runs.model_digest` of what was measured.
      settings: what the values depend on, beside model and data: numbers of samples, say.
    """
    path = _per_image_path(folder, metric, split)
    path.parent.mkdir(exist_ok=True)
    data = _data(read_config(folder), split)
    how = json.dumps({"model": model, "data": data, "settings": settings or {}})
    rows = "".join(f"{index},{value:.9g}\n" for index, value in zip(*values, strict=True))
    with replacing(path) as file:
        file.write_text(f"# {how}\nindex,{metric}\n{rows}")
    return path


def _data(config: RunConfig, split: str) -> dict[str, Any]:
    """Returns what the images of a split, as they are measured, depend on."""
    options = {key: value for key, value in config.data_options.items() if key != "data_dir" and value is not None}
    if options.get("binarize"):
        options["binarize"] = "static"  # see `runs.load_split`
    if split == "train" and {"binarize", "mask"} & set(options):
        options["seed"] = config.seed
    return {"name": config.dataset, **options, "value_range": list(config.value_range)}


def read_per_image(folder: str | os.PathLike, metric: str, split: str) -> dict[int, float]:
    """Returns what `write_per_image` wrote: image's index -> value.

    Raises:
      ValueError: if the run was not measured so.
    """
    _, rows = _read_per_image(folder, metric, split)
    return {int(index): float(value) for index, value in (row.split(",") for row in rows)}


def check_comparable(folder: str | os.PathLike, other: str | os.PathLike, metric: str, split: str) -> None:
    """Raises ValueError where two runs' values of a metric cannot be compared.

    They must be of the same images, measured alike, and each of the model that its run has now.
    """
    ours, theirs = (_read_per_image(each, metric, split)[0] for each in (folder, other))
    for each, how in ((folder, ours), (other, theirs)):
        if how.get("model") != model_digest(each):
            raise ValueError(
                f"{metric} of the split {split} was measured before the run was trained on, or by an older tfzoo; "
                f"tfzoo evaluate it again. Received: {each}"
            )
    for name in ("data", "settings"):
        if ours[name] != theirs[name]:
            raise ValueError(f"runs must be measured on the same {name}. Received: {ours[name]} and {theirs[name]}")


def _read_per_image(folder: str | os.PathLike, metric: str, split: str) -> tuple[dict[str, Any], list[str]]:
    """Returns how a metric was measured, and its rows."""
    try:
        how, _, *rows = _per_image_path(folder, metric, split).read_text().splitlines()
        measured = json.loads(how.removeprefix("# "))
        if not isinstance(measured, dict) or not {"data", "settings"} <= set(measured):
            raise ValueError
        return measured, rows
    except (OSError, ValueError):
        raise ValueError(
            f"the run must have {metric} of each image of the split {split}, from tfzoo evaluate, which measures "
            f"elbo, nll, mse and recovery so. Received: {folder}"
        ) from None


def _per_image_path(folder: str | os.PathLike, metric: str, split: str) -> pathlib.Path:
    return pathlib.Path(folder) / "per_image" / f"{metric}_{split}.csv"
