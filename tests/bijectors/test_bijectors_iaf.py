"""IAF: triangular in the stated order, the same map as its plain definition, and MAF by inversion."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tests.bijectors.test_bijectors_flows import CONTEXT, base, points, shaken
from tfzoo.bijectors import IAF

pytestmark = pytest.mark.fast


def jacobian(function, z):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        y = function(z)
    return tape.batch_jacobian(y, z, experimental_use_pfor=False).numpy()


@pytest.mark.parametrize("transformation", ["gated", "affine"])
@pytest.mark.parametrize("order", ["reversed", "permuted"])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_each_steps_jacobian_is_triangular_in_its_order(transformation, order, size):
    flow = shaken(
        IAF(size, num_steps=3, hidden_units=(20, 20), transformation=transformation, order=order, dtype="float64")
    )
    context = points(4, CONTEXT, seed=2)
    assert [sorted(each) for each in flow.orders] == [list(range(size))] * 3
    for network, variables in zip(flow.networks, flow.orders, strict=True):

        def step(z, network=network):
            shift, scale, _ = flow._step(network, z, context)
            return shift + scale * z

        ordered = jacobian(step, points(4, size))[:, variables][:, :, variables]
        assert np.abs(np.triu(ordered, 1)).max() == 0.0
        assert np.abs(np.diagonal(ordered, axis1=1, axis2=2)).min() > 0.0
        if size > 1:
            assert (
                np.abs(ordered[:, 1:, :][:, np.tril_indices(size, -1)[0] - 1, np.tril_indices(size, -1)[1]]).min() > 0
            )


def test_the_order_is_reversed_after_every_step():
    assert IAF(3, num_steps=3).orders == [[0, 1, 2], [2, 1, 0], [0, 1, 2]]


def test_permutations_are_those_of_the_seed():
    one, same, other = (IAF(8, num_steps=4, order="permuted", seed=seed).orders for seed in (1, 1, 2))
    assert one == same != other


def test_the_affine_flow_starts_near_the_identity_and_the_gated_one_mostly_open():
    z = points(100, 4, dtype=tf.float32)
    for transformation, scale in (("affine", 1.0), ("gated", 0.88**2)):
        flow = IAF(4, num_steps=2, transformation=transformation)
        y, log_det = flow.forward_and_log_det(z)
        np.testing.assert_allclose(y, scale * z, atol=0.25)
        np.testing.assert_allclose(log_det, 4 * np.log(scale), atol=0.5)


def test_equals_tfps_flow_for_equal_shifts_and_scales():
    """TFP's masked autoregressive flow, given our network as its shift and log scale."""
    flow = shaken(IAF(3, num_steps=1, hidden_units=(10,), dtype="float64"), width=None)

    def shift_and_log_scale(z):
        shift, _, log_scale = flow._step(flow.networks[0], z, None)
        return shift, log_scale

    # TFP's runs from y to x by x = (y - shift(y)) / scale(y)... of its own variables: ours is its inverse's inverse.
    theirs = tfb.MaskedAutoregressiveFlow(lambda z: (_shift(shift_and_log_scale, z), -shift_and_log_scale(z)[1]))
    z = points(5, 3)
    np.testing.assert_allclose(flow.bijector().forward(z), theirs.inverse(z), atol=1e-12)
    np.testing.assert_allclose(
        flow.bijector().forward_log_det_jacobian(z), theirs.inverse_log_det_jacobian(z, 1), atol=1e-12
    )


def _shift(network, z):
    shift, log_scale = network(z)
    return -shift * tf.exp(-log_scale)


def test_as_a_masked_autoregressive_flow():
    flow = shaken(IAF(3, num_steps=2, hidden_units=(10,), dtype="float64"), scale=0.2)
    maf = tfd.TransformedDistribution(base(3), tfb.Invert(flow.bijector(points(4, CONTEXT, seed=2))))
    x = maf.sample(6, seed=1)
    z, log_det = flow.forward_and_log_det(x, points(4, CONTEXT, seed=2))
    np.testing.assert_allclose(maf.log_prob(x), base(3).log_prob(z) + log_det, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be a whole number of at least 1"),
        ({"num_steps": 1.5}, "num_steps must be a whole number of at least 1"),
        ({"transformation": "cubic"}, "transformation must be one of gated, affine"),
        ({"order": "random"}, "order must be one of reversed, permuted"),
        ({"hidden_units": ()}, "hidden_units must be one or more whole numbers, each of at least 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=rf"^{message}\. Received: "):
        IAF(3, **options)


def test_the_density_of_the_inverted_flow_inverts_nothing(monkeypatch):
    flow = shaken(IAF(3, num_steps=2, hidden_units=(10,), dtype="float64"))
    maf = tfd.TransformedDistribution(base(3), tfb.Invert(flow.bijector(points(CONTEXT, seed=2))))
    x = points(4, 3)
    expected = maf.log_prob(x)
    monkeypatch.setattr(flow, "_inverse", None)  # an error for whoever asks
    np.testing.assert_allclose(maf.log_prob(x), expected, rtol=1e-12)
    np.testing.assert_allclose(tf.function(maf.log_prob)(x), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("factor", [1e4, 1e6])
def test_points_far_out_have_a_finite_density_and_gradients(size, factor):
    # There softplus(s) is 0 in float32, but its logarithm is s.
    flow = IAF(size, hidden_units=(64, 64), seed=0)
    z = np.random.default_rng(0).normal(size=(64, size)).astype(np.float32)
    z[:8] *= factor
    with tf.GradientTape() as tape:
        log_det = flow.bijector().forward_log_det_jacobian(tf.constant(z), event_ndims=1)
        loss = tf.reduce_mean(log_det)
    double = IAF(size, hidden_units=(64, 64), seed=0, dtype="float64")
    double.build()
    double.set_weights(flow.get_weights())
    expected = double.bijector().forward_log_det_jacobian(tf.constant(z, tf.float64), event_ndims=1)
    assert np.min(expected) < -200.0
    np.testing.assert_allclose(log_det, expected, rtol=1e-4, atol=1e-4)
    for gradient in tape.gradient(loss, flow.trainable_variables):
        assert np.isfinite(gradient).all()
