import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.models.divergence import StopOnNonFinite, one_sentence

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_stops_and_says_where(loss):
    callback = StopOnNonFinite()
    callback.on_epoch_begin(4)
    callback.on_train_batch_end(6, {"loss": 1e30})
    callback.on_train_batch_end(6, None)
    with pytest.raises(ValueError, match=rf"Received: loss {loss} at batch 7 of epoch 5$"):
        callback.on_train_batch_end(7, {"loss": tf.constant(loss)})


def test_an_epoch_ends_with_finite_weights_and_validation_only():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    callback = StopOnNonFinite()
    callback.set_model(model)
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 1.0, "val_loss": 2.0})
    with pytest.raises(ValueError, match=r"Received: val_loss nan of epoch 1$"):
        callback.on_epoch_end(0, {"loss": 1.0, "val_loss": np.nan})
    model.layers[0].bias.assign([np.inf])
    with pytest.raises(ValueError, match=r"Received: weight \S*bias nan of epoch 1$"):
        callback.on_epoch_end(0, {})


def test_one_sentence_of_pages():
    pages = "Exception encountered:\n\n\x1b[1mimages must be so. Received: dtype uint8\x1b[0m\n\nArguments received: x"
    with pytest.raises(ValueError, match=r"^images must be so\. Received: dtype uint8$"), one_sentence():
        raise ValueError(pages)
    traced = (
        "in user code:\n\n    File base.py, line 1, in f *\n    ValueError: Keras must be 3.10. Received: Keras 3.6.0\n"
    )
    with pytest.raises(ValueError, match=r"^Keras must be 3\.10\. Received: Keras 3\.6\.0$"), one_sentence():
        raise ValueError(traced)
    assertion = tf.errors.InvalidArgumentError(None, None, "failed: [images must be so. Received: NaN] [[{{node A}}]]")
    with pytest.raises(ValueError, match=r"^images must be so\. Received: NaN$"), one_sentence():
        raise assertion
    with pytest.raises(tf.errors.InvalidArgumentError, match="another"), one_sentence():
        raise tf.errors.InvalidArgumentError(None, None, "another")
