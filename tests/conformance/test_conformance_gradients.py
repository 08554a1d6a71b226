"""The gradient of the loss reaches every weight."""

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradient_reaches_every_weight(case, likelihood):
    model, x = case.model(likelihood=likelihood), case.images(8)
    assert model.trainable_weights
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y_pred=model(x, training=True))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert gradient is not None, weight.path
        assert np.any(gradient != 0), weight.path


def test_likelihood_and_bounds_are_differentiable_in_the_images(amortised_case):
    model, x = amortised_case.model(), tf.constant(amortised_case.images(2))
    for function in (lambda x: model.elbo(x, 2, 0), lambda x: model.log_prob(x, 4, 0)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
        assert np.isfinite(gradient).all()
        assert np.any(gradient != 0)
