"""What a flow's bijector must not remember: a point that it returned is one like any other."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tests.bijectors.test_bijectors_flows import base, one_of_each_kind, points, shaken


@pytest.mark.fast
@one_of_each_kind
@pytest.mark.parametrize("inverted", [False, True])
def test_what_forward_returned_is_a_point_like_any_other(make, inverted):
    """Its log-determinant is that of a fresh bijector: by today's weights, with gradients by point and weights."""
    flow = shaken(make(3, "float64"), None, scale=0.2)
    weights = [weight.value for weight in flow.trainable_variables]
    used, x = flow.bijector(), points(5, 3)
    # A density in between must not arm it either.
    tfd.TransformedDistribution(base(3), tfb.Invert(used)).log_prob(x)
    y = tfb.Invert(used).inverse(x) if inverted else used.forward(x)

    def log_det(bijector):
        inverse = tfb.Invert(bijector)
        return inverse.forward_log_det_jacobian(y, 1) if inverted else bijector.inverse_log_det_jacobian(y, 1)

    def value_and_gradients(bijector):
        with tf.GradientTape() as tape:
            tape.watch(y)
            value = log_det(bijector)
        return [value, *tape.gradient(value, [y, *weights], unconnected_gradients="zero")]

    expected = value_and_gradients(flow.bijector())
    assert np.abs(expected[1]).max() > 1e-3
    for ours, theirs in zip(value_and_gradients(used), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    y = used.forward(x)
    for i, weight in enumerate(weights):
        weight.assign(weight + 0.1 * points(*weight.shape, seed=20 + i))
    np.testing.assert_allclose(log_det(used), log_det(flow.bijector()), rtol=1e-6, atol=1e-9)
