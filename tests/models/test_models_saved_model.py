"""What every model's exported signatures do with rows that are none, or no numbers."""

import inspect
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tfzoo.models import saved_model

SHAPE = (4, 4, 1)
SEEDS = np.array([[1, 2], [3, 4], [-5, 6], [7, 8]], np.int32)


QUICK = ("abp", "latent_ebm", "vae")  # with an encoder and without, and a prior by chains
MODELS = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in tfzoo.list_models()]


@pytest.fixture(scope="module", params=MODELS)
def functions(request):
    """The signatures of a model, with what each gives for four rows of inputs."""
    keras.utils.set_random_seed(1)
    model = tfzoo.create_model(request.param, event_shape=SHAPE, latent_dim=3)
    if hasattr(model, "num_annealing_steps"):
        model.num_annealing_steps = 3
    rng = np.random.default_rng(0)
    inputs = {name: rng.uniform(size=(4, *SHAPE)).astype(np.float32) for name in ("images", "start", "end")}
    inputs |= {"z": rng.normal(size=(4, 3)).astype(np.float32), "seed": SEEDS}
    inputs["mask"] = np.float32(rng.uniform(size=(4, *SHAPE)) > 0.5)
    inputs["mask"][:, 0, 0] = 1.0
    inputs["mask"][:, 0, 1] = 0.0
    table = {}
    num_steps = 3 if "inpaint" in model.own_signatures else None  # of its chains
    for name, function in saved_model.signatures(model, num_samples=1, num_points=3, num_steps=num_steps).items():
        own = {key: tf.constant(inputs[key]) for key in function.structured_input_signature[1]}

        def call(values, function=function):
            return next(iter(function(**values).values())).numpy()

        table[name] = (call, own, call(own))
    return table


def test_each_signature_is_described():
    described = re.findall(r"^\| (\w+) ", saved_model.__doc__, re.MULTILINE)
    names = re.findall(r'^ +"(\w+)": \(', inspect.getsource(saved_model.signatures), re.MULTILINE)
    assert set(described) == {"signature", *names}


def test_no_rows_are_answered_by_none(functions):
    for name, (call, inputs, expected) in functions.items():
        found = call({key: value[:0] for key, value in inputs.items()})
        assert found.shape == (0, *expected.shape[1:]), name


def test_rows_that_are_not_finite_are_answered_by_nan(functions):
    for name, (call, inputs, expected) in functions.items():
        assert np.isfinite(expected).all(), name
        for key in set(inputs) - {"seed"}:
            changed = inputs[key].numpy()
            changed.reshape(4, -1)[1:3, 0] = [np.nan, np.inf]
            found = call({**inputs, key: tf.constant(changed)})
            assert np.isnan(found[1:3]).all(), (name, key)
            np.testing.assert_array_equal(found[[0, 3]], expected[[0, 3]], err_msg=f"{name} {key}")


def test_what_a_mask_hides_may_be_anything(functions):
    if "inpaint" not in functions:
        pytest.skip("no masks")
    call, inputs, expected = functions["inpaint"]
    images = inputs["images"].numpy()
    images[1:, 0, 1] = np.array([np.nan, np.inf, 0.25])[:, np.newaxis]
    np.testing.assert_array_equal(call({**inputs, "images": tf.constant(images)}), expected)
