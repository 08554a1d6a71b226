"""What every flow promises: a log-determinant, an inverse, gradients, a context; and what TFP and Keras do with it."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tests.bijectors.flows import FLOWS, SETTINGS

CONTEXT = 3
each_flow = pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)
each_setting = pytest.mark.parametrize("make", [*FLOWS.values(), *SETTINGS.values()], ids=[*FLOWS, *SETTINGS])
# Autoregressive, by halves, by a potential: what TFP does with one of a kind it does with the others.
_KINDS = ("iaf", "spline", "pcp_map")
one_of_each_kind = pytest.mark.parametrize("make", [FLOWS[name] for name in _KINDS], ids=_KINDS)
each_size = pytest.mark.parametrize("size", [1, 2, 3, 8])


def points(*shape, dtype=tf.float64, seed=1, scale=1.0):
    return tf.cast(scale * tf.random.stateless_normal(shape, [0, seed], dtype=tf.float64), dtype)


def shaken(flow, width=CONTEXT, scale=0.3):
    """Returns the flow, built, with its weights moved away from where they start (often near the identity)."""
    flow.build(None if width is None else (None, width))
    for i, weight in enumerate(flow.trainable_variables):
        noise = tf.random.stateless_normal(weight.shape, [7, i], dtype=tf.float64)
        weight.assign_add(scale * tf.cast(noise, weight.dtype))
        if weight.constraint is not None:  # what an optimizer of Keras does after a step
            weight.assign(weight.constraint(weight))
    return flow


def base(size, dtype=tf.float64):
    return tfd.Independent(tfd.Normal(tf.zeros(size, dtype), tf.ones(size, dtype)), 1)


# === The map ===


@pytest.mark.fast
@each_setting
@pytest.mark.parametrize(
    ("size", "width"), [(1, CONTEXT), (2, CONTEXT), (3, CONTEXT), (8, CONTEXT), (1, None), (2, None)]
)
def test_log_det_is_that_of_the_jacobian(make, size, width):
    flow = shaken(make(size, "float64"), width)
    z, context = points(4, size), None if width is None else points(4, width, seed=2)
    bijector = flow.bijector(context)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(z)
        y = bijector.forward(z)
        parts = tf.unstack(y, axis=-1)
    exact = np.linalg.slogdet(np.stack([tape.gradient(part, z) for part in parts], axis=1))[1]
    assert np.abs(y - z).max() > 0.01
    assert np.abs(exact).max() > 1e-3
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(z), exact, atol=1e-9)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(y), -exact, atol=1e-7)
    both = flow.forward_and_log_det(z, context)
    np.testing.assert_array_equal(both[0], y)
    np.testing.assert_allclose(both[1], exact, atol=1e-9)
    back = flow.inverse_and_log_det(y, context)
    np.testing.assert_allclose(back[0], z, atol=1e-7)
    np.testing.assert_allclose(back[1], -exact, atol=1e-7)


@pytest.mark.fast
@each_setting
@each_size
@pytest.mark.parametrize(("dtype", "precision"), [("float32", 1e-5), ("float64", 1e-10)])
def test_the_inverse_undoes_it(make, size, dtype, precision):
    flow = shaken(make(size, dtype), scale=0.1)
    z, context = points(50, size, dtype=dtype), points(50, CONTEXT, dtype=dtype, seed=2)
    y = flow.bijector(context).forward(z)
    assert y.dtype == dtype
    np.testing.assert_allclose(flow.bijector(context).inverse(y), z, atol=precision)
    np.testing.assert_allclose(flow.bijector(context).forward(flow.bijector(context).inverse(z)), z, atol=precision)


@each_setting
def test_gradients_are_those_of_differences(make):
    """Of forward, inverse and both log-determinants: by the point, the context and every weight."""
    size = 3
    flow = shaken(make(size, "float64"), scale=0.2)
    z, context = points(2, size), points(2, CONTEXT, seed=2)
    direction = points(2, size, seed=3)

    def values(z, context):
        bijector = flow.bijector(context)
        return tf.stack(
            [
                tf.reduce_sum(bijector.forward(z) * direction),
                tf.reduce_sum(bijector.inverse(z) * direction),
                tf.reduce_sum(bijector.forward_log_det_jacobian(z)),
                tf.reduce_sum(bijector.inverse_log_det_jacobian(z)),
            ]
        )

    weights = [weight.value for weight in flow.trainable_variables]
    sources = [z, context, *weights]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, context])
        result = values(z, context)
    jacobian = tape.jacobian(result, sources, unconnected_gradients="zero", experimental_use_pfor=False)
    shifts = [points(*source.shape, seed=10 + i) for i, source in enumerate(sources)]
    found = [tf.reduce_sum(j * d, axis=range(1, j.shape.rank)) for j, d in zip(jacobian, shifts, strict=True)]

    def moved(step):
        for weight, shift in zip(weights, shifts[2:], strict=True):
            weight.assign_add(step * shift)
        result = values(z + step * shifts[0], context + step * shifts[1])
        for weight, shift in zip(weights, shifts[2:], strict=True):
            weight.assign_sub(step * shift)
        return result

    difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
    np.testing.assert_allclose(sum(found), difference, rtol=1e-5, atol=1e-7)


@pytest.mark.fast
@each_setting
@pytest.mark.parametrize("size", [1, 2])
def test_every_latent_depends_on_the_context(make, size):
    flow = shaken(make(size, "float64"))
    one, other = (flow.bijector(points(CONTEXT, seed=seed)).forward(points(size)) for seed in (2, 3))
    assert np.abs(one - other).min() > 1e-4


@pytest.mark.fast
@each_setting
def test_finite_for_large_contexts_and_latents(make):
    flow = shaken(make(4, "float32"))
    context = 10.0 * points(100, CONTEXT, dtype=tf.float32, seed=2)
    z = 3.0 * points(100, 4, dtype=tf.float32)
    with tf.GradientTape() as tape:
        y, log_det = flow.forward_and_log_det(z, context)
        loss = tf.reduce_mean(tf.square(y)) - tf.reduce_mean(log_det)
    gradients = tape.gradient(loss, flow.trainable_variables)
    for value in [y, log_det, *gradients]:
        assert np.isfinite(value).all()


@pytest.mark.fast
@each_setting
def test_leading_dimensions_broadcast(make):
    flow = shaken(make(3, "float64"))
    z, context = points(5, 1, 3), points(4, CONTEXT, seed=2)
    y, log_det = flow.forward_and_log_det(z, context)
    assert y.shape == [5, 4, 3]
    assert log_det.shape == [5, 4]
    one = flow.forward_and_log_det(z[2, 0], context[1])
    np.testing.assert_allclose(y[2, 1], one[0], atol=1e-12)
    np.testing.assert_allclose(log_det[2, 1], one[1], atol=1e-12)
    np.testing.assert_allclose(flow.bijector(context).inverse(y)[2, 1], z[2, 0], atol=1e-8)


@one_of_each_kind
def test_graph_and_xla_give_the_same(make):
    flow = shaken(make(3, "float32"), scale=0.1)
    z, context = points(6, 3, dtype=tf.float32), points(6, CONTEXT, dtype=tf.float32, seed=2)

    def call(z, context):
        bijector = flow.bijector(context)
        y = bijector.forward(z)
        return y, bijector.forward_log_det_jacobian(z), bijector.inverse(y)

    expected = call(z, context)
    free = [tf.TensorSpec([None, 3]), tf.TensorSpec([None, CONTEXT])]
    for compiled in (tf.function(call, input_signature=free), tf.function(call, jit_compile=True)):
        for ours, theirs in zip(compiled(z, context), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


# === Bad input ===


@pytest.mark.fast
@each_flow
def test_wrong_contexts_and_events_are_one_sentence(make):
    flow = make(2, "float32")
    flow.build((None, CONTEXT))
    for wrong in (None, np.zeros([4, 5], np.float32), np.zeros([4, CONTEXT], int), np.float32(1.0)):
        with pytest.raises(ValueError, match=r"^context must be [^\n]* Received: [^\n]*$"):
            flow.bijector(wrong)
    plain = make(2, "float32")
    plain.build(None)
    with pytest.raises(ValueError, match=r"^context must be left out[^\n]* Received: [^\n]*$"):
        plain.bijector(np.zeros([4, CONTEXT], np.float32))
    with pytest.raises(ValueError, match=r"^an event must be \[\.\.\., 2\]\. Received: shape \(4, 5\)$"):
        plain.bijector().forward(np.zeros([4, 5], np.float32))
    for size in (0, -1, 1.5, None):
        with pytest.raises(ValueError, match=r"^latent_dim must be a whole number of at least 1\. Received: "):
            make(size, "float32")


@pytest.mark.fast
@each_flow
def test_integers_are_not_taken_for_latents(make):
    flow = make(2, "float32")
    with pytest.raises((ValueError, TypeError), match="int"):
        flow.bijector().forward(tf.ones([1, 2], tf.int32))


# === TFP ===


@pytest.mark.fast
@each_flow
def test_a_transformed_distribution_keeps_tfps_conventions(make):
    flow = shaken(make(3, "float64"), scale=0.1)
    q = tfd.TransformedDistribution(base(3), flow.bijector(points(4, CONTEXT, seed=2)))
    assert (q.batch_shape, q.event_shape) == ([4], [3])
    # A pair: TFP takes an int for the seed of a generator that goes on.
    z, log_prob = q.experimental_sample_and_log_prob(5, seed=(0, 1))
    assert z.shape == [5, 4, 3]
    assert log_prob.shape == [5, 4]
    np.testing.assert_allclose(q.log_prob(z), log_prob, atol=1e-6)
    np.testing.assert_array_equal(q.sample(5, seed=(0, 1)), z)
    assert len(np.unique(z[:, 0, 0])) == 5
    assert len(np.unique(z[0, :, 0])) == 4
    inverted = tfb.Invert(flow.bijector(points(4, CONTEXT, seed=2)))
    np.testing.assert_allclose(inverted.forward(inverted.inverse(z)), z, atol=1e-6)


@each_flow
def test_the_density_integrates_to_one(make):
    flow = shaken(make(2, "float64"), scale=0.1)
    q = tfd.TransformedDistribution(base(2), flow.bijector(points(CONTEXT, seed=2)))
    samples = q.sample(4000, seed=1)
    low, high = tf.reduce_min(samples, 0) - 1.5, tf.reduce_max(samples, 0) + 1.5
    axes = [tf.linspace(low[i], high[i], 201) for i in range(2)]
    grid = tf.reshape(tf.stack(tf.meshgrid(*axes, indexing="ij"), -1), [-1, 2])
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(q.log_prob(grid))) * cell, 1.0, atol=0.01)


@pytest.mark.fast
@one_of_each_kind
def test_in_a_joint_distribution_coroutine(make):
    flow = shaken(make(2, "float64"), scale=0.1)
    law = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), CONTEXT, name="context")

    def joint():
        context = yield tfd.JointDistributionCoroutine.Root(law)
        yield tfd.TransformedDistribution(base(2), flow.bijector(context), name="z")

    for kind in (tfd.JointDistributionCoroutine, tfd.JointDistributionCoroutineAutoBatched):
        sample = kind(joint).sample(4, seed=1)
        assert sample.z.shape == [4, 2]
        q = tfd.TransformedDistribution(base(2), flow.bijector(sample.context))
        expected = q.log_prob(sample.z) + law.log_prob(sample.context)
        np.testing.assert_allclose(kind(joint).log_prob(sample), expected, atol=1e-6)


@one_of_each_kind
def test_as_a_surrogate_posterior(make):
    flow = make(2, "float32")
    q = tfd.TransformedDistribution(base(2, tf.float32), flow.bijector())
    assert len(q.trainable_variables) == len(flow.trainable_variables) > 0
    target = tfd.Independent(tfd.Normal([1.0, -0.5], [0.5, 0.8]), 1)
    losses = tfp.vi.fit_surrogate_posterior(
        target.log_prob, q, keras_free_adam(), num_steps=150, sample_size=50, seed=1, jit_compile=False
    )
    assert np.mean(losses[-20:]) < 0.1  # the divergence itself: both are normalised
    assert np.mean(losses[:5]) > 0.5


def keras_free_adam():
    import tf_keras

    return tf_keras.optimizers.Adam(0.05)


# === Keras ===


@keras.saving.register_keras_serializable("tests")
class Density(keras.Model):
    """log p(x | c) by a flow whose fast direction samples, turned round; one batch dict in, a loss out."""

    def __init__(self, flow, **kwargs):
        super().__init__(**kwargs)
        self.flow = flow

    def call(self, inputs):
        q = tfd.TransformedDistribution(base(2, tf.float32), tfb.Invert(self.flow.bijector(inputs["c"])))
        return q.log_prob(inputs["x"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return -tf.reduce_mean(y_pred)

    def get_config(self):
        return {"flow": keras.saving.serialize_keras_object(self.flow)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config["flow"]))


def ring(count):
    """Two dependent numbers whose law depends on a third."""
    rng = np.random.default_rng(0)
    c = rng.normal(size=(count, 1)).astype(np.float32)
    first = rng.normal(size=(count, 1)) + c
    second = 0.3 * rng.normal(size=(count, 1)) + np.sin(first) + c
    return {"x": np.concatenate([first, second], 1).astype(np.float32), "c": c}


LOAD = """
import json, sys
import numpy as np
import keras, tfzoo
import tests.bijectors.test_bijectors_flows
data = dict(np.load(sys.argv[1] + "/data.npz"))
answers = {name: keras.saving.load_model(path + ".keras")(data) for name, path in json.loads(sys.argv[2]).items()}
np.savez(sys.argv[1] + "/loaded.npz", **answers)
"""
SERVE = """
import json, sys
import numpy as np, tensorflow as tf
data = {name: tf.constant(value) for name, value in np.load(sys.argv[1] + "/data.npz").items()}
answers = {
    name: tf.saved_model.load(path).signatures["serving_default"](**data)["log_prob"]
    for name, path in json.loads(sys.argv[2]).items()
}
np.savez(sys.argv[1] + "/served.npz", **answers)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """For each flow: what training did, the model's answers, and those of its files in fresh processes."""
    folder, data = tmp_path_factory.mktemp("flows"), ring(512)
    some = {name: value[:20] for name, value in data.items()}
    np.savez(folder / "data.npz", **some)
    found, paths = {}, {}
    for number, (name, make) in enumerate(FLOWS.items()):
        keras.utils.set_random_seed(1)
        model, paths[name] = Density(make(2, "float32")), str(folder / str(number))
        model.compile(keras.optimizers.Adam(0.01))
        model.flow.build((None, 1))
        model.optimizer.build(model.trainable_variables)  # else the first step is traced twice
        start = np.mean(model(data))
        before = [np.array(weight) for weight in model.flow.trainable_variables]
        model.fit(data, batch_size=64, epochs=10, verbose=0)
        moved = {
            weight.path: np.abs(weight - old).max()
            for weight, old in zip(model.flow.trainable_variables, before, strict=True)
        }
        found[name] = {"gain": np.mean(model(data)) - start, "moved": moved}

        @tf.function(input_signature=[tf.TensorSpec([None, 1], name="c"), tf.TensorSpec([None, 2], name="x")])
        def log_prob(c, x, model=model):
            return {"log_prob": model({"c": c, "x": x})}

        # A graph rounds otherwise than its operations one by one, by 3e-6 in TensorFlow 2.18.
        found[name]["expected"] = {"loaded": model(some), "served": log_prob(**some)["log_prob"]}
        model.save(paths[name] + ".keras")
        tf.saved_model.save(model, paths[name], signatures=log_prob.get_concrete_function())
    for script in (LOAD, SERVE):
        command = [sys.executable, "-c", script, str(folder), json.dumps(paths)]
        subprocess.run(command, check=True, capture_output=True)
    for file in ("loaded", "served"):
        with np.load(folder / f"{file}.npz") as answers:
            for name in FLOWS:
                found[name][file] = answers[name]
    return found


each_name = pytest.mark.parametrize("name", FLOWS)


@each_name
def test_fit_trains_all_of_it(name, trained):
    assert trained[name]["moved"]
    assert min(trained[name]["moved"].values()) > 1e-4, trained[name]["moved"]
    assert trained[name]["gain"] > 0.2


@each_name
@pytest.mark.parametrize("file", ["loaded", "served"])
def test_files_keep_it_in_a_fresh_process(name, file, trained):
    np.testing.assert_allclose(trained[name][file], trained[name]["expected"][file], rtol=1e-6, atol=1e-6)
