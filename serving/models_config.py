"""Which models are served, from where, in which versions: models.config, or a folder of models."""

import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from google.protobuf import text_format

from serving import messages

__all__ = ["ModelConfig", "aspired", "of_folder", "read", "versions_in"]

_CONFIG = messages.message("ModelServerConfig")
_INT64 = 2**63


class ModelConfig(NamedTuple):
    """One model.

    Attributes:
      name: what clients call it.
      base_path: folder with one folder a version, named by a number.
      latest: so many of the highest versions are served; None for all versions.
      specific: these versions instead, if there are any.
      labels: names of versions.
    """

    name: str
    base_path: pathlib.Path
    latest: int | None = 1
    specific: tuple[int, ...] = ()
    labels: Mapping[str, int] = {}


def read(path: pathlib.Path) -> list[ModelConfig]:
    """Reads a models.config, a ModelServerConfig as text.

    Base paths that are relative start at the folder of the file.

    Raises:
      ValueError: if it cannot be read, names no model, or names one twice or without a path.
    """
    try:
        message = text_format.Parse(path.read_text(encoding="utf-8"), _CONFIG())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ValueError(
            f"The configuration must be a readable ModelServerConfig ({error}). Received: {path}"
        ) from None
    configs = []
    for entry in message.model_config_list.config:
        policy = entry.model_version_policy
        choice = policy.WhichOneof("policy_choice")
        if not entry.name or not entry.base_path:
            raise ValueError(f"Every model needs a name and a base_path. Received: {entry}")
        if entry.model_platform not in ("", "tensorflow"):
            raise ValueError(f"model_platform must be 'tensorflow'. Received: {entry.model_platform}")
        configs.append(
            ModelConfig(
                name=entry.name,
                base_path=path.absolute().parent / entry.base_path,
                latest=None if choice == "all" else (policy.latest.num_versions or 1),
                specific=tuple(policy.specific.versions),
                labels=dict(entry.version_labels),
            )
        )
    if not configs:
        raise ValueError(f"The configuration must name a model. Received: {path}")
    names = [config.name for config in configs]
    if len(set(names)) != len(names):
        raise ValueError(f"Every model needs a name of its own. Received: {names}")
    return configs


def of_folder(folder: pathlib.Path) -> list[ModelConfig]:
    """Returns the models of a folder, or the one model that the folder is: whatever has folders named by numbers.

    Raises:
      ValueError: if there is none.
    """
    if versions_in(folder):
        return [ModelConfig(folder.absolute().name, folder.absolute())]
    children = sorted(child.absolute() for child in folder.iterdir()) if folder.is_dir() else []
    configs = [
        ModelConfig(child.name, child)
        for child in children
        if re.fullmatch(r"[^/:.][^/:]*", child.name) and child.is_dir() and versions_in(child)
    ]
    if not configs:
        raise ValueError(f"The folder must have models as NAME/VERSION, such as vae/1. Received: {folder}")
    return configs


def versions_in(base_path: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the paths of the versions below `base_path`: children of any kind whose names are numbers."""
    found: dict[int, pathlib.Path] = {}
    if base_path.is_dir():
        for child in sorted(base_path.iterdir()):
            if re.fullmatch(r"[0-9]{1,19}", child.name) and int(child.name) < _INT64:
                found.setdefault(int(child.name), child)
    return found


def aspired(config: ModelConfig, versions: Iterable[int]) -> list[int]:
    """Returns which of the versions should be served, by the model's policy."""
    if config.specific:
        return sorted(set(config.specific) & set(versions))
    ordered = sorted(versions)
    return ordered if config.latest is None else ordered[-config.latest :]
