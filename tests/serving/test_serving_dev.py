"""The development server as it is run: real SavedModels, TensorFlow's own loader, faults, many clients."""

import collections
import concurrent.futures
import ctypes
import pathlib
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import requests

from serving import messages, tensors
from serving.client import Client, ServingError
from tests.conformance.cases import CASES
from tests.serving.running import ROOT, DevServer, half_copy, publish

# Sockets of requests' own threads are closed when their threads end.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
CASE = CASES[0]
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}


@pytest.fixture(scope="module")
def zoo_model():
    return CASE.model()


@pytest.fixture(scope="module")
def server(tmp_path_factory, zoo_model):
    folder = tmp_path_factory.mktemp("served")
    publish(folder / "tiny", 1, 2.0)
    publish(folder / "other", 1, 7.0)
    (folder / "zoo").mkdir()
    zoo_model.export(folder / "zoo" / "1", num_samples=2, num_points=3)
    found = DevServer(folder, tmp_path_factory.mktemp("logs") / "stderr")
    found.folder = folder
    yield found
    assert found.stop() == 0, "asked to end, it ends well"


@pytest.fixture(params=[0, 1], ids=["rest", "grpc"])
def client(server, request):
    with Client(server.urls[request.param], timeout=120, retries=1000) as found:
        yield found


def wait_for(client, model, version, state):
    deadline = time.monotonic() + 200
    while client.status(model).get(version, ("",))[0] != state:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_says_what_it_is_and_where_it_listens(server):
    text = "".join(server.lines)
    assert "This is a development server" in text
    assert "tensorflow/serving:" in text
    assert "Models: other, tiny, zoo" in text
    assert all("://127.0.0.1:" in url for url in server.urls)


def test_a_signal_to_any_of_its_threads_ends_it(tmp_path):
    """The system chooses which one: the main thread sleeps, and only it runs Python's handlers."""
    publish(tmp_path / "tiny", 1, 2.0)
    found = DevServer(tmp_path, tmp_path / "stderr")
    time.sleep(0.5)  # now it waits
    threads = {int(path.name) for path in pathlib.Path(f"/proc/{found.process.pid}/task").iterdir()}
    other = max(threads - {found.process.pid})
    assert ctypes.CDLL(None).tgkill(found.process.pid, other, int(signal.SIGTERM)) == 0
    assert found.process.wait(20) == 0
    found.process.stdout.close()


def test_other_machines_cannot_connect(server):
    """Both ports are bound to this machine's own address, as the system's table of sockets has it."""
    bound = {}
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":  # listens
                address, port = local.split(":")
                bound.setdefault(int(port, 16), set()).add(address)
    for url in server.urls:
        # 127.0.0.1 as its bytes lie in memory; gRPC writes it as an IPv6 address that means the same.
        own = {"0100007F", "0000000000000000FFFF00000100007F"}
        assert bound[int(url.rpartition(":")[2])] <= own


def test_a_model_of_the_zoo_end_to_end(server, client, zoo_model):
    images = CASE.images(3)
    pairs = np.array([[5, 0], [5, 1], [5, 2]], np.int32)

    def same(found, expected):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert found.dtype == np.float32

    same(client.sample("zoo", 3, seed=5), zoo_model.sample(3, pairs))
    codes = zoo_model.encode(images, pairs)
    same(client.encode("zoo", images, seed=5), codes)
    same(client.decode("zoo", codes), zoo_model.decode(codes))
    same(client.reconstruct("zoo", images, seed=5), zoo_model.reconstruct(images, pairs))
    same(client.log_prob("zoo", images, seed=5), zoo_model.log_prob(images, 2, pairs))
    same(client.score("zoo", images, seed=5), zoo_model.anomaly_score(images, pairs))
    same(client.interpolate("zoo", images, images[::-1]), zoo_model.interpolate(images, images[::-1], 3, seed=0))
    assert client.sample("zoo", 2, seed=5).tobytes() == client.sample("zoo", 3, seed=5)[:2].tobytes()


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("decode", {"z": np.zeros([1, 999], np.float32)}),
        ("decode", {"z": np.zeros([2, 2, 2], np.float32)}),
        ("sample", {"seed": np.zeros([2, 3], np.int32)}),
        ("sample", {"seed": np.zeros([2, 2], np.float32)}),
        ("sample", {}),
        ("nothing", {}),
    ],
)
def test_mistakes_with_a_real_model_are_the_clients(client, signature, inputs):
    with pytest.raises(ServingError) as caught:
        client.predict("zoo", signature, inputs)
    assert caught.value.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")
    assert caught.value.message


def test_damaged_requests_to_a_real_model_are_the_clients_mistake(server, request):
    """What passes the checks meets TensorFlow's own code, which must neither crash nor call it its own fault."""
    count = 2000 if request.config.getoption("--runslow") else 200
    message = messages.message("PredictRequest")()
    message.model_spec.name, message.model_spec.signature_name = "zoo", "decode"
    message.inputs["z"].CopyFrom(tensors.to_proto(np.ones([2, CASE.latent_dim], np.float32)))
    good = message.SerializeToString()
    rng = np.random.default_rng(0)
    seen = set()
    with grpc.insecure_channel(server.urls[1].removeprefix("grpc://"), [("grpc.enable_http_proxy", 0)]) as channel:
        predict = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        for _ in range(count):
            body = bytearray(good)
            for _ in range(rng.integers(1, 4)):
                body[rng.integers(len(body))] ^= 1 << int(rng.integers(8))
            answer = predict.future(bytes(body), timeout=60)
            seen.add(answer.code().name)
            assert answer.code().name in ALLOWED, (answer.code(), answer.details(), bytes(body))
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= seen
    assert server.process.poll() is None


def test_an_empty_batch_is_answered_or_refused_and_never_crashes(client):
    for signature, inputs in (
        ("sample", {"seed": np.zeros([0, 2], np.int32)}),
        ("decode", {"z": np.zeros([0, CASE.latent_dim], np.float32)}),
    ):
        try:
            (found,) = client.predict("zoo", signature, inputs).values()
        except ServingError as error:
            assert error.code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION")  # noqa: PT017
        else:
            assert found.size == 0
    assert client.sample("zoo", 1).shape == (1, *CASE.event_shape)


@pytest.mark.parametrize("kind", ["corrupt variables", "half copied"])
def test_a_bad_version_tells_why_and_the_old_one_goes_on(server, kind):
    base = server.folder / "other"
    version = 3 if kind == "half copied" else 2
    half_copy(base, version) if kind == "half copied" else publish(base, version, 9.0, corrupt=True)
    with Client(server.urls[1], timeout=120) as client:
        wait_for(client, "other", version, "END")
        _, message = client.status("other")[version]
        wanted = "Could not find SavedModel" if kind == "half copied" else "Read less bytes than requested"
        assert wanted in message
        assert client.status("other")[1] == ("AVAILABLE", "")
        np.testing.assert_allclose(client.reconstruct("other", np.ones([1, 2, 2, 1]), seed=0), 7.0)


def test_killed_and_started_again_it_is_found_by_waiting_clients(server):
    """Eight clients ask on and on; the server is killed with -9 and started again: each call is answered at last."""
    done = threading.Event()

    def requests_of(number):
        answers = 0
        with Client(server.urls[number % 2], timeout=300, retries=100_000, backoff=0.02) as client:
            while not done.is_set() or answers < 2:
                found = client.reconstruct("tiny", np.full([1, 2, 2, 1], number), seed=0)
                np.testing.assert_array_equal(found.ravel(), np.full(4, 2.0 * number, np.float32))
                answers += 1
        return answers

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(requests_of, number) for number in range(8)]
        time.sleep(0.3)
        server.kill()
        server.start()
        time.sleep(0.3)
        done.set()
        assert all(each.result() >= 2 for each in running)


def test_wrong_calls_are_one_line_and_a_status(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "serving", "dev", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)

    nothing = run(str(tmp_path))
    assert nothing.returncode == 1
    assert (
        nothing.stderr == f"Error: The folder must have models as NAME/VERSION, such as vae/1. Received: {tmp_path}\n"
    )
    neither = run()
    assert neither.returncode == 2
    assert "Either FOLDER or --model_config_file is needed." in neither.stderr


def test_many_clients_a_swap_and_a_bad_version(server, request):
    """Eight clients, both interfaces, mixed signatures: no request fails, and each answer is one of a version's own."""
    seconds = 60 if request.config.getoption("--runslow") else 3
    tiny = server.folder / "tiny"
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=[size, 2, 2, 1]).astype(np.float32) for size in (1, 2, 5, 16)]
    first = publish(tiny, 11, 2.0)
    with Client(server.urls[1], timeout=120) as client:
        wait_for(client, "tiny", 11, "AVAILABLE")
    pairs = {size: np.stack([np.full(size, 3), np.arange(size)], -1).astype(np.int32) for size in (1, 2, 5, 16)}

    def expected_of(module):
        found = {("sample", size): module.sample(pair)["images"].numpy() for size, pair in pairs.items()}
        for batch in batches:
            found["reconstruct", len(batch)] = module.reconstruct(batch, pairs[len(batch)])["images"].numpy()
        return found

    expected = {11: expected_of(first)}
    done = threading.Event()
    wrong, seen = [], set()

    def requests_of(number):
        mine = np.random.default_rng(number)
        with Client(server.urls[number % 2], timeout=120, retries=0) as client:
            counts = collections.Counter()
            while not done.is_set():
                batch = batches[mine.integers(len(batches))]
                size = len(batch)
                if mine.random() < 0.5:
                    key, found = ("sample", size), client.sample("tiny", size, seed=3)
                else:
                    key, found = ("reconstruct", size), client.reconstruct("tiny", batch, seed=3)
                right = [
                    v for v, table in list(expected.items()) if np.allclose(found, table[key], rtol=1e-5, atol=1e-6)
                ]
                if len(right) != 1:
                    wrong.append((key, found))
                else:
                    counts[right[0]] += 1
                    seen.add(right[0])
        return counts

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        running = [pool.submit(requests_of, number) for number in range(8)]
        try:
            with Client(server.urls[1], timeout=120) as client:
                for version, factor in ((12, 3.0), (13, None), (14, 5.0)):
                    time.sleep(seconds / 10)
                    if factor is None:
                        publish(tiny, version, 9.0, corrupt=True)
                        wait_for(client, "tiny", version, "END")
                        continue
                    work = tiny.parent / "aside"
                    expected[version] = expected_of(publish(work, version, factor))
                    (work / str(version)).rename(tiny / str(version))
                    wait_for(client, "tiny", version, "AVAILABLE")
                memory = server.memory()
                while time.monotonic() - started < seconds or 14 not in seen:
                    assert time.monotonic() - started < seconds + 60
                    time.sleep(0.05)
                grown = server.memory() - memory
        finally:
            done.set()
        counts = sum((each.result() for each in running), collections.Counter())
    took = time.monotonic() - started
    said = f"{counts.total()} requests, {took:.1f} s, {dict(counts)}, {grown / 2**20:+.1f} MiB"
    request.node.user_properties.append(("load", said))
    assert not wrong
    assert counts.total() > 8 * seconds
    assert set(counts) == {11, 12, 14}
    assert grown < 64 * 2**20
    metrics = requests.get(f"{server.urls[0]}/monitoring/prometheus/metrics", timeout=10, proxies={"http": ""}).text
    assert ':tensorflow:serving:request_count{model_name="tiny",status="OK"}' in metrics
