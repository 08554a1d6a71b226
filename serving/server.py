"""What both interfaces of the development server answer with: requests are checked, run, timed and counted here."""

import concurrent.futures
import math
import os
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from serving import messages, tensors, warm_up
from serving.errors import GRPC_NUMBERS, ServingError
from serving.metrics import Metrics
from serving.models_config import ModelConfig
from serving.versions import Model, Version, VersionManager

__all__ = ["DEFAULT_SIGNATURE", "Answer", "Limits", "Server", "Target"]

DEFAULT_SIGNATURE = "serving_default"


class Limits(NamedTuple):
    """What one request may ask for.

    Attributes:
      body: bytes of a request.
      batch: greatest first dimension of an input.
      elements: of one input.
      seconds: until an answer; a client's own deadline may be sooner.
      waiting: requests that run or wait to be run, of all clients together.
    """

    body: int = 64 * 2**20
    batch: int = 1024
    elements: int = 16 * 2**20
    seconds: float = 30.0
    waiting: int = 256


class Target(NamedTuple):
    """Which version of which model a request means: one by its number or label, else the highest."""

    name: str
    number: int | None = None
    label: str | None = None


class Answer(NamedTuple):
    """Outputs by name, and the version that they are from."""

    version: int
    outputs: dict[str, np.ndarray]


class Server:
    """Models behind limits, a deadline and counters.

    Args:
      configs: the models.
      load: opens a version's folder.
      limits: of every request.
      log: takes lines for a person to read.
      find: looks for the models again, at every poll; None for the same ones for ever.
    """

    def __init__(
        self,
        configs: Sequence[ModelConfig],
        load: Callable[[pathlib.Path], Model],
        limits: Limits | None = None,
        log: Callable[[str], None] = lambda line: None,
        find: Callable[[], Sequence[ModelConfig]] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.log = log
        self.versions = VersionManager(configs, self._loader(load), log, find)
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "run")
        self._places = threading.BoundedSemaphore(self.limits.waiting)

    def _loader(self, load: Callable[[pathlib.Path], Model]) -> Callable[[pathlib.Path], Model]:
        def load_and_warm_up(path: pathlib.Path) -> Model:
            ok = False
            try:
                model = load(path)
                try:
                    warm_up.replay(path, model)
                    ok = True
                finally:
                    if not ok:
                        model.close()
            finally:
                self.metrics.load(str(path), ok)
            return model

        return load_and_warm_up

    def close(self) -> None:
        """Ends polling, retires all versions and waits for what is running."""
        self.versions.stop()
        self._pool.shutdown()

    def label_of(self, target: Target) -> str:
        """Returns the model's name if it is known, else "": what may be counted without end must not be a label."""
        return target.name if target.name in self.versions.names else ""

    def predict(
        self,
        target: Target,
        signature: str,
        inputs_of: Callable[[Mapping[str, np.dtype]], Mapping[str, np.ndarray]],
        *,
        output_filter: Sequence[str] = (),
        seconds: float | None = None,
    ) -> Answer:
        """Runs a signature of a model.

        Args:
          target: which version.
          signature: its name, or "" for the default.
          inputs_of: makes the inputs when their names and types are known.
          output_filter: names of outputs; all of them if there are none.
          seconds: the client's deadline, if it has one.

        Raises:
          ServingError: with TF Serving's code.
        """
        seconds = self.limits.seconds if seconds is None else min(seconds, self.limits.seconds)
        deadline = time.monotonic() + seconds
        version = self.versions.resolve(*target)
        try:
            name = signature or DEFAULT_SIGNATURE
            found = version.model.signatures.get(name)
            if found is None:
                raise ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
            inputs = inputs_of({key: info.dtype for key, info in found.inputs.items()})
            self._check_inputs(found, inputs)
            _check_filter(found, output_filter)
            if not self._places.acquire(blocking=False):
                raise ServingError("UNAVAILABLE", f"{self.limits.waiting} requests are waiting already.")
            try:
                future = self._pool.submit(self._run, version, name, inputs)
            except RuntimeError:  # the pool has been shut down
                self._places.release()
                raise ServingError("UNAVAILABLE", "The server is going down.") from None
        except BaseException:
            version.release()
            raise
        try:
            outputs = future.result(max(0.0, deadline - time.monotonic()))
        except concurrent.futures.TimeoutError:
            # What runs already cannot be stopped: it keeps its thread, and its version, to its end.
            if future.cancel():
                self._places.release()
                version.release()
            raise ServingError("DEADLINE_EXCEEDED", f"No answer within {seconds:.3g} s.") from None
        if output_filter:
            outputs = {key: outputs[key] for key in output_filter}
        return Answer(version.number, outputs)

    def _run(self, version: Version, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        started = time.monotonic()
        try:
            return version.model.run(signature, inputs)
        except ServingError:
            raise
        except Exception as error:
            code = getattr(error, "code", None)
            if code not in GRPC_NUMBERS:
                self.log(f"{version.name} version {version.number}: {error!r}")
                raise ServingError("INTERNAL", f"The model failed: {type(error).__name__}") from error
            raise ServingError(code, getattr(error, "message", str(error))) from None
        finally:
            self.metrics.run(version.name, time.monotonic() - started)
            self._places.release()
            version.release()

    def _check_inputs(self, signature: Any, inputs: Mapping[str, np.ndarray]) -> None:
        """Refuses what does not fit the signature.

        TF Serving checks names and types itself, and leaves shapes to the graph: exports of the zoo check theirs there.
        """
        given, wanted = set(inputs), set(signature.inputs)
        if given != wanted:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"input size does not match signature: {len(given)}!={len(wanted)} "
                f"len({{{','.join(sorted(given))}}}) != len({{{','.join(sorted(wanted))}}}). "
                f"Sent extra: {{{','.join(sorted(given - wanted))}}}. "
                f"Missing but required: {{{','.join(sorted(wanted - given))}}}.",
            )
        for key, array in inputs.items():
            info = signature.inputs[key]
            if array.dtype != info.dtype:
                raise ServingError(
                    "INVALID_ARGUMENT", f"Expects {key} to be {info.dtype} but {array.dtype} is provided"
                )
            shape = info.shape
            if shape is not None and (
                len(shape) != array.ndim
                or any(size not in (None, own) for size, own in zip(shape, array.shape, strict=True))
            ):
                raise ServingError(
                    "INVALID_ARGUMENT",
                    f"Expects {key} of shape {_show(shape)} but {_show(array.shape)} is provided",
                )
            if array.ndim and len(array) > self.limits.batch:
                raise ServingError(
                    "INVALID_ARGUMENT",
                    f"Task size {len(array)} is larger than maximum input batch size {self.limits.batch}",
                )
            if math.prod(array.shape) > self.limits.elements:
                raise ServingError("INVALID_ARGUMENT", f"Input {key} has more than {self.limits.elements} elements.")

    # === What the server says of its models ===

    def status(self, target: Target) -> Any:
        """Returns a GetModelStatusResponse."""
        response = messages.message("GetModelStatusResponse")()
        for number, state in self.versions.states(*target).items():
            row = response.model_version_status.add(version=number)
            row.state = messages.number("tensorflow.serving.ModelVersionStatus.State", state.state)
            row.status.error_code = messages.number("tensorflow.error.Code", state.code)
            row.status.error_message = state.message
        return response

    def signature_map(self, target: Target) -> tuple[int, Any]:
        """Returns a version's number and its SignatureDefMap."""
        definitions = messages.message("SignatureDefMap")()
        with self.versions.use(*target) as version:
            for name, signature in version.model.signatures.items():
                definition = definitions.signature_def[name]
                definition.method_name = signature.method_name
                for infos, slots in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
                    for key, info in infos.items():
                        slot = slots[key]
                        slot.name = info.name
                        slot.dtype = messages.number("tensorflow.DataType", tensors.label_of(info.dtype))
                        slot.tensor_shape.unknown_rank = info.shape is None
                        for size in info.shape or ():
                            slot.tensor_shape.dim.add(size=-1 if size is None else size)
            return version.number, definitions


def _show(shape: Sequence[int | None]) -> str:
    return f"[{','.join('?' if size is None else str(size) for size in shape)}]"


def _check_filter(signature: Any, output_filter: Sequence[str]) -> None:
    for position, key in enumerate(output_filter):
        if key not in signature.outputs:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"output tensor alias not found in signature: {key} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}.",
            )
        if key in output_filter[:position]:
            raise ServingError("INVALID_ARGUMENT", f"duplicate output tensor alias: {key}")
