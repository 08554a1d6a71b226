"""Maps of latent spaces: what they hold is what the geometry says, for models that are made for it and others."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfzoo
from tests.conformance.cases import small_networks
from tfzoo import gallery, latent_geometry
from tfzoo.distributions import RiemannianBrownian
from tfzoo.geometry import curves, metric


@pytest.fixture(scope="module")
def model():
    networks = small_networks((5,), 2)
    networks["decoder"] = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(5)])
    return tfzoo.create_model("vae", event_shape=(5,), latent_dim=2, likelihood="gaussian", seed=0, **networks)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)


def test_a_map(model, images, tmp_path):
    images = images[:3]
    found = latent_geometry.map_of(model, images, num_pairs=12, num_walks=2, num_steps=4, num_points=6)
    np.testing.assert_allclose(found.codes, model.encode(images), rtol=1e-5)
    assert np.all(found.energies[0] > 0.0)  # pairs are of two
    assert found.walks.shape == (5, 2, 2)
    np.testing.assert_array_equal(found.walks[0, 0], found.walks[0, 1])
    assert np.all(found.walks[1, 0] != found.walks[1, 1])
    point = np.array([[found.axes[0][1], found.axes[1][4]]], np.float32)
    value = metric.pullback(lambda z: latent_geometry.embedding(model, z), point, jitter=1e-5)
    np.testing.assert_allclose(found.log_volume[1, 4], 0.5 * np.linalg.slogdet(value)[1][0], rtol=1e-3)
    np.testing.assert_allclose(found.lines[:, [0, -1]], found.geodesics[:, [0, -1]], atol=1e-5)
    assert np.all(found.energies[1] <= found.energies[0] * (1.0 + 1e-4))
    gallery.write_map(tmp_path / "map.png", found)
    assert np.asarray(Image.open(tmp_path / "map.png")).std() > 10


def test_walks_have_a_drift_where_the_priors_motion_has(model, images, monkeypatch):
    class SeenError(Exception):
        pass

    def integrate(*arguments, drift, **options):
        raise SeenError(drift)

    monkeypatch.setattr(latent_geometry.riemannian_brownian, "integrate", integrate)
    for drift in (True, False):
        prior = RiemannianBrownian(tf.zeros([2]), 1.0, metric_fn=lambda z: z, drift=drift)
        monkeypatch.setattr(model, "prior", lambda prior=prior: prior)
        with pytest.raises(SeenError, match=f"^{drift}$"):
            latent_geometry.map_of(model, images, num_pairs=1)


class Sphere(keras.layers.Layer):
    """From the plane to the unit sphere, by stereographic projection from a pole."""

    def call(self, z):
        squares = tf.reduce_sum(tf.square(z), axis=-1, keepdims=True)
        return tf.concat([2.0 * z, squares - 1.0], axis=-1) / (1.0 + squares)


def test_motions_through_a_decoder_have_the_law_of_those_on_its_manifold():
    model = tfzoo.create_model(
        "vae", event_shape=(3,), latent_dim=2, likelihood="gaussian", decoder=Sphere(), seed=0, dtype="float64"
    )
    start, duration = np.broadcast_to([0.6, 0.3], [4000, 2]), 0.2
    found = latent_geometry.walks(model, start, duration=duration, num_points=3, num_steps=40, seed=1)
    assert found.shape == (4000, 3, 2)
    np.testing.assert_array_equal(found[:, 0], start)
    images = np.asarray(model.decode(tf.reshape(found, [-1, 2]))).reshape(4000, 3, 3)
    for point, time in ((1, 0.5 * duration), (2, duration)):
        cosine = np.sum(images[:, 0] * images[:, point], axis=-1)
        assert abs(cosine.mean() - np.exp(-time)) < 4.0 * cosine.std() / np.sqrt(4000)
    with pytest.raises(ValueError, match=r"^start must be \[B, 2\]\. Received: shape \(2,\)$"):
        latent_geometry.walks(model, [0.6, 0.3], duration=duration)


def test_a_motion_goes_as_far_as_codes_are_spread(model):
    codes = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    own = latent_geometry.motion(model, codes)
    np.testing.assert_allclose(own.loc, codes.mean(axis=0), rtol=1e-5)
    ends = np.broadcast_to(codes.mean(axis=0), codes.shape)
    straight, geodesic = latent_geometry.paths(model, ends, codes, 65)
    steps = [
        np.diff(np.asarray(model.decode(each.numpy().reshape(-1, 2))).reshape(30, 65, 5), axis=1)
        for each in (straight, geodesic)
    ]
    longest, squares = (np.mean(np.sum(np.linalg.norm(each, axis=-1), axis=-1) ** 2) / 2 for each in steps)
    np.testing.assert_allclose(own.duration, squares, rtol=0.01)
    assert own.duration <= longest * 1.001
    assert own.drift


@pytest.mark.parametrize("num_points", [1, 2, 5])
def test_paths_of_any_number_of_points(model, num_points):
    z0, z1 = np.array([[-2.0, 0.0]], np.float32), np.array([[2.0, 1.0]], np.float32)
    straight, geodesic = latent_geometry.paths(model, z0, z1, num_points)
    assert straight.shape == geodesic.shape == (1, num_points, 2)
    np.testing.assert_allclose(geodesic[:, 0], z0, atol=1e-5)
    if num_points > 1:
        np.testing.assert_allclose(geodesic[:, -1], z1, atol=1e-5)
    if num_points == 5:
        energies = [curves.energy(lambda z: latent_geometry.embedding(model, z), each) for each in (geodesic, straight)]
        assert tf.reduce_all(energies[0] < energies[1])


def test_a_map_is_of_two_latents_and_two_images(model, images):
    with pytest.raises(ValueError, match=r"^a map is of two latents\. Received: latent_dim=3$"):
        latent_geometry.map_of(tfzoo.create_model("vae", event_shape=(5,), latent_dim=3), images)
    with pytest.raises(ValueError, match=r"^a map needs two images at least\. Received: 1$"):
        latent_geometry.map_of(model, images[:1])
