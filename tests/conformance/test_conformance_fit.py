"""`fit` takes what Keras takes: arrays, dicts, pairs, datasets of them; and so do validation, `evaluate`, `predict`."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.conformance.cases import TRAINING_CASES

FORMS = {
    "array": lambda x, y: x,
    "float64": lambda x, y: x.astype(np.float64),
    "tensor": lambda x, y: tf.constant(x),
    "dict": lambda x, y: {"image": x, "label": y, "index": y},
    "dict without label": lambda x, y: {"image": x},
    "dataset": lambda x, y: tf.data.Dataset.from_tensor_slices(x).batch(4),
    "dataset of dicts": lambda x, y: tf.data.Dataset.from_tensor_slices({"image": x, "label": y}).batch(4),
    "dataset of pairs": lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(4),
    "dataset of dict pairs": lambda x, y: tf.data.Dataset.from_tensor_slices(({"image": x}, y)).batch(4),
    "tfzoo.data": lambda x, y: tfzoo.data.load((x, y), batch_size=4, shuffle=False),
}


# Each form runs eagerly, which takes a tenth of the time, and some as graphs too: what a form is made into is the same
# for every model.
RUNS = [
    *((TRAINING_CASES[0], form, True) for form in FORMS),
    *((TRAINING_CASES[0], form, False) for form in ("array", "tfzoo.data")),
    *((case, "dict", False) for case in TRAINING_CASES[1:]),
]


@pytest.mark.parametrize(("model_case", "form", "run_eagerly"), RUNS, ids=str)
def test_forms_of_data(model_case, form, run_eagerly):
    model, x, y = model_case.model(), model_case.images(6), np.arange(6)
    model.compile(optimizer="sgd", run_eagerly=run_eagerly)
    data = FORMS[form](x, y)
    options = {} if isinstance(data, tf.data.Dataset) else {"batch_size": 4}
    history = model.fit(data, validation_data=FORMS[form](x, y), epochs=2, verbose=0, **options).history
    assert {name.removeprefix("val_") for name in history} == {"loss", *(metric.name for metric in model.metrics)}
    assert np.isfinite(history["loss"] + history["val_loss"]).all()
    assert np.isfinite(model.evaluate(data, verbose=0, return_dict=True, **options)["loss"])
    np.testing.assert_allclose(model.predict(data, verbose=0, **options), model.reconstruct(x), rtol=1e-4, atol=1e-5)


def test_x_and_y_and_a_pair_for_validation(training_case):
    model, x, y = training_case.compiled(), training_case.images(6), np.arange(6)
    history = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert np.isfinite(history["val_loss"]).all()
    assert np.isfinite(model.fit(x, y, validation_split=0.5, verbose=0).history["val_loss"]).all()


def test_a_generator_of_tuples(training_case):
    model, x = training_case.compiled(), training_case.images(6)
    model.fit(((x[i : i + 2],) for i in range(4)), steps_per_epoch=4, verbose=0)
    assert int(model.optimizer.iterations) == 4


def test_training_traces_its_step_once_lowers_the_loss_and_changes_every_weight(case, monkeypatch):
    model, traces = case.compiled(learning_rate=1e-2, optimizer="adam", likelihood="gaussian"), []
    train_step = type(model).train_step
    monkeypatch.setattr(type(model), "train_step", lambda self, data: traces.append(1) or train_step(self, data))
    before = [np.array(weight) for weight in model.trainable_weights]
    assert not model.optimizer.built
    loss = model.fit(case.data(60), batch_size=16, epochs=8, verbose=0).history["loss"]
    assert len(traces) == 1  # of batches of 16 and of 12
    assert loss[-1] < loss[0]
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.any(old != weight), weight.path


def test_loss_is_minus_the_mean_bound(case):
    model, x = case.compiled(), case.images(6)
    bound = model.bound(tf.constant(x), model(x, seed=0))
    np.testing.assert_allclose(model.compute_loss(x, y_pred=model(x, seed=0)), -np.mean(bound), rtol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_sample_weights_weigh_examples(training_case, shape):
    model, x = training_case.model(), training_case.images(6)
    weights = np.linspace(0, 2, 6)
    inference = model(x, seed=0)
    loss = model.compute_loss(x, y_pred=inference, sample_weight=tf.constant(weights.reshape(shape)))
    np.testing.assert_allclose(loss, -np.mean(weights * model.bound(tf.constant(x), inference)), rtol=1e-5)


@pytest.mark.parametrize("bound", [math.nan, math.inf, -math.inf])
def test_a_weight_of_0_leaves_an_image_out_whatever_its_bound(bound, monkeypatch):
    model, x = TRAINING_CASES[0].model(), TRAINING_CASES[0].images(3)
    inference = model(x, seed=0)
    monkeypatch.setattr(type(model), "bound", lambda *_: tf.constant([-1.0, bound, -2.0]))
    loss = model.compute_loss(x, y_pred=inference, sample_weight=tf.constant([1.0, 0.0, 2.0]))
    np.testing.assert_allclose(loss, 5.0 / 3.0, rtol=1e-6)


def test_images_that_weigh_nothing_teach_nothing_and_cost_nothing(image_case):
    model, data, nothing = image_case.compiled(learning_rate=1.0), image_case.data(6), np.zeros(6)
    before = [np.array(weight) for weight in model.trainable_weights]
    history = model.fit(data, sample_weight=nothing, validation_data=(data, None, nothing), verbose=0).history
    assert (history["loss"], history["val_loss"]) == ([0.0], [0.0])
    assert model.evaluate(data, sample_weight=nothing, verbose=0, return_dict=True)["loss"] == 0.0
    for weight, old in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, old, err_msg=weight.path)


def without_label(x, weight):
    return x, None, weight


WEIGHTED = {
    "array": lambda x, w: ((x,), {"sample_weight": w}),
    "tensors": lambda x, w: ((tf.constant(x),), {"sample_weight": tf.constant(w)}),
    "dict": lambda x, w: (({"image": x, "index": np.arange(6)},), {"sample_weight": w}),
    "labels": lambda x, w: ((x, np.arange(6)), {"sample_weight": w}),
    "dataset": lambda x, w: ((tf.data.Dataset.from_tensors((x, np.arange(6), w)),), {}),
    "dataset without labels": lambda x, w: ((tf.data.Dataset.from_tensors((x, w)).map(without_label),), {}),
}


@pytest.mark.parametrize("form", WEIGHTED)
@pytest.mark.parametrize("model_case", TRAINING_CASES, ids=str)
def test_sample_weights_arrive_with_and_without_labels(model_case, form):
    model, x = model_case.model(), model_case.images(6)
    model.compile(optimizer="sgd", run_eagerly=True)
    model.optimizer.learning_rate = 0.0
    args, kwargs = WEIGHTED[form](x, np.full(6, 1e3))
    losses = [
        model.fit(*args, verbose=0, **kwargs).history["loss"][0],
        model.evaluate(*args, verbose=0, return_dict=True, **kwargs)["loss"],
    ]
    np.testing.assert_allclose(losses, 1e3 * model.evaluate(x, verbose=0, return_dict=True)["loss"], rtol=0.2)


def test_weights_of_a_part_that_is_split_off_for_validation(training_case):
    model, weights = training_case.compiled(), np.repeat([1.0, 0.0], 3)
    history = model.fit(training_case.images(6), sample_weight=weights, validation_split=0.5, verbose=0).history
    assert history["loss"] != [0.0]
    assert history["val_loss"] == [0.0]


def test_class_weights_need_labels(training_case):
    model, x, y = training_case.compiled(), training_case.images(6), np.arange(6) % 2
    assert model.fit(x, y, class_weight={0: 0.0, 1: 0.0}, verbose=0).history["loss"] == [0.0]
    for data in (x, {"image": x, "label": y}, tf.data.Dataset.from_tensors(x)):
        with pytest.raises(ValueError, match=r"^class_weight needs labels, .* Received: no labels$"):
            model.fit(data, class_weight={0: 1.0, 1: 2.0}, verbose=0)


@pytest.mark.parametrize(
    "optimizer",
    ["adamax", "rmsprop", keras.optimizers.AdamW(1e-3, clipnorm=1.0), keras.optimizers.SGD(1e-3, momentum=0.9)],
    ids=["adamax", "rmsprop", "clipped adamw", "momentum"],
)
def test_any_optimizer(training_case, optimizer):
    model = training_case.model()
    if not isinstance(optimizer, str):
        optimizer = type(optimizer).from_config(optimizer.get_config())
    model.compile(optimizer=optimizer, run_eagerly=True)
    model.fit(training_case.images(4), verbose=0)
    assert int(model.optimizer.iterations) == 1


def test_ways_to_run(training_case):
    x = training_case.images(8)
    for options in ({"run_eagerly": True}, {"steps_per_execution": 2}):
        model = training_case.model()
        model.compile(optimizer="sgd", **options)
        assert np.isfinite(model.fit(x, batch_size=4, verbose=0).history["loss"]).all()
    model = training_case.compiled()  # older Keras takes several batches there where a fit took several a step
    assert np.isfinite(model.train_on_batch(x, return_dict=True)["loss"])


def test_the_same_loss_in_fit_and_in_evaluate(training_case):
    """No learning: the loss that `fit` reports is the one that `evaluate` measures, up to the noise."""
    model, x = training_case.compiled(learning_rate=0.0), training_case.images(200)
    fitted = model.fit(x, batch_size=100, verbose=0).history["loss"][0]
    evaluated = model.evaluate(x, batch_size=100, verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(evaluated, fitted, rtol=0.05)


@pytest.mark.parametrize("name", ["iaf_vae", "pcp_map_vae"])
def test_one_latent_and_a_last_batch_of_one(name):
    model = tfzoo.create_model(name, event_shape=(5,), latent_dim=1, seed=0)
    model.compile(optimizer="sgd")
    assert np.isfinite(model.fit(np.full([7, 5], 0.5, np.float32), batch_size=3, verbose=0).history["loss"]).all()
