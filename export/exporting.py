"""Writes a version folder: built beside the versions, verified in a fresh process, then renamed to its number.

    DIR/NAME/1/saved_model.pb, variables/, ...
    DIR/NAME/1/assets.extra/    tf_serving_warmup_requests, manifest.json, MODEL_CARD.md, samples.png, recorded.npz

TensorFlow Serving reads the warm-up requests of assets.extra and nothing else there: our files disturb no server.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import numpy as np

from export import manifest, model_card, record, versions, warmup
from export.census import read_graph
from export.source import Source
from export.verification import BATCH_SIZE, EXTRA, MANIFEST, RECORD, TOLERANCE
from tfzoo import pictures
from tfzoo.models.base import LatentVariableModel
from tfzoo.verification import tolerance

__all__ = ["build", "export"]

_ROOT = pathlib.Path(__file__).parents[1]
_NUM_PICTURES = 64


def export(
    source: Source,
    folder: pathlib.Path,
    *,
    num_samples: int | None = None,
    num_points: int = 10,
    num_steps: int | None = None,
    keep: int | None = None,
) -> pathlib.Path:
    """Writes the next version of a model and returns its folder.

    Args:
      source: the model; its name is that of the folder of versions.
      folder: where the folders of all models are.
      num_samples: behind the signature log_prob; None takes the model's own.
      num_points: images of an interpolation.
      num_steps: of the chains behind all that infers, for models that infer by a Markov chain; None takes their own.
      keep: remove all but so many versions, once the new one is there; None keeps all.

    Raises:
      ValueError: if the name is no name, the folder cannot be written, or verification fails. Nothing is left behind.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.-]*", source.name, re.ASCII):
        raise ValueError(f"name must be of letters, digits and _.- to fit in a URL. Received: {source.name}")
    base = folder.absolute() / source.name
    try:
        with versions.workplace(base) as work:
            made = work / "new"
            build(source, made, num_samples=num_samples, num_points=num_points, num_steps=num_steps)
            report = _verified(made)
            while True:
                version = versions.next_version(base)
                _describe(source, made, version, report)
                with contextlib.suppress(FileExistsError):
                    published = versions.publish(made, base, version)
                    break
        if keep is not None:
            versions.remove_old(base, keep)
    except OSError as error:
        raise ValueError(f"the folder must be writable ({error.strerror or error}). Received: {base}") from error
    return published


def build(
    source: Source,
    made: pathlib.Path,
    *,
    num_samples: int | None = None,
    num_points: int = 10,
    num_steps: int | None = None,
) -> None:
    """Writes a SavedModel with its record, warm-up and picture: all of a version that needs the model itself.

    Args:
      source: the model.
      made: the new folder.
      num_samples: as for `export`.
      num_points: as for `export`.
      num_steps: as for `export`.
    """
    model = source.model
    num_samples = model.num_served_samples if num_samples is None else num_samples
    steps = {} if num_steps is None else {"num_steps": num_steps}
    options = {"num_samples": num_samples, "num_points": num_points, **steps}
    model.export(made, **options)
    extra = made / EXTRA
    extra.mkdir(exist_ok=True)
    inputs = _inputs(model, made)
    outputs = record.expected_outputs(model, made, inputs, **options)
    arrays = {**record.flatten(inputs, outputs), TOLERANCE: np.float64(tolerance(model))}
    np.savez_compressed(extra / RECORD, allow_pickle=False, **arrays)
    first = {name: {key: value[:1] for key, value in arrays.items()} for name, arrays in inputs.items()}
    warmup.write(extra / warmup.FILE, source.name, first)
    samples = np.asarray(model.sample(_NUM_PICTURES, seed=0), np.float32)
    columns = math.isqrt(_NUM_PICTURES)
    pictures.save(extra / model_card.PICTURE, pictures.grid(samples, columns=columns, value_range=source.value_range))


def _inputs(model: LatentVariableModel, path: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """Returns signature -> input -> a batch for it."""
    examples = record.example_inputs(model, BATCH_SIZE)
    signatures = {name: each.inputs for name, each in read_graph(path).signature_def.items() if each.inputs}
    unknown = {key for keys in signatures.values() for key in keys} - set(examples)
    if unknown:
        raise ValueError(f"inputs must be some of {', '.join(examples)}. Received: {', '.join(sorted(unknown))}")
    return {name: {key: examples[key] for key in examples if key in keys} for name, keys in signatures.items()}


def _verified(made: pathlib.Path) -> dict[str, Any]:
    """Returns what `export.verification.verify` finds in a fresh process.

    Raises:
      ValueError: if a check fails.
    """
    command = [sys.executable, "-m", "export", "verify", str(made), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    try:
        (report,) = json.loads(result.stdout).values()
    except ValueError:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"the export must load in a fresh process. Received: {last}") from None
    failed = [check for check in report["checks"] if not check["passed"]]
    if failed:
        raise ValueError(f"the export must verify. Received: {failed[0]['name']}: {failed[0]['detail']}")
    return report


def _describe(source: Source, made: pathlib.Path, version: int, report: dict[str, Any]) -> None:
    described = manifest.describe(source, version, report["signatures"], report["parity"], report["batchable"])
    (made / EXTRA / MANIFEST).write_text(json.dumps(described, indent=2, default=dict) + "\n")
    (made / EXTRA / "MODEL_CARD.md").write_text(model_card.write(described, source.model))
