"""The potential map: its Hessian, what it is without the network, its inverse, and what training leaves of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tests.bijectors.test_bijectors_flows import CONTEXT, base, points, ring, shaken
from tfzoo.bijectors import PCPMap
from tfzoo.math import newton

each_kind = pytest.mark.parametrize("nonnegative", ["softplus", "projection"])


def small(size=3, dtype="float64", **kwargs):
    return PCPMap(size, dtype=dtype, **{"hidden_units": (8, 8), **kwargs})


def quadratic(size, curvature, slope):
    """Returns the map with the convex network switched off, all its weights 0, but for its linear term."""
    flow = small(size, strong_convexity=0.1)
    flow.build(None)
    for weight in flow.weights:
        weight.assign(tf.zeros_like(weight))
    flow.raw_curvature.assign(np.log(np.expm1(curvature - 0.1)))
    next(w for w in flow.weights if w.name == "slope_bias").assign(np.asarray(slope))
    return flow


# === The Hessian ===


@pytest.mark.fast
@each_kind
def test_the_hessian_is_the_jacobian_symmetric_and_positive_definite(nonnegative):
    """For 150 networks, contexts and points."""
    flow = small(nonnegative=nonnegative, strong_convexity=0.05)
    flow.build((None, CONTEXT))
    start = [np.array(weight) for weight in flow.trainable_variables]
    derivatives = tf.function(flow.derivatives)
    for seed in range(150):
        for i, (weight, value) in enumerate(zip(flow.trainable_variables, start, strict=True)):
            weight.assign(value + points(*weight.shape, seed=1000 * seed + i))
        z, context = 2.0 * points(4, 3, seed=seed), 2.0 * points(4, CONTEXT, seed=5000 + seed)
        _, _, hessian = derivatives(z, context)
        np.testing.assert_allclose(hessian, tf.linalg.matrix_transpose(hessian), rtol=1e-12, atol=1e-12)
        assert np.linalg.eigvalsh(hessian).min() > 0.05
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = flow.bijector(context).forward(z)
    np.testing.assert_allclose(tape.batch_jacobian(y, z), hessian, rtol=1e-9, atol=1e-12)


@pytest.mark.fast
def test_the_map_is_the_gradient_of_its_potential():
    flow = shaken(small(), scale=1.0)
    z, context = points(5, 3), points(5, CONTEXT, seed=2)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value, y, _ = flow.derivatives(z, context)
    np.testing.assert_allclose(tape.gradient(value, z), y, rtol=1e-10)
    np.testing.assert_array_equal(flow.bijector(context).forward(z), y)


@pytest.mark.fast
@each_kind
def test_it_is_monotone(nonnegative):
    """A gradient of a strongly convex function: (f(a) - f(b)) . (a - b) >= m |a - b|^2."""
    flow = shaken(small(nonnegative=nonnegative, strong_convexity=0.3), scale=1.0)
    one, other = 3.0 * points(500, 3), 3.0 * points(500, 3, seed=2)
    context = points(500, CONTEXT, seed=3)
    forward = flow.bijector(context).forward
    product = tf.reduce_sum((forward(one) - forward(other)) * (one - other), -1)
    assert (product - 0.3 * tf.reduce_sum((one - other) ** 2, -1)).numpy().min() > 0.0


@pytest.mark.fast
def test_no_slope_is_below_the_strong_convexity():
    """Not even of a map that has unlearned all else."""
    flow = quadratic(2, 1.0, [0.0, 0.0])
    flow.raw_curvature.assign(-1e4)
    np.testing.assert_allclose(flow.derivatives(points(3, 2))[2], np.broadcast_to(0.1 * np.eye(2), [3, 2, 2]))
    np.testing.assert_allclose(flow.forward_and_log_det(points(3, 2))[1], 2.0 * np.log(0.1))


@pytest.mark.fast
@pytest.mark.parametrize("size", [1, 2, 16])
@each_kind
def test_starts_near_the_identity(size, nonnegative):
    flow = PCPMap(size, nonnegative=nonnegative)
    z, context = points(200, size, dtype=tf.float32), points(200, CONTEXT, dtype=tf.float32, seed=2)
    y, log_det = flow.forward_and_log_det(z, context)
    assert np.sqrt(np.mean((y - z) ** 2)) < 0.5
    assert 0.0 < np.mean(log_det) / size < 0.4


@pytest.mark.fast
def test_a_quadratic_potential_is_an_affine_map():
    flow = quadratic(3, 0.6, [1.0, -2.0, 0.5])
    affine = tfb.Chain([tfb.Shift(tf.constant([1.0, -2.0, 0.5], tf.float64)), tfb.Scale(tf.constant(0.6, tf.float64))])
    z = points(6, 3)
    np.testing.assert_allclose(flow.bijector().forward(z), affine.forward(z), rtol=1e-12)
    np.testing.assert_allclose(flow.bijector().inverse(z), affine.inverse(z), rtol=1e-12)
    q = tfd.TransformedDistribution(base(3), flow.bijector())
    normal = tfd.Independent(tfd.Normal(tf.constant([1.0, -2.0, 0.5], tf.float64), tf.constant(0.6, tf.float64)), 1)
    np.testing.assert_allclose(q.log_prob(z), normal.log_prob(z), rtol=1e-12)


@pytest.mark.fast
def test_a_log_det_in_double_precision_is_that_of_the_same_weights():
    """Where it is steep along one direction, and nearly flat across it."""
    flows = [small(4, "float32"), small(4, "float32", log_det_dtype="float64"), small(4, "float64")]
    for flow in flows:
        flow.build(None)
    for i, weight in enumerate(flows[0].weights):
        weight.assign(points(*weight.shape, dtype=tf.float32, seed=i))
        if weight.name.startswith("input_weight"):
            weight.assign(tf.constant([[1.0], [0.7], [-0.5], [0.3]]) * weight[:1])
    flows[0].raw_curvature.assign(-10.0)
    flows[0].raw_scale.assign(3000.0)
    for flow in flows[1:]:
        for weight, source in zip(flow.weights, flows[0].weights, strict=True):
            weight.assign(tf.cast(source, weight.dtype))
    z = points(50, 4, dtype=tf.float32)
    plain, wide, exact = (flow.forward_and_log_det(tf.cast(z, flow.dtype)) for flow in flows)
    assert wide[0].dtype == wide[1].dtype == tf.float32
    errors = [np.abs(np.asarray(log_det, "float64") - exact[1]).max() for _, log_det in (plain, wide)]
    assert errors[1] < 1e-4
    assert errors[0] > 1e-3


# === The inverse ===


@pytest.mark.fast
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize(("dtype", "precision"), [("float32", 1e-5), ("float64", 1e-10)])
def test_round_trip_of_networks_far_from_the_start(size, dtype, precision):
    flow = shaken(small(size, dtype), scale=0.5)
    z, context = 2.0 * points(100, size, dtype=dtype), points(100, CONTEXT, dtype=dtype, seed=2)
    found = flow.invert(flow.bijector(context).forward(z), context)
    assert found.converged.numpy().all()
    assert found.num_unconverged == 0
    np.testing.assert_allclose(found.position, z, rtol=precision, atol=precision)


@pytest.mark.fast
def test_a_search_that_finds_no_way_down_ends():
    # No step leads anywhere once it is halved below rounding: what is left of 1,000 evaluations would all be the same.
    def derivatives(z):
        outside = tf.reduce_any(z != 0.0, axis=-1, keepdims=True)
        gradient = tf.where(outside, tf.constant(np.nan, z.dtype), z)
        return tf.reduce_sum(gradient, axis=-1), gradient, tf.eye(2, batch_shape=z.shape[:-1], dtype=z.dtype)

    y = tf.constant([[0.0, 0.0], [1.0, 2.0]], tf.float64)
    found = newton.invert_gradient(derivatives, y, curvature=tf.ones([], tf.float64), max_iterations=1000)
    np.testing.assert_array_equal(found.converged, [True, False])
    assert 52 <= found.num_iterations.numpy()[1] <= 54  # epsilon is 2^-52
    np.testing.assert_array_equal(found.position[1], [0.0, 0.0])


@pytest.mark.fast
def test_an_inverse_that_did_not_converge_says_so():
    flow = shaken(small(max_iterations=3), scale=0.5)
    unhurried = small()
    unhurried.build((None, CONTEXT))
    unhurried.set_weights(flow.get_weights())
    context = points(CONTEXT, seed=2)
    _, at_origin, _ = flow.derivatives(np.zeros(3), context)
    y = tf.concat([at_origin[tf.newaxis], 30.0 * points(4, 3)], axis=0)  # an easy one, and hard ones
    found, exact = flow.invert(y, context), unhurried.invert(y, context)
    assert exact.converged.numpy().all()
    np.testing.assert_array_equal(found.converged, [True] + 4 * [False])
    assert found.num_unconverged == 4
    assert found.num_iterations.numpy().max() == 3
    assert np.isfinite(found.position).all()
    inverse = flow.bijector(context).inverse(y)
    np.testing.assert_allclose(inverse[0], np.zeros(3), atol=1e-12)
    assert np.isnan(inverse[1:]).all()
    q = tfd.TransformedDistribution(base(3), flow.bijector(context))
    np.testing.assert_array_equal(np.isnan(q.log_prob(y)), [False] + 4 * [True])


@pytest.mark.fast
def test_what_did_not_converge_leaves_the_gradients_of_the_rest():
    flow = shaken(small(max_iterations=3), scale=0.5)
    context = points(CONTEXT, seed=2)
    _, at_origin, _ = flow.derivatives(np.zeros(3), context)

    def gradients(y):
        with tf.GradientTape() as tape:
            z = flow.bijector(context).inverse(y)
            loss = tf.reduce_sum(z[0] ** 2 + z[0])
        return [g for g in tape.gradient(loss, flow.trainable_variables) if g is not None]

    alone = gradients(at_origin[tf.newaxis])
    beside = gradients(
        tf.stack([at_origin, tf.constant(3 * [30.0], tf.float64), tf.constant(3 * [np.nan], tf.float64)])
    )
    assert alone
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.fast
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e300])
def test_values_that_no_point_has_are_flagged(wrong):
    flow = shaken(small())
    context = points(CONTEXT, seed=2)
    y = tf.stack([points(3), tf.constant([0.0, wrong, 0.0], tf.float64)])
    found = flow.invert(y, context)
    np.testing.assert_array_equal(found.converged, [True, False])
    assert np.isnan(flow.bijector(context).inverse(y)[1]).all()


@pytest.mark.fast
def test_a_rows_inverse_does_not_depend_on_the_others():
    flow = shaken(small(), scale=0.5)
    context = 3.0 * points(6, CONTEXT, seed=2)
    y = tf.constant([[1.0], [1.0], [1.0], [30.0], [100.0], [np.nan]], tf.float64) * points(6, 3)
    together = flow.invert(y, context)
    assert len(np.unique(together.num_iterations)) >= 3
    for i in range(6):
        alone = flow.invert(y[i], context[i])
        np.testing.assert_allclose(alone.position, together.position[i], rtol=1e-12, atol=1e-14)
        assert alone.num_iterations == together.num_iterations[i]
        assert alone.converged == together.converged[i]


@pytest.mark.fast
def test_the_search_is_one_loop_and_inside_another():
    """Compiled, within a loop: a fixed point of the inverse, differentiated."""
    flow = shaken(small(2, "float32"), scale=0.1)

    def iterate(y):
        bijector = flow.bijector(tf.zeros([CONTEXT]))
        with tf.GradientTape() as tape:
            end = tf.while_loop(
                lambda k, z: k < 3, lambda k, z: (k + 1, bijector.inverse(z)), (0, y), maximum_iterations=3
            )
            loss = tf.reduce_sum(end[1] ** 2)
        return end[1], tape.gradient(loss, [flow.raw_curvature.value])[0]

    y = points(4, 2, dtype=tf.float32)
    for eager, compiled in zip(iterate(y), tf.function(iterate, jit_compile=True)(y), strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-3, atol=1e-5)


# === Training ===


@each_kind
def test_200_steps_of_training_leave_it_convex_and_invertible(nonnegative):
    """Both ways of keeping weights from below zero learn the same density about as well."""
    flow = PCPMap(2, hidden_units=(16, 16), nonnegative=nonnegative)
    data = {name: tf.constant(value) for name, value in ring(500).items()}
    optimizer = keras.optimizers.Adam(0.01)
    flow.build((None, 1))
    optimizer.build(flow.trainable_variables)

    @tf.function
    def losses():
        q = tfd.TransformedDistribution(base(2, tf.float32), tfb.Invert(flow.bijector(data["c"])))
        return -tf.reduce_mean(q.log_prob(data["x"]))

    start = losses()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = losses()
        optimizer.apply(tape.gradient(loss, flow.trainable_variables))

    for _ in range(200):
        step()
    # Of the data's own law: 0.5 log(2 pi e)^2 + log 0.3.
    entropy = np.log(2.0 * np.pi * np.e) + np.log(0.3)
    assert start > entropy + 1.0
    assert entropy - 0.1 < losses() < entropy + 0.15
    x, c = data["x"][:200], data["c"][:200]
    value, y, hessian = flow.derivatives(x, c)
    np.testing.assert_allclose(hessian, tf.linalg.matrix_transpose(hessian), rtol=1e-4, atol=1e-4)
    assert np.linalg.eigvalsh(hessian.numpy().astype("float64")).min() > 0.01
    middle = flow.derivatives(0.5 * (x + x[::-1]), c)[0]
    assert (0.5 * (value + flow.derivatives(x[::-1], c)[0]) - middle).numpy().min() >= -1e-4
    found = flow.invert(y, c)
    assert found.num_unconverged == 0
    np.testing.assert_allclose(found.position, x, atol=1e-4)


# === Bad arguments ===


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strong_convexity", 0.0),
        ("strong_convexity", 1.0),
        ("strong_convexity", float("nan")),
        ("log_det_dtype", "float16"),
        ("max_iterations", 0),
        ("max_iterations", 1.5),
        ("hidden_units", ()),
        ("context_units", (1, 2, 3)),
        ("nonnegative", "abs"),
    ],
)
def test_bad_arguments_are_one_sentence(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be [^\n]* Received: [^\n]*$"):
        PCPMap(2, **{name: value})


@pytest.mark.fast
def test_saves_its_arguments():
    flow = PCPMap(
        2,
        hidden_units=[5, 4],
        context_units=[3, 3],
        nonnegative="projection",
        strong_convexity=0.2,
        log_det_dtype="float64",
        max_iterations=7,
    )
    copy = PCPMap.from_config(flow.get_config())
    assert copy.get_config() == flow.get_config()
    assert (copy.strong_convexity, copy.log_det_dtype, copy.max_iterations) == (0.2, "float64", 7)
    assert (copy.picnn.hidden_units, copy.picnn.context_units, copy.picnn.nonnegative) == ((5, 4), (3, 3), "projection")
