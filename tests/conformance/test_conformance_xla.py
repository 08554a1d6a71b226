"""Models train under XLA: asked for by name, since the CPU does not by itself, and with the same noise."""

import numpy as np
import pytest
import tensorflow as tf

from tests.conformance.cases import TRAINING_CASES, Case


def test_the_same_losses_and_updates_with_and_without(image_case):
    data, results = image_case.data(8), []
    for jit_compile in (False, True):
        model = image_case.model(likelihood="gaussian")
        model.compile(optimizer="sgd", jit_compile=jit_compile)
        model.optimizer.learning_rate = 1e-4
        model.set_weights([np.linspace(-0.05, 0.05, w.size).reshape(w.shape) for w in model.get_weights()])
        assert model.jit_compile is jit_compile
        losses = model.fit(data, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
        results.append([losses, *model.get_weights()])
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-3, atol=1e-5)


def test_a_bernoulli_whose_gradient_infers_trains_under_xla():
    model = TRAINING_CASES[-1].compiled(jit_compile=True)
    assert np.isfinite(model.fit(TRAINING_CASES[-1].images(4), verbose=0).history["loss"]).all()


@pytest.mark.parametrize("name", ["vae", "iwae", "latent_flow"])
def test_one_seed_gives_the_same_samples_with_and_without(name):
    model = Case(name, "image").model()
    compiled = tf.function(lambda: model.sample(4, seed=1), autograph=False, jit_compile=True)()
    np.testing.assert_allclose(compiled, model.sample(4, seed=1), atol=1e-6)


@pytest.mark.slow
def test_one_seed_gives_the_same_completions_with_and_without():
    """Each step samples the missing pixels."""
    case = Case("vae", "image")
    model, x = case.model(), case.images(2)

    def complete():
        return model.inpaint(x, np.arange(6)[:, np.newaxis] < 2, 1, seed=1, num_steps=2)

    compiled = tf.function(complete, autograph=False, jit_compile=True)()
    np.testing.assert_allclose(compiled, complete(), atol=1e-5)
