"""The steps on phase space as bijectors: inverse, log-determinant, gradients, and what TFP builds on them."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfzoo.bijectors import LeapfrogStep, QuasiSymplecticStep
from tfzoo.integrators import leapfrog, quasi_symplectic

pytestmark = pytest.mark.fast


def quartic(z):
    """No Gaussian, and no product over dimensions."""
    return -0.1 * tf.reduce_sum(z**4, axis=-1) - 0.5 * tf.square(tf.reduce_sum(z, axis=-1))


def points(*shape, dtype=tf.float64, seed=1):
    return tf.cast(tf.random.stateless_normal(shape, [0, seed], dtype=tf.float64), dtype)


STEPS = {
    "quasi_symplectic": lambda size: QuasiSymplecticStep(quartic, np.linspace(0.2, 0.3, size), damping=0.7),
    "quasi_symplectic, one step size": lambda size: QuasiSymplecticStep(quartic, 0.3, damping=0.7),
    "quasi_symplectic, undamped": lambda size: QuasiSymplecticStep(quartic, 0.3),
    "leapfrog": lambda size: LeapfrogStep(quartic, np.linspace(0.2, 0.3, size)),
    "leapfrog, tempered": lambda size: LeapfrogStep(quartic, 0.3, tempering=0.8),
}
each_step = pytest.mark.parametrize("make", STEPS.values(), ids=STEPS)


@each_step
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_the_inverse_undoes_a_step_and_log_dets_are_those_of_the_jacobian(make, size, dtype):
    x = points(3, 2 * size, dtype=dtype)
    precision = 2e-5 if dtype == tf.float32 else 1e-11
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = make(size).forward(x)
    exact = np.linalg.slogdet(tape.batch_jacobian(y, x))[1]
    assert y.dtype == dtype
    assert np.abs(y - x).max() > 0.01
    np.testing.assert_allclose(make(size).inverse(y), x, atol=precision)
    np.testing.assert_allclose(make(size).forward(make(size).inverse(x)), x, atol=precision)
    log_det, inverse_log_det = make(size).forward_log_det_jacobian(x), make(size).inverse_log_det_jacobian(y)
    assert log_det.shape == inverse_log_det.shape == [3]
    np.testing.assert_allclose(log_det, exact, atol=precision)
    np.testing.assert_allclose(inverse_log_det, -exact, atol=precision)


@pytest.mark.parametrize("shape", [[4], [3, 4], [2, 3, 4]])
def test_batches_of_any_rank_keep_their_shape(shape):
    step = QuasiSymplecticStep(quartic, 0.3, 0.7)
    assert step.forward(points(*shape)).shape == shape
    assert step.forward_log_det_jacobian(points(*shape)).shape == shape[:-1]
    assert step.forward_event_shape([4]) == [4]
    assert step.experimental_batch_shape() == []
    total = step.forward_log_det_jacobian(points(*shape), event_ndims=len(shape))
    np.testing.assert_allclose(total, -2 * 0.3 * 0.7 * np.prod(shape[:-1]))


def test_a_chain_of_steps_is_the_integrator():
    x = points(3, 4)
    position, momentum = x[:, :2], x[:, 2:]
    damped = tfb.Chain([QuasiSymplecticStep(quartic, 0.3, 0.7) for _ in range(4)])
    state = quasi_symplectic.init(position, momentum)
    damped_state = quasi_symplectic.integrate(state, quartic, step_size=0.3, damping=0.7, num_steps=4)
    factors = [0.7, 0.8, 0.9]
    # The last of a chain comes first.
    tempered = tfb.Chain([LeapfrogStep(quartic, 0.3, factor) for factor in reversed(factors)])
    state = leapfrog.init(position, momentum)
    tempered_state = leapfrog.integrate(state, quartic, step_size=0.3, tempering=factors, num_steps=3)
    for chain, state in ((damped, damped_state), (tempered, tempered_state)):
        y = chain.forward(x)
        np.testing.assert_allclose(y, np.concatenate([state.position, state.momentum], axis=-1), rtol=1e-12)
        np.testing.assert_allclose(chain.forward_log_det_jacobian(x), state.log_det, rtol=1e-12)
        np.testing.assert_allclose(chain.inverse(tf.identity(y)), x, atol=1e-12)


@each_step
def test_a_transformed_distribution_integrates_to_one(make):
    """On a grid of phase space, and its log_prob of a sample is that of where the sample came from."""
    base = tfd.MultivariateNormalDiag(tf.constant([0.3, -0.2], tf.float64), tf.constant([0.7, 0.6], tf.float64))
    flow = tfd.TransformedDistribution(base, make(1))
    axis = np.linspace(-6.0, 6.0, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    density = np.exp(flow.log_prob(grid))
    assert abs(density.sum() * (axis[1] - axis[0]) ** 2 - 1.0) < 1e-4
    x = base.sample(5, seed=[1, 2])
    y = make(1).forward(x)
    exact = base.log_prob(x) - make(1).forward_log_det_jacobian(x)
    np.testing.assert_allclose(flow.log_prob(y), exact, rtol=1e-9)
    sample = flow.sample(5, seed=[1, 2])
    np.testing.assert_allclose(sample, y, rtol=1e-12)
    np.testing.assert_allclose(flow.log_prob(sample), exact, rtol=1e-9)
    # The determinant is constant, the map is not affine.
    with pytest.raises(NotImplementedError, match="non-affine"):
        flow.mean()


# === Gradients ===


def central_difference(function, value, width=1e-5):
    value = np.asarray(value, np.float64)
    result = np.zeros_like(value)
    for i in np.ndindex(value.shape):
        shift = np.zeros_like(value)
        shift[i] = width
        result[i] = (function(value + shift) - function(value - shift)) / (2.0 * width)
    return result


PARAMETERS = {
    "step_size": (lambda v, w: QuasiSymplecticStep(w, v, 0.7), [0.2, 0.3]),
    "damping": (lambda v, w: QuasiSymplecticStep(w, 0.3, v), 0.7),
    "weight": (lambda v, w: QuasiSymplecticStep(lambda z: v * w(z), 0.3, 0.7), 1.3),
    "leapfrog step_size": (lambda v, w: LeapfrogStep(w, v, 0.8), [0.2, 0.3]),
    "tempering": (lambda v, w: LeapfrogStep(w, 0.3, v), 0.8),
    "leapfrog weight": (lambda v, w: LeapfrogStep(lambda z: v * w(z), 0.3), 1.3),
}


@pytest.mark.parametrize(("make", "value"), PARAMETERS.values(), ids=PARAMETERS)
@pytest.mark.parametrize("direction", ["log_prob", "sample"])
def test_gradients_of_parameters_are_central_differences(make, value, direction):
    base = tfd.MultivariateNormalDiag(tf.zeros(4, tf.float64))
    x = points(3, 4)

    def total(value):
        flow = tfd.TransformedDistribution(base, tfb.Chain([make(value, quartic), make(value, quartic)]))
        if direction == "log_prob":
            return tf.reduce_sum(flow.log_prob(x))
        y = flow.bijector.forward(x)
        return tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(flow.bijector.forward_log_det_jacobian(x))

    variable = tf.Variable(value, dtype=tf.float64)
    with tf.GradientTape() as tape:
        result = total(variable)
    expected = central_difference(lambda value: float(total(value)), value)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(tape.gradient(result, variable), expected, rtol=1e-6, atol=1e-8)


@each_step
def test_nothing_is_remembered_from_one_tape_or_one_weight_to_the_next(make):
    weight = tf.Variable(1.0, dtype=tf.float64)

    def log_prob_fn(z):
        return weight * quartic(z)

    step = make(2).copy(log_prob_fn=log_prob_fn)
    x, seen = points(3, 4), []
    for value in (1.0, 1.0, 2.0):
        weight.assign(value)
        for method in (step.forward, step.inverse):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(method(x))
            seen.append(float(y))
            for gradient in tape.gradient(y, [x, weight]):
                assert np.abs(gradient).max() > 1e-3
    assert seen[:2] == seen[2:4]
    assert np.abs(np.subtract(seen[4:], seen[:2])).min() > 1e-3


def test_fresh_steps_are_not_taken_for_one_another():
    """TFP would answer for the second chain what it remembers from the first, without its gradient."""
    x, step_size = points(3, 4), 0.3
    for _ in range(2):
        chain = tfb.Chain([QuasiSymplecticStep(quartic, step_size), LeapfrogStep(quartic, step_size)])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = chain.forward(x)
        assert tape.gradient(y, x) is not None
    assert QuasiSymplecticStep(quartic, 0.3) != QuasiSymplecticStep(quartic, 0.3)
    step = QuasiSymplecticStep(quartic, 0.3)
    assert step == step
    assert len({step, step}) == 1


# === The rest of TFP's contract ===


def counted(log_prob_fn):
    calls = []

    def count(z):
        calls.append(z.shape)
        return log_prob_fn(z)

    return count, calls


@pytest.mark.parametrize(("step_class", "gradients"), [(QuasiSymplecticStep, 1), (LeapfrogStep, 2)])
def test_log_determinants_need_no_gradient_of_the_density(step_class, gradients):
    log_prob_fn, calls = counted(quartic)
    step = step_class(log_prob_fn, 0.3)
    step.forward_log_det_jacobian(points(3, 4))
    step.inverse_log_det_jacobian(points(3, 4))
    assert not calls
    flow = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(4, tf.float64)), step)
    flow.log_prob(points(3, 4))
    assert len(calls) == gradients


@each_step
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_of_unknown_batch_size_and_xla_give_the_same(make, jit_compile):
    def flow(x):
        step = make(2)
        return step.forward(x), step.inverse(x), step.forward_log_det_jacobian(x)

    signature = None if jit_compile else [tf.TensorSpec([None, 4])]
    compiled = tf.function(flow, autograph=False, jit_compile=jit_compile, input_signature=signature)
    x = points(3, 4, dtype=tf.float32)
    for one, other in zip(compiled(x), flow(x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_points_where_a_step_diverges_are_nan_and_leave_the_gradient_alone():
    weight = tf.Variable(1.0, dtype=tf.float64)
    x = np.array(points(3, 4))
    gradients = []
    for bad in (np.nan, 1e200, 0.1):
        x[1] = bad
        with tf.GradientTape() as tape:
            y = QuasiSymplecticStep(lambda z: weight * quartic(z), 0.3).forward(x)
            total = tf.reduce_sum(tf.gather(y, [0, 2]))
        np.testing.assert_array_equal(np.isnan(y).all(axis=-1), [False, bad != 0.1, False])
        gradients.append(tape.gradient(total, weight).numpy())
    assert np.abs(gradients[0]) > 1e-3
    np.testing.assert_array_equal(gradients, gradients[0])


def test_steps_know_their_arguments():
    step = QuasiSymplecticStep(quartic, 0.3, 0.7, name="mine")
    assert (step.log_prob_fn, step.step_size, step.damping, step.name) == (quartic, 0.3, 0.7, "mine")
    assert step.copy(damping=0.1).damping == 0.1
    tempered = LeapfrogStep(quartic, tf.Variable(0.3), 0.9)
    assert tempered.tempering == 0.9
    assert tempered.trainable_variables == (tempered.step_size,)
    assert set(type(step).parameter_properties()) == {"step_size", "damping"}
    assert set(type(tempered).parameter_properties()) == {"step_size", "tempering"}
    for bijector in (step, tempered):
        assert not bijector.is_constant_jacobian
        assert bijector.forward_min_event_ndims == bijector.inverse_min_event_ndims == 1


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (QuasiSymplecticStep(quartic, -0.1), "step_size must be finite and not negative"),
        (QuasiSymplecticStep(quartic, [0.1] * 4), "step_size must be a number"),
        (QuasiSymplecticStep(quartic, 0.1, -0.1), "damping must be finite and not negative"),
        (QuasiSymplecticStep(lambda z: z, 0.1), "log_prob_fn must return one number"),
        (LeapfrogStep(quartic, 0.1, 0.0), "tempering must be finite and positive"),
        (LeapfrogStep(quartic, 0.1, [0.9, 0.9]), "tempering must have the shape"),
    ],
)
def test_arguments_out_of_range_are_errors(step, message):
    for method in (step.forward, step.inverse):
        with pytest.raises(ValueError, match=f"{message}.*Received: "):
            method(points(3, 4))


@each_step
def test_an_event_is_a_position_and_a_momentum(make):
    step = make(1)
    for method in (step.forward, step.inverse, step.forward_log_det_jacobian):
        with pytest.raises(ValueError, match=r"an event must be \[position, momentum\], .*Received: shape \(3, 5\)"):
            method(points(3, 5))
