"""Coupling flows and their parts: actnorm, dense mixing, splines, couplings, and the papers' settings."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tests.bijectors.test_bijectors_flows import points, shaken
from tfzoo.bijectors import ActNorm, CouplingFlow, LUMixing
from tfzoo.bijectors.coupling import Coupling
from tfzoo.bijectors.elementwise import Affine, SigmoidAffine, Spline

pytestmark = pytest.mark.fast

GLOW = {"actnorm": True, "mixing": "lu", "transformation": "sigmoid_affine", "activation": "relu"}


def correlated(*shape, seed=5):
    """Returns points of no mean 0, variance 1 or independence."""
    size = shape[-1]
    return points(*shape, seed=seed) @ (points(size, size, seed=6) + tf.eye(size, dtype=tf.float64)) + 3.0


def moments(values):
    return [np.asarray(part) for part in tf.nn.moments(values, axes=list(range(values.shape.rank - 1)))]


# === Actnorm ===


def test_actnorm_starts_as_the_identity_or_where_it_is_told():
    z = points(5, 3)
    np.testing.assert_array_equal(ActNorm(3, dtype="float64").bijector().forward(z), z)
    told = ActNorm(3, loc=[1.0, 2.0, 1 / 3], scale=0.1, dtype="float64")
    np.testing.assert_allclose(told.bijector().forward(z), 0.1 * z + [1.0, 2.0, 1 / 3], rtol=1e-13)
    np.testing.assert_allclose(told.bijector().forward_log_det_jacobian(z), 3 * np.log(0.1), rtol=1e-13)


@pytest.mark.parametrize("shape", [(40, 3), (5, 8, 3)])
def test_actnorm_initialised_by_a_batch_normalises_it(shape):
    flow, z = ActNorm(3, dtype="float64"), correlated(*shape)
    flow.initialize(z)
    mean, variance = moments(flow.bijector().inverse(z))
    np.testing.assert_allclose(mean, 0.0, atol=1e-12)
    np.testing.assert_allclose(variance, 1.0, rtol=1e-12)


def test_actnorm_only_centres_what_does_not_vary():
    flow = ActNorm(2)
    flow.initialize(np.array([[1.0, 5.0], [2.0, 5.0]], np.float32))
    np.testing.assert_allclose(flow.bijector().inverse(np.array([[3.0, 7.0]], np.float32))[0, 1], 2.0)


def test_actnorm_rejects_bad_starts():
    for wrong in ({"loc": [1.0, 2.0]}, {"loc": np.nan}, {"scale": [1.0, 1.0, 0.0]}, {"scale": -1.0}):
        with pytest.raises(ValueError, match=r"^(loc|scale) must be [^\n]* Received: "):
            ActNorm(3, **wrong)
    for wrong in (np.zeros(3, np.float32), np.zeros([4, 2], np.float32)):
        with pytest.raises(ValueError, match=r"^z must be \[\.\.\., B, 3\]\. Received: shape "):
            ActNorm(3).initialize(wrong)
        with pytest.raises(ValueError, match=r"^z must be \[\.\.\., B, 3\]\. Received: shape "):
            CouplingFlow(3, actnorm=True).initialize(wrong)


EAGER = [(size, mixing, width, False) for size in (1, 2, 5) for mixing in ("reverse", "lu") for width in (None, 3)]


@pytest.mark.parametrize(("size", "mixing", "width", "graph"), [*EAGER, (1, "lu", None, True), (5, "lu", 3, True)])
def test_a_batch_initialises_every_actnorm_of_a_flow(size, mixing, width, graph):
    flow = CouplingFlow(size, num_steps=3, hidden_units=(8, 6), actnorm=True, mixing=mixing, dtype="float64")
    z, context = correlated(100, size), None if width is None else correlated(100, width, seed=8)
    (tf.function(flow.initialize) if graph else flow.initialize)(z, context)
    seen = []
    for part in reversed(flow.chain.flows):
        if isinstance(part, Coupling) and (size > 1 or width):
            network, passing = part.conditioner, z[:, : part.num_passing]
            inputs = [x for x in (passing, context) if x is not None and x.shape[-1]]
            features = sum(layer(x) for layer, x in zip(network.first, inputs, strict=True))
            seen.append(network.norms[0]._inverse(features, None))
            seen.append(network.norms[1]._inverse(network.hidden[0](tf.nn.silu(seen[-1])), None))
        z = part._inverse(z, context)
        if isinstance(part, ActNorm):
            seen.append(z)
    assert len(seen) == (9 if size > 1 or width else 3)
    for values in seen:
        mean, variance = moments(values)
        np.testing.assert_allclose(mean, 0.0, atol=1e-10)
        np.testing.assert_allclose(variance, 1.0, rtol=1e-8)


# === Mixing ===


@pytest.mark.parametrize("size", [1, 2, 5])
def test_mixing_starts_at_its_initial_matrix(size):
    start = keras.initializers.Orthogonal(seed=1)
    flow = LUMixing(size, initializer=start, dtype="float64")
    flow.build(None)
    np.testing.assert_allclose(flow.matrix(), start((size, size), dtype="float64"), atol=1e-12)
    assert np.abs(flow.forward_and_log_det(points(4, size))[1]).max() < 1e-12
    identity = LUMixing(size, initializer="identity", dtype="float64")
    np.testing.assert_array_equal(identity.bijector().forward(points(4, size)), points(4, size))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_mixing_is_its_dense_matrix(size):
    flow = shaken(LUMixing(size, dtype="float64"), None)
    matrix, z = np.asarray(flow.matrix()), points(3, 4, size)
    np.testing.assert_allclose(flow.bijector().inverse(z), z @ matrix.T, atol=1e-12)
    forward, log_det = flow.forward_and_log_det(z)
    np.testing.assert_allclose(forward, z @ np.linalg.inv(matrix).T, atol=1e-10)
    np.testing.assert_allclose(log_det, np.full([3, 4], -np.linalg.slogdet(matrix)[1]), atol=1e-12)
    weights = [np.asarray(weight) for weight in flow.non_trainable_variables]
    assert [weight.shape for weight in weights] == [(size,), (size, size)]
    np.testing.assert_allclose(weights[1] @ weights[1].T, np.eye(size))


def test_mixing_must_start_invertible():
    with pytest.raises(ValueError, match=r"^initializer must give an invertible matrix\. Received: "):
        LUMixing(2, initializer="ones").build(None)


def test_steps_mix_differently_unless_the_initializer_has_a_seed():
    def matrices(initializer):
        flow = CouplingFlow(4, num_steps=2, mixing="lu", mixing_initializer=initializer)
        flow.build(None)
        return [part.matrix() for part in flow.chain.flows if isinstance(part, LUMixing)]

    one, other = matrices("orthogonal")
    assert np.abs(one - other).max() > 0.1
    one, other = matrices(keras.initializers.Orthogonal(seed=1))
    np.testing.assert_array_equal(one, other)


# === What happens to each number ===


def test_a_spline_is_tfps_inside_and_the_identity_outside():
    spline, parameters = Spline(6, 2.5), points(7, 3, 17, scale=2.0)
    xs, ys, slopes = spline.knots(parameters)
    theirs = tfb.RationalQuadraticSpline(
        bin_widths=xs[..., 1:] - xs[..., :-1],
        bin_heights=ys[..., 1:] - ys[..., :-1],
        knot_slopes=slopes[..., 1:-1],
        range_min=-2.5,
    )
    for number in np.concatenate([np.linspace(-4.0, 4.0, 41), xs[0, 0, 1:-1]]):
        x = tf.fill([7, 3], tf.constant(number, tf.float64))
        y, log_slope = spline.forward(x, parameters)
        np.testing.assert_allclose(y, theirs.forward(x), atol=1e-11)
        np.testing.assert_allclose(log_slope, theirs.forward_log_det_jacobian(x), atol=1e-11)
        np.testing.assert_allclose(spline.inverse(x, parameters), theirs.inverse(x), atol=1e-9)
        if abs(number) >= 2.5:
            np.testing.assert_array_equal(y, x)
            np.testing.assert_array_equal(log_slope, 0.0)


def test_a_splines_slope_is_continuous_even_at_the_bound():
    spline, parameters = Spline(4, 3.0), points(1, 11, scale=2.0)
    places = tf.concat([spline.knots(parameters)[0][0], [-3.0, 3.0]], axis=0)[:, tf.newaxis]
    below, above = (spline.forward(places + shift, parameters) for shift in (-1e-9, 1e-9))
    np.testing.assert_allclose(below[0], above[0], atol=1e-6)
    np.testing.assert_allclose(below[1], above[1], atol=1e-5)


def test_a_spline_of_zeros_is_the_identity():
    x = points(50, 1, scale=2.0)
    y, log_slope = Spline(8, 4.0).forward(x, tf.zeros([23], tf.float64))
    np.testing.assert_allclose(y, x, atol=1e-14)
    np.testing.assert_allclose(log_slope, 0.0, atol=1e-14)


@pytest.mark.parametrize("scale", [3.0, 100.0])
def test_a_spline_stays_finite_and_increasing_for_wild_parameters_and_points(scale):
    spline, parameters = Spline(8, 4.0), points(20, 1, 23, dtype=tf.float32, scale=scale)
    x = tf.constant([-3e38, -1e20, *np.linspace(-5.0, 5.0, 201), 1e20, 3e38], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([x, parameters])
        y, log_slope = spline.forward(x, parameters)
        back = spline.inverse(x, parameters)
        total = tf.reduce_sum(tf.tanh(y)) + tf.reduce_sum(log_slope) + tf.reduce_sum(tf.tanh(back))
    for value in [y, log_slope, back, *tape.gradient(total, [x, parameters])]:
        assert np.isfinite(value).all()
    assert (np.diff(y, axis=-1) > -1e-5).all()
    assert (np.diff(back, axis=-1) > -1e-4).all()


@pytest.mark.parametrize("bound", [1e-6, 1e-3, 1e-2, 1.0, 1e3, 1e6])
@pytest.mark.parametrize(("dtype", "precision"), [("float32", 2e-3), ("float64", 1e-11)])
def test_a_splines_inverse_is_as_good_for_any_bound(bound, dtype, precision):
    spline, parameters = Spline(8, bound), points(200, 1, 23, dtype=dtype, scale=2.0)
    x = bound * tf.cast(np.random.default_rng(0).uniform(-1.1, 1.1, [200, 10]), dtype)
    y = spline.forward(x, parameters)[0]
    with tf.GradientTape() as tape:
        tape.watch([y, parameters])
        back = spline.inverse(y, parameters)
    np.testing.assert_allclose(back / bound, x / bound, atol=precision)
    for gradient in tape.gradient(back, [y, parameters]):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("transformation", [Affine(), SigmoidAffine(), Spline(5, 3.0)])
def test_transformations_are_the_same_in_a_vectorized_map(transformation):
    """TFP's own spline is not: JointDistributionCoroutineAutoBatched would be wrong without a word."""
    x, parameters = points(6, 2), points(6, 2, transformation.num_parameters)

    def call(arguments):
        return (*transformation.forward(*arguments), transformation.inverse(*arguments))

    for mapped, direct in zip(tf.vectorized_map(call, (x, parameters)), call((x, parameters)), strict=True):
        np.testing.assert_allclose(mapped, direct, atol=1e-12)


def test_affine_scales_stay_within_their_bounds():
    raw = tf.stack([tf.zeros([5]), tf.constant([-1e30, -10.0, 0.0, 10.0, 1e30])], axis=-1)
    for transformation, low, high, start in (
        (Affine(), np.exp(-2), np.exp(2), 1.0),
        (SigmoidAffine(), 1e-3, 1.0, 0.88),
    ):
        scale = np.asarray(transformation.inverse(tf.ones([5]), raw))
        np.testing.assert_allclose(scale[[0, -1]], [low, high], rtol=1e-4)
        np.testing.assert_allclose(scale[2], start, atol=2e-3)
        assert (np.diff(scale) >= 0).all()


# === Couplings ===


@pytest.mark.parametrize("transformation", ["affine", "sigmoid_affine", "spline"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_first_half_passes_and_each_other_number_moves_alone(transformation, size):
    flow = shaken(CouplingFlow(size, num_steps=1, transformation=transformation, dtype="float64")).chain.flows[0]
    z, context, passing = points(6, size), points(6, 3, seed=2), size // 2
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = flow.bijector(context).forward(z)
    np.testing.assert_array_equal(y[:, :passing], z[:, :passing])
    assert np.abs(y - z)[:, passing:].max(0).min() > 1e-3
    jacobian = np.asarray(tape.batch_jacobian(y, z))
    np.testing.assert_array_equal(
        jacobian[:, :passing, :passing], np.broadcast_to(np.eye(passing), [6, passing, passing])
    )
    np.testing.assert_array_equal(jacobian[:, :passing, passing:], 0.0)
    moved = jacobian[:, passing:, passing:]
    np.testing.assert_array_equal(moved, moved * np.eye(size - passing))
    assert passing == 0 or np.abs(jacobian[:, passing:, :passing]).max() > 1e-3


@pytest.mark.parametrize("transformation", ["affine", "spline"])
def test_one_number_without_context_is_mapped_by_free_parameters(transformation):
    flow = CouplingFlow(1, num_steps=1, transformation=transformation, num_bins=4, dtype="float64")
    flow.build(None)
    assert [weight.shape for weight in flow.weights] == [(2,) if transformation == "affine" else (11,)]
    flow.weights[0].assign(points(*flow.weights[0].shape))
    z = points(9, 1)
    y = flow.bijector().forward(z)
    np.testing.assert_allclose(flow.bijector().inverse(y), z, atol=1e-10)
    if transformation == "affine":
        shift, raw = np.asarray(flow.weights[0])
        np.testing.assert_allclose(y, z * np.exp(-2 * np.tanh(raw / 2)) - shift, rtol=1e-12)


@pytest.mark.parametrize("settings", [{}, GLOW, {"transformation": "spline"}, {"actnorm": True}])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_it_starts_near_an_isometry_and_every_weight_has_a_gradient(settings, size):
    flow = CouplingFlow(size, **settings, mixing_initializer="identity", dtype="float64")
    z, context = points(50, size), points(50, 3, seed=2)
    flow.build((None, 3))
    with tf.GradientTape() as tape:
        y, log_det = flow.forward_and_log_det(z, context)
        loss = tf.reduce_sum(tf.cos(y + context[:, :1])) - tf.reduce_sum(log_det)
    start = 1.0 if flow.transformation != "sigmoid_affine" else 1 / (1e-3 + (1 - 1e-3) / (1 + np.exp(-2)))
    moved = 4 * (size - size // 2) * np.log(start)
    np.testing.assert_allclose(log_det, moved, atol=0.3)
    if start == 1.0:
        assert np.abs(y - z).max() < 0.3
    for weight, gradient in zip(flow.trainable_variables, tape.gradient(loss, flow.trainable_variables), strict=True):
        assert np.abs(gradient).max() > 1e-6, weight.path


# === The papers' settings ===


def glow(size, **settings):
    return CouplingFlow(size, num_steps=5, hidden_units=(64, 64), **GLOW, **settings)


@pytest.mark.parametrize("size", [2, 20, 100])
def test_glow_has_the_papers_number_of_weights(size):
    flow = glow(size)
    flow.build(None)
    network = size // 2 * 64 + 64 * 64 + 64 * size + 2 * (64 + 64) + 2 * size
    matrix, actnorm = size**2, 2 * size
    assert sum(np.prod(weight.shape) for weight in flow.trainable_variables) == 5 * (actnorm + matrix + network)


def test_glow_is_the_papers_formula():
    """The direction of the density, step by step, in NumPy."""
    flow = shaken(glow(4, dtype="float64"), None, scale=0.1)
    latents = points(30, 4)
    z, log_det = np.asarray(latents), 0.0
    for step in range(4, -1, -1):
        coupling, mixing, norm = flow.chain.flows[3 * step : 3 * step + 3]
        network = coupling.conditioner
        bias, log_scale = (np.asarray(weight) for weight in (norm.bias, norm.log_scale))
        z = (z + bias) * np.exp(3 * log_scale)
        matrix = np.asarray(mixing.matrix())
        z = z @ matrix.T
        log_det += 3 * log_scale.sum() + np.linalg.slogdet(matrix)[1]
        h = z[:, :2]
        for layer, inner in zip([network.first[0], network.hidden[0]], network.norms, strict=True):
            h = h @ np.asarray(layer.kernel)
            h = np.maximum((h + np.asarray(inner.bias)) * np.exp(3 * np.asarray(inner.log_scale)), 0.0)
        h = h @ np.asarray(network.last.kernel) + np.asarray(network.last.bias)
        h = h * np.exp(3 * np.asarray(network.output_log_scale))
        shift, scale = h[:, 0::2], 1e-3 + (1 - 1e-3) / (1 + np.exp(-(h[:, 1::2] + 2)))
        z = np.concatenate([z[:, :2], (z[:, 2:] + shift) * scale], axis=1)
        log_det = log_det + np.log(scale).sum(1)
    np.testing.assert_allclose(flow.bijector().inverse(latents), z, rtol=1e-9)
    np.testing.assert_allclose(flow.bijector().inverse_log_det_jacobian(latents), log_det, rtol=1e-9)


def test_realnvp_is_the_default():
    flow = CouplingFlow(6)
    flow.build((None, 3))
    assert [type(part).__name__ for part in flow.chain.flows] == ["Coupling", "Reverse"] * 4
    network = 3 * 64 + 3 * 64 + 64 + 64 * 64 + 64 + 64 * 6 + 6
    assert flow.count_params() == 4 * network


# === Keras ===


@pytest.mark.parametrize(
    "settings",
    [{}, GLOW, {"transformation": "spline", "num_bins": 5, "bound": 2.0, "num_steps": 2, "hidden_units": [7]}],
)
@pytest.mark.parametrize("width", [None, 3])
def test_a_config_makes_the_same_flow_again(settings, width):
    flow = CouplingFlow(3, **settings, mixing_initializer=keras.initializers.Orthogonal(seed=4), dtype="float64")
    flow = shaken(flow, width)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(flow))))
    assert copy.get_config() == flow.get_config()
    assert copy.built
    copy.set_weights(flow.get_weights())
    z, context = points(4, 3), None if width is None else points(4, width, seed=2)
    np.testing.assert_array_equal(copy.bijector(context).forward(z), flow.bijector(context).forward(z))


def test_parts_have_configs_too():
    z = points(2, 3, dtype=tf.float32)
    initializer = keras.initializers.RandomNormal(seed=1)  # the identity's own config is one that Keras 3.6 cannot read
    for flow in (ActNorm(3, loc=[1.0, 2.0, 3.0], scale=0.5), LUMixing(3, initializer=initializer)):
        copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(flow))))
        np.testing.assert_array_equal(copy.bijector().forward(z), flow.bijector().forward(z))


def test_densities_keep_their_precision_under_mixed_precision():
    flow = shaken(glow(4, dtype="mixed_float16"))
    full = shaken(glow(4, dtype="float32"))
    full.set_weights(flow.get_weights())
    z, context = points(5, 4, dtype=tf.float32), points(5, 3, dtype=tf.float16, seed=2)
    for ours, theirs in zip(flow.forward_and_log_det(z, context), full.forward_and_log_det(z, context), strict=True):
        assert ours.dtype == tf.float32
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("num_steps", [0, -1, 1.5, True]),
        ("hidden_units", [(), (8, 0), (8, 1.5), 8, None]),
        ("transformation", ["rotation", None]),
        ("mixing", ["swap", None]),
        ("num_bins", [1, 2.5, True]),
        ("bound", [0.0, -1.0, float("inf"), float("nan")]),
    ],
)
def test_bad_arguments_are_one_sentence(name, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name} must be [^\n]*\. Received: [^\n]*$"):
            CouplingFlow(2, **{"transformation": "spline", name: value})


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_starts_near_the_identity_for_any_number_of_steps(num_steps):
    z = tf.random.stateless_normal([50, 5], [0, 1])
    for transformation in ("affine", "spline"):
        flow = CouplingFlow(5, num_steps=num_steps, hidden_units=(8,), transformation=transformation)
        np.testing.assert_allclose(flow.forward_and_log_det(z)[0], z, atol=0.5)
