"""A `.keras` file holds the whole model: same numbers here and in a fresh process that only imports tfzoo."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.conformance.cases import CASES

LOAD = """
import json, sys
import numpy as np
import keras
import tfzoo
outputs = {}
for name, path in json.loads(sys.argv[1]).items():
    model = keras.saving.load_model(path)
    x = np.load(path + ".npy")
    outputs[name + "/encode"] = z = model.encode(x, seed=3)
    outputs[name + "/log_joint"] = model.log_joint(x, z)
    outputs[name + "/sample"] = model.sample(2, seed=3)
    outputs[name + "/call"] = model(x, seed=3)["z"]
np.savez(sys.argv[2], **outputs)
"""


def outputs(model, x):
    return [model.encode(x, seed=3), model.log_prob(x, 8, seed=3), model.sample(2, seed=3), model.anomaly_score(x, 3)]


@pytest.mark.fast
def test_same_answers_before_any_training(training_case, tmp_path):
    """To the last bit; of every model in a fresh process below."""
    model, x = training_case.model(likelihood="gaussian"), training_case.images(3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    for ours, theirs in zip(outputs(model, x), outputs(loaded, x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_goes_on_from_a_file_as_if_there_had_been_none(training_case, tmp_path):
    model, x = training_case.compiled(optimizer="adam", likelihood="gaussian", seed=5), training_case.images(8)
    model.fit(x, batch_size=4, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.iterations) == 2
    # Keras does not save where a stream of noise stands.
    loaded.seed_generator.state.assign(model.seed_generator.state)
    here = model.fit(x, batch_size=4, shuffle=False, verbose=0).history["loss"]
    there = loaded.fit(x, batch_size=4, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(here, there, rtol=1e-5)


def learning(model):
    """Returns how many weights of each part learn."""
    return {name: len(part.trainable_weights) for name, part in model._parts().items()}


@pytest.mark.fast
def test_what_is_frozen_stays_frozen(case, tmp_path):
    model = case.compiled()
    parts = [part for part in model._parts().values() if part.trainable_weights]
    for part in parts:
        part.trainable = False
        assert learning(type(model).from_config(model.get_config())) == learning(model)
        part.trainable = True
    parts[-1].trainable = False
    model.save(tmp_path / "model.keras")
    assert learning(keras.saving.load_model(tmp_path / "model.keras")) == learning(model)


@pytest.mark.fast
def test_weights_alone_can_be_saved(case, tmp_path):
    model, other, x = case.model(), case.model(), case.images(2)
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model.encode(x, seed=0), other.encode(x, seed=0))


@pytest.fixture(scope="module")
def loaded_elsewhere(tmp_path_factory):
    """Answers of all models, loaded in one fresh process; and those of here."""
    folder = tmp_path_factory.mktemp("saved")
    paths, expected = {}, {}
    for case in CASES:
        model, x, path = case.model(), case.images(3), str(folder / f"{case}.keras")
        model.save(path)
        np.save(path + ".npy", x)
        paths[str(case)] = path
        expected[f"{case}/encode"] = z = np.asarray(model.encode(x, seed=3))
        expected[f"{case}/log_joint"] = np.asarray(model.log_joint(x, z))
        expected[f"{case}/sample"] = np.asarray(model.sample(2, seed=3))
        expected[f"{case}/call"] = np.asarray(model(x, seed=3)["z"])
    target = str(folder / "outputs.npz")
    subprocess.run([sys.executable, "-c", LOAD, json.dumps(paths), target], check=True, capture_output=True)
    with np.load(target) as found:
        return expected, dict(found)


def test_same_answers_in_a_fresh_process(case, loaded_elsewhere):
    expected, found = loaded_elsewhere
    for name in ("encode", "log_joint", "sample", "call"):
        np.testing.assert_allclose(found[f"{case}/{name}"], expected[f"{case}/{name}"], rtol=1e-5, atol=1e-6)
