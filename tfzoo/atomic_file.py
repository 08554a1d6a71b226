"""Files that are whole or not there: written beside, then renamed."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

__all__ = ["replacing", "write_json"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a path beside `path`, of the same ending; what is written there takes its place at the end.

    Where writing fails `path` stays as it was, and nothing stays beside it.
    """
    path = pathlib.Path(path)
    beside = path.with_name(f".new.{path.name}")
    beside.unlink(missing_ok=True)  # half of a file, from a process that was killed
    try:
        yield beside
        if beside.exists():
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, values: dict[str, Any]) -> None:
    """Writes a file of JSON that is whole or not there."""
    with replacing(path) as file:
        file.write_text(json.dumps(values, indent=2) + "\n")
