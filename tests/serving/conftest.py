"""A server of fake models in this process, and its two addresses."""

import contextlib

import pytest

from serving.client import Client
from serving.listening import Listeners
from serving.models_config import ModelConfig
from serving.server import Limits, Server
from tests.serving import fake


@pytest.fixture
def open_server(tmp_path):
    """Returns a function that makes a server; all are closed, and nothing stays loaded."""
    with contextlib.ExitStack() as stack:
        fake.FakeModel.gate.clear()
        fake.FakeModel.started.clear()
        before = list(fake.OPEN)

        def make(configs, limits=None, load=fake.FakeModel, lines=None, find=None):
            server = Server(configs, load, limits or Limits(), (lines if lines is not None else []).append, find)
            server.versions.poll()
            stack.callback(server.close)
            return server

        yield make
        fake.FakeModel.gate.set()
    assert before == fake.OPEN


@pytest.fixture
def listen(open_server):
    """Returns a function that makes a server and listens."""
    with contextlib.ExitStack() as stack:

        def make(*args, **kwargs):
            server = open_server(*args, **kwargs)
            listeners = Listeners(server, "127.0.0.1", 0, 0, 8)
            stack.callback(listeners.stop)
            stack.callback(fake.FakeModel.gate.set)
            return server, listeners

        yield make


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for the tests of a file that change nothing: model "fake", versions 1 (retired) and 2, two labels."""
    base = tmp_path_factory.mktemp("models") / "fake"
    fake.publish(base, 1, 2.0)
    fake.publish(base, 2, 3.0)
    lines = []
    config = ModelConfig("fake", base, latest=None, labels={"stable": 1, "canary": 2, "gone": 7})
    server = Server([config], fake.FakeModel, Limits(body=2**20, batch=64, seconds=5), lines.append)
    server.versions.poll()
    listeners = Listeners(server, "127.0.0.1", 0, 0, 8)
    listeners.lines = lines
    yield listeners
    fake.FakeModel.gate.set()
    listeners.stop()
    server.close()


@pytest.fixture(scope="module", params=["rest", "grpc"])
def client(request, shared):
    with Client(shared.rest_url if request.param == "rest" else shared.grpc_url, timeout=10) as found:
        yield found
