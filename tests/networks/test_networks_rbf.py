"""The scale by radial basis functions: against the formula, far away, its centres, and saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfzoo.networks.rbf import RBFScale

pytestmark = pytest.mark.fast


def layer(codes=None, **options):
    made = RBFScale((3, 2), **{"num_centres": 5, "beta": 0.3, **options})
    made.build((None, 2))
    if codes is not None:
        made.fit_centres(codes)
    return made


def test_equals_the_formula():
    made, z = layer(dtype="float64"), np.random.default_rng(0).normal(size=[7, 2])
    v = np.exp(-0.3 * np.sum((z[:, None] - made.centres.numpy()) ** 2, axis=-1))
    precision = v @ np.log1p(np.exp(made.raw_weights.numpy()))
    np.testing.assert_allclose(made(z), (precision + 1e-9).reshape(7, 3, 2) ** -0.5, rtol=1e-10)
    # Moved together, points and centres are the same to float32 too.
    near, far = layer(), layer()
    far.centres.assign(near.centres + 500.0)
    far.raw_weights.assign(near.raw_weights)
    np.testing.assert_allclose(far(z.astype(np.float32) + 500.0), near(z.astype(np.float32)), rtol=1e-3)


def test_grows_away_from_the_centres_and_stays_finite_in_float32():
    codes = np.random.default_rng(0).normal(size=[50, 2])
    made = layer(codes)
    z = tf.constant([[r, 0.0] for r in (0.0, 3.0, 6.0, 1e2, 1e4, 1e18)])
    with tf.GradientTape() as tape:
        tape.watch(z)
        scale = made(z)
    values = scale.numpy().reshape(6, -1)
    assert np.all(np.diff(values[:4], axis=0) > 0)
    np.testing.assert_allclose(values[3:], 1e9**0.5, rtol=1e-5)
    assert np.all(np.isfinite(tape.gradient(scale, z)))


def test_centres_are_those_of_k_means():
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0], [20.0, 20.0]])
    made = layer(np.concatenate([place + 0.1 * rng.normal(size=[30, 2]) for place in places]))
    distances = np.linalg.norm(made.centres.numpy()[:, None] - places, axis=-1)
    assert distances.min(axis=0).max() < 0.15


def test_fewer_codes_than_centres_become_the_centres():
    codes = np.array([[1.0, 2.0], [3.0, 4.0]])
    made = RBFScale((3, 2), num_centres=5)
    made.fit_centres(codes)  # which builds it
    assert {tuple(row) for row in made.centres.numpy()} == {(1.0, 2.0), (3.0, 4.0)}


def test_survives_saving(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layer(np.random.default_rng(0).normal(size=[20, 2]))])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    z = np.random.default_rng(1).normal(size=[3, 2]).astype(np.float32)
    assert model.output_shape == (None, 3, 2)
    np.testing.assert_array_equal(loaded(z), model(z))
    assert loaded.layers[-1].beta == 0.3
    assert len(loaded.trainable_weights) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RBFScale((3, 0)), r"^event_shape must be a whole number of at least 1\. Received: 0$"),
        (lambda: RBFScale((3,), num_centres=0), r"^num_centres must be.*Received: 0$"),
        (lambda: RBFScale((3,), beta=0.0), r"^beta must be a positive number\. Received: 0\.0$"),
        (
            lambda: layer(np.zeros([0, 2])),
            r"^codes must be points \[N, D\], at least one\. Received: float64 \(0, 2\)$",
        ),
        (lambda: layer(np.zeros([4, 3])), r"^codes must have 2 dimensions\. Received: shape \(4, 3\)$"),
        (lambda: layer(np.full([4, 2], np.inf)), r"^codes must be finite\. Received: 8 values that are not$"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
