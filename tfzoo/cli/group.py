"""What every verb has: the group, `--debug`, an example under its help, common options."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import click

from tfzoo.progress import console
from tfzoo.version import __version__

__all__ = ["RUN", "SEED", "SEEDS", "can_be_written", "group", "say", "verb"]

RUN = click.argument("run", type=click.Path(path_type=pathlib.Path))
SEEDS = click.IntRange(0, 2**32 - 1)  # what NumPy, scikit-learn and Keras take
SEED = click.option("--seed", default=0, show_default=True, type=SEEDS, help="The same seed gives the same result.")


class _Command(click.Command):
    """A verb with `--debug`, and an example under its help."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "epilog": f"Example:  {example}"})
        debug = click.Option(
            ["--debug"], is_flag=True, expose_value=False, help="Show the whole traceback of an error."
        )
        self.params.append(debug)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def group() -> None:
    """Deep latent-variable models whose inference is a flow: train, measure, look, export."""


def verb(name: str, example: str) -> Callable[[Callable], click.Command]:
    """Makes a function a verb of the command line."""
    return group.command(name, cls=_Command, example=example)


def can_be_written(folder: pathlib.Path) -> bool:
    """Returns whether files can be put into a folder, which is to be looked at before long work."""
    return folder.is_dir() and os.access(folder, os.W_OK)


def say(what: str, path: pathlib.Path) -> None:
    """Prints a line: what was made, and where it is."""
    console.print(f"{what:>16}  {path}")
