"""Does a version folder hold what a server can load and what the model computed? Asked without TensorFlow's Python.

Each check is one promise to those who call the model: what it runs, its names and kinds of numbers, its warm-up, the
recorded numbers at three sizes of batch, the same answer whatever else is in the batch, wrong shapes refused in words,
and what the rows of a REST request need.
"""

import dataclasses
import json
import math
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from export import warmup
from export.c_api import library_version
from export.census import check_operations, read_graph
from export.runtime import LoadError, RunError, SavedModel

__all__ = ["BATCH_SIZE", "EXTRA", "MANIFEST", "RECORD", "TOLERANCE", "Check", "Report", "verify"]

EXTRA = "assets.extra"  # of a SavedModel: a server reads nothing there but the warm-up
MANIFEST = "manifest.json"
RECORD = "recorded.npz"  # `export.record.flatten`: what the exporting process had
BATCH_SIZE = 17  # of the record
TOLERANCE = "tolerance"  # of the record: of a difference, relative to the largest number where that is above 1
_TOLERANCE = 1e-4  # where it has none
# Beside the whole batch.
_ONE, _FEW, _REST = slice(0, 1), slice(0, 3), slice(3, None)
_BROKEN = (DecodeError, LoadError, LookupError, OSError, RunError, TypeError, ValueError, zipfile.BadZipFile)


@dataclasses.dataclass(frozen=True)
class Check:
    """What was looked at, and what was found.

    Attributes:
      name: the promise.
      passed: whether it is kept.
      detail: figures, or what is wrong.
    """

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass
class Report:
    """What `verify` found.

    Attributes:
      checks: in order; those after a failure to load are missing.
      signatures: name -> inputs and outputs -> name -> dtype and shape, None for a free dimension.
      parity: signature -> largest difference from the recorded numbers, relative to the largest one above 1.
      batchable: signature -> whether rows from several clients were seen not to matter to each other.
      tolerance: of these differences.
    """

    checks: list[Check]
    signatures: dict[str, dict[str, dict[str, dict[str, Any]]]]
    parity: dict[str, float]
    batchable: dict[str, bool]
    tolerance: float = _TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether every promise is kept."""
        return all(check.passed for check in self.checks)


def verify(folder: pathlib.Path) -> Report:
    """Checks a version folder that `python -m export` has written; its manifest only where it is there already."""
    report = Report([], {}, {}, {})

    def check(name: str, function: Callable[[], str]) -> None:
        try:
            report.checks.append(Check(name, True, function()))
        except _BROKEN as error:
            report.checks.append(Check(name, False, " ".join(str(error).split()) or type(error).__name__))

    check("operations", lambda: f"{check_operations(read_graph(folder))}, none that a server refuses")
    try:
        model = SavedModel(folder)
    except LoadError as error:
        report.checks.append(Check("load", False, " ".join(str(error).split())))
        return report
    with model:
        report.signatures.update(_signature_table(model))
        versions = f"written by TensorFlow {model.meta.tensorflow_version}, loaded by {library_version()}"
        report.checks.append(Check("load", True, f"tag serve, {versions}"))
        check("names and kinds", lambda: _check_borders(model))
        check("warm-up", lambda: _replay(model, folder / EXTRA / warmup.FILE))
        record: dict[str, dict[str, dict[str, np.ndarray]]] = {}
        check("record", lambda: _read_record(model, folder / EXTRA / RECORD, record, report))
        answers: dict[str, dict[str, np.ndarray]] = {}  # to a few rows
        check("numbers", lambda: _check_numbers(model, record, report, answers))
        check("rows alone", lambda: _describe_rows(report))
        check("wrong shapes", lambda: _check_refusals(model, record))
        check("JSON", lambda: _check_json(record, answers))
    if (folder / EXTRA / MANIFEST).exists():
        check("manifest", lambda: _check_manifest(model, folder / EXTRA / MANIFEST, report))
    return report


def _signature_table(model: SavedModel) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Returns signature -> "inputs" and "outputs" -> name -> dtype and shape, as JSON has them."""
    return {
        name: {
            side: {key: {"dtype": str(info.dtype), "shape": info.shape and list(info.shape)} for key, info in infos}
            for side, infos in (("inputs", signature.inputs.items()), ("outputs", signature.outputs.items()))
        }
        for name, signature in sorted(model.signatures.items())
    }


def _check_borders(model: SavedModel) -> str:
    if "serving_default" not in model.signatures:
        raise ValueError("a signature must be named serving_default. Received: none")
    for name, signature in model.signatures.items():
        for key, info in (*signature.inputs.items(), *signature.outputs.items()):
            # REST takes an input {"b64": ...} for base64, and the names that tracing makes up change with every export.
            if not re.fullmatch(r"[a-z][a-z_]*", key):
                raise ValueError(f"inputs and outputs must be named in lower case. Received: {key} of {name}")
            if info.dtype not in (np.float32, np.int32):
                raise ValueError(f"numbers must be float32 or int32. Received: {info.dtype} of {key} of {name}")
            if not info.shape or info.shape[0] is not None:
                raise ValueError(f"the first dimension must be a free batch. Received: {info.shape} of {key} of {name}")
    return f"{len(model.signatures)} signatures, float32 and int32, the first dimension free"


def _replay(model: SavedModel, path: pathlib.Path) -> str:
    requests = warmup.read(path)
    for signature, inputs in requests:
        model.run(signature, inputs)
    cold = set(model.signatures) - {signature for signature, _ in requests}
    if cold:
        raise ValueError(f"every signature must be warmed up. Received: none for {', '.join(sorted(cold))}")
    return f"{len(requests)} requests replayed"


def _read_record(
    model: SavedModel, path: pathlib.Path, record: dict[str, dict[str, dict[str, np.ndarray]]], report: Report
) -> str:
    # NumPy leaves a file open that it cannot read.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
        arrays = dict(loaded)
    report.tolerance = float(arrays.get(TOLERANCE, _TOLERANCE))
    for name, signature in model.signatures.items():
        try:
            record[name] = {
                "inputs": {key: arrays[f"inputs/{key}"] for key in signature.inputs},
                "outputs": {key: arrays[f"outputs/{name}/{key}"] for key in signature.outputs},
            }
        except KeyError as error:
            raise ValueError(f"every input and output must be recorded. Received: none for {error}") from None
    return f"{len(record)} signatures at batch {BATCH_SIZE}"


def _check_numbers(
    model: SavedModel, record: Mapping[str, Any], report: Report, answers: dict[str, dict[str, np.ndarray]]
) -> str:
    _check_recorded(record)
    for name, recorded in sorted(record.items()):
        inputs, expected = recorded["inputs"], recorded["outputs"]
        whole, one, few, rest = (model.run(name, _rows(inputs, rows)) for rows in (slice(None), _ONE, _FEW, _REST))
        answers[name] = few
        found = [(whole, expected), (one, _rows(expected, _ONE)), (few, _rows(expected, _FEW))]
        report.parity[name] = max(_difference(*pair) for pair in found)
        parts = [(one, _rows(whole, _ONE)), (few, _rows(whole, _FEW)), (rest, _rows(whole, _REST))]
        report.batchable[name] = all(_difference(*pair) <= report.tolerance for pair in parts)
    worst = max(report.parity, key=lambda name: report.parity[name])
    text = f"largest relative difference from the exporting process {report.parity[worst]:.1e} ({worst})"
    if report.parity[worst] > report.tolerance:
        raise ValueError(text)
    return f"{text}, at batch 1, 3 and {BATCH_SIZE}"


def _check_recorded(record: Mapping[str, Any]) -> None:
    if not record:
        raise ValueError("there must be a record to compare with. Received: none")


def _rows(arrays: Mapping[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    return {name: array[rows] for name, array in arrays.items()}


def _difference(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """Returns the largest difference relative to the largest number above 1; infinity for NaN or another shape."""
    differences = [0.0]
    for name, array in expected.items():
        if found[name].shape != array.shape or not np.all(np.isfinite(found[name])):
            return math.inf
        differences.append(float(np.max(np.abs(found[name] - array)) / max(1.0, np.max(np.abs(array)))))
    return math.inf if math.isnan(sum(differences)) else max(differences)


def _describe_rows(report: Report) -> str:
    coupled = sorted(name for name, batchable in report.batchable.items() if not batchable)
    apart = f"f(a, b) = f(a), f(b) in {len(report.batchable) - len(coupled)} signatures: batchable"
    return apart + (f"; not batchable: {', '.join(coupled)}" if coupled else "")


def _check_refusals(model: SavedModel, record: Mapping[str, Any]) -> str:
    _check_recorded(record)
    count = 0
    for name, recorded in sorted(record.items()):
        for what, key, inputs in _wrong_shapes(_rows(recorded["inputs"], _FEW)):
            count += 1
            try:
                model.run(name, inputs)
            except RunError as error:
                if error.code == "INVALID_ARGUMENT" and key in error.message:
                    continue
                raise ValueError(f"{name} must name {key} in its error. Received: {error} for {what}") from None
            raise ValueError(f"{name} must refuse {what}. Received: an answer")
    return f"{count} requests refused, each naming the input"


def _wrong_shapes(inputs: Mapping[str, np.ndarray]) -> Iterator[tuple[str, str, dict[str, np.ndarray]]]:
    """Yields what is wrong, with which input, and the inputs of a request."""
    for key, array in inputs.items():
        wrong = {
            "an unbatched": array[0],
            "a batch of batches": array[np.newaxis],
            "a wider": np.concatenate([array, array[..., -1:]], -1),
        }
        if len(inputs) > 1:
            wrong["a shorter"] = array[:-1]
        for what, value in wrong.items():
            yield f"{what} {key} {value.shape}", key, {**inputs, key: value}


def _check_json(record: Mapping[str, Any], answers: Mapping[str, dict[str, np.ndarray]]) -> str:
    """Sends rows through JSON, as REST does, and looks at the answers: they need the first dimension of the rows."""
    _check_recorded(answers)
    for name, answer in sorted(answers.items()):
        inputs = _rows(record[name]["inputs"], _FEW)
        rows = json.loads(json.dumps([{key: array[row].tolist() for key, array in inputs.items()} for row in range(3)]))
        for key, array in inputs.items():
            if not np.array_equal(np.asarray([row[key] for row in rows], array.dtype), array):
                raise ValueError(f"inputs must survive JSON. Received: others for {key} of {name}")
        for key, array in answer.items():
            if array.ndim < 1 or len(array) != len(rows):
                raise ValueError(f"{name} must answer with a row for each. Received: {key} of shape {array.shape}")
            if not np.all(np.isfinite(array)):
                raise ValueError(f"{name} must answer with finite numbers. Received: others in {key}")
    return "rows and columns, finite numbers"


def _check_manifest(model: SavedModel, path: pathlib.Path, report: Report) -> str:
    manifest = json.loads(path.read_text())
    written = {
        name: {side: each[side] for side in ("inputs", "outputs")} for name, each in manifest["signatures"].items()
    }
    if written != report.signatures:
        raise ValueError("the manifest must have the SavedModel's signatures. Received: others")
    claimed = {name for name, each in manifest["signatures"].items() if each["batchable"]}
    unproven = claimed - {name for name, batchable in report.batchable.items() if batchable}
    if unproven:
        raise ValueError(f"signatures must be batchable as the manifest says. Received: not so {', '.join(unproven)}")
    if manifest["versions"]["tensorflow"] != model.meta.tensorflow_version:
        raise ValueError(f"the manifest must name its TensorFlow. Received: {manifest['versions']['tensorflow']}")
    return f"{manifest['name']}, {len(claimed)} batchable signatures"
