"""Every notebook runs from top to bottom, with its loops shortened by EPOCHS."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "colab").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
# The kernel's own threads and sockets are not ours to close.
@pytest.mark.filterwarnings("ignore")
def test_notebook_runs(notebook: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHS", "2")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = nbformat.read(notebook, as_version=4)
    NotebookClient(cells, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in cells.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert pictures, "the notebook shows something"
