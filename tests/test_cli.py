"""The command line, in this process: what it writes, what it prints, and how it fails."""

import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import nibabel
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfzoo
from tfzoo import cli, evaluation, runs
from tfzoo.callbacks import read_history
from tfzoo.cli import training
from tfzoo.cli.group import group


def run(*arguments: str) -> int:
    """Runs the command line and returns its exit status."""
    with pytest.raises(SystemExit) as status:
        cli.main(list(arguments))
    return int(status.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    assert run("train", "vae_digits", "--epochs", "2", "--out", str(folder), "--quiet") == 0
    return folder


def test_train_fills_a_run_folder(trained: pathlib.Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names >= {
        "model.keras",
        "config.json",
        "history.csv",
        "logs",
        "backup",
        "samples.png",
        "reconstructions.png",
    }
    assert not [name for name in names if ".new" in name]
    assert [row["epoch"] for row in read_history(trained / "history.csv")] == ["1", "2"]
    assert json.loads((trained / "config.json").read_text())["made_with"]["tfzoo"]


def test_train_logs_losses_and_image_grids_for_tensorboard(trained: pathlib.Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    images = EventAccumulator(str(trained / "logs" / "images")).Reload()
    tensors = images.Tags()["tensors"]
    assert {"samples", "reconstructions"} <= set(tensors)
    assert len(images.Tensors("samples")) == 2
    losses = EventAccumulator(str(trained / "logs" / "train")).Reload()
    assert "epoch_loss" in losses.Tags()["tensors"]


def test_evaluate_writes_metrics_that_say_how(trained: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["evaluate", str(trained), "--metrics", "elbo,nll,mse", "--samples", "20", "--images", "50"]
    assert run(*arguments) == 0
    first = json.loads((trained / "metrics.json").read_text())
    assert set(first) >= {"elbo", "nll", "mse"}
    assert first["nll"]["num_samples"] == 20
    assert first["nll"]["num_images"] == 50
    assert first["nll"]["standard_error"] > 0
    # Importance sampling is the tighter bound, up to the noise of both.
    noise = first["nll"]["sampling_error"] + first["elbo"]["standard_error"]
    assert -first["nll"]["nll"] > first["elbo"]["elbo"] - 4 * noise
    assert "importance sampling from q(z|x), 20 samples" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert run(*arguments) == 0
    assert json.loads((trained / "metrics.json").read_text()) == first  # same seed, same numbers


def test_compare_pairs_images(trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    for count in ("20", "30"):
        assert run("evaluate", str(trained), "--metrics", "mse", "--images", count) == 0
        assert len((trained / "per_image" / "mse_test.csv").read_text().splitlines()) == int(count) + 2
    other = tmp_path / "other"
    (other / "per_image").mkdir(parents=True)
    for name in ("config.json", "model.keras"):
        shutil.copy(trained / name, other)
    how, _, *rows = (trained / "per_image" / "mse_test.csv").read_text().splitlines()
    lower = [f"{index},{float(value) - 0.25}" for index, value in (row.split(",") for row in rows[:12])]
    (other / "per_image" / "mse_test.csv").write_text("\n".join([how, "index,mse", *lower]) + "\n")
    capsys.readouterr()
    assert run("compare", str(trained), str(other), "--metric", "mse") == 0
    printed = capsys.readouterr().out
    assert "+0.25" in printed
    assert "12" in printed
    assert "…" not in printed  # the folders' names are whole
    assert run("compare", str(trained), str(other), "--metric", "fid") == 1
    assert capsys.readouterr().err.startswith("Error: the run must have fid of each image")
    file = other / "per_image" / "mse_test.csv"
    file.write_text(file.read_text().replace("digits", "mnist"))
    assert run("compare", str(trained), str(other), "--metric", "mse") == 1
    assert capsys.readouterr().err.startswith("Error: runs must be measured on the same data. Received: ")


def test_a_measurement_is_of_the_model_as_it_was_loaded(trained: pathlib.Path, tmp_path, monkeypatch, capsys) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("metrics.json", "per_image"))
    digest, load = runs.model_digest(folder), runs.load

    def load_and_train_on(run: pathlib.Path) -> tuple:
        loaded = load(run)
        with (run / "model.keras").open("ab") as file:
            file.write(b"another epoch")
        return loaded

    monkeypatch.setattr(runs, "load", load_and_train_on)
    assert run("evaluate", str(folder), "--metrics", "mse", "--images", "20") == 0
    assert json.loads((folder / "metrics.json").read_text())["mse"]["model"] == digest
    capsys.readouterr()
    assert run("compare", str(folder), str(folder), "--metric", "mse") == 1
    assert capsys.readouterr().err.strip().endswith(f"tfzoo evaluate it again. Received: {folder}")


def test_evaluate_scores_samples_and_codes(trained: pathlib.Path) -> None:
    assert run("evaluate", str(trained), "--metrics", "inception_score,fid,f1", "--generated", "100") == 0
    metrics = json.loads((trained / "metrics.json").read_text())
    assert 1.0 <= metrics["inception_score"]["inception_score"] <= 10.0
    assert metrics["fid"]["fid"] > 0
    assert 0 < metrics["f1"]["f1"] <= 1
    assert list(metrics["f1"]["per_class"]) == list("0123456789")
    assert np.mean(list(metrics["f1"]["per_class"].values())) == pytest.approx(metrics["f1"]["f1"])
    assert "digits classifier" in metrics["fid"]["estimator"]


@pytest.mark.parametrize(
    ("verb", "options", "name"),
    [
        ("sample", ["--count", "7"], "samples"),
        ("reconstruct", ["--index", "3", "--index", "14"], "reconstructions"),
        ("interpolate", ["--count", "2", "--points", "5"], "interpolations"),
        ("walk", ["--count", "2", "--points", "2", "--duration", "0.5"], "walks"),
        ("inpaint", ["--count", "3", "--completions", "2"], "inpaintings"),
    ],
)
def test_picture_verbs_write_png_grids(
    trained: pathlib.Path, tmp_path: pathlib.Path, verb: str, options: list, name: str
):
    out = tmp_path / "picture.png"
    assert run(verb, str(trained), "--out", str(out), *options) == 0
    pixels = np.asarray(Image.open(out))
    assert pixels.min() < 100 < pixels.max()
    assert run(verb, str(trained), *options) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(trained / f"{name}.png")), pixels)  # same seed, same picture


def test_samples_of_a_low_temperature_are_of_the_mode(trained: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    tiles = {}
    for temperature in ("1.0", "0.001"):
        out = tmp_path / "picture.png"
        assert run("sample", str(trained), "--out", str(out), "--count", "4", "--temperature", temperature) == 0
        pixels = np.asarray(Image.open(out)).astype(int)
        factor = pixels.shape[0] // 22  # two rows of 8 pixels, and three margins of 2
        tiles[temperature] = [pixels[a : a + 8 * factor, 2 * factor : 10 * factor] for a in (2 * factor, 12 * factor)]
    assert np.abs(np.subtract(*tiles["1.0"])).max() > 20
    assert np.abs(np.subtract(*tiles["0.001"])).max() <= 3
    capsys.readouterr()
    assert run("sample", str(trained), "--temperature", "-1") == 1
    assert capsys.readouterr().err.strip().endswith("Received: -1.0")


def test_interpolations_on_geodesics_have_two_rows_a_pair(trained: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pictures = []
    for options in ([], ["--geodesic"]):
        out = tmp_path / "picture.png"
        assert run("interpolate", str(trained), "--out", str(out), "--count", "1", "--points", "3", *options) == 0
        pictures.append(np.asarray(Image.open(out)).astype(int))
    line, both = pictures
    tile = line.shape[0] - line.shape[0] // 10  # the margin above is also the one between rows
    assert 1.8 * len(line) < len(both) < 2.2 * len(line)
    np.testing.assert_array_equal(both[:tile], line[:tile])
    width = line.shape[1] // 3
    ends = np.abs(both[: len(line)] - both[-len(line) :])
    assert ends[:, :width].sum() < ends[:, width : 2 * width].sum()  # the same ends, another way
    assert run("geometry", str(trained)) == 1  # of more than two latents


def test_a_folder_of_volumes_can_be_trained_on_and_looked_at(tmp_path: pathlib.Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for i in range(10):
        side = 16 + i  # in every file another shape and spacing
        volume = np.random.default_rng(i).integers(-1000, 1000, (side, side, side), np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([16 / side] * 3 + [1.0])), scans / f"{i}.nii.gz")
    options = ["--spacing", "1", "--volume-shape", "16", "16", "12", "--window", "-1000", "1000"]
    out = tmp_path / "run"
    assert run("train", "vae", "--data", str(scans), *options, "--epochs", "1", "--out", str(out), "--quiet") == 0
    config = json.loads((out / "config.json").read_text())
    assert config["data_options"] == {"spacing": 1.0, "volume_shape": [16, 16, 12], "window": [-1000.0, 1000.0]}
    assert runs.load(out)[1].event_shape == (16, 16, 12, 1)
    assert run("sample", str(out), "--count", "4") == 0
    assert run("reconstruct", str(out), "--index", "0") == 0
    height, width = np.asarray(Image.open(out / "reconstructions.png")).shape
    assert (width % (12 + 12 + 16 + 2 + 4), height % (2 * 18 + 2)) == (0, 0)  # three slices each, two rows


def test_images_of_several_sizes_can_be_trained_on(tmp_path: pathlib.Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(10):
        Image.new("L", (20 + i, 20), 20 * i).save(images / f"{i}.png")
    arguments = ["--image-size", "16", "--epochs", "1", "--out", str(tmp_path / "run"), "--quiet"]
    assert run("train", "vae", "--data", str(images), *arguments) == 0


def test_export_is_verified_in_a_fresh_process(trained: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    assert run("export", str(trained), str(tmp_path / "served"), "--samples", "10") == 0
    assert "8 signatures in a fresh process" in capsys.readouterr().out
    assert (tmp_path / "served" / "saved_model.pb").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_list_names_everything_at_any_width(width, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert run("list") == 0
    words = capsys.readouterr().out.replace(",", " ").split()
    assert {*tfzoo.list_models(), *tfzoo.list_presets(), *tfzoo.data.list_datasets()} <= set(words)


@pytest.mark.parametrize("verb", sorted(group.commands))
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture) -> None:
    assert run(verb, "--help") == 0
    printed = capsys.readouterr().out
    assert f"Example:  tfzoo {verb}" in printed
    assert "--debug" in printed


def test_help_says_in_a_whole_sentence_what_each_verb_does(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("--help") == 0
    verbs = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert len(verbs) == len(group.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in verbs)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "vae", "--data", "digits", "--set", "no_such=1"],
        ["train", "vae"],
        ["train", "vea"],
        ["train", "vea", "--data", "digits"],
        ["train", "vae", "--data", "digist"],
        ["train", "vae", "--data", "digits", "--optimizer", "Adamax2"],
        ["train", "vae", "--data", "digits", "--set", "likelihood=poisson"],
        ["train", "vae", "--data", "digits", "--set", "latent_dim=0"],
        ["train", "vae", "--data", "digits", "--set", "likelihood=gaussian", "--set", "scale=abc"],
        ["train", "vae", "--data", "digits", "--mask", "box"],
        ["train", "abp", "--data", "digits", "--mask", "square:9"],
        ["train", "abp", "--data", "digits", "--mask", "circle:3"],
        ["train", "--resume", "nowhere"],
        ["evaluate", "nowhere"],
        ["sample", "nowhere"],
        ["export", "nowhere", "there"],
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    arguments: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["no_such_verb"],
        ["train", "vae_digits", "--epochs", "0"],
        ["train", "vae_digits", "--set", "latent_dim"],
        ["train", "vae_digits", "--set", "latent_dim={a: ["],
        ["train", "vae_digits", "--set", "latent_dim=2020-13-45"],
        ["train", "vae_digits", "--seed", "-1"],
        ["train", "vae_digits", "--seed", "4294967296"],
        ["sample", "there", "--seed", "-1"],
        ["evaluate", "there", "--seed", "4294967296"],
        ["train", "vae_digits", "--resume", "there"],
        ["train", "--resume", "there", "--learning-rate", "0.1"],
        ["evaluate", "there", "--metrics", " "],
        ["sample"],
    ],
)
def test_commands_that_cannot_be_understood_exit_with_2(arguments: list[str], tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert not list(tmp_path.iterdir())


def test_a_setting_that_is_no_yaml_is_one_sentence(capsys: pytest.CaptureFixture) -> None:
    assert run("train", "vae_digits", "--set", "latent_dim={a: [") == 2
    expected = "Error: --set takes KEY=VALUE with a value in YAML. Received: 'latent_dim={a: ['"
    assert capsys.readouterr().err.strip().splitlines()[-1] == expected


def test_unknown_metric_and_unwritable_pictures_are_errors(trained: pathlib.Path, capsys) -> None:
    assert run("evaluate", str(trained), "--metrics", "nil") == 1
    assert capsys.readouterr().err.strip().endswith("auprc, recovery. Received: 'nil'")
    assert run("evaluate", str(trained), "--metrics", "mse", "--mask", "box") == 1
    assert capsys.readouterr().err.strip().endswith("are of recovery. Received: mse")
    assert run("sample", str(trained), "--out", "/no/such/folder/x.png") == 1
    assert "Received: /no/such/folder/x.png" in capsys.readouterr().err
    assert run("reconstruct", str(trained), "--index", "100000") == 1
    assert "Received: 100000" in capsys.readouterr().err


def test_what_is_wrong_is_said_before_any_work(trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: pytest.fail("hours of work"))
    for masks in ([], ["--mask", "no_such_mask"]):
        assert run("evaluate", str(folder), "--metrics", "nll,recovery", *masks) == 1
        assert "Received: " in capsys.readouterr().err
    for torn in ("", '{"mse": {', "[]"):
        (folder / "metrics.json").write_text(torn)
        assert run("evaluate", str(folder), "--metrics", "nll") == 1
        assert capsys.readouterr().err.strip().endswith(f"Received: {folder / 'metrics.json'}")


def test_a_run_that_cannot_be_written_is_not_measured(trained: pathlib.Path, tmp_path, monkeypatch, capsys) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "per_image").mkdir(exist_ok=True)
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: pytest.fail("hours of work"))
    for closed in (folder, folder / "per_image"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda path, mode, closed=closed: mode != os.W_OK or path != closed)
            assert run("evaluate", str(folder), "--metrics", "mse") == 1
        assert capsys.readouterr().err.strip() == f"Error: the run's folder must be writable. Received: {closed}"


def test_what_was_measured_outlives_a_later_failure(masked: pathlib.Path, tmp_path, monkeypatch, capsys) -> None:
    folder = tmp_path / "run"
    shutil.copytree(masked, folder, ignore=shutil.ignore_patterns("metrics.json", "per_image"))

    def diverges(*_, **__):
        raise ValueError("it diverges")

    monkeypatch.setattr(evaluation._Session, "ais", diverges)
    assert run("evaluate", str(folder), "--metrics", "mse,ais", "--images", "20") == 1
    monkeypatch.setattr("tfzoo.recovery.neighbour_fill", diverges)
    assert run("evaluate", str(folder), "--metrics", "mse,recovery", "--images", "20", "--split", "train") == 1
    printed = capsys.readouterr()
    assert printed.out.count("one code an image") == 2  # the table
    assert printed.err == 2 * "Error: it diverges\n"
    assert json.loads((folder / "metrics.json").read_text())["mse"]["num_images"] == 20
    assert {path.name for path in (folder / "per_image").iterdir()} == {"mse_test.csv", "mse_train.csv"}


def test_a_resumed_run_keeps_what_it_has(trained: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    assert run("train", "--resume", str(trained), "--set", "latent_dim=3", "--seed", "1") == 2
    assert capsys.readouterr().err.strip().endswith("Received: --set --seed")
    before = (trained / "config.json").read_text()
    assert run("train", "--resume", str(trained), "--epochs", "1") == 1
    assert capsys.readouterr().err.strip().endswith("epochs must be at least 2: so many are trained. Received: 1")
    assert (trained / "config.json").read_text() == before


@pytest.mark.parametrize("option", ["--value-range=-1,1", "--set=event_shape=[28,28,1]", "--set=scale=1e-3x"])
def test_a_request_that_cannot_be_trained_leaves_no_folder(option: str, tmp_path: pathlib.Path, capsys) -> None:
    assert run("train", "vae", "--data", "digits", "--epochs", "1", option, "--out", str(tmp_path / "run")) == 1
    assert "Received: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


PICTURE_VERBS = [
    "sample",
    "reconstruct",
    "interpolate",
    "walk",
    "inpaint",
    "recover",
    "posterior",
    "geometry",
    "latents",
]


@pytest.mark.parametrize("verb", PICTURE_VERBS)
def test_a_picture_of_no_run_is_no_matter_of_its_path(verb: str, tmp_path: pathlib.Path, capsys) -> None:
    assert run(verb, str(tmp_path / "nowhere")) == 1
    error = capsys.readouterr().err.strip()
    assert "must be a run" in error
    assert error.endswith(f"Received: {tmp_path / 'nowhere'}")


@pytest.mark.parametrize("verb", PICTURE_VERBS)
def test_where_a_picture_goes_is_looked_at_before_long_work(verb: str, trained, monkeypatch, capsys) -> None:
    monkeypatch.setattr(runs, "load_split", lambda *_, **__: pytest.fail("long work"))
    monkeypatch.setattr("tfzoo.models.base.LatentVariableModel.sample", lambda *_, **__: pytest.fail("long work"))
    assert run(verb, str(trained), "--out", "/no/such/folder/x.png") == 1
    assert capsys.readouterr().err.strip().endswith("can be written. Received: /no/such/folder/x.png")


def test_one_image_cannot_be_interpolated(trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    load_split = runs.load_split
    first = lambda *each, **options: load_split(*each, **options).unbatch().batch(1).take(1)  # noqa: E731
    monkeypatch.setattr(runs, "load_split", first)
    for options in ([], ["--geodesic"]):
        assert run("interpolate", str(trained), *options, "--out", str(tmp_path / "x.png")) == 1
        assert capsys.readouterr().err == "Error: an interpolation needs two images at least. Received: 1\n"


def test_a_folder_is_no_picture(trained: pathlib.Path, tmp_path: pathlib.Path, capsys) -> None:
    assert run("sample", str(trained), "--out", str(tmp_path)) == 1
    assert capsys.readouterr().err.strip() == f"Error: --out must be a file. Received: the folder {tmp_path}"


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_an_interrupted_training_is_told_how_to_go_on(verb: str, monkeypatch, capsys) -> None:
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(group, "main", interrupted)
    assert run(verb, "runs/vae") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Interrupted.")
    assert ("--resume" in printed) == (verb == "train")


def test_settings_are_numbers_as_people_write_them() -> None:
    settings = ("a=1e-3", "b=0.5", "c=2", "d=true", "e=word", "hidden-units=[4, 8]", "f=null")
    expected = {"a": 1e-3, "b": 0.5, "c": 2, "d": True, "e": "word", "hidden_units": [4, 8], "f": None}
    assert training._parse_settings(settings) == expected


def test_a_float64_model_trains(tmp_path: pathlib.Path) -> None:
    options = ["--epochs", "1", "--set", "dtype=float64", "--set", "latent_dim=2", "--batch-size", "500", "--quiet"]
    assert run("train", "vae", "--data", "digits", *options, "--out", str(tmp_path / "run")) == 0
    _, model = runs.load(tmp_path / "run")
    assert model.sample(1).dtype == tf.float64


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="Received: nowhere"):
        cli.main(["sample", "nowhere", "--debug"])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "Can't synchronously write data (error message = 'No space left on device', buf = 0x5)"),
        shutil.Error([("backup/a", "backup.new/a", "[Errno 28] No space left on device: 'backup/a'")]),
        tf.errors.ResourceExhaustedError(None, None, "runs/x/logs; No space left on device"),
    ],
)
def test_a_full_disk_is_one_sentence(error: Exception, monkeypatch, capsys) -> None:
    def train(*_, **__):
        raise error

    monkeypatch.setattr(group, "main", train)
    for name in ("excepthook", "unraisablehook"):  # set for the rest of a process that ends
        monkeypatch.setattr(sys, name, getattr(sys, name))
    assert run("train", "vae_digits") == 1
    assert re.fullmatch(r"Error: no space is left on the disk\. A training goes on [^\n]*\n", capsys.readouterr().err)


def test_a_new_run_refuses_a_folder_in_use_and_an_unwritable_one(trained: pathlib.Path, tmp_path, capsys) -> None:
    before = sorted(trained.iterdir())
    assert run("train", "vae_digits", "--epochs", "1", "--out", str(trained)) == 1
    assert sorted(trained.iterdir()) == before
    (tmp_path / "file").write_text("")
    assert run("train", "vae_digits", "--epochs", "1", "--out", str(tmp_path / "file" / "run")) == 1
    assert "Received:" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_run_with_own_options_is_repeated_by_its_seed(tmp_path: pathlib.Path) -> None:
    for name in ("a", "b"):
        options = ["--data", "digits", "--set", "latent_dim=2", "--set", "num_samples=2", "--batch-size", "500"]
        options += ["--epochs", "1", "--seed", "3", "--binarize", "dynamic", "--quiet", "--optimizer", "Adamax"]
        assert run("train", "iwae", *options, "--out", str(tmp_path / name)) == 0
    first, second = (runs.load(tmp_path / name)[1] for name in ("a", "b"))
    assert first.latent_dim == 2
    np.testing.assert_allclose(first.sample(3, seed=0), second.sample(3, seed=0), atol=1e-6)


@pytest.mark.replicas
def test_mirrored_trains_by_its_option(tmp_path: pathlib.Path) -> None:
    options = ["--epochs", "1", "--batch-size", "500", "--quiet", "--strategy", "mirrored"]
    assert run("train", "vae_digits", *options, "--out", str(tmp_path / "mirrored")) == 0


def test_mixed_precision_and_xla_train_by_their_options(tmp_path: pathlib.Path) -> None:
    common = ["train", "vae_digits", "--epochs", "1", "--batch-size", "500", "--quiet"]
    assert run(*common, "--jit-compile", "--mixed-precision", "--out", str(tmp_path / "mixed")) == 0
    _, model = runs.load(tmp_path / "mixed")
    assert model.compute_dtype == "float16"
    assert model.log_prob(np.full([2, 8, 8, 1], 0.5, np.float32), 5, seed=0).dtype == "float32"


def test_killed_run_goes_on_and_loses_one_epoch_at_most(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "tfzoo.cli", "train", "vae_digits", "--epochs", "1000", "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    try:
        deadline = time.monotonic() + 120
        while len(read_history(folder / "history.csv")) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = len(read_history(folder / "history.csv"))
    rows = read_history(folder / "history.csv")
    runs.train(folder, epochs=done + 2)
    resumed = read_history(folder / "history.csv")
    assert [int(row["epoch"]) for row in resumed] == list(range(1, done + 3))
    assert resumed[: done - 1] == rows[: done - 1]  # at most the last epoch was trained anew
    assert float(resumed[-1]["loss"]) < float(rows[0]["loss"])
    assert json.loads((folder / "config.json").read_text())["epochs"] == done + 2


def test_version_is_printed(capsys: pytest.CaptureFixture) -> None:
    assert run("--version") == 0
    assert re.search(r"\d+\.\d+\.\d+", capsys.readouterr().out)


def test_two_latents_have_pictures_of_their_geometry_and_posterior(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run"
    options = ("--set", "latent_dim=2", "--epochs", "1", "--out", str(folder), "--quiet")
    assert run("train", "vae_digits", *options) == 0
    assert run("geometry", str(folder), "--count", "10", "--pairs", "2", "--walks", "1") == 0
    assert np.asarray(Image.open(folder / "geometry.png")).std() > 10
    assert run("posterior", str(folder), "--index", "3", "--points", "20", "--samples", "10") == 0
    with Image.open(folder / "posterior_3.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 50
    assert [path.name for path in folder.glob(".new.*")] == []


def test_training_starts_from_other_weights(
    trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "flow"
    arguments = ["train", "langevin_vae", "--data", "digits", "--set", "latent_dim=16", "--set", "num_steps=1"]
    arguments += ["--set", "likelihood=gaussian", "--learning-rate", "1e-9", "--epochs", "1", "--quiet"]
    assert run(*arguments, "--initial-weights", str(trained), "--out", str(folder)) == 0
    start, model = runs.load(trained)[1], runs.load(folder)[1]
    z = np.ones([2, 16], np.float32)
    np.testing.assert_allclose(model.decode(z), start.decode(z), atol=1e-4)
    for wrong, message in ((str(tmp_path), "must be a run"), ("iwae_digits", "pretrained weights come with")):
        assert run(*arguments, "--initial-weights", wrong, "--out", str(tmp_path / "other")) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "detector"
    arguments = ["train", "short_run_ot", "--data", "digits", "--held-out", "4", "--value-range=-1,1", "--epochs", "1"]
    arguments += [
        "--set",
        "latent_dim=3",
        "--set",
        "num_steps=2",
        "--set",
        "alpha=0.0",
        "--out",
        str(folder),
        "--quiet",
    ]
    assert run(*arguments) == 0
    return folder


def test_a_class_held_out_is_found_as_an_anomaly(detector: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["evaluate", str(detector), "--metrics", "auprc", "--runs", "2", "--images", "100"]
    assert run(*arguments, "--held-out", "4") == 0
    found = json.loads((detector / "metrics.json").read_text())["auprc"]
    share = 181 / (181 + 324)  # of the pool of all digits
    assert found["base_rate"] == round(100 * share) / 100
    assert found["num_images"] == 100
    assert len(found["runs"]) == 2
    assert found["floor"] < found["auprc"] <= 1
    printed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "label 4 held out, 100 images, 2 runs, deviation" in printed
    assert f"base rate 0.360, floor {found['floor']:.3f}" in printed
    assert run(*arguments) == 0  # the label is the run's own
    assert run(*arguments, "--held-out", "9") == 1
    assert capsys.readouterr().err.strip().endswith("trained without, 4. Received: 9")


def test_a_detector_is_measured_on_its_own_splits(detector: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    config = runs.load(detector)[0]
    assert config.data_options["held_out"] == 4
    assert not config.has_validation
    assert read_history(detector / "history.csv")[0].keys().isdisjoint({"val_loss"})
    assert len(runs.load_split(config, "test", batch_size=1)) == 181 + 324
    assert run("evaluate", str(detector), "--images", "10") == 0  # by default, what its model can be measured by
    assert "mse" in json.loads((detector / "metrics.json").read_text())
    assert run("evaluate", str(detector), "--metrics", "nll") == 1
    assert capsys.readouterr().err.startswith("Error: nll needs a model with an encoder: ais")
    assert run("reconstruct", str(detector), "--split", "validation") == 1
    assert "`split` must be one of train, test" in capsys.readouterr().err


def test_a_run_on_all_classes_has_no_anomalies(trained: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    assert run("evaluate", str(trained), "--metrics", "auprc") == 1
    assert capsys.readouterr().err.strip().endswith("--held-out LABEL. Received: one trained on all")
    assert run("evaluate", str(trained), "--metrics", "mse", "--held-out", "4") == 1
    assert capsys.readouterr().err.strip().endswith("trained without, none. Received: 4")


def test_classes_are_those_of_all_splits(tmp_path: pathlib.Path) -> None:
    config = runs.RunConfig.of("vae", "digits", data_options={"classes": [0, 1]})
    for split in ("train", "validation", "test"):
        labels = np.concatenate([batch["label"] for batch in runs.load_split(config, split)])
        assert set(labels) == {0, 1}
    assert config.has_validation
    assert run("train", "vae", "--data", "digits", "--classes", "a", "--out", str(tmp_path / "run")) == 2
    assert run("train", "vae", "--data", "digits", "--classes", "0,11", "--out", str(tmp_path / "run")) == 1
    assert not (tmp_path / "run").exists()


def test_latents_draws_the_codes_of_some_epochs(
    trained: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "run"
    arguments = ["train", "short_run_ot", "--data", "digits", "--classes", "0,1", "--value-range=-1,1", "--epochs", "3"]
    arguments += ["--set", "latent_dim=2", "--set", "num_steps=2", "--out", str(folder), "--quiet"]
    assert run(*arguments) == 0
    assert len(list((folder / "latents").iterdir())) == 3
    assert run("latents", str(folder)) == 0
    pixels = np.asarray(Image.open(folder / "latents.png"))
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 100
    assert pixels.shape[1] > 3 * pixels.shape[0]  # four panels in a row
    assert not list(folder.glob(".new.*"))
    assert run("latents", str(trained)) == 1
    assert capsys.readouterr().err.strip().endswith("VAE with latent_dim=16")


@pytest.fixture(scope="module")
def of_the_last_seed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "last_seed"
    arguments = ["train", "short_run_ot", "--data", "digits", "--classes", "0,1", "--value-range=-1,1", "--epochs", "1"]
    arguments += ["--set", "latent_dim=2", "--set", "num_steps=2", "--seed", str(2**32 - 1), "--mask", "square:2"]
    assert run(*arguments, "--out", str(folder), "--quiet") == 0
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "--count", "4"],
        ["inpaint", "--count", "2", "--hide", "square:3"],
        ["geometry", "--count", "3", "--pairs", "1", "--walks", "1"],
        ["latents"],
        ["evaluate", "--metrics", "mse,f1,recovery", "--images", "40", "--mask", "square:3"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_seeds_go_up_to_32_bits(of_the_last_seed: pathlib.Path, arguments: list[str]) -> None:
    assert run(arguments[0], str(of_the_last_seed), *arguments[1:], "--seed", str(2**32 - 1)) == 0


def test_pictures_of_another_seed_are_others(of_the_last_seed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pictures = set()
    for seed in ("0", "1", "2147483648", "4294967295"):
        assert run("sample", str(of_the_last_seed), "--seed", seed, "--out", str(tmp_path / "x.png")) == 0
        pictures.add((tmp_path / "x.png").read_bytes())
    assert len(pictures) == 4


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs") / "masked"
    arguments = ["train", "abp", "--data", "digits", "--classes", "0,1", "--mask", "square:3", "--value-range=-1,1"]
    arguments += ["--set", "latent_dim=3", "--set", "num_steps=2", "--set", "inference=short_run", "--epochs", "2"]
    assert run(*arguments, "--out", str(folder), "--quiet") == 0
    return folder


def test_a_run_on_masked_images_draws_what_it_recovers(masked: pathlib.Path, trained: pathlib.Path, capsys) -> None:
    assert json.loads((masked / "config.json").read_text())["data_options"]["mask"] == "square:3"
    assert [path.name for path in sorted((masked / "recovered").iterdir())] == ["epoch_0001.png", "epoch_0002.png"]
    assert run("recover", str(masked), "--index", "5", "--index", "2") == 0
    pixels = np.asarray(Image.open(masked / "recovered.png"))
    factor = pixels.shape[1] // 22  # two images of 8 pixels, and three margins of 2
    pixels = pixels[factor // 2 :: factor, factor // 2 :: factor]
    config = runs.load(masked)[0]
    batch = next(iter(runs.load_split(config, "train", batch_size=10, shuffle=False)))
    for column, index in enumerate((5, 2)):
        image, mask = (batch[key][index, ..., 0].numpy() for key in ("image", "mask"))
        shown = [pixels[row : row + 8, 2 + 10 * column : 10 + 10 * column] for row in (2, 12, 22)]
        assert (mask == 0).sum() == 9
        np.testing.assert_array_equal(shown[1][mask == 0], 128)
        for each in shown[1:]:
            np.testing.assert_array_equal(each[mask == 1], shown[0][mask == 1])
        np.testing.assert_allclose(shown[0], (image + 1) / 2 * 255, atol=1)
    assert run("recover", str(trained)) == 1
    assert capsys.readouterr().err.strip().endswith("tfzoo train ... --mask square:20. Received: whole ones")


def test_recovery_is_measured_beside_plain_fills(masked: pathlib.Path, trained: pathlib.Path, capsys) -> None:
    arguments = ["evaluate", str(masked), "--metrics", "recovery,mse", "--images", "20"]
    assert run(*arguments, "--split", "train") == 0
    means = ("--completions", "2", "--completion-steps", "3")
    assert run(*arguments, "--mask", "left", "--mask", "patches:40", *means) == 0
    found = json.loads((masked / "metrics.json").read_text())
    assert set(found) == {"mse", "recovery_own", "recovery_left", "recovery_patches_40"}
    own = found["recovery_own"]
    assert (own["coverage"], own["split"], own["num_images"]) == (9 / 64, "train", 20)
    assert all(own[name] > 0 for name in ("recovery_own", "mean_image", "neighbours", "standard_error"))
    assert found["recovery_left"]["coverage"] == 0.5
    assert "mean of 2 completions by short_run of 3 steps" in found["recovery_left"]["estimator"]
    assert len((masked / "per_image" / "recovery_left_test.csv").read_text().splitlines()) == 22
    capsys.readouterr()
    assert run("evaluate", str(trained), "--metrics", "recovery") == 1
    assert capsys.readouterr().err.strip().endswith("such as --mask square:20, for whole images. Received: none")


def test_inpainting_shows_how_uncertain_it_is(masked: pathlib.Path, capsys) -> None:
    arguments = ["inpaint", str(masked), "--count", "3", "--completions", "2", "--hide", "left"]
    assert run(*arguments, "--uncertainty") == 0
    pixels = np.asarray(Image.open(masked / "inpaintings.png"))
    factor = pixels.shape[0] // 52  # five rows of 8 pixels, and six margins of 2
    pixels = pixels[factor // 2 :: factor, factor // 2 :: factor]
    first, second, spread = (pixels[row : row + 8].astype(int)[:, 2:10] for row in (22, 32, 42))
    np.testing.assert_array_equal(spread[:, 4:], 0)  # visible
    assert pixels[42:50, 2:30].max() == 255  # the largest of all, and the margins
    order = np.argsort(np.abs(first - second)[:, :4].ravel())
    assert spread[:, :4].ravel()[order[-1]] > spread[:, :4].ravel()[order[0]]
    assert run(*arguments, "--uncertainty", "--completions", "1") == 1
    assert capsys.readouterr().err.strip().endswith("at least 2 for a deviation. Received: 1")


def test_an_export_that_does_not_verify_leaves_the_earlier_one(
    trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "saved_model.pb").write_text("earlier")
    monkeypatch.setattr("tfzoo.models.saved_model.write", lambda model, path, **options: path.mkdir())
    refuse = mock.Mock(side_effect=ValueError("the export must give the model's numbers. Received: encode off by 1"))
    monkeypatch.setattr("tfzoo.verification.verify_export", refuse)
    assert run("export", str(trained), str(served)) == 1
    assert capsys.readouterr().err.strip().endswith("Received: encode off by 1")
    assert refuse.call_args.args[1] != served
    assert [path.name for path in tmp_path.iterdir()] == ["served"]
    assert (served / "saved_model.pb").read_text() == "earlier"


def test_an_export_has_the_samples_and_steps_asked_for(
    masked: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
) -> None:
    calls = []
    monkeypatch.setattr(
        "tfzoo.models.saved_model.write", lambda model, path, **options: path.mkdir() or calls.append(options)
    )
    monkeypatch.setattr(
        "tfzoo.verification.verify_export", lambda model, path, **options: calls.append(options) or {"encode": 0.0}
    )
    assert run("export", str(masked), str(tmp_path / "served"), "--samples", "5", "--steps", "3") == 0
    assert calls == [{"num_samples": 5, "num_steps": 3}, {"num_steps": 3}]
    calls.clear()
    assert run("export", str(masked), str(tmp_path / "served")) == 0
    assert calls == [{"num_samples": None, "num_steps": None}, {"num_steps": None}]  # the model's own
