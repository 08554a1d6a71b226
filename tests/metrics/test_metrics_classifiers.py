import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfzoo import metrics
from tfzoo.metrics import train_classifier
from tfzoo.metrics.image_classifier import ARCHITECTURES, WEIGHTS, build_network, load_weights, save_weights

SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "mnist": (28, 28, 1)}
# What the docstring of `classifier` states, to its last digit.
ACCURACIES = {"digits": (0.9944, 0.8972), "fashion_mnist": (0.9201, 0.8644), "mnist": (0.9953, 0.9924)}


def official_test_images(name):
    data_dir = os.environ.get("TFDS_DATA_DIR", str(Path("~/tensorflow_datasets").expanduser()))
    if name != "digits" and not Path(data_dir, name).is_dir():
        pytest.skip(f"{name} is not prepared under {data_dir} (tfds build {name})")
    return train_classifier.load_split(name, "test", data_dir)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_accuracy_on_the_test_images_is_the_stated_one(name):
    test = official_test_images(name)
    grey, binarised = train_classifier.accuracies(metrics.classifier(name).network, test)
    tolerance = 2.0 / len(test.labels)  # two images that another machine rounds over
    np.testing.assert_allclose((grey, binarised), ACCURACIES[name], atol=tolerance)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_docstring_states_the_accuracies(name):
    (line,) = (line for line in metrics.classifier.__doc__.splitlines() if line.strip().startswith(f'"{name}"'))
    grey, binarised = ACCURACIES[name]
    assert f"{100 * grey:.2f} %" in line
    assert f"{100 * binarised:.2f} %" in line


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_shipped_weights_are_small(name):
    assert (WEIGHTS / f"{name}_classifier.npz").stat().st_size < 500_000


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_features_and_probabilities_have_their_shapes(name):
    classifier = metrics.classifier(name)
    images = np.random.default_rng(0).uniform(size=(3, *SHAPES[name])).astype(np.float32)
    assert classifier.features(images).shape == (3, classifier.num_features)
    assert classifier.probabilities(images).shape == (3, classifier.num_classes) == (3, 10)
    np.testing.assert_allclose(np.sum(classifier.probabilities(images), -1), 1.0, rtol=1e-6)


def test_many_images_give_the_answers_of_few():
    classifier = metrics.classifier("digits")
    images = np.random.default_rng(0).uniform(size=(1100, 8, 8, 1)).astype(np.float32)
    parts = [classifier.features(images[i : i + 11]) for i in range(0, 1100, 11)]
    np.testing.assert_allclose(classifier.features(images), np.concatenate(parts), rtol=1e-4, atol=1e-5)


def test_classifier_runs_in_a_graph():
    classifier = metrics.classifier("digits")
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1))
    graph = tf.function(classifier.probabilities, input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float64)])
    np.testing.assert_allclose(graph(images), classifier.probabilities(images), rtol=1e-5)


def test_mixed_precision_does_not_change_the_answers():
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    expected = metrics.classifier("digits").features(images)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        actual = metrics.classifier("digits").features(images)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_fid_of_digits_sees_noise():
    split = train_classifier.load_split("digits", "train")
    first, second = split.images[::2], split.images[1::2]
    noisy = np.clip(second + 0.3 * np.random.default_rng(0).normal(size=second.shape), 0, 1).astype(np.float32)
    near, far = (
        metrics.frechet_inception_distance(first, generated, feature_network="digits") for generated in (second, noisy)
    )
    assert 10 * near < far


def test_inception_score_of_digits_nears_the_number_of_classes():
    split = train_classifier.load_split("digits", "train")
    assert 9.0 < metrics.inception_score(split.images, classifier="digits", num_splits=1).mean < 10.0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), "must have shape"),
        (np.zeros((2, 28, 28, 1), np.float32), r"must have shape \[B, 8, 8, 1\]"),
        (np.zeros((0, 8, 8, 1), np.float32), "must not be empty"),
        (np.zeros((2, 8, 8, 1), np.uint8), "must be floating point"),
        (np.full((2, 8, 8, 1), np.nan), "must be finite"),
        (np.full((2, 8, 8, 1), -1.0), r"must lie in \[0, 1\]"),
        (np.full((2, 8, 8, 1), 255.0), r"must lie in \[0, 1\]"),
    ],
)
def test_bad_images_are_one_sentence(images, message):
    with pytest.raises(ValueError, match=message + ".*Received: "):
        metrics.classifier("digits").features(images)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"digits, fashion_mnist, mnist. Received: 'kmnist'"):
        metrics.classifier("kmnist")


def test_inception_without_weights_is_one_clear_error(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(RuntimeError, match=r"weights cannot be had.*Received: weights='imagenet'") as caught:
        metrics.inception_v3()
    assert caught.value.__suppress_context__


def test_inception_takes_grey_and_coloured_images_of_any_size():
    inception = metrics.inception_v3(weights=None)
    grey = np.random.default_rng(0).uniform(size=(2, 28, 28, 1)).astype(np.float32)
    features = inception.features(grey)
    assert features.shape == (2, 2048)
    np.testing.assert_allclose(inception.features(np.repeat(grey, 3, -1)), features, rtol=1e-4, atol=1e-5)
    assert inception.probabilities(grey).shape == (2, 1000)
    with pytest.raises(ValueError, match=r"1 or 3 channels. Received: shape \(2, 28, 28, 2\)"):
        inception.features(np.repeat(grey, 2, -1))


def test_weights_survive_their_file_to_half_precision(tmp_path):
    network, copy = build_network(ARCHITECTURES["digits"]), build_network(ARCHITECTURES["digits"])
    save_weights(network, tmp_path / "weights.npz")
    load_weights(copy, tmp_path / "weights.npz")
    for original, loaded in zip(network.weights, copy.weights, strict=True):
        if original.dtype == "float32":
            np.testing.assert_array_equal(np.asarray(original, np.float16), np.asarray(loaded))


def test_digits_are_split_as_stated():
    train, test = (train_classifier.load_split("digits", split) for split in ("train", "test"))
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert (train.images.min(), train.images.max()) == (0.0, 1.0)


def test_training_learns():
    data, test = (train_classifier.load_split("digits", split) for split in ("train", "test"))
    network = train_classifier.train("digits", data, epochs=4, verbose=0)
    # Batch statistics: moving averages need more steps than these.
    logits = network(test.images, training=True)[1]
    assert np.mean(np.argmax(logits, -1) == test.labels) > 0.7


def test_training_images_repeat_by_seed_and_differ_by_epoch():
    data, recipe = train_classifier.load_split("digits", "train"), train_classifier.RECIPES["digits"]
    first, again = (train_classifier.training_batches(data, recipe, seed=3) for _ in range(2))
    for _ in range(2):  # two epochs
        for (images, labels), (same_images, same_labels) in zip(first.take(2), again.take(2), strict=True):
            np.testing.assert_array_equal(images, same_images)
            np.testing.assert_array_equal(labels, same_labels)
    epochs = [next(iter(first))[0] for _ in range(2)]
    assert not np.array_equal(*epochs)


def test_half_of_the_training_images_are_binary_and_all_stay_in_range():
    ramp = np.tile(np.linspace(0.1, 0.9, 8, dtype=np.float32)[:, None], (512, 1, 8))[..., None]
    data = train_classifier.Split(ramp, np.zeros(512, np.int64))
    recipe = train_classifier.Recipe(epochs=1, shift=0, flip=True)
    images = np.concatenate([batch.numpy() for batch, _ in train_classifier.training_batches(data, recipe, seed=0)])
    assert (images.min(), images.max()) == (0.0, 1.0)
    binary = np.isin(images, (0.0, 1.0)).all((1, 2, 3))
    assert abs(binary.mean() - 0.5) < 4 * 0.5 / np.sqrt(512)
    standard_error = 0.5 / np.sqrt(8 * binary.sum())
    np.testing.assert_allclose(images[binary].mean((0, 2, 3)), ramp[0, :, 0, 0], atol=4 * standard_error)


def test_training_command_writes_weights_that_load(tmp_path):
    path = tmp_path / "digits.npz"
    run = CliRunner().invoke(train_classifier.main, ["digits", "--epochs", "1", "--output", str(path)])
    assert run.exit_code == 0, run.output
    assert "binarised (360 images)" in run.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["digits.npz"]
    load_weights(build_network(ARCHITECTURES["digits"]), path)


def test_training_command_names_unprepared_data_in_one_line(tmp_path):
    run = CliRunner().invoke(train_classifier.main, ["mnist", "--data-dir", str(tmp_path), "--output", "never.npz"])
    assert run.exit_code == 1
    assert "tfds build mnist" in run.output
    assert "Traceback" not in run.output
