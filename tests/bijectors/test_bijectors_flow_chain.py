"""Chains of flows: their order, their context, what does not go together, and their configs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tests.bijectors.test_bijectors_flows import points, shaken
from tfzoo.bijectors import ActNorm, CouplingFlow, FlowChain, LUMixing

pytestmark = pytest.mark.fast


def flows(size=3, dtype="float64", **settings):
    settings = {"num_steps": 2, "hidden_units": (8,), "dtype": dtype, **settings}
    spline = CouplingFlow(size, transformation="spline", **settings)
    return [CouplingFlow(size, **settings), LUMixing(size, dtype=dtype), spline, ActNorm(size, dtype=dtype)]


def test_it_goes_from_the_base_to_the_posterior_with_one_context_for_all():
    chain = shaken(FlowChain(flows()))
    z, context = points(4, 3), points(4, 3, seed=2)
    theirs = tfb.Chain([flow.bijector(context) for flow in reversed(chain.flows)])
    bijector = chain.bijector(context)
    np.testing.assert_array_equal(bijector.forward(z), theirs.forward(z))
    np.testing.assert_array_equal(bijector.inverse(z), theirs.inverse(z))
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(z), theirs.forward_log_det_jacobian(z), rtol=1e-12)
    assert len(bijector.trainable_variables) == sum(len(flow.trainable_variables) for flow in chain.flows)


def test_chains_of_chains_and_of_one_flow():
    parts, context = flows(), points(4, 3, seed=2)
    whole, nested = FlowChain(parts), FlowChain([FlowChain(parts[:2]), FlowChain(parts[2:3]), parts[3]])
    z = points(4, 3)
    np.testing.assert_array_equal(whole.bijector(context).forward(z), nested.bijector(context).forward(z))
    assert len(nested.weights) == len(whole.weights)


def test_a_batch_initialises_all_of_its_actnorms():
    parts = flows(actnorm=True)
    chain = FlowChain([FlowChain(parts[:2]), *parts[2:]])
    z, context = points(100, 3) @ points(3, 3, seed=6) + 2.0, points(100, 3, seed=2)
    chain.initialize(z, context)
    seen = 0
    for flow in reversed([*parts[0].chain.flows, parts[1], *parts[2].chain.flows, parts[3]]):
        z = flow._inverse(z, context)
        if isinstance(flow, ActNorm):
            seen += 1
            mean, variance = tf.nn.moments(z, axes=[0])
            np.testing.assert_allclose(mean, 0.0, atol=1e-10)
            np.testing.assert_allclose(variance, 1.0, rtol=1e-8)
    assert seen == 5
    with pytest.raises(ValueError, match=r"^z must be \[\.\.\., B, 3\]\. Received: shape \(3,\)$"):
        chain.initialize(np.zeros(3), context)


def test_flows_that_do_not_go_together():
    with pytest.raises(ValueError, match=r"^flows must be one Flow or more\. Received: \[\]$"):
        FlowChain([])
    with pytest.raises(ValueError, match=r"^flows must be one Flow or more\. Received: "):
        FlowChain([ActNorm(2), tfb.Exp()])
    with pytest.raises(ValueError, match=r"^flows must have the same latent_dim\. Received: \[2, 3\]$"):
        FlowChain([ActNorm(2), ActNorm(3)])
    with pytest.raises(ValueError, match=r"^flows must have the same variable_dtype\. Received: "):
        FlowChain([ActNorm(2), ActNorm(2, dtype="float64")])
    with pytest.raises(ValueError, match=r"^dtype must be that of the flows, float64\. Received: float32$"):
        FlowChain([ActNorm(2, dtype="float64")], dtype="float32")


def test_flows_that_are_built_keep_their_weights_and_must_take_the_same_context():
    flow = shaken(CouplingFlow(2, dtype="float64"))
    before = flow.get_weights()
    FlowChain([flow, ActNorm(2, dtype="float64")]).build((None, 3))
    for one, other in zip(flow.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"^flows must be built for the same width of context, here 4\. Received: "):
        FlowChain([flow, ActNorm(2, dtype="float64")]).build((None, 4))
    with pytest.raises(ValueError, match=r"^flows must be built for the same width of context, here None\. Received: "):
        FlowChain([flow]).build(None)


@pytest.mark.parametrize("width", [None, 3])
def test_a_config_makes_the_same_chain_again(width):
    chain = shaken(FlowChain([FlowChain(flows()[:2]), *flows()[2:]], name="mine"), width)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(chain))))
    assert copy.name == "mine"
    assert copy.context_dim == width
    copy.set_weights(chain.get_weights())
    z, context = points(4, 3), None if width is None else points(4, width, seed=2)
    np.testing.assert_array_equal(copy.bijector(context).forward(z), chain.bijector(context).forward(z))


@keras.saving.register_keras_serializable("tests")
class Mapped(keras.layers.Layer):
    def __init__(self, flow, **kwargs):
        super().__init__(**kwargs)
        self.flow = flow

    def call(self, inputs):
        return self.flow.bijector().forward(inputs)

    def get_config(self):
        return {**super().get_config(), "flow": keras.saving.serialize_keras_object(self.flow)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "flow": keras.saving.deserialize_keras_object(config["flow"])})


def test_files_keep_a_chain_without_context(tmp_path):
    chain = shaken(FlowChain(flows(dtype="float32")), None)
    model = keras.Sequential([keras.layers.Input([3]), Mapped(chain)])
    model.save(tmp_path / "model.keras")
    z = points(4, 3, dtype=tf.float32)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(z), model(z))
