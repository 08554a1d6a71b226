"""Does an export give, in a process that knows TensorFlow only, the numbers that the model gave?"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from tfzoo.models.base import LatentVariableModel

__all__ = ["tolerance", "verify_export"]

# Run by its path and isolated (-I), so that nothing of this package can be imported along with it.
_SCRIPT = pathlib.Path(__file__).with_name("load_saved_model.py")


def verify_export(
    model: LatentVariableModel, path: str | os.PathLike, batch_size: int = 3, *, num_steps: int | None = None
) -> dict[str, float]:
    """Calls every signature of an export in a fresh process and compares with the model in this one.

    Args:
      model: what was exported.
      path: of the SavedModel.
      batch_size: of the calls.
      num_steps: as it was exported with.

    Returns:
      For each signature the largest absolute difference, relative to the largest number where that is above 1.

    Raises:
      ValueError: if the fresh process fails, or a difference is over `tolerance(model)`.
    """
    with _quiet():
        here = tf.saved_model.load(str(path)).signatures
    seeds = np.stack([np.arange(batch_size), np.arange(batch_size) + 7], 1).astype(np.int32)
    z = np.asarray(model.prior().sample(batch_size, seed=[0, 1]), np.float32)
    images = np.asarray(model.likelihood(z).sample(seed=[0, 2]), np.float32)
    mask = (np.arange(images.size).reshape(images.shape) % 3 > 0).astype(np.float32)
    values = {"images": images, "mask": mask, "z": z, "seed": seeds, "start": images, "end": images[::-1]}
    inputs: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    for name, signature in here.items():
        arguments = {key: values[key] for key in signature.structured_input_signature[1]}
        inputs.update({f"{name}/{key}": value for key, value in arguments.items()})
    # From the model itself, not from its export, wherever it has the same call.
    options = {} if num_steps is None else {"num_steps": num_steps}
    expected["encode/z"] = model.encode(images, seeds, **options)
    expected["decode/images"] = model.decode(z)
    expected["reconstruct/images"] = expected["serving_default/images"] = model.reconstruct(images, seeds, **options)
    expected["score/score"] = model.anomaly_score(images, seeds, **options)
    if "inpaint" in here:
        expected["inpaint/images"] = model.inpaint(images, mask, 1, seeds, **options)[0]
    for name in ("sample", "log_prob", "interpolate"):
        arguments = {key: tf.constant(values[key]) for key in here[name].structured_input_signature[1]}
        expected.update({f"{name}/{key}": value for key, value in here[name](**arguments).items()})
    with tempfile.TemporaryDirectory() as folder:
        given, got = pathlib.Path(folder) / "inputs.npz", pathlib.Path(folder) / "outputs.npz"
        np.savez(given, **inputs)
        command = [sys.executable, "-I", str(_SCRIPT), str(pathlib.Path(path).absolute()), str(given), str(got)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"the export must load and run with TensorFlow alone. Received: {last}")
        with np.load(got) as outputs:
            differences = {}
            for key, value in expected.items():
                reference = np.asarray(value)
                largest = np.max(np.abs(outputs[key] - reference)) / max(1.0, np.max(np.abs(reference)))
                differences[key.split("/")[0]] = float(largest)
    worst = max(differences, key=differences.__getitem__)
    if not differences[worst] <= tolerance(model):
        raise ValueError(f"the export must give the model's numbers. Received: {worst} off by {differences[worst]:.2g}")
    return differences


def tolerance(model: LatentVariableModel) -> float:
    """Returns what graphs of a model may differ by: 1e-4, or four roundings of the half precision it computes in."""
    return {"float16": 4e-3, "bfloat16": 3e-2}.get(model.compute_dtype, 1e-4)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back that gradients of gradients, of the transposed convolutions, are not saved: serving asks for none."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
