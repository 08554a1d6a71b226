"""A promise that is broken is found, and named."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from export import verification, warmup
from export.verification import BATCH_SIZE, EXTRA, MANIFEST, RECORD, TOLERANCE

X = np.random.default_rng(0).normal(size=(BATCH_SIZE, 3)).astype(np.float32)
DATA = "variables/variables.data-00000-of-00001"


def checked(x):
    return tf.ensure_shape(x, [None, 3])


def save(folder, function, output="y"):
    """Writes a version of one signature, with what belongs to it."""
    module = tf.Module()
    module.scale = tf.Variable(2.0)

    def call(images):
        y = function(images)
        return {output: tf.cast(module.scale, y.dtype) * y}

    spec = tf.TensorSpec([None, 3], name="images")
    tf.saved_model.save(
        module, str(folder), {"serving_default": tf.function(call, autograph=False).get_concrete_function(spec)}
    )
    (folder / EXTRA).mkdir()
    y = 2.0 * np.asarray(function(X), np.float32)
    np.savez(folder / EXTRA / RECORD, **{"inputs/images": X, f"outputs/serving_default/{output}": y})
    warmup.write(folder / EXTRA / warmup.FILE, "model", {"serving_default": {"images": X[:1]}})
    return folder


def failures(folder):
    return {check.name: check.detail for check in verification.verify(folder).checks if not check.passed}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = save(tmp_path_factory.mktemp("good") / "1", lambda x: checked(x) + 1.0)
    shape = {"dtype": "float32", "shape": [None, 3]}
    signature = {"inputs": {"images": shape}, "outputs": {"y": shape}, "batchable": True}
    manifest = {"name": "model", "signatures": {"serving_default": signature}}
    manifest["versions"] = {"tensorflow": tf.__version__}
    (folder / EXTRA / MANIFEST).write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def copy(good, tmp_path):
    shutil.copytree(good, tmp_path / "1")
    return tmp_path / "1"


def test_a_good_version_passes(good):
    report = verification.verify(good)
    assert report.passed, report.checks
    assert [check.name for check in report.checks] == [
        *("operations", "load", "names and kinds", "warm-up", "record", "numbers", "rows alone", "wrong shapes"),
        *("JSON", "manifest"),
    ]
    assert report.parity["serving_default"] < 1e-6
    assert report.batchable == {"serving_default": True}


@pytest.mark.parametrize(("tolerance", "passes"), [(None, False), (3e-2, True), (1e-3, False)])
def test_the_record_says_what_numbers_may_differ_by(copy, tolerance, passes):
    # As of a model that computes in bfloat16.
    path = copy / EXTRA / RECORD
    with np.load(path) as arrays:
        arrays = dict(arrays)
    arrays["outputs/serving_default/y"] += 0.01 * np.abs(arrays["outputs/serving_default/y"]).max()
    np.savez(path, **arrays, **({} if tolerance is None else {TOLERANCE: tolerance}))
    assert ("numbers" not in failures(copy)) == passes


@pytest.mark.parametrize(
    ("options", "failing", "message"),
    [
        ({"function": lambda x: x + 1.0}, "wrong shapes", "must refuse an unbatched images (3,). Received: an answer"),
        ({"function": lambda x: tf.reduce_sum(checked(x))}, "names and kinds", "free batch. Received: () of y"),
        (
            {"function": lambda x: checked(x)[0] + tf.zeros([1, 3])},
            "names and kinds",
            "free batch. Received: (1, 3) of y",
        ),
        ({"function": lambda x: tf.cast(checked(x), tf.float64)}, "names and kinds", "Received: float64 of y"),
        ({"function": checked, "output": "Y"}, "names and kinds", "named in lower case. Received: Y of"),
        ({"function": lambda x: checked(x) / 0.0}, "numbers", "inf (serving_default)"),
        ({"function": lambda x: checked(x) / 0.0}, "JSON", "finite numbers. Received: others in y"),
        ({"function": lambda x: checked(x) + tf.random.uniform([])}, "operations", "RandomUniform"),
        ({"function": lambda x: checked(x)[:-1]}, "JSON", "a row for each. Received: y of shape (2, 3)"),
    ],
)
def test_a_signature_that_is_not_for_a_server_is_found(options, failing, message, tmp_path):
    assert message in failures(save(tmp_path / "1", **options))[failing]


def test_rows_that_see_each_other_are_found(tmp_path):
    folder = save(tmp_path / "1", lambda x: checked(x) - tf.reduce_mean(x, 0, keepdims=True))
    report = verification.verify(folder)
    assert report.batchable == {"serving_default": False}
    assert not report.passed  # what is alone in its batch does not get the recorded numbers


def test_a_refusal_that_names_no_input_is_found(tmp_path):
    folder = save(tmp_path / "1", lambda x: x @ tf.eye(3))
    assert "must name images in its error" in failures(folder)["wrong shapes"]


@pytest.mark.parametrize(
    ("file", "content", "failing"),
    [
        ("saved_model.pb", None, {"operations", "load"}),
        ("saved_model.pb", b"\xff" * 99, {"operations", "load"}),
        (DATA, None, {"load"}),
        (DATA, b"\xff" * 3, {"load"}),
        (DATA, b"\xff" * 10_000, {"load"}),
        ("variables/variables.index", None, {"warm-up", "numbers", "JSON"}),
        (f"{EXTRA}/{RECORD}", None, {"record", "numbers", "wrong shapes", "JSON", "manifest"}),
        (f"{EXTRA}/{RECORD}", b"PK\x03\x04", {"record", "numbers", "wrong shapes", "JSON", "manifest"}),
        (f"{EXTRA}/{warmup.FILE}", None, {"warm-up"}),
        (f"{EXTRA}/{warmup.FILE}", b"\xff" * 99, {"warm-up"}),
        (f"{EXTRA}/{warmup.FILE}", b"", {"warm-up"}),
        (f"{EXTRA}/{MANIFEST}", b"{", {"manifest"}),
    ],
)
def test_a_missing_or_broken_file_is_found(copy, file, content, failing):
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    assert set(failures(copy)) >= failing
    assert set(failures(copy)) - failing <= {"rows alone", "wrong shapes", "manifest"}


def test_other_weights_than_those_that_were_recorded_are_found(copy, tmp_path):
    save(tmp_path / "other", lambda x: checked(x) + 1.001)
    for file in ("saved_model.pb", "fingerprint.pb"):
        shutil.copy(tmp_path / "other" / file, copy / file)
    assert "largest relative difference from the exporting process" in failures(copy)["numbers"]


def test_a_warm_up_that_would_fail_is_found(copy):
    warmup.write(copy / EXTRA / warmup.FILE, "model", {"serving_default": {"images": X[:1, :2]}})
    assert "INVALID_ARGUMENT" in failures(copy)["warm-up"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest["signatures"].update(more={"inputs": {}, "outputs": {}}), "SavedModel's signatures"),
        (lambda manifest: manifest["versions"].update(tensorflow="1.15"), "must name its TensorFlow. Received: 1.15"),
        (lambda manifest: manifest.pop("name"), "name"),
    ],
)
def test_a_manifest_that_tells_something_else_is_found(copy, change, message):
    path = copy / EXTRA / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    found = failures(copy)
    assert set(found) == {"manifest"}
    assert message in found["manifest"]


def test_a_manifest_that_calls_coupled_rows_batchable_is_found(copy, tmp_path):
    coupled = save(tmp_path / "other", lambda x: checked(x) - tf.reduce_mean(x, 0, keepdims=True))
    shutil.copy(copy / EXTRA / MANIFEST, coupled / EXTRA / MANIFEST)
    assert "batchable as the manifest says. Received: not so serving_default" in failures(coupled)["manifest"]
