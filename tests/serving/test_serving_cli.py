"""What `python -m serving` says of wrong calls, of files that it cannot read, and of servers that do not answer."""

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from serving import cli, corpus
from tests.serving import fake

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--rest_api_port", value) for value in (-1, 65536)),
        *(("--port", value) for value in (-1, 65536)),
        *((option, 0) for option in ("--threads", "--max_batch", "--max_body_mb")),
    ],
)
def test_numbers_out_of_range_are_wrong_calls(tmp_path, monkeypatch, option, value):
    monkeypatch.setattr(cli, "_serve", lambda *args: pytest.fail("it serves"))
    (tmp_path / "m" / "1").mkdir(parents=True)
    result = CliRunner().invoke(cli.group, ["dev", str(tmp_path), option, str(value)])
    assert result.exit_code == 2
    assert f"Invalid value for '{option}': {value} is not in the range" in result.output


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_does_not_answer_has_no_different_answers(tmp_path, scheme):
    inputs = {"x": np.ones([1, 2], np.float32)}
    corpus.write(tmp_path / "corpus.npz", [corpus.Request("m", 1, "both", inputs, inputs)])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = ["compare", str(tmp_path / "corpus.npz"), f"{scheme}://127.0.0.1:{port}", "--timeout", "0.5"]
    result = CliRunner().invoke(cli.group, command)
    assert result.exit_code == 1
    assert "1 requests, not all answered" in result.output
    assert "Error: Not all requests were answered." in result.output
    assert "differ" not in result.output


@pytest.mark.parametrize("kind", ["text", "empty", "array", "other arrays", "cut short"])
def test_a_file_that_is_no_record_is_one_sentence(tmp_path, kind):
    path = tmp_path / "corpus.npz"
    inputs = {"x": np.ones([1, 2], np.float32)}
    corpus.write(path, [corpus.Request("m", 1, "both", inputs, inputs)])
    if kind == "array":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif kind == "other arrays":
        np.savez(path, x=np.ones(3))
    else:
        path.write_bytes({"text": b"nonsense", "empty": b"", "cut short": path.read_bytes()[:200]}[kind])
    with pytest.raises(
        ValueError, match=r"^The requests must be a file that `record` wrote\. Received: .*corpus\.npz$"
    ):
        corpus.read(path)


# === Ending ===

SLOW = """
import sys
from serving import cli, loading
from tests.serving import fake

class Slow(fake.FakeModel):
    def run(self, signature, inputs):
        print("Running", flush=True)
        return super().run(signature, inputs)

loading.load = Slow
cli.group(sys.argv[1:])
"""


@pytest.fixture
def busy(tmp_path):
    """Returns a function that starts a server with a request that runs for a minute, whose client has gone."""
    with contextlib.ExitStack() as stack:

        def start(seconds):
            fake.publish(tmp_path / "m", 1, 2.0)
            options = ["--rest_api_port", "0", "--port", "0", "--timeout", str(seconds)]
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SLOW, "dev", str(tmp_path), *options],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=pathlib.Path(__file__).parents[2],
                    text=True,
                )
            )
            stack.callback(process.kill)
            port = int(until(process, "Listening: ").split()[1].rpartition(":")[2])
            body = '{"signature_name": "slow", "inputs": {"x": [1.0]}}'
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(
                    f"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                until(process, "Running")
            return process

        yield start


def until(process, start):
    """Returns the next line that starts so."""
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_model_that_runs_on_does_not_keep_the_process(busy, which):
    process = busy(0.2)
    process.send_signal(which)
    until(process, "Ended while a model still ran")
    assert process.wait(10) == 0


def test_a_second_signal_ends_it_at_once(busy):
    process = busy(50)
    process.send_signal(signal.SIGINT)
    until(process, "Ending: requests that run have 50 s")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM
