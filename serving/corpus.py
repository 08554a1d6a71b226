"""Requests with the answers of the loader and session of TensorFlow's wheel, to compare a server with.

One .npz file: for each request its model, version, signature, inputs and outputs.
"""

import json
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.client import Client
from serving.models_config import ModelConfig, versions_in
from serving.versions import Model

__all__ = ["Request", "compare", "made_up", "read", "record", "write"]

# Sizes of the recorded batches.
_BATCHES = (1, 3)


class Request(NamedTuple):
    """A request and its right answer."""

    model: str
    version: int
    signature: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


def record(configs: Iterable[ModelConfig], load: Callable[[pathlib.Path], Model]) -> list[Request]:
    """Returns requests to every signature of the highest version of each model, with its answers.

    Raises:
      ValueError: if an input's type or rank is none that can be made up.
    """
    found = []
    for config in configs:
        version, path = max(versions_in(config.base_path).items())
        model = load(path)
        try:
            for name, signature in sorted(model.signatures.items()):
                for batch in _BATCHES:
                    inputs = made_up(signature, batch)
                    found.append(Request(config.name, version, name, inputs, model.run(name, inputs)))
        finally:
            model.close()
    return found


def made_up(signature: Any, batch: int) -> dict[str, np.ndarray]:
    """Returns inputs of a signature, always the same.

    Raises:
      ValueError: if an input's type or rank is none that can be made up.
    """
    rng = np.random.default_rng(batch)
    return {name: _made_up(name, info, batch, rng) for name, info in sorted(signature.inputs.items())}


def _made_up(name: str, info: Any, batch: int, rng: np.random.Generator) -> np.ndarray:
    if info.shape is None or info.dtype.kind not in "fiub":
        raise ValueError(f"Inputs must be numbers of a known rank. Received: {name}, {info.dtype}, {info.shape}")
    shape = [batch if size is None else size for size in info.shape]
    # Numbers from 0 to 1 are in the range of every likelihood, and those below 2 of every mask.
    made: np.ndarray = rng.uniform(size=shape) if info.dtype.kind == "f" else rng.integers(0, 2, shape)
    return (np.round(made) if name == "mask" else made).astype(info.dtype)


def write(path: pathlib.Path, requests: Iterable[Request]) -> None:
    """Writes requests to a file."""
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for position, request in enumerate(requests):
        rows.append([request.model, request.version, request.signature])
        for kind, tensors in (("inputs", request.inputs), ("outputs", request.outputs)):
            arrays.update({f"{position}/{kind}/{name}": array for name, array in tensors.items()})
    np.savez_compressed(path, allow_pickle=False, requests=json.dumps(rows), **arrays)


def read(path: pathlib.Path) -> list[Request]:
    """Reads requests from a file; nothing in it is run.

    Raises:
      ValueError: if it is none that `write` wrote.
    """
    try:
        return _read(path)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"The requests must be a file that `record` wrote. Received: {path}") from None


def _read(path: pathlib.Path) -> list[Request]:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        found = []
        for position, (model, version, signature) in enumerate(json.loads(str(file["requests"]))):
            tensors: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
            for name in file.files:
                place, _, rest = name.partition("/")
                if place == str(position):
                    kind, _, key = rest.partition("/")
                    tensors[kind][key] = file[name]
            found.append(Request(model, version, signature, tensors["inputs"], tensors["outputs"]))
    return found


def compare(requests: Iterable[Request], client: Client, tolerance: float = 1e-4) -> list[str]:
    """Sends requests to a server; returns one line for each whose answer differs.

    Raises:
      ServingError: if a request fails.
    """
    lines = []
    for request in requests:
        which = f"{request.model} version {request.version} {request.signature}"
        answer = client.predict(request.model, request.signature, request.inputs, version=request.version)
        if answer.keys() != request.outputs.keys():
            lines.append(f"{which}: outputs {sorted(answer)} instead of {sorted(request.outputs)}")
            continue
        for name, right in request.outputs.items():
            found = answer[name]
            if found.shape != right.shape or found.dtype != right.dtype:
                lines.append(f"{which}: {name} is {found.dtype} {found.shape} instead of {right.dtype} {right.shape}")
            elif not np.allclose(found, right, rtol=tolerance, atol=tolerance, equal_nan=True):
                lines.append(f"{which}: {name} differs by {np.nanmax(np.abs(found - right)):.3g}")
    return lines
