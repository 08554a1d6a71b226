"""Before training every method works, and returns the shapes that it promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.conformance.cases import ALL_OPTIONS, OPTIONS, SHAPES

pytestmark = pytest.mark.fast

B, S = 3, 2


# The shape of an example changes the networks only, but for a single latent: one model stands for all.
SHAPES_OF = [
    *(("vae", shape) for shape in [*SHAPES.values(), (4, 3), (8, 8, 8, 1)]),
    *((name, (4, 3)) for name in ("abp", "riemannian_vae")),
    *((name, (1,)) for name in ALL_OPTIONS),
]


@pytest.mark.parametrize(("name", "event_shape"), SHAPES_OF, ids=str)
def test_shapes(name, event_shape):
    latent_dim = 1 if event_shape == (1,) else 4
    model = tfzoo.create_model(name, event_shape=event_shape, latent_dim=latent_dim, **ALL_OPTIONS[name])
    assert isinstance(model, keras.Model)
    x = np.random.default_rng(0).random((B, *event_shape), np.float32)
    z = model.encode(x)
    assert z.shape == (B, latent_dim)
    assert model.decode(z).shape == (B, *event_shape)
    assert model.reconstruct(x).shape == (B, *event_shape)
    assert model.sample(S).shape == (S, *event_shape)
    assert model.prior().batch_shape == ()
    assert model.prior().event_shape == (latent_dim,)
    assert model.likelihood(z).batch_shape == (B,)
    assert model.likelihood(z).event_shape == event_shape
    assert model.likelihood(z[tf.newaxis]).batch_shape == (1, B)
    assert model.log_joint(x, z).shape == (B,)
    assert model.log_joint(x, tf.zeros([S, B, latent_dim])).shape == (S, B)
    assert model.log_prob(x, 4).shape == (B,)
    assert model.anomaly_score(x).shape == (B,)
    assert model.inpaint(x, np.ones(event_shape), S, num_steps=1).shape == (S, B, *event_shape)
    assert model.interpolate(x, x[::-1], 5).shape == (B, 5, *event_shape)
    assert model.predict_on_batch(x).shape == (B, *event_shape)
    if name in OPTIONS:
        assert model.base_posterior(x).batch_shape == (B,)
        assert model.base_posterior(x).event_shape == (latent_dim,)
        assert model.elbo(x).shape == (B,)


@pytest.mark.parametrize("shape", [(16, 16, 1), (17, 20, 3), (32, 32, 3)], ids=str)
def test_default_networks_for_larger_images(shape):
    model = tfzoo.create_model("vae", event_shape=shape, latent_dim=3)
    assert model.reconstruct(np.zeros([1, *shape], np.float32)).shape == (1, *shape)


def test_means_of_a_bernoulli_are_probabilities(case, shared_models):
    images = shared_models(case).sample(20, seed=0)
    assert np.all((images >= 0) & (images <= 1))


def test_annealing_starts_where_its_name_says(image_case, shared_models):
    model, x = shared_models(image_case), image_case.images(B)
    starts = {
        "q(z|x)": lambda: model.base_posterior(x),
        "the prior": model.prior,
        "N(0, I)": lambda: model.prior_layer.base(),
    }
    assert (model.annealing_origin == "q(z|x)") == image_case.amortised
    assert (model.annealing_origin == "the prior") <= model.has_normalised_prior
    start, z = model.annealing_start(x), np.linspace(-1, 1, B * 2, dtype=np.float32).reshape(B, 2)
    np.testing.assert_array_equal(start.log_prob(z), starts[model.annealing_origin]().log_prob(z))


def test_a_batch_of_one_a_large_one_and_lists(case, shared_models):
    model = shared_models(case)
    assert model.log_prob(case.images(1), 3).shape == (1,)
    assert model.log_prob(case.images(5000), 3).shape == (5000,)
    assert model.encode(case.images(2).tolist()).shape == (2, case.latent_dim)


def test_a_dict_with_images_is_taken_everywhere(case, shared_models):
    model, x = shared_models(case), case.images(2)
    batch = {"image": x, "label": np.arange(2), "index": np.arange(2)}
    np.testing.assert_array_equal(model.encode(batch, seed=0), model.encode(x, seed=0))
    assert model(batch)["z"].shape[1:] == (2, case.latent_dim)


def test_summary_and_networks_are_attributes(case, shared_models):
    model, lines = shared_models(case), []
    model.summary(print_fn=lines.append)
    assert "decoder" in "\n".join(lines)
    if case.amortised:
        assert isinstance(model.encoder, keras.layers.Layer)
    assert isinstance(model.decoder, keras.layers.Layer)
    assert model.built


def test_a_model_inside_a_functional_model(case, shared_models):
    model, x = shared_models(case), case.images(2)
    inputs = keras.Input(case.event_shape)
    outer = keras.Model(inputs, model(inputs)["z"])
    assert outer(x).shape[1:] == (2, case.latent_dim)


def test_a_masked_image_with_no_channel_of_its_own(case, shared_models):
    model, x = shared_models(case), case.images(2)
    mask = np.zeros(case.event_shape, bool)
    mask[:3] = True
    completed = np.asarray(model.inpaint(x, mask, 2, num_steps=2))
    np.testing.assert_array_equal(completed[:, :, :3], np.stack([x, x])[:, :, :3])
