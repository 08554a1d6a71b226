"""Trains the classifiers that `tfzoo.metrics.classifier` loads, from scratch.

    python -m tfzoo.metrics.train_classifier mnist --data-dir DIR

Half of each batch is dynamically binarised (each pixel a Bernoulli draw of its grey value). MNIST and Fashion-MNIST use
the official 60,000 training images through tensorflow-datasets, digits the 1,437 of ``train_test_split(test_size=360,
random_state=0, stratify=y)``. Nothing is chosen on the test images: the last epoch's weights are kept. The seed is
fixed; other thread counts or hardware still round differently, so a rerun agrees in accuracy, not in bits.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import click
import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.image_classifier import ARCHITECTURES, WEIGHTS, build_network, load_weights, save_weights

__all__ = ["RECIPES", "Recipe", "Split", "accuracies", "load_split", "train", "training_batches"]


class Recipe(NamedTuple):
    """How one classifier is trained."""

    epochs: int
    shift: int  # images are moved by up to this many pixels
    flip: bool  # clothes keep their class when mirrored, digits do not
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    batch_size: int = 128


RECIPES = {
    "digits": Recipe(epochs=150, shift=1, flip=False),
    "fashion_mnist": Recipe(epochs=20, shift=1, flip=True),
    "mnist": Recipe(epochs=12, shift=2, flip=False),
}


class Split(NamedTuple):
    """Images float32 ``[N, H, W, 1]`` in [0, 1] and labels int64 ``[N]``."""

    images: np.ndarray
    labels: np.ndarray


def load_split(name: str, split: str, data_dir: str | None = None) -> Split:
    """Returns the official "train" or "test" images of a data set, in a fixed order.

    Raises:
      ValueError: if the data set is not on disk under `data_dir` (digits needs none).
    """
    if name == "digits":
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = (digits.images[..., None] / 16.0).astype(np.float32)
        parts = train_test_split(images, digits.target, test_size=360, random_state=0, stratify=digits.target)
        chosen = (parts[0], parts[2]) if split == "train" else (parts[1], parts[3])
        return Split(chosen[0], chosen[1].astype(np.int64))

    import tensorflow_datasets as tfds

    try:
        pixels, labels = tfds.as_numpy(
            tfds.load(name, split=split, data_dir=data_dir, batch_size=-1, as_supervised=True, download=False)
        )
    except (AssertionError, tfds.core.registered.DatasetNotFoundError):
        # tfds asserts that the data are prepared.
        raise ValueError(
            f"The data set {name!r} is not prepared under data_dir; `tfds build {name} --data_dir DIR` prepares it. "
            f"Received: data_dir={data_dir!r}"
        ) from None
    return Split(pixels.astype(np.float32) / np.float32(255), labels.astype(np.int64))


def training_batches(data: Split, recipe: Recipe, seed: int) -> tf.data.Dataset:
    """Shuffled, shifted, flipped and half binarised batches; stateless noise, so that a rerun sees the same images."""
    height, width = data.images.shape[1:3]

    def augment(seeds: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = batch
        offset, mirror, binarise, pixel = tf.unstack(tf.random.split(seeds, 4))
        size = tf.shape(images)[0]
        margin = recipe.shift
        # One window per image into a frame of zeros (both data sets have a black background).
        padded = tf.pad(images, [[0, 0], [margin, margin], [margin, margin], [0, 0]])
        start = tf.random.stateless_uniform([size, 2], offset, 0, 2 * margin + 1, tf.int32)
        rows = start[:, :1] + tf.range(height)  # [B, H]
        columns = start[:, 1:] + tf.range(width)  # [B, W]
        images = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
        if recipe.flip:
            mirrored = tf.random.stateless_uniform([size, 1, 1, 1], mirror) < 0.5
            images = tf.where(mirrored, images[:, :, ::-1], images)
        draws = tf.cast(tf.random.stateless_uniform(tf.shape(images), pixel) < images, tf.float32)
        binary = tf.random.stateless_uniform([size, 1, 1, 1], binarise) < 0.5
        return tf.where(binary, draws, images), labels

    batches = tf.data.Dataset.from_tensor_slices(tuple(data)).shuffle(len(data.labels), seed=seed)
    batches = batches.batch(recipe.batch_size, drop_remainder=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    seeds = seeds.map(lambda pair: tf.bitcast(tf.cast(pair, tf.uint32), tf.int32))
    return tf.data.Dataset.zip(seeds, batches).map(augment).prefetch(2)


def train(name: str, data: Split, *, epochs: int | None = None, seed: int = 0, verbose: int = 2) -> keras.Model:
    """Returns a trained network of `image_classifier.build_network`; `epochs` overrides the recipe's."""
    recipe = RECIPES[name]
    epochs = recipe.epochs if epochs is None else epochs
    keras.utils.set_random_seed(seed)
    network = build_network(ARCHITECTURES[name])
    steps = epochs * (len(data.labels) // recipe.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        recipe.learning_rate / 10, steps, warmup_target=recipe.learning_rate, warmup_steps=steps // 10
    )
    trainer = keras.Model(network.inputs[0], network.outputs[1])
    # No label smoothing: the inception score reads the probabilities themselves.
    trainer.compile(
        keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    trainer.fit(training_batches(data, recipe, seed), epochs=epochs, shuffle=False, verbose=verbose)
    return network


def accuracies(network: keras.Model, data: Split, *, seed: int = 0) -> tuple[float, float]:
    """Returns the accuracy on grey images and on one dynamic binarisation of them."""
    binarised = (np.random.default_rng(seed).random(data.images.shape) < data.images).astype(np.float32)
    predictions = (network.predict(images, batch_size=500, verbose=0)[1] for images in (data.images, binarised))
    grey, binary = (float(np.mean(np.argmax(logits, axis=-1) == data.labels)) for logits in predictions)
    return grey, binary


@click.command(epilog="Example: python -m tfzoo.metrics.train_classifier mnist --data-dir ~/tensorflow_datasets")
@click.argument("name", type=click.Choice(sorted(RECIPES)))
@click.option("--data-dir", default=None, help="Where tensorflow-datasets prepared the data (digits needs none).")
@click.option("--epochs", default=None, type=click.IntRange(min=1), help="Instead of the recipe's number.")
@click.option("--seed", default=0, show_default=True, help="Of initial weights, order and augmentation.")
@click.option("--output", default=None, type=click.Path(path_type=Path), help="The .npz file  [default: the package's]")
def main(name: str, data_dir: str | None, epochs: int | None, seed: int, output: Path | None) -> None:
    """Trains the classifier NAME and writes its weights."""
    path = output or WEIGHTS / f"{name}_classifier.npz"
    try:
        data, test = load_split(name, "train", data_dir), load_split(name, "test", data_dir)
    except ValueError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    network = train(name, data, epochs=epochs, seed=seed)
    # Written beside and renamed, so that a broken run leaves the old weights; measured as they were written.
    partial = path.with_name("partial_" + path.name)
    save_weights(network, partial)
    load_weights(network, partial)
    partial.replace(path)
    grey, binary = accuracies(network, test)
    click.echo(f"{path}: test accuracy {grey:.4f} grey, {binary:.4f} binarised ({len(test.labels)} images)")


if __name__ == "__main__":
    main()
