"""The verb `list`."""

import rich.table

from tfzoo import data, registry
from tfzoo.cli.group import verb
from tfzoo.presets import PRESETS
from tfzoo.progress import console


@verb("list", "tfzoo list")
def _list() -> None:
    """List models, presets and data sets, with what each preset was measured at."""
    table = rich.table.Table("preset", "model", "data", "epochs", "measured", "reported by the paper")
    for name in registry.list_presets():
        preset = PRESETS[name]
        measured = ", ".join(f"{k} {v}" for k, v in preset.measured.items()) or "not measured yet"
        reported = ", ".join(f"{k} {v}" for k, v in preset.reported.items()) or "nothing for this model and data"
        table.add_row(name, preset.model, preset.dataset, str(preset.epochs), measured, reported)
    console.print(f"models     {', '.join(registry.list_models())}")
    console.print(f"data sets  {', '.join(data.list_datasets())}, a folder of images or scans, a file of arrays")
    console.print(table)
