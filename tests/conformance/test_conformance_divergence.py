"""NaN in the data or in the loss stops training with one sentence, and the last good epoch stays on disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.cases import IMAGE_CASES, TRAINING_CASES

IN_DATA = r"^images must be [^\n]* Received: [^\n]*NaN$"
IN_LOSS = r"^the loss must stay finite: [^\n]* Received: [^\n]*$"
# Weights so large that every chain diverges, of the models that have chains.
IN_CHAINS = r"^some chains must stay finite: [^\n]* Received: [^\n]*$"


# Keras compiles one step or the other, whatever the model: one stands for all with XLA.
with_and_without_xla = pytest.mark.parametrize(
    ("model_case", "jit_compile"),
    [*((case, False) for case in TRAINING_CASES), (TRAINING_CASES[0], True)],
    ids=str,
)


def broken_from_epoch(case, broken_epoch):
    """A dataset of two batches, the second of which holds a NaN from that epoch on."""
    x, epochs = case.images(8), []

    def batches():
        epochs.append(1)
        yield x[:4]
        yield np.where(x[4:] == x[4:].max(), np.nan, x[4:]) if len(epochs) > broken_epoch else x[4:]

    spec = tf.TensorSpec([None, *case.event_shape], tf.float32)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=spec)
    return dataset.apply(tf.data.experimental.assert_cardinality(2))


def keepers(folder, every="epoch"):
    return [
        keras.callbacks.ModelCheckpoint(folder / "model.keras"),
        keras.callbacks.BackupAndRestore(folder / "backup", save_freq=every),
    ]


def all_finite(model):
    return all(np.isfinite(weight).all() for weight in model.get_weights())


@with_and_without_xla
def test_nan_in_a_dataset_keeps_the_last_good_epoch(model_case, tmp_path, jit_compile):
    model = model_case.compiled(jit_compile=jit_compile)
    # XLA leaves the check of the data out: there the loss is what gives it away.
    with pytest.raises(ValueError, match=IN_LOSS if jit_compile else IN_DATA):
        model.fit(broken_from_epoch(model_case, 1), epochs=3, verbose=0, callbacks=keepers(tmp_path))
    kept = keras.saving.load_model(tmp_path / "model.keras")
    assert all_finite(kept)
    assert int(kept.optimizer.iterations) == 2
    # Trained again on good data, the run goes on with the second epoch.
    again = model_case.compiled()
    history = again.fit(model_case.images(8), batch_size=4, epochs=3, verbose=0, callbacks=keepers(tmp_path))
    assert history.epoch == [1, 2]
    assert all_finite(again)


def test_nan_in_an_array_stops_before_the_first_step(training_case):
    model, x = training_case.compiled(), training_case.images(4)
    x.flat[3] = np.nan
    for data in (x, {"image": x, "label": np.arange(4)}):
        with pytest.raises(ValueError, match=IN_DATA):
            model.fit(data, verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_nan_in_validation_data(training_case):
    model, x = training_case.compiled(), training_case.images(4)
    bad = np.where(x == x.max(), np.nan, x)
    for data in (bad, (bad, np.arange(4)), tf.data.Dataset.from_tensors(bad)):
        with pytest.raises(ValueError, match=IN_DATA):
            model.fit(x, validation_data=data, verbose=0)


@with_and_without_xla
def test_a_diverging_loss_keeps_the_last_good_epoch(model_case, tmp_path, jit_compile):
    model = model_case.compiled(jit_compile=jit_compile)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch, _: 1e30 if epoch else 1e-3)
    with pytest.raises(ValueError, match=IN_LOSS):
        model.fit(
            model_case.images(8), batch_size=4, epochs=3, verbose=0, callbacks=[rate, *keepers(tmp_path, every=1)]
        )
    kept = keras.saving.load_model(tmp_path / "model.keras")
    assert all_finite(kept)
    assert int(kept.optimizer.iterations) == 2


def test_the_last_step_of_an_epoch_is_seen_in_the_validation(training_case, tmp_path):
    model, x = training_case.compiled(learning_rate=1e30), training_case.images(4)
    with pytest.raises(ValueError, match=f"{IN_LOSS}|{IN_CHAINS}"):
        model.fit(x, validation_data=x, verbose=0, callbacks=keepers(tmp_path))
    assert not (tmp_path / "model.keras").exists()


def test_the_last_step_of_an_epoch_is_seen_in_the_weights(training_case, tmp_path):
    model = training_case.model()
    model.compile(optimizer=keras.optimizers.SGD(float("inf")))
    with pytest.raises(ValueError, match=r"^the loss must stay finite: .* Received: weight \S+ nan of epoch 1$"):
        model.fit(training_case.images(4), verbose=0, callbacks=keepers(tmp_path))
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.fast
def test_one_callback_a_list_or_none_are_taken(training_case):
    model, x = training_case.compiled(), training_case.images(4)
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    for given in (callback, [callback], (callback,), None):
        model.fit(x, verbose=0, callbacks=given)
    model.fit(x, None, 4, 1, 0, [callback])
    assert len(seen) == 4
    with pytest.raises(TypeError, match="epoch_count"):
        model.fit(x, epoch_count=3)


class Watch(keras.callbacks.Callback):
    """Writes down what it is told, and of which model."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((self.model, logs))


class WatchBatches(Watch):
    def on_train_batch_end(self, batch, logs=None):
        assert np.isfinite(logs["loss"])


@pytest.mark.parametrize("kind", [Watch, WatchBatches])  # Keras calls a list without batch hooks from a thread
@pytest.mark.parametrize("is_complete", [True, False], ids=["with model and history", "bare"])
def test_a_list_of_callbacks_comes_after_the_models_own(kind, is_complete):
    case = next(case for case in IMAGE_CASES if case.name == "short_run_ot")
    model, data, watch = case.compiled(), case.data(4), kind()
    options = {"model": model, "add_history": True, "epochs": 1} if is_complete else {}
    callbacks = keras.callbacks.CallbackList([watch], **options)
    for epoch in (1, 2):
        history = model.fit(data, validation_data=data, verbose=0, callbacks=callbacks).history
        assert len(history["loss"]) == 1
        assert np.isfinite(history["transport_cost"] + history["val_loss"]).all()
        assert [each for each, _ in watch.seen] == [model] * epoch
        assert np.isfinite(watch.seen[-1][1]["transport_cost"])
    assert len(callbacks.callbacks) == 1 + is_complete  # as the user left it
    model.optimizer.learning_rate = 1e30
    with pytest.raises(ValueError, match=f"{IN_LOSS}|{IN_CHAINS}"):
        model.fit(data, epochs=2, verbose=0, callbacks=callbacks)
    assert len(watch.seen) == 2


def test_errors_that_are_not_about_images_are_left_as_they_are(training_case):
    model = training_case.compiled()

    def fail(*_):
        raise ValueError("a callback's own")

    with pytest.raises(ValueError, match=r"^a callback's own$"):
        model.fit(training_case.images(2), verbose=0, callbacks=keras.callbacks.LambdaCallback(on_epoch_begin=fail))
