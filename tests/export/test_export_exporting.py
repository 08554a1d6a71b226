"""An export appears whole and verified under the next number, or not at all."""

import contextlib
import dataclasses
import json
import resource
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

import tfzoo
from export import cli, exporting, source, verification, warmup
from export.source import Source
from tests.conformance.cases import small_networks
from tfzoo import measurements, runs

EXTRA = verification.EXTRA


def run(*arguments):
    """Runs the command line and returns its exit status."""
    with pytest.raises(SystemExit) as status:
        cli.main([str(each) for each in arguments])
    return int(status.value.code or 0)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# === As a whole ===


def write_run(folder, name, dataset="digits", data_options=None):
    """Writes a run folder without training."""
    model = tfzoo.create_model(name, event_shape=(8, 8, 1), latent_dim=2, **small_networks((8, 8, 1), 2))
    config = {"name": name, "dataset": dataset, "model_options": {}, "data_options": data_options or {}, "epochs": 3}
    folder.mkdir()
    keras.saving.save_model(model, folder / "model.keras")
    (folder / "config.json").write_text(json.dumps(config))
    measurements.add_metrics(folder, {"mse": {"mse": 1.0}}, model=runs.model_digest(folder))
    measured = {**measurements.read_metrics(folder), "elbo": {"elbo": -2.0, "model": "of earlier epochs"}}
    (folder / "metrics.json").write_text(json.dumps(measured))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_run(folder / "run", "vae_digits")
    assert run(folder / "run", folder / "models", "--samples", "2", "--points", "3") == 0
    return folder / "models"


def test_a_version_holds_what_a_server_and_its_people_need(exported):
    version = exported / "vae_digits" / "1"
    assert {path.name for path in version.iterdir()} >= {"saved_model.pb", "variables", EXTRA}
    assert {path.name for path in (version / EXTRA).iterdir()} == {
        *(warmup.FILE, "manifest.json", "MODEL_CARD.md", "samples.png", "recorded.npz"),
    }
    assert [path.name for path in exported.iterdir()] == ["vae_digits"]
    assert [path.name for path in (exported / "vae_digits").iterdir()] == ["1"]
    with Image.open(version / EXTRA / "samples.png") as picture:
        assert picture.size[0] == picture.size[1] > 500


def test_the_manifest_tells_where_it_comes_from(exported):
    manifest = json.loads((exported / "vae_digits" / "1" / EXTRA / "manifest.json").read_text())
    assert (manifest["name"], manifest["version"], manifest["model"], manifest["preset"]) == (
        *("vae_digits", 1, "vae", "vae_digits"),
    )
    assert set(manifest["versions"]) == {"tfzoo", "tensorflow", "keras", "tensorflow-probability", "python"}
    assert manifest["versions"]["tfzoo"] == tfzoo.__version__
    assert manifest["data"]["licence"] == tfzoo.data.info("digits").licence
    assert manifest["training"]["model_options"] == {"latent_dim": 16, "likelihood": "gaussian"}
    assert [(name, each["mse"]) for name, each in manifest["measured"].items()] == [("mse", 1.0)]  # of this model
    assert manifest["signatures"]["encode"]["inputs"]["seed"] == {"dtype": "int32", "shape": [None, 2]}
    assert manifest["signatures"]["interpolate"]["outputs"]["images"]["shape"] == [None, 3, 8, 8, 1]
    assert all(each["batchable"] for each in manifest["signatures"].values())
    assert max(each["parity"] for each in manifest["signatures"].values()) < 1e-4


def test_the_card_says_it_to_people(exported):
    card = (exported / "vae_digits" / "1" / EXTRA / "MODEL_CARD.md").read_text()
    licence = tfzoo.data.info("digits").licence
    for text in ("# vae_digits, version 1", licence, "![Samples from the prior](samples.png)", "arXiv:1312.6114"):
        assert text in card
    assert "| sample | seed int32 [B, 2] | images float32 [B, 8, 8, 1] | yes |" in card
    assert "None" not in card


def test_verify_prints_a_table_and_fails_where_a_check_fails(exported, tmp_path, capsys):
    shutil.copytree(exported / "vae_digits" / "1", tmp_path / "models" / "vae_digits" / "1")
    assert run("verify", tmp_path / "models") == 0
    out = capsys.readouterr().out
    assert str(tmp_path / "models" / "vae_digits" / "1") in out
    assert out.count("    ok  ") == 10
    assert "FAILED" not in out
    (tmp_path / "models" / "vae_digits" / "2").mkdir()
    assert run("verify", tmp_path / "models") == 1
    assert "FAILED  load             NOT_FOUND: Could not find SavedModel" in capsys.readouterr().out


# === Versions and faults, on a small model ===


@pytest.fixture(scope="module")
def small():
    model = tfzoo.create_model("vae", event_shape=(5,), latent_dim=2, seed=1)
    return Source("small", model, None, None, (0.0, 1.0), {}, {})


@pytest.fixture
def quick(monkeypatch):
    """An export that is one file, and verifies."""

    def build(source, made, **options):
        (made / EXTRA).mkdir(parents=True)
        (made / "saved_model.pb").write_text(str(options))

    monkeypatch.setattr(exporting, "build", build)
    monkeypatch.setattr(exporting, "_verified", lambda made: {"signatures": {}, "parity": {}, "batchable": {}})


def test_the_next_number_is_taken_and_old_ones_go(small, quick, tmp_path):
    for number in (1, 2, 3):
        assert exporting.export(small, tmp_path) == tmp_path / "small" / str(number)
    assert exporting.export(small, tmp_path, keep=2).name == "4"
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"3", "4"}
    assert json.loads((tmp_path / "small" / "4" / EXTRA / "manifest.json").read_text())["version"] == 4


def test_a_number_taken_meanwhile_is_left_to_the_other(small, quick, tmp_path, monkeypatch):
    describe = exporting._describe

    def slowly(source, made, version, report):
        describe(source, made, version, report)
        if version == 1:
            (tmp_path / "small" / "1" / "theirs").mkdir(parents=True)

    monkeypatch.setattr(exporting, "_describe", slowly)
    published = exporting.export(small, tmp_path)
    assert published.name == "2"
    assert json.loads((published / EXTRA / "manifest.json").read_text())["version"] == 2
    assert everything(tmp_path / "small" / "1") == ["theirs"]


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("stage", ["build", "_verified", "_describe", "versions.publish"])
def test_a_disk_that_fills_up_leaves_nothing_behind(small, quick, tmp_path, monkeypatch, stage):
    exporting.export(small, tmp_path / "old")
    before = everything(tmp_path)

    def fail(*args, **kwargs):
        raise FULL

    monkeypatch.setattr(f"export.exporting.{stage}", fail)
    for folder in (tmp_path / "old", tmp_path / "new"):
        message = r"^the folder must be writable \(No space left on device\)\. Received: .*small$"
        with pytest.raises(ValueError, match=message):
            exporting.export(small, folder, keep=1)
        assert everything(tmp_path) == before


@contextlib.contextmanager
def files_of_at_most(size):
    """As on a full disk, writing fails, in TensorFlow's C++ too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_files_that_cannot_grow_leave_nothing_behind(small, tmp_path):
    with files_of_at_most(1000), pytest.raises(Exception, match=r"File too large|writable"):
        exporting.export(small, tmp_path / "models")
    assert everything(tmp_path) == []


def test_what_does_not_verify_is_not_published(small, tmp_path, monkeypatch):
    expected = exporting.record.expected_outputs

    def wrong(*args, **kwargs):
        outputs = expected(*args, **kwargs)
        outputs["decode"]["images"] = outputs["decode"]["images"] + 0.01
        return outputs

    monkeypatch.setattr(exporting.record, "expected_outputs", wrong)
    message = r"^the export must verify\. Received: numbers: largest relative difference .*1\.0e-02 \(decode\)$"
    with pytest.raises(ValueError, match=message):
        exporting.export(small, tmp_path, num_samples=2, num_points=2)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["", "../vae", "a/b", ".hidden", "7", "vae mnist", "vaé"])
def test_a_name_that_fits_in_no_url_is_refused(small, quick, tmp_path, name):
    with pytest.raises(ValueError, match=r"^name must be of letters, digits"):
        exporting.export(dataclasses.replace(small, name=name), tmp_path / "models")
    assert everything(tmp_path) == []


def test_an_input_that_nobody_can_make_up_is_named(small, tmp_path, monkeypatch):
    examples = exporting.record.example_inputs
    monkeypatch.setattr(exporting.record, "example_inputs", lambda *args: {"images": examples(*args)["images"]})
    monkeypatch.setattr(type(small.model), "export", lambda self, path, **options: path.mkdir())
    infos = {"decode": type("", (), {"inputs": {"z": None}})}
    monkeypatch.setattr(exporting, "read_graph", lambda path: type("", (), {"signature_def": infos}))
    with pytest.raises(ValueError, match=r"^inputs must be some of images\. Received: z$"):
        exporting.export(small, tmp_path)


# === What can be exported ===


def test_a_run_is_exported_under_its_own_name(tmp_path):
    write_run(tmp_path / "run", "vae_digits", data_options={"data_dir": "/home/somebody"})
    found = source.load(str(tmp_path / "run"))
    assert (found.name, found.preset, found.value_range) == ("vae_digits", "vae_digits", (0.0, 1.0))
    assert found.data is not None
    assert found.measured == {"mse": {"mse": 1.0, "model": runs.model_digest(tmp_path / "run")}}
    assert found.training["epochs"] == 3
    assert found.training["model_options"]["likelihood"] == "gaussian"
    assert "somebody" not in json.dumps(found.training)


def test_a_run_in_the_first_of_two_stages_is_refused(tmp_path):
    write_run(tmp_path / "run", "riemannian_vae")
    with pytest.raises(
        ValueError, match=r"^the run must have reached the second stage [^\n]* 100 epochs: .* Received: "
    ):
        source.load(str(tmp_path / "run"))


def test_a_run_on_a_folder_that_moved_says_unknown(tmp_path):
    write_run(tmp_path / "run", "vae", dataset=str(tmp_path / "gone"))
    found = source.load(str(tmp_path / "run"))
    assert (found.preset, found.data) == (None, None)


def test_a_preset_brings_its_own_weights():
    found = source.load("vae_mnist")
    assert (found.name, found.preset, found.measured["nll"]) == ("vae_mnist", "vae_mnist", 85.61)
    assert found.training["weights"] == "vae_mnist.weights.h5"
    trained = tfzoo.create_model("vae_mnist", pretrained=True)
    for ours, theirs in zip(found.model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("vae_nothing", "models"), 1, "name a run folder, or a preset of `tfzoo list`. Received: vae_nothing"),
        (("iwae_mnist", "models"), 1, "train it by `tfzoo train iwae_mnist --out runs/iwae_mnist`, then export"),
        ((".", "models"), 1, "the folder must be a run, with a config.json that can be read. Received: ."),
        (("verify", "models"), 1, "the path must be a version, or a folder of versions. Received: models"),
        (("vae_mnist",), 2, "Missing argument 'DIR'"),
        (("vae_mnist", "models", "--keep", "0"), 2, "Invalid value for '--keep'"),
    ],
)
def test_errors_are_one_line(arguments, status, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == status
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert status == 2 or error.count("\n") == 1
    assert everything(tmp_path) == []


def test_help_has_an_example(capsys):
    assert run("--help") == 0
    assert "python -m export runs/vae_mnist models --keep 3" in capsys.readouterr().out
    assert run("verify", "--help") == 0
    assert "python -m export verify models/vae_mnist/1" in capsys.readouterr().out


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="name a run folder"):
        cli.main(["nothing", "models", "--debug"])


def test_recorded_inputs_are_in_the_models_range():
    model = tfzoo.create_model("vae", event_shape=(5,), latent_dim=2)
    inputs = exporting.record.example_inputs(model, 4)
    model.encode(inputs["images"])  # refuses what is out of range
    assert set(np.unique(inputs["mask"])) == {0.0, 1.0}
    assert inputs["mask"].shape == inputs["images"].shape
    assert len({array.tobytes() for array in inputs.values()}) == 6
