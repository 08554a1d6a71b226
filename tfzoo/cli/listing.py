"""The verb `list`."""

from collections.abc import Mapping
from typing import Any

import rich.table

from tfzoo import data, registry
from tfzoo.cli.group import verb
from tfzoo.presets import PRESETS
from tfzoo.progress import console


@verb("list", "tfzoo list")
def _list() -> None:
    """List models, data sets, and presets with their figures."""
    sets = [*data.list_datasets(), "a folder of images or scans", "a file of arrays"]
    console.print(_columns({"models": ", ".join(registry.list_models()), "data sets": ", ".join(sets)}))
    console.print("\npresets")
    console.print(_columns({name: _description(name) for name in registry.list_presets()}))


def _columns(rows: Mapping[str, str]) -> rich.table.Table:
    """Returns names, which are never cut, beside what they are, folded."""
    table = rich.table.Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows.items():
        table.add_row(*row)
    return table


def _description(name: str) -> str:
    preset = PRESETS[name]
    weights = ", with weights" if preset.weights else ""
    lines = [f"{preset.model} on {preset.dataset}, {preset.epochs} epochs{weights}"]
    lines += [f"measured: {_figures(preset.measured)}"] if preset.measured else []
    lines += [f"reported: {_figures(preset.reported)}"] if preset.reported else []
    return "\n".join(lines)


def _figures(values: Mapping[str, Any]) -> str:
    """Returns the numbers, and then in words where they are from."""
    numbers = ", ".join(f"{key} {value}" for key, value in values.items() if not isinstance(value, str))
    words = [value for value in values.values() if isinstance(value, str)]
    return "; ".join([numbers, *words] if numbers else words)
