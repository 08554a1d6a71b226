"""Versions come, go and fail as TF Serving's do, and no request is dropped."""

import concurrent.futures
import functools
import pathlib
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from serving import loading, messages, models_config, tensors, warm_up
from serving.errors import ServingError
from serving.models_config import ModelConfig
from serving.server import Limits, Target
from tests.serving import fake, running

pytestmark = pytest.mark.fast


def states(server, name="m"):
    return {number: state.state for number, state in server.versions.states(name).items()}


def ask(server, value=1.0, **target):
    inputs = {"images": np.full([1, 2], value, np.float32), "seed": np.zeros([1, 2], np.int32)}
    answer = server.predict(Target("m", **target), "", lambda dtypes: inputs)
    return answer.version, float(answer.outputs["images"][0, 0])


def test_the_highest_version_is_served_and_the_old_one_retired(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    server = open_server([ModelConfig("m", tmp_path / "m")])
    assert ask(server) == (1, 2.0)
    fake.publish(tmp_path / "m", 10, 3.0)
    fake.publish(tmp_path / "m", 9, 4.0)
    server.versions.poll()
    assert ask(server) == (10, 3.0)
    assert states(server) == {10: "AVAILABLE", 1: "END"}
    assert [model.factor for model in fake.OPEN] == [3.0]
    with pytest.raises(ServingError, match=r"^NOT_FOUND: Servable not found for request: Specific\(m, 1\)$"):
        ask(server, number=1)


def test_a_version_is_closed_after_its_last_request_only(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    server = open_server([ModelConfig("m", tmp_path / "m")])
    with server.versions.use("m") as version:
        fake.publish(tmp_path / "m", 2, 3.0)
        server.versions.poll()
        assert ask(server) == (2, 3.0)
        assert states(server) == {2: "AVAILABLE", 1: "UNLOADING"}
        assert not version.model.closed
    assert version.model.closed
    assert states(server) == {2: "AVAILABLE", 1: "END"}


@pytest.mark.parametrize("kind", ["half copied", "corrupt", "a file", "bad warm-up"])
def test_a_bad_version_ends_with_its_error_and_the_old_one_goes_on(open_server, tmp_path, kind):
    fake.publish(tmp_path / "m", 1, 2.0)
    lines = []
    server = open_server([ModelConfig("m", tmp_path / "m")], lines=lines)
    bad = tmp_path / "m" / "2"
    if kind == "a file":
        bad.write_text("7")
    elif kind == "half copied":
        (bad / "variables").mkdir(parents=True)
    elif kind == "corrupt":
        bad.mkdir()
        (bad / "saved_model.pb").write_text("\x00")
    else:
        fake.publish(tmp_path / "m", 2, 3.0)
        (bad / "assets.extra").mkdir()
        (bad / warm_up.FILE).write_bytes(b"nonsense")
    server.versions.poll()
    server.versions.poll()
    assert ask(server) == (1, 2.0)
    found = server.versions.states("m")
    assert found[1].state == "AVAILABLE"
    assert found[2].state == "END"
    assert found[2].code == ("DATA_LOSS" if kind in ("corrupt", "bad warm-up") else "NOT_FOUND")
    assert found[2].message
    assert sum("version 2 could not be loaded" in line for line in lines) == 1, "it is tried once"
    # Removed and written anew, it is tried again; a higher number is taken in any case.
    shutil.rmtree(bad) if bad.is_dir() else bad.unlink()
    server.versions.poll()
    fake.publish(tmp_path / "m", 2, 5.0)
    server.versions.poll()
    assert ask(server) == (2, 5.0)


def test_a_version_that_was_seen_half_copied_heals(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    lines, tries = [], []

    def load(path):
        tries.append(path.name)
        return fake.FakeModel(path)

    server = open_server([ModelConfig("m", tmp_path / "m")], load=load, lines=lines)
    folder = tmp_path / "m" / "2"
    folder.mkdir()
    server.versions.poll()
    (folder / "variables").mkdir()
    for _ in range(3):
        server.versions.poll()
    assert tries == ["1", "2", "2"], "it is tried again when its folder has changed only"
    assert ask(server) == (1, 2.0)
    assert sum("version 2 could not be loaded" in line for line in lines) == 1, "the same error is said once"
    (folder / "saved_model.pb").write_text('{"fac')
    server.versions.poll()
    assert server.versions.states("m")[2].code == "DATA_LOSS"
    (folder / "saved_model.pb").write_text('{"factor": 3.0}')  # the folder's own times and names are the same
    server.versions.poll()
    assert ask(server) == (2, 3.0)


def test_a_savedmodel_whose_variables_are_not_there_yet_is_not_served(open_server, tmp_path):
    """TensorFlow loads it, and fails at every request."""
    running.publish(tmp_path / "m", 1, 2.0)
    running.publish(tmp_path / "m", 2, 3.0)
    variables = tmp_path / "m" / "2" / "variables"
    variables.rename(tmp_path / "later")
    server = open_server([ModelConfig("m", tmp_path / "m", latest=None)], load=loading.load)
    found = server.versions.states("m")
    assert states(server) == {2: "END", 1: "AVAILABLE"}
    assert found[2].code == "NOT_FOUND"
    assert "Could not find variables/variables.index" in found[2].message
    (tmp_path / "later").rename(variables)
    server.versions.poll()
    assert states(server)[2] == "AVAILABLE"


def test_a_savedmodel_without_variables_is_served(tmp_path):
    function = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], name="x")])
    module = tf.Module()
    module.f = function
    tf.saved_model.save(module, str(tmp_path / "new"), signatures=function.get_concrete_function())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        tensors_ = [tf.compat.v1.saved_model.build_tensor_info(each) for each in (x, 1.0 * x)]
        signature = tf.compat.v1.saved_model.build_signature_def({"x": tensors_[0]}, {"y": tensors_[1]})
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "old"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    for name in ("new", "old"):
        with loading.load(tmp_path / name) as model:
            np.testing.assert_array_equal(model.run("serving_default", {"x": np.ones(2, np.float32)})["y"], [1, 1])


def test_policies_and_labels(open_server, tmp_path):
    for version in (1, 2, 3):
        fake.publish(tmp_path / "m", version, float(version))
    labels = {"stable": 1, "canary": 3}
    server = open_server([ModelConfig("m", tmp_path / "m", specific=(1, 3), labels=labels)])
    assert states(server) == {3: "AVAILABLE", 1: "AVAILABLE"}
    assert ask(server) == (3, 3.0)
    assert ask(server, label="stable") == ask(server, number=1) == (1, 1.0)
    with pytest.raises(ServingError, match=r"^INVALID_ARGUMENT: Unrecognized servable version label: nobody$"):
        ask(server, label="nobody")
    assert states(open_server([ModelConfig("m", tmp_path / "m", latest=2)])).keys() == {3, 2}
    assert states(open_server([ModelConfig("m", tmp_path / "m", latest=None)])).keys() == {3, 2, 1}


def test_a_base_path_that_is_gone_changes_nothing_and_an_empty_one_unloads(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    server = open_server([ModelConfig("m", tmp_path / "m")])
    (tmp_path / "m").rename(tmp_path / "aside")
    server.versions.poll()
    assert ask(server) == (1, 2.0)
    (tmp_path / "m").mkdir()
    server.versions.poll()
    with pytest.raises(ServingError, match=r"^NOT_FOUND: Servable not found for request: Latest\(m\)$"):
        ask(server)


def test_models_come_and_go_as_they_are_found(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    lines = []
    find = functools.partial(models_config.of_folder, tmp_path)
    server = open_server(find(), find=find, lines=lines)
    fake.publish(tmp_path / "later", 3, 5.0)
    server.versions.poll()
    assert server.versions.names == ["later", "m"]
    assert states(server, "later") == {3: "AVAILABLE"}
    shutil.rmtree(tmp_path / "later")
    server.versions.poll()
    assert server.versions.names == ["m"]
    assert states(server, "later") == {3: "END"}
    fake.publish(tmp_path / "later", 3, 6.0)
    server.versions.poll()
    assert states(server, "later") == {3: "AVAILABLE"}
    # What cannot be read changes nothing, and is said once.
    tmp_path.rename(tmp_path.with_name("aside"))
    for _ in range(2):
        server.versions.poll()
    tmp_path.with_name("aside").rename(tmp_path)
    assert ask(server) == (1, 2.0)
    assert [line for line in lines if "must have models" in line] == [
        f"The folder must have models as NAME/VERSION, such as vae/1. Received: {tmp_path}"
    ]


def test_a_configuration_that_becomes_empty_changes_nothing(open_server, tmp_path):
    """A file that is written anew in place is empty for a moment."""
    fake.publish(tmp_path / "m", 1, 2.0)
    path = tmp_path / "models.config"
    path.write_text("model_config_list { config { name: 'm' base_path: 'm' } }")
    lines = []
    find = functools.partial(models_config.read, path)
    server = open_server(find(), find=find, lines=lines)
    path.write_text("")
    for _ in range(2):
        server.versions.poll()
    assert ask(server) == (1, 2.0)
    assert lines.count(f"The configuration must name a model. Received: {path}") == 1


def test_no_request_fails_while_versions_change(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 1.0)
    server = open_server([ModelConfig("m", tmp_path / "m")])
    server.versions.start(0.01)
    everyone, done = threading.Barrier(5), threading.Event()

    def requests():
        answers = [ask(server, 2.0)]
        everyone.wait()
        while not done.is_set():
            answers.append(ask(server, 2.0))
        return [*answers, ask(server, 2.0)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(requests) for _ in range(4)]
        everyone.wait()
        for version in range(2, 8):
            fake.publish(tmp_path / "m", version, float(version), seconds=0.01)
            while server.versions.states("m").get(version, ("",))[0] != "AVAILABLE":
                pass
        done.set()
    answers = [answer for each in running for answer in each.result()]
    assert {version for version, _ in answers} >= {1, 7}
    assert all(value == 2.0 * version for version, value in answers)


def start_slow(server):
    """Starts a request that ends at its deadline, and runs on in its thread."""
    while not fake.FakeModel.started.is_set():
        with pytest.raises(ServingError, match=r"^DEADLINE_EXCEEDED: No answer within 0.05 s\.$"):
            server.predict(Target("m"), "slow", lambda dtypes: {"x": np.ones(1, np.float32)})


def test_a_slow_request_ends_at_its_deadline_and_keeps_its_version_open(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    server = open_server([ModelConfig("m", tmp_path / "m")], Limits(seconds=0.05))
    start_slow(server)
    fake.publish(tmp_path / "m", 2, 3.0)
    server.versions.poll()
    assert states(server)[1] == "UNLOADING"
    fake.FakeModel.gate.set()
    for _ in range(1000):
        if states(server)[1] == "END":
            return
        threading.Event().wait(0.005)
    pytest.fail("the version was never closed")


def test_too_many_requests_at_once_are_unavailable(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 2.0)
    server = open_server([ModelConfig("m", tmp_path / "m")], Limits(seconds=0.05, waiting=1))
    start_slow(server)
    with pytest.raises(ServingError, match=r"^UNAVAILABLE: 1 requests are waiting already"):
        server.predict(Target("m"), "sample", lambda dtypes: {"seed": np.zeros([1, 2], np.int32)})


# === Warm-up ===


def records(path, *messages_):
    (path / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(path / warm_up.FILE)) as writer:
        for message in messages_:
            writer.write(message)


def warm_up_log(signature):
    log = messages.message("PredictionLog")()
    log.predict_log.request.model_spec.signature_name = signature
    log.predict_log.request.inputs["x"].CopyFrom(tensors.to_proto(np.ones(3, np.float32)))
    return log.SerializeToString()


class Counting(fake.FakeModel):
    runs: list = []  # noqa: RUF012

    def run(self, signature, inputs):
        self.runs.append((signature, len(inputs["x"])))
        return super().run(signature, inputs)


def test_warm_up_requests_are_replayed_before_the_version_is_there(open_server, tmp_path):
    Counting.runs.clear()
    fake.publish(tmp_path / "m", 1, 2.0)
    records(tmp_path / "m" / "1", warm_up_log("half"), warm_up_log("both"))
    server = open_server([ModelConfig("m", tmp_path / "m")], load=Counting)
    assert Counting.runs == [("half", 3), ("both", 3)]
    assert states(server) == {1: "AVAILABLE"}


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (warm_up_log("refuse"), "INVALID_ARGUMENT"),
        (b"\xff\xff", "INVALID_ARGUMENT"),
        (b"", "UNIMPLEMENTED"),
        (None, "INVALID_ARGUMENT"),
    ],
)
def test_a_warm_up_request_that_fails_fails_the_load(open_server, tmp_path, record, code):
    fake.publish(tmp_path / "m", 1, 2.0)
    many = [warm_up_log("half")] * (warm_up.MAX_RECORDS + 1)
    records(tmp_path / "m" / "1", *(many if record is None else [record]))
    server = open_server([ModelConfig("m", tmp_path / "m")])
    found = server.versions.states("m")[1]
    assert (found.state, found.code) == ("END", code)
    assert not fake.OPEN, "what could not be warmed up is closed"


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path):
    records(tmp_path, b"some data")
    data = (tmp_path / warm_up.FILE).read_bytes()
    assert list(warm_up.records(data)) == [b"some data"]
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 4
        with pytest.raises(ServingError, match="DATA_LOSS"):
            list(warm_up.records(bytes(broken)))
        if position:
            with pytest.raises(ServingError, match="DATA_LOSS"):
                list(warm_up.records(data[:position]))


# === models.config ===


def test_a_configuration_is_read(tmp_path):
    path = tmp_path / "models.config"
    path.write_text(
        "model_config_list { config { name: 'a' base_path: '/models/a' model_platform: 'tensorflow' "
        "model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: 'stable' value: 1 } } "
        "config { name: 'b' base_path: 'here/b' model_version_policy { latest { num_versions: 3 } } } "
        "config { name: 'c' base_path: '/c' model_version_policy { all {} } } config { name: 'd' base_path: '/d' } }"
    )
    a, b, c, d = models_config.read(path)
    assert a == ModelConfig("a", pathlib.Path("/models/a"), specific=(1, 2), labels={"stable": 1})
    assert b == ModelConfig("b", tmp_path / "here" / "b", latest=3, labels={})
    assert (c.latest, d.latest) == (None, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense {", "must be a readable ModelServerConfig"),
        (None, "must be a readable ModelServerConfig"),
        ("", "must name a model"),
        ("model_config_list {}", "must name a model"),
        ("model_config_list { config { name: 'a' } }", "Every model needs a name and a base_path"),
        ("model_config_list { config { name: 'a' base_path: 'a' model_platform: 'x' } }", "model_platform must be"),
        ("model_config_list { config { name: 'a' base_path: 'a' } config { name: 'a' base_path: 'b' } }", "of its own"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(tmp_path, text, message):
    if text is not None:
        (tmp_path / "models.config").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s){message}.*Received: "):
        models_config.read(tmp_path / "models.config")


def test_a_folder_of_models_or_one_model(tmp_path):
    for name in ("a/1", "a/00002", "b/7", ".hidden/1", "notes/text", "odd:name/1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert [config.name for config in models_config.of_folder(tmp_path)] == ["a", "b"]
    assert [config.name for config in models_config.of_folder(tmp_path / "a")] == ["a"]
    assert set(models_config.versions_in(tmp_path / "a")) == {1, 2}
    for empty in (tmp_path / "notes", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="must have models as NAME/VERSION"):
            models_config.of_folder(empty)


@pytest.mark.parametrize("name", ["-1", "1.0", "1e3", " 1", "٣", str(2**63), "1" * 200])
def test_what_is_no_number_is_no_version(tmp_path, name):
    (tmp_path / name).mkdir()
    assert not models_config.versions_in(tmp_path)
