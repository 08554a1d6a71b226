"""Every notebook is its percent script, without outputs."""

import pathlib

import jupytext
import nbformat
import pytest

COLAB = pathlib.Path(__file__).parents[2] / "colab"
SCRIPTS = sorted(COLAB.glob("*.py"))


@pytest.mark.fast
def test_there_are_notebooks() -> None:
    assert SCRIPTS
    assert {script.stem for script in SCRIPTS} == {notebook.stem for notebook in COLAB.glob("*.ipynb")}


@pytest.mark.fast
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_agrees_with_its_script_and_has_no_outputs(script: pathlib.Path) -> None:
    notebook = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    expected = jupytext.read(script)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in expected.cells
    ]
    assert not any(cell.get("outputs") for cell in notebook.cells)
