"""The client gives the models' numbers over both interfaces, tries again, and says what went wrong."""

import contextlib
import http.server
import threading
import time

import grpc
import numpy as np
import pytest

from serving import client as client_module
from serving.client import Client, ServingError
from serving.errors import GRPC_NUMBERS, HTTP_STATUS
from serving.listening import Listeners
from serving.models_config import ModelConfig
from tests.serving import fake

pytestmark = pytest.mark.fast


def test_named_calls_and_any_signature(client):
    images = np.array([[1, 2], [3, 4.5]])
    np.testing.assert_array_equal(client.reconstruct("fake", images), np.float32(3 * images), strict=True)
    np.testing.assert_array_equal(client.reconstruct("fake", images, version=1), np.float32(2 * images))
    np.testing.assert_array_equal(client.reconstruct("fake", images, label="stable"), np.float32(2 * images))
    np.testing.assert_array_equal(
        client.sample("fake", 3, seed=5), np.float32([[15, 0], [15, 3], [15, 6]]), strict=True
    )
    pairs = np.array([[1, 2], [3, 4]])
    np.testing.assert_array_equal(client.sample("fake", 2, seed=pairs), np.float32(3 * pairs))
    found = client.predict("fake", "both", {"x": np.float32(images)})
    np.testing.assert_array_equal(found["double"], np.float32(2 * images), strict=True)
    np.testing.assert_array_equal(found["half"], np.float32(images / 2), strict=True)


def test_types_survive(client):
    inputs = {"a": np.array([2**60, -1]), "b": np.array([True, False]), "c": np.array([0.1, np.nan])}
    found = client.predict("fake", "numbers", inputs)
    for name, array in inputs.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_states(client):
    assert client.status("fake") == {2: ("AVAILABLE", ""), 1: ("AVAILABLE", "")}
    assert client.status("fake", version=1) == client.status("fake", label="stable") == {1: ("AVAILABLE", "")}


@pytest.mark.parametrize(
    ("call", "code", "message"),
    [
        (lambda c: c.sample("none", 1), "NOT_FOUND", "Latest(none)"),
        (lambda c: c.sample("a/../b c", 1), None, ""),
        (lambda c: c.encode("fake", np.ones([1, 2])), None, '"encode" not found'),
        (lambda c: c.sample("fake", 1, version=9), "NOT_FOUND", "Specific(fake, 9)"),
        (lambda c: c.sample("fake", 1, label="none"), "INVALID_ARGUMENT", "label: none"),
        (
            lambda c: c.reconstruct("fake", np.ones([1, 3])),
            "INVALID_ARGUMENT",
            "Expects images of shape [?,2] but [1,3]",
        ),
        (lambda c: c.predict("fake", "refuse", {"x": np.ones(1, np.float32)}), "INVALID_ARGUMENT", "the graph refuses"),
        (lambda c: c.predict("fake", "crash", {"x": np.ones(1, np.float32)}), "INTERNAL", "The model failed"),
        (lambda c: c.status("none"), "NOT_FOUND", "any versions of model none"),
    ],
)
def test_errors_are_the_servers(client, call, code, message):
    with pytest.raises(ServingError) as caught:
        call(client)
    assert caught.value.code == (code or caught.value.code)
    assert caught.value.code not in ("UNAVAILABLE", "UNKNOWN")
    assert message in caught.value.message


@pytest.mark.parametrize("seed", [-1, 2**31, 1.5, True, "1", [1, 2], [[1, 2]], [[1.0, 2.0]] * 3])
def test_seeds_are_checked(client, seed):
    with pytest.raises(ValueError, match=r"^seed must be .* Received: "):
        client.sample("fake", 3, seed=seed)


def test_wrong_calls(client):
    with pytest.raises(ValueError, match=r"^Either version or label may be given\. Received: 1 and x$"):
        client.sample("fake", 1, version=1, label="x")
    with pytest.raises(ValueError, match="batch dimension"):
        client.decode("fake", 1.0)
    for url in ("localhost:8501", "ftp://a", "http://", ""):
        with pytest.raises(ValueError, match=r"^url must be .* Received: "):
            Client(url)


def test_each_named_call_names_its_inputs(monkeypatch):
    client = Client("http://127.0.0.1:1")
    calls = []

    def predict(model, signature, inputs, **which):
        calls.append((signature, {name: (array.dtype.name, array.shape) for name, array in inputs.items()}, which))
        return {"y": 0}

    monkeypatch.setattr(client, "predict", predict)
    images, seed = ("float32", (2, 4, 4, 1)), ("int32", (2, 2))
    x = np.ones([2, 4, 4, 1])
    client.encode("m", x, version=1)
    client.log_prob("m", x)
    client.score("m", x, seed=2)
    client.decode("m", [[1.0, 2.0]], label="a")
    client.interpolate("m", x, x)
    client.inpaint("m", x, np.ones([4, 4, 1]))
    client.sample_brownian("m", [[1.0, 2.0], [3.0, 4.0]])
    assert calls == [
        ("encode", {"images": images, "seed": seed}, {"version": 1}),
        ("log_prob", {"images": images, "seed": seed}, {}),
        ("score", {"images": images, "seed": seed}, {}),
        ("decode", {"z": ("float32", (1, 2))}, {"label": "a"}),
        ("interpolate", {"start": images, "end": images}, {}),
        ("inpaint", {"images": images, "mask": images, "seed": seed}, {}),
        ("sample_brownian", {"z": ("float32", (2, 2)), "seed": seed}, {}),
    ]


def test_outputs_of_a_new_version_are_asked_for_again(listen, tmp_path):
    class Renamed(fake.FakeModel):
        def __init__(self, path):
            super().__init__(path)
            if self.factor == 2:
                outputs = {"pictures": fake.IMAGES, "twice": fake.IMAGES}
                self.signatures = {**fake.SIGNATURES, "sample": fake.Signature({"seed": fake.SEED}, outputs)}

        def run(self, signature, inputs):
            (images,) = super().run(signature, inputs).values()
            return dict.fromkeys(self.signatures[signature].outputs, images)

    fake.publish(tmp_path / "m", 1, 1.0)
    server, listeners = listen([ModelConfig("m", tmp_path / "m")], load=Renamed)
    with Client(listeners.rest_url) as client:
        assert set(client.predict("m", "sample", {"seed": np.zeros([1, 2], np.int32)})) == {"images"}
        fake.publish(tmp_path / "m", 2, 2.0)
        server.versions.poll()
        assert set(client.predict("m", "sample", {"seed": np.zeros([1, 2], np.int32)})) == {"pictures", "twice"}


# === Trying again ===


@contextlib.contextmanager
def flaky(status, failures):
    """An HTTP server whose first answers fail: with a status, or (None) by closing the connection."""
    tries = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            tries.append(time.monotonic())
            if len(tries) <= failures:
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{"error": "loading"}')
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"model_version_status": []}')

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", tries
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [503, None])
def test_unavailable_and_lost_connections_are_tried_again(status):
    with flaky(status, 3) as (url, tries), Client(url, backoff=0.02) as client:
        assert client.status("m") == {}
        pauses = np.diff(tries)
        assert len(tries) == 4
        assert (pauses >= np.array([0.01, 0.02, 0.04])).all(), "each pause is at least half of 0.02, 0.04, 0.08 s"


@pytest.mark.parametrize("status", [400, 404, 429, 500, 501, 504])
def test_other_errors_are_not(status):
    with flaky(status, 1) as (url, tries), Client(url) as client:
        with pytest.raises(ServingError, match="loading"):
            client.status("m")
        assert len(tries) == 1


def test_the_number_of_tries_and_the_deadline_end_it():
    with flaky(503, 1000) as (url, tries):
        with Client(url, retries=2, backoff=0.01) as client, pytest.raises(ServingError, match="UNAVAILABLE: loading"):
            client.status("m")
        assert len(tries) == 3
        with Client(url, timeout=0.2, retries=1000) as client, pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
            client.status("m")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "grpc://127.0.0.1:9"])
def test_nobody_listening_is_unavailable(url):
    with Client(url, retries=1, backoff=0.01) as client, pytest.raises(ServingError, match=r"^UNAVAILABLE"):
        client.sample("m", 1)


def test_a_slow_answer_ends_at_the_clients_deadline(listen, tmp_path):
    fake.publish(tmp_path / "m", 1, 1.0)
    _, listeners = listen([ModelConfig("m", tmp_path / "m")])
    for url in (listeners.rest_url, listeners.grpc_url):
        with Client(url, timeout=0.2) as client, pytest.raises(ServingError, match=r"^DEADLINE_EXCEEDED"):
            client.predict("m", "slow", {"x": np.ones(1, np.float32)})


def test_a_server_that_comes_back_is_found(open_server, tmp_path):
    fake.publish(tmp_path / "m", 1, 1.0)
    server = open_server([ModelConfig("m", tmp_path / "m")])
    first = Listeners(server, "127.0.0.1", 0, 0, 4)
    ports = [int(url.rpartition(":")[2]) for url in (first.rest_url, first.grpc_url)]
    clients = [Client(first.rest_url, retries=1000), Client(first.grpc_url, retries=1000)]
    for client in clients:
        client.sample("m", 1)
    first.stop()
    again = []
    timer = threading.Timer(0.3, lambda: again.append(Listeners(server, "127.0.0.1", *ports, 4)))
    timer.start()
    for client in clients:
        assert client.sample("m", 1).shape == (1, 2)
        client.close()
    timer.join()
    again[0].stop()


def test_grpc_and_the_module_agree_on_codes():
    assert {code.name: code.value[0] for code in grpc.StatusCode} == GRPC_NUMBERS
    assert set(HTTP_STATUS) == set(GRPC_NUMBERS)
    assert client_module.ServingError("UNAVAILABLE", "x").args == ("UNAVAILABLE: x",)
