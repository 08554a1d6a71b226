"""The command line: export a run or a preset as the next version, or verify what was exported.

Exit status 0: done; 1: an error or a failed check; 2: a command that cannot be understood.
"""

import dataclasses
import json
import os
import pathlib
import sys

import click

__all__ = ["main"]

_DEBUG = click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.command(
    "export",
    context_settings=_CONTEXT,
    epilog="Example:  python -m export runs/vae_mnist models --keep 3    Check again:  python -m export verify models",
)
@click.argument("run_or_preset")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=pathlib.Path, file_okay=False))
@click.option("--name", help="Under which it is served [default: the preset's or model's].")
@click.option("--keep", type=click.IntRange(1), help="Remove all but so many versions, the new one among them.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    help="Behind the signature log_prob [default: the model's own]. Models without an encoder anneal so many chains "
    "for each image: seconds to minutes a request, and some runs of them here.",
)
@click.option("--points", type=click.IntRange(1), default=10, show_default=True, help="Images of an interpolation.")
@click.option("--steps", type=click.IntRange(1), help="Of a Markov chain that infers [default: the model's own].")
@_DEBUG
def _export(
    run_or_preset: str,
    folder: pathlib.Path,
    name: str | None,
    keep: int | None,
    samples: int | None,
    points: int,
    steps: int | None,
    debug: bool,
) -> None:
    """Write DIR/NAME/VERSION: a SavedModel with warm-up requests, manifest and model card, verified before it appears.

    RUN_OR_PRESET is a run folder of `tfzoo train`, or a preset that comes with weights.
    """
    from export import exporting, source  # here, since verifying must go without TensorFlow

    found = source.load(run_or_preset)
    if name is not None:
        found = dataclasses.replace(found, name=name)
    published = exporting.export(found, folder, num_samples=samples, num_points=points, num_steps=steps, keep=keep)
    click.echo(f"{'verified':>16}  in a fresh process without TensorFlow's Python")
    click.echo(f"{'version':>16}  {published}")


@click.command("verify", context_settings=_CONTEXT, epilog="Example:  python -m export verify models/vae_mnist/1")
@click.argument("path", metavar="DIR|VERSION", type=click.Path(path_type=pathlib.Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@_DEBUG
def _verify(path: pathlib.Path, as_json: bool, debug: bool) -> int:
    """Check every version in a folder with TensorFlow's own loader and session, without its Python."""
    # What is written to the error output is TensorFlow's log; the errors in it are in the table.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from export import verification, versions

    reports = {folder: verification.verify(folder) for folder in versions.version_folders(path)}
    if as_json:
        click.echo(json.dumps({str(folder): dataclasses.asdict(report) for folder, report in reports.items()}))
    else:
        for folder, report in reports.items():
            click.echo(folder)
            for check in report.checks:
                click.echo(f"  {'ok' if check.passed else 'FAILED':>6}  {check.name:<15}  {check.detail}")
    return 0 if all(report.passed for report in reports.values()) else 1


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verifying = arguments[:1] == ["verify"]
    try:
        if verifying:
            status = _verify.main(arguments[1:], prog_name="python -m export verify", standalone_mode=False)
        else:
            status = _export.main(arguments, prog_name="python -m export", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(1)
    except Exception as error:
        if "--debug" in arguments:
            raise
        click.echo(f"Error: {' '.join(str(error).split()) or type(error).__name__}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
