"""The command line: train, evaluate, compare, sample, reconstruct, interpolate, inpaint, recover, export, list, ...

Exit status 0: done; 1: an error, said in one line; 2: a command that cannot be understood.
"""

import errno
import os
import sys

import click

# Each of these adds its verbs to the group.
from tfzoo.cli import exporting, listing, looking, measuring, quickstart, training  # noqa: F401
from tfzoo.cli.group import group

__all__ = ["main"]

_GO_ON = "A training goes on from its last epoch with: tfzoo train --resume RUN"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = group.main(arguments, prog_name="tfzoo", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"Interrupted. {_GO_ON}" if arguments[:1] == ["train"] else "Interrupted.", err=True)
        sys.exit(1)
    except Exception as error:
        if "--debug" in arguments:
            raise
        sentence = " ".join(str(error).split()) or type(error).__name__
        if os.strerror(errno.ENOSPC) in sentence:  # the words of h5py, shutil, TensorFlow, each in a text of its own
            sentence = f"no space is left on the disk. {_GO_ON}"
            # Files that h5py still holds fail once more as they are closed, and would say so in tracebacks.
            sys.excepthook = sys.unraisablehook = _say_nothing
        click.echo(f"Error: {sentence}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _say_nothing(*_: object) -> None:
    pass
