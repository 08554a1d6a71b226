import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tfzoo.distributions import EnergyPrior
from tfzoo.models import validation

pytestmark = pytest.mark.fast

UNIT = (0.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_of_any_floating_type_become_the_models(dtype):
    images = validation.as_images(np.full([2, 5], 0.5, dtype), (5,), UNIT, tf.float32)
    assert images.dtype == tf.float32
    assert images.shape == (2, 5)


def test_an_array_is_not_copied_by_its_check():
    array = np.full([2, 5], 0.5)
    assert validation.check_images(array, (5,), UNIT) is array
    assert validation.check_images({"image": array, "label": 3}, (5,), UNIT) is array


def test_specs_are_checked_like_tensors():
    validation.check_images(tf.TensorSpec([None, 5], tf.float32), (5,), UNIT)
    with pytest.raises(ValueError, match=r"^images must have shape \[B, 5\]\. Received: shape \(None, 4\)$"):
        validation.check_images(tf.TensorSpec([None, 4], tf.float32), (5,), UNIT)
    with pytest.raises(ValueError, match=r"Received: dtype uint8, shape \(None, 5\)$"):
        validation.check_images(tf.TensorSpec([None, 5], tf.uint8), (5,), UNIT)


def test_values_are_checked_outside_of_graphs_only():
    function = tf.function(lambda x: validation.as_images(x, (5,), UNIT, tf.float32))
    function(tf.constant(np.full([2, 5], 7.0)))
    with pytest.raises(ValueError, match=r"Received: values from 7 to 7$"):
        validation.as_images(tf.constant(np.full([2, 5], 7.0)), (5,), UNIT, tf.float32)


@pytest.mark.parametrize("shape", [(28, 28, 1), [10], np.array([4, 4]), tf.TensorShape([3, 2])])
def test_event_shapes(shape):
    found = validation.check_event_shape(shape)
    assert found == tuple(shape)
    assert all(type(size) is int for size in found)


@pytest.mark.parametrize("mask", [np.ones([5], bool), np.ones([2, 5], np.uint8), [[1.0], [1.0]], np.eye(2, 5), 1])
def test_masks_broadcast(mask):
    found = validation.as_mask(mask, tf.zeros([2, 5]))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, np.broadcast_to(np.asarray(mask, np.float32), [2, 5]))


def test_a_mask_in_a_graph_is_0_or_1():
    function = tf.function(lambda mask: validation.as_mask(mask, tf.zeros([2, 5])))
    np.testing.assert_array_equal(function(tf.constant([0.0, 0.4, 0.6, 1.0, 9.0])), [[0, 0, 1, 1, 1]] * 2)


def test_specs_of_masks_are_checked_like_tensors():
    validation.check_mask(tf.TensorSpec([None, 4, 4, 1], tf.float32), (4, 4, 3))
    with pytest.raises(
        ValueError, match=r"^mask must broadcast to .* \[B, 4, 4, 3\]\. Received: .* \(None, 3, 4, 1\)$"
    ):
        validation.check_mask(tf.TensorSpec([None, 3, 4, 1], tf.float32), (4, 4, 3))
    for shape in ([2, 2, 4, 4, 3], [2, 4, 4, 2]):
        with pytest.raises(ValueError, match=r"^mask must broadcast to "):
            validation.check_mask(np.ones(shape), (4, 4, 3))


def test_a_prior_without_its_normaliser_is_for_the_model_that_learns_it():
    for name in ("abp", "latent_flow", "vae"):
        with pytest.raises(ValueError, match=r"^prior must have a normalised density; .* Received: EnergyPrior$"):
            tfzoo.create_model(name, event_shape=(4,), latent_dim=2, prior=EnergyPrior(2))


def test_what_is_hidden_may_be_any_number():
    model = tfzoo.create_model("vae", event_shape=(4,), latent_dim=2, likelihood="gaussian")
    z, mask = tf.ones([1, 2]), tf.constant([[1.0, 1.0, 0.0, 1.0]])
    seen, huge = (model.log_joint(tf.constant([[0.1, 0.2, hidden, 0.3]]), z, mask) for hidden in (0.0, 1e30))
    np.testing.assert_array_equal(seen, huge)
    assert np.isfinite(seen).all()
