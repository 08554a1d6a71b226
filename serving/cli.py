"""The verbs of `python -m serving`."""

import functools
import os
import pathlib
import signal
import sys
import threading
import types
from collections.abc import Callable

import click

from serving import configure as configuration
from serving import corpus, models_config
from serving.addresses import is_loopback
from serving.client import Client, ServingError
from serving.server import Limits

__all__ = ["compare", "configure", "dev", "group", "main", "record"]

_NOTICE = """\
This is a development server: one process of Python, for trying things on this machine. For users, run the real one:
  docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 \\
    --mount type=bind,source={folder},target=/models,readonly \\
    --mount type=bind,source="$PWD/serving/config",target=/config,readonly \\
    tensorflow/serving:2.20.0 \\
    --model_config_file=/config/models.config --monitoring_config_file=/config/monitoring.config
"""
_PORT = click.IntRange(0, 65535)
_COUNT = click.IntRange(1)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds beyond the limit of a request, for the last answers to go out.
_GRACE = 2.0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def group() -> None:
    """Serve exported models: a development server, and the files that the stock server needs."""


def main() -> int:
    """Runs the command line; returns its exit status: 0, 1 for an error, 2 for a wrong call."""
    try:
        group(standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return 130
    except click.UsageError as error:
        error.show()
        return 2
    except (click.ClickException, ValueError, OSError) as error:
        message = error.message if isinstance(error, click.ClickException) else str(error)
        click.echo(f"Error: {message}", err=True)
        return 1
    return 0


@group.command(epilog="Example:  python -m serving dev exports/")
@click.argument("folder", required=False, type=click.Path(path_type=pathlib.Path))
@click.option(
    "--model_config_file", type=click.Path(path_type=pathlib.Path), help="A models.config, instead of FOLDER."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; others than this machine's own open it to the network.",
)
@click.option(
    "--rest_api_port",
    default=8501,
    show_default=True,
    type=_PORT,
    help="REST, the web page and metrics; 0 takes a free port.",
)
@click.option("--port", default=8500, show_default=True, type=_PORT, help="gRPC; 0 takes a free port.")
@click.option(
    "--poll_seconds", default=1.0, show_default=True, help="How often folders are looked at for new versions."
)
@click.option("--timeout", default=Limits().seconds, show_default=True, help="Seconds until a request is given up.")
@click.option("--max_body_mb", default=Limits().body // 2**20, show_default=True, type=_COUNT, help="Greatest request.")
@click.option(
    "--max_batch",
    default=Limits().batch,
    show_default=True,
    type=_COUNT,
    help="Greatest number of examples of a request.",
)
@click.option(
    "--threads",
    default=16,
    show_default=True,
    type=_COUNT,
    help="Requests that are taken at once, for each interface.",
)
def dev(
    folder: pathlib.Path | None,
    model_config_file: pathlib.Path | None,
    host: str,
    rest_api_port: int,
    port: int,
    poll_seconds: float,
    timeout: float,
    max_body_mb: int,
    max_batch: int,
    threads: int,
) -> None:
    """Serve FOLDER/NAME/VERSION/ on this machine.

    By TF Serving's REST and gRPC interfaces.
    """
    if (folder is None) == (model_config_file is None):
        raise click.UsageError("Either FOLDER or --model_config_file is needed.")
    if model_config_file is not None:
        find = functools.partial(models_config.read, model_config_file)
    else:
        assert folder is not None
        find = functools.partial(models_config.of_folder, folder)
    configs = find()
    click.echo(_NOTICE.format(folder=(folder or configs[0].base_path.parent).absolute()))
    limits = Limits(body=max_body_mb * 2**20, batch=max_batch, seconds=timeout)
    _serve(find, limits, host, rest_api_port, port, poll_seconds, threads)


_FOLDER = click.argument("folder", type=click.Path(path_type=pathlib.Path))


@group.command(epilog="Example:  python -m serving configure exports/ serving/config/models.config")
@_FOLDER
@click.argument("target", type=click.Path(path_type=pathlib.Path))
@click.option("--root", default="/models", show_default=True, help="Where the server finds FOLDER.")
@click.option(
    "--batching/--no-batching", default=True, help="Whether versions get batching parameters where it is safe."
)
def configure(folder: pathlib.Path, target: pathlib.Path, root: str, batching: bool) -> None:
    """Write a models.config for FOLDER/NAME/VERSION/ to TARGET.

    And batching parameters, where they are safe.
    """
    configs = models_config.of_folder(folder)
    target.write_text(configuration.models_config(configs, pathlib.PurePosixPath(root)), encoding="utf-8")
    click.echo(f"{target}: {', '.join(config.name for config in configs)}")
    if batching:
        for version, batched in configuration.place_batching(configs).items():
            why = "batched" if batched else "not batched: its manifest does not say that it is safe"
            click.echo(f"{version}: {why}")


@group.command(epilog="Example:  python -m serving record exports/ corpus.npz")
@_FOLDER
@click.argument("target", type=click.Path(path_type=pathlib.Path))
def record(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Record requests to FOLDER/NAME/VERSION/, with answers.

    To all signatures; the answers are those of TensorFlow's own session.
    """
    from export.runtime import SavedModel

    requests = corpus.record(models_config.of_folder(folder), SavedModel)
    corpus.write(target, requests)
    click.echo(f"{target}: {len(requests)} requests")


_DIFFERENT, _UNANSWERED = "The answers differ.", "Not all requests were answered."
_VERDICTS = {"": "the same answers", _DIFFERENT: "different answers", _UNANSWERED: "not all answered"}


@group.command(epilog="Example:  python -m serving compare corpus.npz http://127.0.0.1:8501 grpc://127.0.0.1:8500")
@click.argument("source", type=click.Path(path_type=pathlib.Path))
@click.argument("urls", nargs=-1, required=True)
@click.option(
    "--timeout", default=300.0, show_default=True, help="Seconds for each request, the server's start included."
)
def compare(source: pathlib.Path, urls: tuple[str, ...], timeout: float) -> None:
    """Send recorded requests to servers, and compare answers.

    SOURCE has the requests, with the answers that `record` found.
    """
    requests = corpus.read(source)
    complaints = set()
    for url in urls:
        lines, complaint = _compare(requests, url, timeout)
        for line in lines:
            click.echo(f"{url}: {line}", err=True)
        click.echo(f"{url}: {len(requests)} requests, {_VERDICTS[complaint]}")
        complaints.add(complaint)
    if complaints != {""}:
        raise click.ClickException(" ".join(sorted(complaints - {""})))


def _compare(requests: list[corpus.Request], url: str, timeout: float) -> tuple[list[str], str]:
    """Returns what was found of one server, line by line, and the sentence for it: "" if all answers are the same."""
    with Client(url, timeout=timeout, retries=10**6) as client:
        try:
            lines = corpus.compare(requests, client)
        except ServingError as error:
            return [str(error)], _UNANSWERED
    return lines, _DIFFERENT if lines else ""


def _serve(
    find: Callable[[], list[models_config.ModelConfig]],
    limits: Limits,
    host: str,
    rest_port: int,
    grpc_port: int,
    poll_seconds: float,
    threads: int,
) -> None:
    # Here, so that `--help` and wrong calls need not wait for them.
    from serving.listening import Listeners
    from serving.loading import load
    from serving.server import Server

    server = Server(find(), load, limits, lambda line: click.echo(line, err=True), find)
    # Ports open when the models are there: who can connect can ask.
    server.versions.poll()
    listeners = Listeners(server, host, rest_port, grpc_port, threads)
    server.versions.start(poll_seconds)
    stop = threading.Event()

    def end(number: int, frame: types.FrameType | None) -> None:
        stop.set()
        for name in _SIGNALS:  # the next one ends the process, whatever it waits for
            signal.signal(name, signal.SIG_DFL)

    for name in _SIGNALS:
        signal.signal(name, end)
    click.echo(f"Models: {', '.join(server.versions.names)}")
    if not is_loopback(host):
        click.echo(f"Whoever reaches {host} can use these models.", err=True)
    # The last line that is printed before requests are answered.
    click.echo(f"Listening: {listeners.rest_url} {listeners.grpc_url}")
    sys.stdout.flush()
    # A signal may reach any thread, but Python handles it in this one, once it is awake.
    while not stop.wait(0.2):
        pass
    click.echo(f"Ending: requests that run have {limits.seconds:.3g} s; another signal ends it at once.", err=True)

    def drain() -> None:
        listeners.stop()
        server.close()

    if not _ends_within(limits.seconds + _GRACE, drain):
        click.echo("Ended while a model still ran: every request to it was given up.", err=True)
        sys.stdout.flush()
        sys.stderr.flush()
        # Python would wait for the threads that run models, which nothing can interrupt.
        os._exit(0)


def _ends_within(seconds: float, work: Callable[[], None]) -> bool:
    """Runs `work` in a thread of its own; says whether it ended within so many seconds."""
    thread = threading.Thread(target=work, name="drain", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()
