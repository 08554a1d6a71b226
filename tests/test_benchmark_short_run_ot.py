"""The command of the transport correction's ablations: what it measures, when, and what it writes down."""

import importlib
import json
import pathlib

import numpy as np
import pytest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("short_run_ot")


class Copies:
    """A model whose samples are the images, and whose reconstructions are off by 0.1."""

    def __init__(self, images):
        self.images = images

    def sample(self, number, seed):
        return self.images[:number] * 2 - 1

    def reconstruct(self, images, seed):
        return images + 0.1


@pytest.mark.fast
@pytest.mark.parametrize(("epochs", "measured"), [(3, [3]), (5, [5]), (7, [5, 7]), (10, [5, 10])])
def test_the_last_epoch_is_measured_too(benchmark, epochs, measured):
    images = np.random.default_rng(1).uniform(size=(80, 8, 8, 1)).astype("float32")
    callback = benchmark.Measured(images, images[:3], every=5)
    callback.set_params({"epochs": epochs})
    callback.set_model(Copies(images))
    for epoch in range(epochs):
        callback.on_epoch_end(epoch, {"transport_cost": epoch})
    assert [row["epoch"] for row in callback.rows] == measured
    assert callback.rows[-1]["transport_cost"] == epochs - 1
    np.testing.assert_allclose([row["mse"] for row in callback.rows], 0.01, rtol=1e-4)


def test_rows_of_the_table_are_of_the_epoch_in_its_title(benchmark, monkeypatch, tmp_path, capsys):
    """The step size before and after the correction; what two rows share is trained once."""
    monkeypatch.setattr(benchmark, "BASE", {**benchmark.BASE, "num_steps": 1})
    monkeypatch.setattr(benchmark, "GRID", {"alpha": [0.5], "step_size": [0.1]})
    written, picture = tmp_path / "rows.json", tmp_path / "alpha.png"
    benchmark.main(["--epochs", "6", "--seeds", "1", "--json", str(written), "--picture", str(picture)])
    assert "Digits, after epoch 6, one seed" in capsys.readouterr().out
    rows = json.loads(written.read_text())["rows"]
    assert [(row["changed"], row["alpha"]) for row in rows] == [("alpha", 0.5), ("step_size", 0.0), ("step_size", 0.5)]
    assert [[each["epoch"] for each in row["runs"][0]] for row in rows] == [[5, 6], [6], [5, 6]]
    assert rows[2]["runs"] == rows[0]["runs"]
    assert picture.stat().st_size


@pytest.mark.fast
def test_what_is_measured_along_the_way_comes_first(benchmark):
    assert benchmark.arguments(["--only", "step_size", "alpha"]).only == ["alpha", "step_size"]


@pytest.mark.fast
@pytest.mark.parametrize("words", ["--epochs 0", "--seeds 0", "--quick --only alpha", "--only beta"])
def test_what_cannot_be_run_is_said_before_any_training(benchmark, words, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(words.split())
    assert "error" in capsys.readouterr().err
