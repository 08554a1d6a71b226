"""Loaded versions of models: what is on disk is watched, loaded, served and retired, without dropping a request.

As TF Serving does with its default policy: a new version is loaded first, then the old ones are retired, each closed
after its last request; a version that cannot be loaded ends in state END with its error, and the old one goes on.
Unlike TF Serving, which tries five times more, each a minute later, a failed version is tried again when its folder
has changed, or has been gone in between: one that was seen half copied heals, and one that is broken costs nothing.
"""

import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from serving.errors import GRPC_NUMBERS, ServingError
from serving.models_config import ModelConfig, aspired, versions_in

__all__ = ["Model", "State", "Version", "VersionManager"]


class Model(Protocol):
    """What a loaded version has to do: `export.runtime.SavedModel` does."""

    signatures: Mapping[str, Any]

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name."""

    def close(self) -> None:
        """Frees what is held."""


class State(NamedTuple):
    """Where a version stands: START, LOADING, AVAILABLE, UNLOADING or END, and the error it ended with."""

    state: str
    code: str = "OK"
    message: str = ""


class Version:
    """A loaded version and how many requests are using it."""

    def __init__(self, name: str, number: int, model: Model, on_close: Callable[[], None]) -> None:
        self.name = name
        self.number = number
        self.model = model
        self._on_close = on_close
        self._lock = threading.Lock()
        self._users = 1  # the manager, until it retires the version

    def acquire(self) -> bool:
        """Says whether the version may be used, and keeps it open until `release`."""
        with self._lock:
            if not self._users:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Gives the version back; the last one to do so closes it."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self.model.close()
            self._on_close()


_Contents = frozenset[tuple[str, int, int]]


def _contents(path: pathlib.Path) -> _Contents:
    """Returns path, modification time and size of all that is in a folder, and of the folder or file itself."""
    paths = [path]
    for top, folders, files in os.walk(path):
        paths += [pathlib.Path(top, name) for name in (*folders, *files)]
    found = set()
    for each in paths:
        with contextlib.suppress(OSError):  # gone by now
            status = each.stat()
            found.add((str(each), status.st_mtime_ns, status.st_size))
    return frozenset(found)


class VersionManager:
    """All versions of all models.

    Args:
      configs: the models.
      load: opens a version's folder; an exception of any kind is the version's error.
      log: takes lines for a person to read.
      find: looks for the models again, at every poll; None for the same ones for ever. A ValueError changes nothing.
    """

    def __init__(
        self,
        configs: Iterable[ModelConfig],
        load: Callable[[pathlib.Path], Model],
        log: Callable[[str], None] = lambda line: None,
        find: Callable[[], Iterable[ModelConfig]] | None = None,
    ) -> None:
        self._configs = {config.name: config for config in configs}
        self._load = load
        self._log = log
        self._find = find
        self._complaint = ""
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._states: dict[str, dict[int, State]] = {name: {} for name in self._configs}
        self._loaded: dict[str, dict[int, Version]] = {name: {} for name in self._configs}
        # What the folders of failed versions held when they were tried.
        self._failed: dict[str, dict[int, _Contents]] = {name: {} for name in self._configs}
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def names(self) -> list[str]:
        """The models' names, whether loaded or not."""
        return sorted(self._configs)

    # === Watching ===

    def poll(self) -> None:
        """Looks at the folders once; returns when all that was new has been loaded or has failed."""
        with self._polling:
            if self._find is not None:
                self._look_for_models(self._find)
            for config in self._configs.values():
                self._poll(config)

    def _look_for_models(self, find: Callable[[], Iterable[ModelConfig]]) -> None:
        try:
            found = {config.name: config for config in find()}
        except (OSError, ValueError) as error:
            if str(error) != self._complaint:  # once, not at every poll
                self._log(str(error))
            self._complaint = str(error)
            return
        self._complaint = ""
        gone = set(self._configs) - set(found)
        with self._lock:
            for name in found:
                for table in (self._states, self._loaded):
                    table.setdefault(name, {})
                self._failed.setdefault(name, {})
            self._configs = found
        for name in sorted(gone):
            for number in list(self._loaded[name]):
                self._retire(name, number)

    def _poll(self, config: ModelConfig) -> None:
        try:
            found = versions_in(config.base_path)
        except OSError as error:
            self._log(f"{config.name}: {error}")
            return
        name = config.name
        if not found and not config.base_path.is_dir():
            return  # as TF Serving does: what cannot be looked at has not changed
        wanted = aspired(config, found)
        failed = {number: held for number, held in self._failed[name].items() if number in found}
        self._failed[name] = failed
        for number in wanted:
            if number not in self._loaded[name] and failed.get(number) != _contents(found[number]):
                self._open(name, number, found[number])
        if wanted and not any(number in self._loaded[name] for number in wanted):
            return
        for number in sorted(set(self._loaded[name]) - set(wanted)):
            self._retire(name, number)

    def _open(self, name: str, number: int, path: pathlib.Path) -> None:
        before = self._states[name].get(number) if number in self._failed[name] else None
        self._set(name, number, State("LOADING"))
        started = time.monotonic()
        contents = _contents(path)  # before it is loaded: what is written meanwhile is a change
        try:
            model = self._load(path)
        except Exception as error:  # noqa: BLE001  whatever it is, the other versions go on
            # Errors of TensorFlow begin with the name of their code.
            code, _, message = str(error).partition(": ")
            if code not in GRPC_NUMBERS:
                code, message = "UNKNOWN", str(error) or type(error).__name__
            self._failed[name][number] = contents
            ended = State("END", code, message)
            self._set(name, number, ended)
            if ended != before:  # once, not at every change of a folder that is being copied
                self._log(f"{name} version {number} could not be loaded: {error}")
            return
        self._failed[name].pop(number, None)
        version = Version(name, number, model, lambda: self._set(name, number, State("END")))
        with self._lock:
            self._loaded[name][number] = version
            self._states[name][number] = State("AVAILABLE")
        self._log(f"{name} version {number} is available after {time.monotonic() - started:.1f} s")

    def _retire(self, name: str, number: int) -> None:
        with self._lock:
            version = self._loaded[name].pop(number)
            self._states[name][number] = State("UNLOADING")
        self._log(f"{name} version {number} is retired")
        version.release()

    def _set(self, name: str, number: int, state: State) -> None:
        with self._lock:
            self._states[name][number] = state

    def start(self, seconds: float = 1.0) -> None:
        """Polls every so many seconds, in a thread of its own, until `stop`."""
        self._watcher = threading.Thread(target=self._watch, args=[seconds], name="versions", daemon=True)
        self._watcher.start()

    def _watch(self, seconds: float) -> None:
        while not self._stopping.wait(seconds):
            self.poll()

    def stop(self) -> None:
        """Ends polling and retires everything."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        for name, versions in self._loaded.items():
            for number in list(versions):
                self._retire(name, number)

    # === Requests ===

    def resolve(self, name: str, number: int | None = None, label: str | None = None) -> Version:
        """Returns the version that a request means, acquired: the caller releases it.

        Raises:
          ServingError: NOT_FOUND, or INVALID_ARGUMENT for a label that nobody configured.
        """
        if not name:
            raise ServingError("INVALID_ARGUMENT", "ModelSpec has no name specified.")
        config = self._configs.get(name)
        if label is not None:
            if config is None or label not in config.labels:
                raise ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
            number = config.labels[label]
        with self._lock:
            loaded = self._loaded.get(name, {})
            chosen = (max(loaded) if loaded else None) if number is None else number
            version = loaded.get(chosen) if chosen is not None else None
            if version is not None and version.acquire():
                return version
        wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
        raise ServingError("NOT_FOUND", f"Servable not found for request: {wanted}")

    @contextlib.contextmanager
    def use(self, name: str, number: int | None = None, label: str | None = None) -> Iterator[Version]:
        """Gives the version that a request means, open until the end of the block."""
        version = self.resolve(name, number, label)
        try:
            yield version
        finally:
            version.release()

    def states(self, name: str, number: int | None = None, label: str | None = None) -> dict[int, State]:
        """Returns where the versions of a model stand, highest first.

        Raises:
          ServingError: NOT_FOUND, or INVALID_ARGUMENT for a label that nobody configured.
        """
        if label is not None:
            config = self._configs.get(name)
            if config is None or label not in config.labels:
                raise ServingError("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
            number = config.labels[label]
        with self._lock:
            states = dict(sorted(self._states.get(name, {}).items(), reverse=True))
        if number is not None and number not in states:
            raise ServingError("NOT_FOUND", f"Could not find version {number} of model {name}")
        if not states:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        return states if number is None else {number: states[number]}
