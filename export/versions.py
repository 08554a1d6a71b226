"""Version folders: numbers that a server watches. Whatever is under a number is whole, and is never changed.

DIR/NAME/3/     loaded by a server within a second of its appearance
DIR/NAME/.new-*/  in the making: no number, so no server looks at it
"""

import contextlib
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

__all__ = ["next_version", "publish", "remove_old", "version_folders", "workplace"]

_NEW = ".new-"
# What a killed export left behind is taken away by a later one, once no export can still be at work there.
_FORGOTTEN = 24 * 3600.0  # seconds


def _versions(base: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns what a server takes for versions: all that is named by a number, "007" and plain files too."""
    found = {}
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        with contextlib.suppress(ValueError):
            found[int(path.name)] = path
    return found


def next_version(base: pathlib.Path) -> int:
    """Returns the number after the highest that is taken, 1 at first."""
    return max([0, *_versions(base)]) + 1


def version_folders(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the version folders at `path`, which is one itself, or has them beneath it or beneath its folders.

    Raises:
      ValueError: if there is none.
    """
    if (path / "saved_model.pb").exists() or path.name.isdecimal():
        return [path]
    bases = [path, *sorted(each for each in path.glob("*") if each.is_dir() and not each.name.startswith("."))]
    found = [folder for base in bases for _, folder in sorted(_versions(base).items()) if folder.is_dir()]
    if not found:
        raise ValueError(f"the path must be a version, or a folder of versions. Received: {path}")
    return found


@contextlib.contextmanager
def workplace(base: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a hidden folder beside the versions, on their file system; afterwards it is gone.

    Raises:
      OSError: if it cannot be made.
    """
    made = [folder for folder in (base, *base.parents) if not folder.exists()]
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(f"{_NEW}*"):
        if time.time() - left.stat().st_mtime > _FORGOTTEN:
            shutil.rmtree(left, ignore_errors=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=_NEW, dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in made:
            with contextlib.suppress(OSError):  # not empty: a version was published
                empty.rmdir()


def publish(folder: pathlib.Path, base: pathlib.Path, version: int) -> pathlib.Path:
    """Gives a finished folder, readable for all, its number by one rename, and returns its new path.

    Raises:
      FileExistsError: if the number is taken by now.
      OSError: if it cannot be renamed.
    """
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # a server may run as another user
    target = base / str(version)
    try:
        return folder.rename(target)
    except OSError:
        if target.exists():
            raise FileExistsError(17, "another export has taken the number", str(target)) from None
        raise


def remove_old(base: pathlib.Path, keep: int) -> list[int]:
    """Removes all version folders but the `keep` newest, the oldest first, and returns their numbers."""
    folders = {number: path for number, path in _versions(base).items() if path.is_dir()}
    removed = sorted(folders)[:-keep]
    for number in removed:
        # Out of a server's sight first: a version that is half removed would be loaded and fail.
        hidden = pathlib.Path(tempfile.mkdtemp(prefix=".old-", dir=base))
        folders[number].rename(hidden / str(number))
        shutil.rmtree(hidden)
    return removed
