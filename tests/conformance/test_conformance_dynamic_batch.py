"""One trace serves every size of batch."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.cases import AMORTISED_METHODS

# What is a signature of an export (encode, reconstruct, score, interpolate) is tried there, in batches of any size.
CALLS = {
    "call": lambda model, x, seed: model(x, seed=seed)["z"],
    "elbo": lambda model, x, seed: model.elbo(x, 3, seed),
    "log_prob": lambda model, x, seed: model.log_prob(x, 5, seed),
    "inpaint": lambda model, x, seed: model.inpaint(x, np.eye(6)[:, :, np.newaxis], 2, seed, num_steps=2),
    "base_posterior": lambda model, x, seed: model.base_posterior(x).mean(),
    "log_joint": lambda model, x, seed: model.log_joint(x, tf.ones([tf.shape(x)[0], model.latent_dim])),
}


def test_a_users_function_of_unknown_batch_traces_once_and_agrees_with_eager(image_case, shared_models):
    model = shared_models(image_case)
    left_out = set() if image_case.amortised else AMORTISED_METHODS

    @tf.function(
        input_signature=[tf.TensorSpec([None, *image_case.event_shape]), tf.TensorSpec([2], tf.int32)],
        autograph=False,
    )
    def function(x, seed):
        return {name: call(model, x, seed) for name, call in CALLS.items() if name not in left_out}

    seed = np.array([1, 2], np.int32)
    assert all(np.isfinite(found).all() for found in function(image_case.images(1), seed).values())
    x = image_case.images(4)
    for name, found in function(x, seed).items():
        np.testing.assert_allclose(found, CALLS[name](model, x, seed), rtol=1e-4, atol=1e-5, err_msg=name)
    assert function.experimental_get_tracing_count() == 1


@pytest.mark.fast
def test_a_function_of_unknown_rank_works(image_case, shared_models):
    model = shared_models(image_case)
    function = tf.function(
        lambda x, z: (model.encode(x, [0, 0]), model.log_joint(x, z)), input_signature=[tf.TensorSpec(None)] * 2
    )
    code, log_joint = function(image_case.images(3), np.ones([4, 3, image_case.latent_dim], np.float32))
    assert code.shape == (3, image_case.latent_dim)
    assert log_joint.shape == (4, 3)


def test_autograph_leaves_a_users_function_alone(training_case, shared_models):
    model = shared_models(training_case)

    @tf.function
    def function(x, seed):
        total = 0.0
        for i in tf.range(2):
            total += tf.reduce_sum(model.elbo(x, 1, tf.stack([seed, i])))
        return total

    assert np.isfinite(function(training_case.images(2), 3))
