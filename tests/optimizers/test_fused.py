"""The fused optimizers against Keras's and against the paper's algorithms in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo

pytestmark = pytest.mark.fast

PAIRS = [(tfzoo.optimizers.Adam, keras.optimizers.Adam), (tfzoo.optimizers.Adamax, keras.optimizers.Adamax)]
RATE = float(np.float32(0.1))  # optimizers have their step size in float32
# Keras takes the powers of beta in float32 before it makes them float64; of these it takes them exactly.
BETAS = {"beta_1": 1 - 2.0**-3, "beta_2": 1 - 2.0**-7}
OPTIONS = {
    "default": {},
    "settings": {"learning_rate": 0.1, "epsilon": 1e-3},
    "schedule": {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)},
    "weight_decay": {"learning_rate": 0.1, "weight_decay": 0.1},
    "clipped": {"learning_rate": 0.1, "clipnorm": 0.5},
    "averaged": {"learning_rate": 0.1, "use_ema": True, "ema_overwrite_frequency": 3},
    "accumulated": {"learning_rate": 0.1, "gradient_accumulation_steps": 2},
}


def gradients(num_steps=6):
    """Gradients of two weights that change in size and sign, one element always zero."""
    rng = np.random.default_rng(3)
    for step in range(num_steps):
        first = rng.normal(size=(3, 4)) * 10.0 ** (step - 3)
        first[1, 2] = 0.0
        yield [first, rng.normal(size=(4,))]


def run(optimizer, dtype="float64", compiled=True, jit_compile=False, num_steps=6):
    """Returns the two weights after some updates."""
    rng = np.random.default_rng(5)
    weights = [keras.Variable(rng.normal(size=shape), dtype=dtype) for shape in ((3, 4), (4,))]
    optimizer.build(weights)

    def step(grads):
        optimizer.apply(grads, weights)

    step = tf.function(step, jit_compile=jit_compile) if compiled else step
    for grads in gradients(num_steps):
        step([tf.constant(grad, dtype) for grad in grads])
    return [weight.numpy() for weight in weights]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_updates_are_those_of_keras(fused, plain, options):
    for ours, theirs in zip(run(fused(**BETAS, **options)), run(plain(**BETAS, **options)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("compiled", "jit_compile"), [(False, False), (True, True)], ids=["eager", "xla"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_updates_are_those_of_keras_eagerly_and_compiled(fused, plain, dtype, compiled, jit_compile):
    tolerance = {"float32": 1e-6, "float64": 1e-13}[dtype]
    expected = run(plain(0.1, **BETAS), dtype)
    for ours, theirs in zip(run(fused(0.1, **BETAS), dtype, compiled, jit_compile), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def adam(weight, grads, rate=RATE, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Algorithm 1 of Kingma & Ba (2015), epsilon as in the last paragraph of its section 2."""
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for t, grad in enumerate(grads, 1):
        mean = beta_1 * mean + (1 - beta_1) * grad
        square = beta_2 * square + (1 - beta_2) * grad**2
        weight = weight - rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * mean / (np.sqrt(square) + epsilon)
    return weight


def adamax(weight, grads, rate=RATE, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Algorithm 2 of Kingma & Ba (2015), with Keras's epsilon against a division by zero."""
    mean, norm = np.zeros_like(weight), np.zeros_like(weight)
    for t, grad in enumerate(grads, 1):
        mean = beta_1 * mean + (1 - beta_1) * grad
        norm = np.maximum(beta_2 * norm, np.abs(grad))
        weight = weight - rate / (1 - beta_1**t) * mean / (norm + epsilon)
    return weight


@pytest.mark.parametrize(
    ("fused", "reference"), [(tfzoo.optimizers.Adam, adam), (tfzoo.optimizers.Adamax, adamax)], ids=["adam", "adamax"]
)
def test_updates_are_those_of_the_paper(fused, reference):
    rng = np.random.default_rng(5)
    start = [rng.normal(size=shape) for shape in ((3, 4), (4,))]
    expected = [reference(weight, grads) for weight, grads in zip(start, zip(*gradients(), strict=True), strict=True)]
    for ours, theirs in zip(run(fused(RATE)), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_one_kernel_a_weight(fused, plain):
    weights = [keras.Variable(np.ones(shape), dtype="float32") for shape in ((3, 4), (4,))]
    optimizer = fused(0.1)
    optimizer.build(weights)
    graph = tf.function(lambda: optimizer.apply([weight.value * 2.0 for weight in weights], weights))
    types = [op.type for op in graph.get_concrete_function().graph.get_operations()]
    assert sum(name.startswith("ResourceApplyAda") for name in types) == 2
    assert types.count("AssignSubVariableOp") == 0


@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_sparse_gradients_and_amsgrad_are_left_to_keras(fused, plain):
    def after(optimizer):
        weight = keras.Variable(np.ones((4, 2)), dtype="float32")
        optimizer.build([weight])
        for scale in (1.0, 2.0):
            optimizer.apply([tf.IndexedSlices(scale * tf.ones((1, 2)), tf.constant([1]), (4, 2))], [weight])
        return weight.numpy()

    np.testing.assert_array_equal(after(fused(0.1)), after(plain(0.1)))
    if fused is tfzoo.optimizers.Adam:
        for ours, theirs in zip(run(fused(0.1, amsgrad=True)), run(plain(0.1, amsgrad=True)), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_weights_in_bfloat16(fused, plain):
    for ours, theirs in zip(run(fused(0.1), "bfloat16"), run(plain(0.1), "bfloat16"), strict=True):
        np.testing.assert_allclose(ours.astype("float32"), theirs.astype("float32"), atol=0.1)


@pytest.mark.parametrize(("devices", "dtype"), [(2, "float32"), (1, "mixed_float16")])
@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_fit_is_that_of_keras_on_replicas_and_in_mixed_precision(fused, plain, devices, dtype):
    def after(optimizer_class):
        keras.utils.set_random_seed(1)
        reduction = tf.distribute.ReductionToOneDevice()  # collective operations of two strategies would meet
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(devices)], reduction)
        with strategy.scope():
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh", dtype=dtype)])
            model.compile(optimizer_class(0.05), "mse")
        x = np.random.default_rng(2).normal(size=(16, 3)).astype("float32")
        model.fit(x, np.tanh(x @ np.ones((3, 4), "float32")), batch_size=8, epochs=3, shuffle=False, verbose=0)
        return [*model.get_weights(), *[variable.numpy() for variable in model.optimizer.variables]]

    for ours, theirs in zip(after(fused), after(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_a_training_begun_with_one_goes_on_with_the_other(fused, plain, tmp_path):
    x = np.random.default_rng(2).normal(size=(16, 3)).astype("float32")

    def model(optimizer):
        keras.utils.set_random_seed(1)
        built = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        built.compile(optimizer, "mse")
        return built

    def fit(built, epochs):
        return built.fit(x, x @ np.ones((3, 4), "float32"), epochs=epochs, shuffle=False, verbose=0).history["loss"][-1]

    whole = fit(model(plain(0.05)), 6)
    half = model(plain(0.05))
    fit(half, 3)
    half.save_weights(tmp_path / "half.weights.h5")
    other = model(fused(0.05))
    fit(other, 1)  # its slots must be there, and be replaced
    other.load_weights(tmp_path / "half.weights.h5")
    np.testing.assert_allclose(fit(other, 3), whole, rtol=1e-5)


@pytest.mark.parametrize(("fused", "plain"), PAIRS)
def test_saved_and_loaded_with_a_model(fused, plain, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.compile(fused(0.05, beta_1=0.5), "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 4)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is fused
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for ours, theirs in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
