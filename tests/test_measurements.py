"""What was measured of a run, and what may be compared."""

import contextlib
import pathlib

import numpy as np
import pytest

from tfzoo import measurements, runs


@pytest.mark.parametrize(
    ("split", "one", "other", "wrong"),
    [
        ("test", {"binarize": "dynamic"}, {"binarize": "static"}, None),
        ("test", {"binarize": None}, {}, None),
        ("test", {"value_range": [0.0, 1.0], "data_dir": "here"}, {}, None),
        ("test", {"binarize": "dynamic"}, {"binarize": "dynamic", "seed": 7}, None),
        ("train", {"binarize": "dynamic"}, {"binarize": "dynamic", "seed": 7}, "data"),
        ("train", {"mask": "square:3"}, {"mask": "square:3", "seed": 7}, "data"),
        ("test", {"mask": "square:3"}, {"mask": "square:3", "seed": 7}, None),
        ("train", {}, {"seed": 7}, None),
        ("test", {"binarize": "dynamic"}, {}, "data"),
        ("test", {"value_range": [-1.0, 1.0]}, {}, "data"),
        ("test", {"settings": {"samples": 5}}, {"settings": {"samples": 50}}, "settings"),
    ],
)
def test_what_is_compared_is_of_the_same_images_and_measured_alike(tmp_path, split, one, other, wrong) -> None:
    values = (np.arange(3), np.ones(3))
    for name, options in (("one", dict(one)), ("other", dict(other))):
        folder, settings = tmp_path / name, options.pop("settings", None)
        folder.mkdir()
        runs.write_config(folder, runs.RunConfig("vae", "digits", {}, options, seed=options.pop("seed", 0)))
        (folder / "model.keras").write_bytes(name.encode())
        measurements.write_per_image(folder, "nll", split, values, model=runs.model_digest(folder), settings=settings)
        assert measurements.read_per_image(folder, "nll", split) == {0: 1.0, 1: 1.0, 2: 1.0}
    expected = pytest.raises(ValueError, match=f"the same {wrong}. Received: ") if wrong else contextlib.nullcontext()
    with expected:
        measurements.check_comparable(tmp_path / "one", tmp_path / "other", "nll", split)


@pytest.fixture
def two_measured_runs(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
        runs.write_config(folder, runs.RunConfig("vae", "digits", {}, {}))
        (folder / "model.keras").write_bytes(b"the second epoch")
        digest = runs.model_digest(folder)
        measurements.write_per_image(folder, "elbo", "test", (np.arange(3), np.ones(3)), model=digest)
        measurements.add_metrics(folder, {"elbo": {"elbo": 1.0}}, model=digest)
    return folders


@pytest.mark.parametrize("trained_on", [0, 1])
def test_what_is_compared_is_of_the_models_that_the_runs_have(two_measured_runs, trained_on: int) -> None:
    measurements.check_comparable(*two_measured_runs, "elbo", "test")
    folder = two_measured_runs[trained_on]
    (folder / "model.keras").write_bytes(b"a later epoch")
    sentence = rf"^elbo of the split test was measured before .*; tfzoo evaluate it again\. Received: {folder}$"
    with pytest.raises(ValueError, match=sentence):
        measurements.check_comparable(*two_measured_runs, "elbo", "test")
    assert measurements.present_metrics(folder) == {}


@pytest.mark.parametrize("change", ["no model in the comment", "no comment", "no model"])
def test_what_is_of_no_known_model_is_not_compared(two_measured_runs, change: str) -> None:
    folder = two_measured_runs[1]
    file = folder / "per_image" / "elbo_test.csv"
    if change == "no model":
        (folder / "model.keras").unlink()
    else:
        how, *rows = file.read_text().splitlines()
        how = "# []" if change == "no comment" else how.replace('"model"', '"of"')
        file.write_text("\n".join([how, *rows]))
    with pytest.raises(ValueError, match=rf"^[^.]*\. Received: {folder}$"):
        measurements.check_comparable(*two_measured_runs, "elbo", "test")


def test_metrics_of_a_runs_earlier_models_are_dropped(two_measured_runs) -> None:
    folder = two_measured_runs[0]
    measurements.add_metrics(folder, {"mse": {"mse": 2.0}}, model=runs.model_digest(folder))
    assert set(measurements.read_metrics(folder)) == {"elbo", "mse"}
    (folder / "model.keras").write_bytes(b"a later epoch")
    measurements.add_metrics(folder, {"mse": {"mse": 3.0}}, model=runs.model_digest(folder))
    assert measurements.read_metrics(folder) == {"mse": {"mse": 3.0, "model": runs.model_digest(folder)}}
