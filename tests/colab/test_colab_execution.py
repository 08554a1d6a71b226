"""Every notebook runs from top to bottom, with its loops shortened by EPOCHS."""

import pathlib
import runpy
import sys

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient

COLAB = pathlib.Path(__file__).parents[2] / "colab"
SCRIPTS = sorted(COLAB.glob("*.py"))
NOTEBOOKS = sorted(COLAB.glob("*.ipynb"))

# What a notebook imports, warns of and leaves open is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def shortened(tmp_path, monkeypatch):
    monkeypatch.setenv("EPOCHS", "2")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_its_cells_run(script, monkeypatch):
    """In this process, which has TensorFlow already; that cells are those of the notebook is test_colab_sync.py's."""
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.extend(plt.get_fignums()) or plt.close("all"))
    monkeypatch.setattr(sys, "path", [*sys.path])  # cells may add to it
    runpy.run_path(str(script))
    assert shown, "the notebook shows something"


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_in_a_kernel(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = nbformat.read(notebook, as_version=4)
    NotebookClient(cells, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in cells.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert pictures, "the notebook shows something"
