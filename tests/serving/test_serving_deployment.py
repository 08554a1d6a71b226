"""Deployment files name what exists, in the forms that their readers take.

No container engine and no cluster is asked: text protos are parsed with their messages, Compose and Kubernetes files
held against their published schemas, KServe's by hand against the names of its Python models (0.21). Whether the stock
server takes them is for serving/verify_docker.sh to say.
"""

import json
import os
import pathlib
import subprocess
import sys

import kubernetes_validate
import numpy as np
import pydantic
import pytest
import yaml
from click.testing import CliRunner
from compose_pydantic import ComposeSpecification
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving import cli, configure, corpus, messages, models_config
from serving.client import Client
from serving.listening import Listeners
from serving.models_config import ModelConfig
from serving.server import Server
from tests.serving import fake

pytestmark = pytest.mark.fast
SERVING = pathlib.Path(cli.__file__).parent
IMAGE = "tensorflow/serving:2.20.0"
# Of tensorflow_model_server, from main.cc of TF Serving 2.20.
FLAGS = {"model_config_file", "model_config_file_poll_wait_seconds", "monitoring_config_file", "enable_batching"}
FLAGS |= {"enable_per_model_batching_parameters", "enable_grpc_healthcheck_service"}


def parsed(name, message):
    return text_format.Parse((SERVING / "config" / name).read_text(), messages.message(message)())


def flags_are_known(arguments):
    for argument in arguments:
        assert argument.startswith("--")
        assert argument[2:].partition("=")[0] in FLAGS
    files = [argument.partition("=")[2] for argument in arguments if "_file=" in argument]
    assert files
    for file in files:
        assert file.startswith("/config/")
        assert (SERVING / "config" / pathlib.Path(file).name).exists()
    batching = {"--enable_batching", "--enable_per_model_batching_parameters=true"} & set(arguments)
    assert len(batching) in (0, 2), "without the second flag every signature of every model is batched"


def test_models_config_is_tf_servings():
    text = (SERVING / "config" / "models.config").read_text()
    theirs = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (config,) = theirs.model_config_list.config
    assert config.base_path == f"/models/{config.name}"
    (ours,) = models_config.read(SERVING / "config" / "models.config")
    assert ours.name == config.name
    # What the comments propose is valid too.
    proposed = text.replace("    # model_version_policy", "model_version_policy").replace(
        "    # version_labels", "version_labels"
    )
    (config,) = text_format.Parse(proposed, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}
    assert set(config.version_labels.values()) <= set(config.model_version_policy.specific.versions)


def test_monitoring_and_batching_are_tf_servings():
    prometheus = parsed("monitoring.config", "MonitoringConfig").prometheus_config
    assert prometheus.enable
    assert prometheus.path == "/monitoring/prometheus/metrics"
    batching = parsed("batching_params.pbtxt", "BatchingParameters")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(sizes)
    assert sizes[-1] == batching.max_batch_size.value, "else the server does not load the model"


def test_compose():
    (service,) = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"].values()
    assert service["image"] == IMAGE
    flags_are_known(service["command"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert {volume["target"] for volume in service["volumes"]} == {"/models", "/config"}
    assert all(volume["read_only"] for volume in service["volumes"])
    config = service["volumes"][1]["source"]
    assert (SERVING / config).resolve() == SERVING / "config"


@pytest.mark.parametrize(("model", "status"), [("fake", 0), ("none", 1)])
def test_the_health_check_of_compose_runs(model, status, tmp_path):
    """As the container runs it: bash alone, no curl; only the port is another."""
    fake.publish(tmp_path / "fake", 1, 1.0)
    server = Server([ModelConfig("fake", tmp_path / "fake")], fake.FakeModel)
    server.versions.poll()
    listeners = Listeners(server, "127.0.0.1", 0, 0, 2)
    try:
        (service,) = yaml.safe_load((SERVING / "compose.yaml").read_text())["services"].values()
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        command[-1] = command[-1].replace("$$", "$").replace("8501", listeners.rest_url.rpartition(":")[2])
        found = subprocess.run(command, env={**os.environ, "HEALTH_MODEL": model}, timeout=30, check=False)
        assert found.returncode == status
    finally:
        listeners.stop()
        server.close()


def test_compose_and_kubernetes_keep_their_schemas():
    compose = yaml.safe_load((SERVING / "compose.yaml").read_text())
    ComposeSpecification(**compose)
    compose["services"]["serving"]["comand"] = []
    with pytest.raises(pydantic.ValidationError, match=r"services\.serving\.comand"):
        ComposeSpecification(**compose)
    for manifest in yaml.safe_load_all((SERVING / "kubernetes.yaml").read_text()):
        kubernetes_validate.validate(manifest, "1.31", strict=True)
        manifest["spec"]["prots"] = []
        with pytest.raises(kubernetes_validate.ValidationError, match="'prots' was unexpected"):
            kubernetes_validate.validate(manifest, "1.31", strict=True)


def test_kubernetes():
    deployment, service = yaml.safe_load_all((SERVING / "kubernetes.yaml").read_text())
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    pod = template["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    flags_are_known(container["args"])
    assert "--enable_grpc_healthcheck_service=true" in container["args"], "the probes ask it"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports) == {"grpc", "http"}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["grpc"]["port"] == ports["grpc"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/models", "/config"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == parsed("monitoring.config", "MonitoringConfig").prometheus_config.path
    assert annotations["prometheus.io/port"] == str(ports["http"])


def test_kserve():
    service = yaml.safe_load((SERVING / "kserve.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["runtimeVersion"] == IMAGE.rpartition(":")[2]
    assert isinstance(model["runtimeVersion"], str)
    assert not model["storageUri"].rpartition("/")[2].isdigit(), "the folder above the versions"


def manifest(version, **batchable):
    folder = version / configure.MANIFEST
    folder.parent.mkdir(exist_ok=True)
    folder.write_text(json.dumps({"signatures": {name: {"batchable": value} for name, value in batchable.items()}}))


def test_only_what_was_proven_is_batched(tmp_path):
    for name in ("good", "bad", "silent", "broken", "empty"):
        fake.publish(tmp_path / name, 1, 1.0)
    manifest(tmp_path / "good" / "1", encode=True, sample=True)
    manifest(tmp_path / "bad" / "1", encode=True, sample=False)
    manifest(tmp_path / "empty" / "1")
    manifest(tmp_path / "broken" / "1")
    (tmp_path / "broken" / "1" / configure.MANIFEST).write_text("[]")
    (tmp_path / "bad" / "1" / "batching_params.pbtxt").write_text("of before")
    target = tmp_path / "models.config"
    result = CliRunner().invoke(cli.group, ["configure", str(tmp_path), str(target)])
    assert result.exit_code == 0, result.output
    assert {path.parts[-3] for path in tmp_path.glob("*/*/batching_params.pbtxt")} == {"good"}
    assert "good/1: batched" in result.output
    theirs = text_format.Parse(target.read_text(), model_server_config_pb2.ModelServerConfig())
    found = {config.name: config.base_path for config in theirs.model_config_list.config}
    assert found == {name: f"/models/{name}" for name in ("bad", "broken", "empty", "good", "silent")}


# === Recorded requests ===


class Numbers(fake.FakeModel):
    signatures = {name: fake.SIGNATURES[name] for name in ("both", "numbers", "reconstruct", "sample")}  # noqa: RUF012


@pytest.fixture
def recorded(tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    found = corpus.record([ModelConfig("m", tmp_path / "m")], Numbers)
    corpus.write(tmp_path / "corpus.npz", found)
    assert len(found) == 8
    return found


def test_recorded_requests_are_read_back(recorded, tmp_path):
    for before, after in zip(recorded, corpus.read(tmp_path / "corpus.npz"), strict=True):
        assert before[:3] == after[:3]
        for ours, theirs in ((before.inputs, after.inputs), (before.outputs, after.outputs)):
            assert ours.keys() == theirs.keys()
            for name, array in ours.items():
                np.testing.assert_array_equal(array, theirs[name], strict=True)


@pytest.mark.parametrize(("factor", "lines"), [(2.0, 0), (2.001, 4)])
def test_answers_are_compared_over_both_interfaces(recorded, tmp_path, factor, lines):
    fake.publish(tmp_path / "other", 1, factor)
    server = Server([ModelConfig("m", tmp_path / "other")], Numbers)
    server.versions.poll()
    listeners = Listeners(server, "127.0.0.1", 0, 0, 2)
    try:
        for url in (listeners.rest_url, listeners.grpc_url):
            with Client(url) as client:
                assert len(corpus.compare(recorded, client)) == lines
        command = ["compare", str(tmp_path / "corpus.npz"), listeners.rest_url, listeners.grpc_url]
        result = CliRunner().invoke(cli.group, command)
        assert (result.exit_code != 0) == bool(lines)
        assert "8 requests" in result.output
    finally:
        listeners.stop()
        server.close()


def test_without_an_engine_the_script_says_loudly_that_it_did_nothing(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("realpath", "dirname", "bash", "env"):
        (tmp_path / "bin" / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\nexit 1\n")  # installed, but nothing runs
    (tmp_path / "bin" / "docker").chmod(0o755)
    environment = {"PATH": str(tmp_path / "bin"), "PYTHON": sys.executable}
    command = ["/usr/bin/bash", str(SERVING / "verify_docker.sh"), str(tmp_path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 77
    assert "SKIPPED" in found.stderr
    assert "NOTHING WAS VERIFIED" in found.stderr
    assert not found.stdout


def test_the_script_runs_the_server_and_fails_with_it(tmp_path):
    """With an engine that records what it is told: the order of the steps, and that nothing stays behind."""
    (tmp_path / "bin").mkdir()
    log = tmp_path / "log"
    for name, text in (
        ("docker", f'echo "docker $*" >>{log}; [ "$1" != port ] || echo 127.0.0.1:1'),
        ("python", f'echo "python $*" >>{log}; [ "$3" != compare ]'),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    environment.pop("PYTHON", None)
    command = ["/usr/bin/bash", str(SERVING / "verify_docker.sh"), str(tmp_path)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 1, found.stderr
    lines = [line.split() for line in log.read_text().splitlines()]
    steps = [" ".join(line[: 4 if line[0] == "python" else 2]) for line in lines]
    assert steps == [
        "docker info",
        "python -m serving record",
        "python -m serving configure",
        "docker run",
        *["docker port"] * 2,
        "python -m serving compare",
        "docker logs",
        "docker rm",
    ]
    assert IMAGE in log.read_text()
    assert not list(tmp_path.glob("tmp.*"))
