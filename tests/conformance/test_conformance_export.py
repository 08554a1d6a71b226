"""An export answers, without TensorFlow's Python, what the model answers, whatever else is in the batch."""

import functools
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from export import exporting, verification
from export.source import Source
from tests.conformance.cases import ALL_OPTIONS, CASES, MCMC_OPTIONS, TRAINING_CASES, small_networks
from tfzoo.presets import PRESETS

SIGNATURES = {
    "encode": ({"images", "seed"}, {"z"}),
    "decode": ({"z"}, {"images"}),
    "sample": ({"seed"}, {"images"}),
    "reconstruct": ({"images", "seed"}, {"images"}),
    "serving_default": ({"images", "seed"}, {"images"}),
    "log_prob": ({"images", "seed"}, {"log_prob"}),
    "score": ({"images", "seed"}, {"score"}),
    "interpolate": ({"start", "end"}, {"images"}),
}
# Of models whose missing pixels come from chains of codes.
INPAINTING = {"latent_flow_vae", *MCMC_OPTIONS}
INPAINT = {"inpaint": ({"images", "mask", "seed"}, {"images"})}
BROWNIAN = {"sample_brownian": ({"z", "seed"}, {"images"})}
OPTIONS = {"num_samples": 4, "num_points": 3}


# Options that make a graph smaller or larger, and those that are of no graph.
SIZES = {"context_dim", "flow_steps", "flow_width", "hidden_units", "inference", "latent_dim", "num_annealing_steps"}
SIZES |= {"first_size", "num_brownian_steps", "num_centres", "num_nodes", "num_steps", "prior_num_steps", "width"}
TRAINING = {"alpha", "first_stage_epochs", "num_learning_steps", "num_samples", "step_size"}


def preset_model(name):
    """Returns a preset's model with small networks and few steps, on images of at most six pixels a side."""
    preset = PRESETS[name]
    event_shape = (*(min(size, 6) for size in preset.event_shape[:-1]), preset.event_shape[-1])
    options = {key: value for key, value in ALL_OPTIONS[preset.model].items() if key in SIZES}
    options |= small_networks(event_shape, preset.model_options["latent_dim"])
    if preset.model in MCMC_OPTIONS:
        del options["encoder"]
    return tfzoo.create_model(name, event_shape=event_shape, seed=1, **options)


def distinct_presets():
    """Returns name by what is left of a preset in `preset_model`: many differ in their data and in sizes alone."""
    distinct = {}
    for name, preset in sorted(PRESETS.items()):
        options = {key: value for key, value in preset.model_options.items() if key not in SIZES | TRAINING}
        distinct.setdefault((preset.model, len(preset.event_shape), str(options)), name)
    return distinct.values()


# Every preset, every model that has none, and vectors.
WITH_PRESET = {preset.model for preset in PRESETS.values()}
SUBJECTS = {
    **{name: functools.partial(preset_model, name) for name in distinct_presets()},
    **{str(case): case.model for case in CASES if case.name not in WITH_PRESET or case.shape != "image"},
}
# What `export.verification` looks at, in its words.
PROMISES = (
    "operations",
    "load",
    "names and kinds",
    "warm-up",
    "record",
    "numbers",
    "rows alone",
    "wrong shapes",
    "JSON",
)
ROOT = pathlib.Path(exporting.__file__).parents[1]


def exported(subjects, folder):
    """Returns the folder of each subject's export, and what one fresh process found in it."""
    folders = {name: folder / name / "1" for name in subjects}
    for name, path in folders.items():
        path.parent.mkdir()
        exporting.build(Source(name, subjects[name](), None, None, (0.0, 1.0), {}, {}), path, **OPTIONS)
    command = [sys.executable, "-m", "export", "verify", str(folder), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    reports = json.loads(result.stdout)
    return {name: (path, reports[str(path)]) for name, path in folders.items()}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return exported(SUBJECTS, tmp_path_factory.mktemp("exports"))


@pytest.fixture(params=SUBJECTS)
def subject(request):
    return request.param


@pytest.fixture
def report(subject, exports):
    return exports[subject][1]


def signatures_of(subject):
    """Returns the signatures that the subject's model must have."""
    model = PRESETS[subject].model if subject in PRESETS else subject.split("-")[0]
    return SIGNATURES | (INPAINT if model in INPAINTING else {}) | (BROWNIAN if model == "riemannian_vae" else {})


def test_signatures_name_their_inputs_and_outputs(subject, report):
    found = {name: (set(each["inputs"]), set(each["outputs"])) for name, each in report["signatures"].items()}
    assert found == signatures_of(subject)


def test_borders_are_float32_and_int32_with_a_free_batch(report):
    for each in report["signatures"].values():
        for key, info in [*each["inputs"].items(), *each["outputs"].items()]:
            assert info["dtype"] == ("int32" if key == "seed" else "float32")
            assert info["shape"][0] is None
            assert all(size > 0 for size in info["shape"][1:])


@pytest.mark.parametrize("promise", PROMISES)
def test_a_fresh_process_finds_every_promise_kept(report, promise):
    checks = {check["name"]: check for check in report["checks"]}
    assert set(checks) == set(PROMISES)
    assert checks[promise]["passed"], checks[promise]["detail"]


def test_every_signature_gives_the_models_numbers(subject, report):
    assert set(report["parity"]) == set(signatures_of(subject))
    assert max(report["parity"].values()) < 1e-4


@pytest.mark.slow
def test_presets_that_differ_in_data_and_sizes_alone_export_too(tmp_path):
    others = {name: functools.partial(preset_model, name) for name in sorted(set(PRESETS) - set(SUBJECTS))}
    assert others
    for name, (_, report) in exported(others, tmp_path).items():
        failed = [check for check in report["checks"] if not check["passed"]]
        assert not failed, (name, failed)


def test_an_answer_does_not_depend_on_its_batch_mates(subject, report):
    assert report["batchable"] == dict.fromkeys(signatures_of(subject), True)


@pytest.mark.parametrize("subject", [name for name in SUBJECTS if "inpaint" in signatures_of(name)])
def test_a_completion_keeps_what_is_visible(subject, exports):
    with np.load(exports[subject][0] / verification.EXTRA / verification.RECORD) as record:
        images, mask = record["inputs/images"], record["inputs/mask"]
        completed = record["outputs/inpaint/images"]
    np.testing.assert_array_equal(completed[mask > 0], images[mask > 0])
    assert np.abs(completed - images)[mask == 0].max() > 0.1


@pytest.mark.parametrize("signature", ["sample", "log_prob"])
def test_the_seed_makes_the_noise(subject, signature, exports):
    with np.load(exports[subject][0] / verification.EXTRA / verification.RECORD) as record:
        (key,) = (key for key in record if key.startswith(f"outputs/{signature}/"))
        assert len(np.unique(record[key].reshape(verification.BATCH_SIZE, -1), axis=0)) == verification.BATCH_SIZE


@pytest.mark.parametrize(
    ("model_case", "dtype"), [*zip(TRAINING_CASES, ["mixed_bfloat16", "float64"], strict=True)], ids=str
)
def test_other_precisions_keep_float32_borders(model_case, dtype, tmp_path):
    model = model_case.model(dtype=dtype)
    model.export(tmp_path / "served", **OPTIONS)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["reconstruct"]
    images, seed = model_case.images(2), np.zeros([2, 2], np.int32)
    answer = served(images=tf.constant(images), seed=tf.constant(seed))["images"]
    assert answer.dtype == tf.float32
    np.testing.assert_allclose(answer, tf.cast(model.reconstruct(images, seed), tf.float32), rtol=1e-2, atol=1e-2)


def test_a_model_of_two_replicas_exports(tmp_path):
    case = CASES[-1]
    with tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    ).scope():
        model = case.model()
    model.export(tmp_path / "served", **OPTIONS)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["decode"]
    z = np.ones([2, case.latent_dim], np.float32)
    np.testing.assert_allclose(served(z=tf.constant(z))["images"], model.decode(z), rtol=1e-5)


# === Writing ===


@pytest.fixture
def small(shared_models):
    return shared_models(CASES[0])


@pytest.fixture
def quick_save(monkeypatch):
    """A SavedModel that is one file: writing it is all that these tests look at."""

    def save(module, path, signatures):
        tf.io.gfile.makedirs(path)
        with tf.io.gfile.GFile(f"{path}/saved_model.pb", "w") as file:
            file.write("new")

    monkeypatch.setattr(tf.saved_model, "save", save)
    monkeypatch.setattr("tfzoo.models.saved_model.signatures", lambda model: {})


def test_a_new_export_replaces_an_old_one(small, quick_save, tmp_path):
    path = tmp_path / "served"
    path.mkdir()
    (path / "saved_model.pb").write_text("old")
    (path / "left_over").write_text("old")
    small.export(path)
    assert [file.name for file in path.iterdir()] == ["saved_model.pb"]
    assert (path / "saved_model.pb").read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o755
    assert [file.name for file in tmp_path.iterdir()] == ["served"]


def test_new_folders_and_empty_ones_are_taken(small, quick_save, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "c", str(tmp_path / "text")):
        small.export(path)
    assert (tmp_path / "a" / "b" / "c" / "saved_model.pb").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_export_is_left_alone(small, quick_save, tmp_path, kind):
    path = tmp_path / "thesis"
    if kind == "file":
        path.write_text("precious")
    else:
        path.mkdir()
        (path / "chapter").write_text("precious")
    with pytest.raises(ValueError, match=r"^path must be a new folder or an earlier export\. Received: .*thesis$"):
        small.export(path)
    assert (path if kind == "file" else path / "chapter").read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_one_sentence(small, quick_save, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^path must be writable \(.*\)\. Received: .*served$"):
        small.export(tmp_path / "file" / "served")
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("killed")])
def test_a_failure_leaves_the_old_export_and_nothing_else(small, quick_save, monkeypatch, tmp_path, error):
    path = tmp_path / "served"
    small.export(path)
    (path / "saved_model.pb").write_text("old")

    def fail(*args, **kwargs):
        raise error

    for broken in ("tensorflow.saved_model.save", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:
            rename = type(path).rename
            if broken == "pathlib.Path.rename":
                # Fails as the new export takes its place, when the old one has just been put aside.
                patch.setattr(broken, lambda self, target, r=rename: fail() if self.name == "new" else r(self, target))
            else:
                patch.setattr(tf.saved_model, "save", fail)
            with pytest.raises((ValueError, RuntimeError)):
                small.export(path)
        assert (path / "saved_model.pb").read_text() == "old"
        assert [file.name for file in tmp_path.iterdir()] == ["served"]


@pytest.mark.parametrize("option", ["num_samples", "num_points"])
def test_options_are_checked_before_anything_is_written(small, tmp_path, option):
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least 1. Received: 0"):
        small.export(tmp_path / "served", **{option: 0})
    assert not list(tmp_path.iterdir())
