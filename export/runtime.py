"""Runs a SavedModel as TensorFlow Serving does: loader and session of the TensorFlow wheel, no TensorFlow Python.

Like the server, it compiles nothing with XLA, loads the tag "serve" only, and does not check the shapes of what it is
given: a graph has to do that for itself. Tensors of numbers and truth values only; no strings.
"""

import contextlib
import ctypes
import dataclasses
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from export.c_api import CODES, Output, library
from export.messages import DATA_TYPES, bare_tensorflow

with bare_tensorflow():
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

__all__ = ["LoadError", "Meta", "RunError", "SavedModel", "Signature", "TensorInfo"]

_INIT = "__saved_model_init_op"  # a signature that the loader runs, and nobody else
_NUMBERS = {dtype: number for number, dtype in DATA_TYPES.items()}


class LoadError(RuntimeError):
    """A SavedModel could not be loaded; the message is TensorFlow's."""


class RunError(RuntimeError):
    """A request failed.

    Attributes:
      code: name of the status as TensorFlow and gRPC have it, such as "INVALID_ARGUMENT".
      message: TensorFlow's own, or what TensorFlow Serving says of such a request.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """An input or output of a signature.

    Attributes:
      name: of the tensor in the graph, such as "serving_default_seed:0".
      dtype: of its elements.
      shape: None for a dimension, or a rank, that is free.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of a SavedModel: named inputs, named outputs."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str


@dataclasses.dataclass(frozen=True)
class Meta:
    """What a SavedModel says of itself.

    Attributes:
      tags: of the graph that was loaded.
      tensorflow_version: of the process that wrote it.
      signature_defs: the messages `tensorflow.SignatureDef` by name, without the loader's own.
      restores: whether the graph restores variables; where their index is missing, the loader leaves that out.
    """

    tags: tuple[str, ...]
    tensorflow_version: str
    signature_defs: Mapping[str, Any]
    restores: bool


class SavedModel:
    """A loaded SavedModel; as a context manager it closes itself. Several threads may `run` it at once.

    Args:
      path: of the folder with saved_model.pb.

    Attributes:
      signatures: by name.
      meta: what it says of itself.

    Raises:
      LoadError: if it cannot be loaded, with TensorFlow's reason.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._library = library()
        self._idle = threading.Condition()
        self._running = 0
        self._open = True
        self._session: int | None = None
        self._graph = self._library.TF_NewGraph()
        try:
            meta_graph = self._load(os.fsencode(path))
            definitions = {name: each for name, each in meta_graph.signature_def.items() if name != _INIT}
            self.meta = Meta(
                tuple(meta_graph.meta_info_def.tags),
                meta_graph.meta_info_def.tensorflow_version,
                definitions,
                bool(meta_graph.saver_def.restore_op_name),
            )
            self.signatures: Mapping[str, Signature] = {name: _signature(each) for name, each in definitions.items()}
        except BaseException:
            self.close()
            raise

    def _load(self, path: bytes) -> Any:
        api = self._library
        # A training on the same GPU keeps what it holds.
        config = config_pb2.ConfigProto(gpu_options=config_pb2.GPUOptions(allow_growth=True)).SerializeToString()
        options, buffer = api.TF_NewSessionOptions(), api.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            with self._status(LoadError) as status:
                api.TF_SetConfig(options, config, len(config), status)
            with self._status(LoadError) as status:
                self._session = api.TF_LoadSessionFromSavedModel(
                    options, None, path, tags, 1, self._graph, buffer, status
                )
            data = ctypes.string_at(buffer.contents.data, buffer.contents.length)
        finally:
            api.TF_DeleteBuffer(buffer)
            api.TF_DeleteSessionOptions(options)
        return meta_graph_pb2.MetaGraphDef.FromString(data)

    @contextlib.contextmanager
    def _status(self, error: type[LoadError] | type[RunError]) -> Iterator[int]:
        """Gives a fresh status, and raises what is in it afterwards."""
        status = self._library.TF_NewStatus()
        try:
            yield status
            code = CODES[self._library.TF_GetCode(status)]
            message = self._library.TF_Message(status).decode(errors="replace")
        finally:
            self._library.TF_DeleteStatus(status)
        if code != "OK":
            raise LoadError(f"{code}: {message}") if error is LoadError else RunError(code, message)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name.

        Args:
          signature: its name.
          inputs: arrays by the names of the inputs, in their own dtypes: nothing is converted.

        Raises:
          RunError: for an unknown signature, missing or unknown inputs, and whatever TensorFlow refuses or fails at.
        """
        with self._idle:
            if not self._open:
                raise RunError("UNAVAILABLE", "the SavedModel is closed")
            self._running += 1
        try:
            return self._run(signature, inputs)
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if name not in self.signatures:
            raise RunError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        _check_names(signature, inputs)
        api = self._library
        count = len(signature.outputs)
        answers = (ctypes.c_void_p * count)()
        given = (ctypes.c_void_p * len(inputs))()
        try:
            for place, (key, array) in enumerate(inputs.items()):
                given[place] = self._tensor(key, np.asarray(array))
            feeds = self._outputs([signature.inputs[key] for key in inputs])
            fetches = self._outputs(list(signature.outputs.values()))
            with self._status(RunError) as status:
                api.TF_SessionRun(
                    *(self._session, None, feeds, given, len(inputs), fetches, answers, count, None, 0, None, status)
                )
            return {key: self._array(key, answer) for key, answer in zip(signature.outputs, answers, strict=True)}
        finally:
            for tensor in (*given, *answers):
                if tensor is not None:
                    api.TF_DeleteTensor(tensor)

    def _outputs(self, tensors: list[TensorInfo]) -> ctypes.Array:
        result = (Output * len(tensors))()
        for place, tensor in enumerate(tensors):
            operation, _, index = tensor.name.partition(":")
            result[place].operation = self._library.TF_GraphOperationByName(self._graph, operation.encode())
            result[place].index = int(index or 0)
        return result

    def _tensor(self, name: str, array: np.ndarray) -> int:
        """Returns a new TF_Tensor with a copy of the array."""
        if array.dtype not in _NUMBERS:
            raise RunError("UNIMPLEMENTED", f"this runtime carries numbers only. Received: {array.dtype} for {name}")
        array = np.ascontiguousarray(array) if array.ndim else array
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self._library.TF_AllocateTensor(_NUMBERS[array.dtype], shape, array.ndim, array.nbytes)
        ctypes.memmove(self._library.TF_TensorData(tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _array(self, name: str, tensor: int) -> np.ndarray:
        """Returns a copy of a TF_Tensor."""
        api = self._library
        number = api.TF_TensorType(tensor)
        if number not in DATA_TYPES:
            raise RunError("UNIMPLEMENTED", f"this runtime carries numbers only. Received: type {number} from {name}")
        shape = [api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor))]
        array = np.empty(shape, DATA_TYPES[number])
        ctypes.memmove(array.ctypes.data, api.TF_TensorData(tensor), array.nbytes)
        return array

    def close(self) -> None:
        """Waits for what is running, then frees everything; a `run` after it fails with UNAVAILABLE."""
        api = self._library
        with self._idle:
            self._open = False
            self._idle.wait_for(lambda: not self._running)
            session, self._session = self._session, None
            graph, self._graph = self._graph, None
        if session is not None:
            for function in (api.TF_CloseSession, api.TF_DeleteSession):
                with self._status(RunError) as status:
                    function(session, status)
        if graph is not None:
            api.TF_DeleteGraph(graph)

    def __enter__(self) -> "SavedModel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _signature(definition: Any) -> Signature:
    def tensors(infos: Mapping[str, Any]) -> dict[str, TensorInfo]:
        return {name: _tensor_info(name, info) for name, info in sorted(infos.items())}

    return Signature(tensors(definition.inputs), tensors(definition.outputs), definition.method_name)


def _tensor_info(name: str, info: Any) -> TensorInfo:
    if info.dtype not in DATA_TYPES:
        raise LoadError(f"UNIMPLEMENTED: this runtime carries numbers only. Received: type {info.dtype} for {name}")
    shape = info.tensor_shape
    dims = None if shape.unknown_rank else tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
    return TensorInfo(info.name, DATA_TYPES[info.dtype], dims)


def _check_names(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    """Raises what TensorFlow Serving says where the names of inputs are not the signature's."""
    given, wanted = set(inputs), set(signature.inputs)
    if len(given) != len(wanted):

        def listed(names: set[str]) -> str:
            return "{" + ",".join(sorted(names)) + "}"

        raise RunError(
            "INVALID_ARGUMENT",
            f"input size does not match signature: {len(given)}!={len(wanted)} len({listed(given)}) != "
            f"len({listed(wanted)}). Sent extra: {listed(given - wanted)}. "
            f"Missing but required: {listed(wanted - given)}.",
        )
    for alias in sorted(wanted - given):
        raise RunError(
            "INVALID_ARGUMENT",
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no "
            f"default value provided. Inputs expected to be in the request {{{','.join(sorted(given))}}}, or default "
            "input alias set: ",
        )
