"""One side of a comparison in a process of its own: it builds on request, runs on request, and says how long it took.

Two frameworks in one process fight over threads and share one allocator's settings; in two processes each is as its
users have it. Only one of them works at a time: the caller asks one, waits for its answer, then asks the next.
"""

import gc
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

__all__ = ["Side", "serve"]


class Side:
    """The caller's end: `side.ask("step", ...)` waits for the answer."""

    def __init__(self, module: str, python: str = sys.executable, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(pathlib.Path(__file__)), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        )
        self.info = self._answer()

    def ask(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Returns what the other process answers."""
        self._process.stdin.write(json.dumps([command, args, kwargs]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a benchmark process ended. Received: exit code {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Ends the other process."""
        self._process.stdin.close()
        self._process.wait()


class _Server:
    """The other end: one method for each command."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._steps: dict[str, Any] = {}
        self._fit: Any = None

    def build_step(self, name: str, key: str, case: list, batch_size: int) -> dict:
        import numpy as np

        images = np.random.default_rng(0).random((batch_size, 28, 28, 1), dtype=np.float32)
        step, weights = self._module.STEPS[name](*case, images)
        losses = [float(step()) for _ in range(5)]
        self._steps[key] = step
        return {"weights": weights, "first_loss": losses[0]}

    def step(self, key: str, count: int) -> list[float]:
        """Milliseconds of each of `count` steps, after one that brings the caches back."""
        step = self._steps[key]
        times = []
        for _ in range(count + 1):
            start = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - start))
        return times[1:]

    def clear(self) -> None:
        self._steps.clear()
        self._fit = None
        gc.collect()

    def build_fit(self, name: str, case: list, examples: int, batch_size: int) -> None:
        self._fit = self._module.FITS[name](*case, examples=examples, batch_size=batch_size)
        next(self._fit)

    def fit(self) -> float:
        """Seconds of one epoch."""
        return next(self._fit)

    def drift(self, *args: Any) -> dict:
        """What bfloat16 changes, where the module knows."""
        return self._module.drift_of_bfloat16(*args)

    def energies(self, *args: Any) -> dict:
        """Energies of the geodesics, where the module knows."""
        return self._module.energies(*args)

    def cpu(self) -> float:
        """Seconds of processor time that this process has used."""
        return time.process_time()


def serve(module_name: str) -> None:
    """Answers until the caller closes the pipe."""
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)  # progress bars and greetings of the libraries
    os.dup2(quiet, 1)
    if not os.environ.get("BENCHMARK_DEBUG"):
        errors = os.dup(2)
        os.dup2(quiet, 2)
        sys.excepthook = lambda *error: os.write(errors, "".join(_lines(*error)).encode())
    module = importlib.import_module(module_name)
    server = _Server(module)
    print(json.dumps(module.VERSIONS), file=answers, flush=True)
    for line in sys.stdin:
        command, args, kwargs = json.loads(line)
        print(json.dumps(getattr(server, command)(*args, **kwargs)), file=answers, flush=True)


def _lines(*error: Any) -> list[str]:
    import traceback

    return traceback.format_exception(*error)


if __name__ == "__main__":
    serve(sys.argv[1])
