"""The messages of TensorFlow and TF Serving that serving needs, in a descriptor pool of their own.

The package tensorflow-serving-api has them all, but importing it imports TensorFlow, which a client does not need and
which takes seconds. A pool of our own also lives beside an imported TensorFlow: in the default pool, two definitions of
one message clash. Fields that are not named here are kept as unknown ones. Names, numbers and types are compared with
those of tensorflow-serving-api in tests/serving/test_serving_messages.py.

Reference: https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
"""

from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

__all__ = ["ENUMS", "MESSAGES", "message", "number"]

# One message a row, its fields as "name:number:type", with * for a repeated one, <key,value> for a map, and @ before
# the name of the oneof it belongs to.
MESSAGES = {
    "tensorflow.TensorShapeProto": "dim:2:*tensorflow.TensorShapeProto.Dim unknown_rank:3:bool",
    "tensorflow.TensorShapeProto.Dim": "size:1:int64 name:2:string",
    "tensorflow.TensorProto": (
        "dtype:1:tensorflow.DataType tensor_shape:2:tensorflow.TensorShapeProto version_number:3:int32 "
        "tensor_content:4:bytes half_val:13:*int32 float_val:5:*float double_val:6:*double int_val:7:*int32 "
        "string_val:8:*bytes int64_val:10:*int64 bool_val:11:*bool uint32_val:16:*uint32 uint64_val:17:*uint64"
    ),
    "tensorflow.TensorInfo": (
        "name:1:string@encoding dtype:2:tensorflow.DataType tensor_shape:3:tensorflow.TensorShapeProto"
    ),
    "tensorflow.SignatureDef": (
        "inputs:1:<string,tensorflow.TensorInfo> outputs:2:<string,tensorflow.TensorInfo> method_name:3:string"
    ),
    "tensorflow.serving.ModelSpec": (
        "name:1:string version:2:google.protobuf.Int64Value@version_choice version_label:4:string@version_choice "
        "signature_name:3:string"
    ),
    "tensorflow.serving.PredictRequest": (
        "model_spec:1:tensorflow.serving.ModelSpec inputs:2:<string,tensorflow.TensorProto> output_filter:3:*string"
    ),
    "tensorflow.serving.PredictResponse": (
        "outputs:1:<string,tensorflow.TensorProto> model_spec:2:tensorflow.serving.ModelSpec"
    ),
    "tensorflow.serving.PredictLog": (
        "request:1:tensorflow.serving.PredictRequest response:2:tensorflow.serving.PredictResponse"
    ),
    "tensorflow.serving.PredictionLog": "predict_log:6:tensorflow.serving.PredictLog@log_type",
    "tensorflow.serving.SignatureDefMap": "signature_def:1:<string,tensorflow.SignatureDef>",
    "tensorflow.serving.GetModelMetadataRequest": (
        "model_spec:1:tensorflow.serving.ModelSpec metadata_field:2:*string"
    ),
    "tensorflow.serving.GetModelMetadataResponse": (
        "model_spec:1:tensorflow.serving.ModelSpec metadata:2:<string,google.protobuf.Any>"
    ),
    "tensorflow.serving.GetModelStatusRequest": "model_spec:1:tensorflow.serving.ModelSpec",
    "tensorflow.serving.StatusProto": "error_code:1:tensorflow.error.Code error_message:2:string",
    "tensorflow.serving.ModelVersionStatus": (
        "version:1:int64 state:2:tensorflow.serving.ModelVersionStatus.State status:3:tensorflow.serving.StatusProto"
    ),
    "tensorflow.serving.GetModelStatusResponse": ("model_version_status:1:*tensorflow.serving.ModelVersionStatus"),
    # What the server reads its configuration from.
    "tensorflow.serving.FileSystemStoragePathSourceConfig": "",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy": (
        "latest:100:tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest@policy_choice "
        "all:101:tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.All@policy_choice "
        "specific:102:tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific@policy_choice"
    ),
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest": "num_versions:1:uint32",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.All": "",
    "tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific": "versions:1:*int64",
    "tensorflow.serving.ModelConfig": (
        "name:1:string base_path:2:string model_platform:4:string "
        "model_version_policy:7:tensorflow.serving.FileSystemStoragePathSourceConfig.ServableVersionPolicy "
        "version_labels:8:<string,int64>"
    ),
    "tensorflow.serving.ModelConfigList": "config:1:*tensorflow.serving.ModelConfig",
    "tensorflow.serving.ModelServerConfig": "model_config_list:1:tensorflow.serving.ModelConfigList@config",
    # tensorflow-serving-api lacks these two files: tensorflow_serving/config/monitoring_config.proto and
    # tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
    "tensorflow.serving.PrometheusConfig": "enable:1:bool path:2:string",
    "tensorflow.serving.MonitoringConfig": "prometheus_config:1:tensorflow.serving.PrometheusConfig",
    "tensorflow.serving.BatchingParameters": (
        "max_batch_size:1:google.protobuf.Int64Value batch_timeout_micros:2:google.protobuf.Int64Value "
        "max_enqueued_batches:3:google.protobuf.Int64Value num_batch_threads:4:google.protobuf.Int64Value "
        "thread_pool_name:5:google.protobuf.StringValue allowed_batch_sizes:6:*int64 pad_variable_length_inputs:7:bool"
    ),
}
ENUMS = {
    "tensorflow.DataType": {
        "DT_INVALID": 0, "DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_UINT8": 4, "DT_INT16": 5, "DT_INT8": 6,
        "DT_STRING": 7, "DT_COMPLEX64": 8, "DT_INT64": 9, "DT_BOOL": 10, "DT_BFLOAT16": 14, "DT_UINT16": 17,
        "DT_COMPLEX128": 18, "DT_HALF": 19, "DT_RESOURCE": 20, "DT_VARIANT": 21, "DT_UINT32": 22, "DT_UINT64": 23,
    },
    "tensorflow.error.Code": {
        "OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5,
        "ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "UNAUTHENTICATED": 16, "RESOURCE_EXHAUSTED": 8,
        "FAILED_PRECONDITION": 9, "ABORTED": 10, "OUT_OF_RANGE": 11, "UNIMPLEMENTED": 12, "INTERNAL": 13,
        "UNAVAILABLE": 14, "DATA_LOSS": 15,
    },
    "tensorflow.serving.ModelVersionStatus.State": {
        "UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50,
    },
}  # fmt: skip
_FILES = {"tensorflow.error": [], "tensorflow": [], "tensorflow.serving": ["tensorflow.error", "tensorflow"]}
_Field = descriptor_pb2.FieldDescriptorProto


def _add_field(parent: descriptor_pb2.DescriptorProto, full_name: str, text: str) -> None:
    name, tag, kind = text.split(":")
    kind, _, oneof = kind.partition("@")
    field = parent.field.add(name=name, number=int(tag), json_name=name)
    field.label = _Field.LABEL_REPEATED if kind[0] in "*<" else _Field.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind.startswith("<"):
        key, value = kind[1:-1].split(",")
        entry = parent.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, f"{full_name}.{entry.name}", f"key:1:{key}")
        _add_field(entry, f"{full_name}.{entry.name}", f"value:2:{value}")
        kind = f"{full_name}.{entry.name}"
    if "." in kind:
        field.type = _Field.TYPE_ENUM if kind in ENUMS else _Field.TYPE_MESSAGE
        field.type_name = f".{kind}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")
    if oneof:
        names = [declared.name for declared in parent.oneof_decl]
        if oneof not in names:
            parent.oneof_decl.add(name=oneof)
            names.append(oneof)
        field.oneof_index = names.index(oneof)


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    google = [any_pb2.DESCRIPTOR, wrappers_pb2.DESCRIPTOR]
    for file in google:
        pool.AddSerializedFile(file.serialized_pb)
    for package, needs in _FILES.items():
        built = descriptor_pb2.FileDescriptorProto(name=f"serving/{package}.proto", package=package, syntax="proto3")
        built.dependency.extend([file.name for file in google] + [f"serving/{need}.proto" for need in needs])
        parts: dict[str, Any] = {package: built}

        def parent_of(name: str, package: str = package, parts: dict[str, Any] = parts) -> Any:
            parent = name.rpartition(".")[0]
            return parts.get(parent) if name.startswith(f"{package}.") else None

        for name, fields in MESSAGES.items():
            if (parent := parent_of(name)) is not None:
                nested = parent.message_type if parent is built else parent.nested_type
                parts[name] = nested.add(name=name.rpartition(".")[2])
                for field in fields.split():
                    _add_field(parts[name], name, field)
        for name, values in ENUMS.items():
            if (parent := parent_of(name)) is not None:
                enum = parent.enum_type.add(name=name.rpartition(".")[2])
                for label, value in values.items():
                    enum.value.add(name=label, number=value)
        pool.AddSerializedFile(built.SerializeToString())
    return pool


_POOL = _pool()


def message(name: str) -> Any:
    """Returns the class of a message, such as "PredictRequest" of TF Serving or "tensorflow.TensorProto"."""
    full_name = name if name.startswith("tensorflow.") else f"tensorflow.serving.{name}"
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(full_name))


def number(enum: str, label: str) -> int:
    """Returns the number of an enum's label, such as `number("tensorflow.DataType", "DT_FLOAT")`."""
    return ENUMS[enum][label]
