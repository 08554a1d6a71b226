"""The Riemannian VAE on Fashion-MNIST, in both its trainings and with a plain prior: bounds, samples, geodesics.

    python benchmarks/riemannian_vae.py [--data fashion_mnist] [--images 10000] [--test-images 10000] [--first 20]
        [--second 5] [--seeds 3] [--latent-dim 2] --out FOLDER

For each training ("bound", "paper", and in the same two stages the priors N(0, I), "standard", and "vamp") and seed a
model is trained on the first so many images for two stages of so many epochs. Then, on the test images:

    bound, reconstruction, KL   means in nats of one sample an image; of "paper" no bound, see the model's module
    FID                         of samples of the prior, and of N(0, I) through the same decoder
    F1                          of a classifier on the codes, mean over classes
    geodesics                   of 100 pairs of codes: energy over the straight line's, how far images on the way are
                                from the nearest one of the test set (squares a pixel), and their mean scale

A run goes on where it was stopped: each model has a line in results.json.

References:
  Kalatzis et al., "Variational Autoencoders with Riemannian Brownian Motion Priors", https://arxiv.org/abs/2002.05227
"""

import argparse
import json
import os
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfzoo
from tfzoo import latent_geometry, metrics
from tfzoo.geometry import curves

TRAININGS: dict[str, dict[str, Any]] = {
    "bound": {},
    "paper": {"training": "paper"},
    "standard": {"prior": "standard"},
    "vamp": {"prior": "vamp"},
}
NUM_PAIRS = 100
NUM_POINTS = 20
BATCH = 500


def arrays(name: str, split: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of a split, in their order."""
    batches = list(tfzoo.data.load(name, split, batch_size=BATCH, shuffle=False, data_dir=data_dir).as_numpy_iterator())
    return tuple(np.concatenate([batch[key] for batch in batches]) for key in ("image", "label"))


def bounds(model: keras.Model, images: np.ndarray) -> dict[str, float]:
    """Returns the means of the bound and its two parts over images, in nats."""

    @tf.function(autograph=False)
    def parts(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        posterior = model.posterior(x)
        z = posterior.sample(seed=seed)
        reconstruction = model.likelihood(z).log_prob(x)
        return tf.stack([reconstruction, posterior.log_prob(z) - model.prior().log_prob(z)])

    found = np.concatenate(
        [parts(images[i : i + BATCH], tf.constant([0, i])) for i in range(0, len(images), BATCH)], axis=1
    )
    return {
        "bound": float(np.mean(found[0] - found[1])),
        "standard_error": float(np.std(found[0] - found[1]) / len(images) ** 0.5),
        "reconstruction": float(np.mean(found[0])),
        "kl": float(np.mean(found[1])),
    }


def fids(model: keras.Model, name: str, images: np.ndarray) -> dict[str, float]:
    """Returns the FID of as many samples as images: of the prior, and of N(0, I) through the same decoder."""
    features = metrics.classifier(name).features
    size = [BATCH, model.latent_dim]
    sources = {
        "fid": tf.function(lambda seed: model.sample(BATCH, seed), autograph=False),
        "fid_normal": lambda seed: model.decode(tf.random.stateless_normal(size, seed, dtype=model.variable_dtype)),
    }
    found = {}
    for key, sample in sources.items():
        samples = np.concatenate([sample(tf.constant([1, i])) for i in range(0, len(images), BATCH)])[: len(images)]
        found[key] = float(metrics.frechet_inception_distance(images, samples, feature_network=features))
    return found


def walks(model: keras.Model, images: np.ndarray) -> dict[str, float]:
    """Returns what geodesics have before straight lines, over pairs of codes."""
    codes = np.asarray(model.encode(images))
    draw = np.random.default_rng(0)
    pairs = np.stack([draw.choice(len(codes), 2, replace=False) for _ in range(NUM_PAIRS)])
    both = latent_geometry.paths(model, codes[pairs[:, 0]], codes[pairs[:, 1]], NUM_POINTS)
    measure = tf.function(lambda each: curves.energy(lambda z: latent_geometry.embedding(model, z), each))
    line, geodesic = (measure(each).numpy() for each in both)
    found = {"energy_ratio": float(np.mean(geodesic / line)), "lower": int(np.sum(geodesic < line))}
    flat = images.reshape(len(images), -1)
    squares = np.sum(flat**2, axis=1)
    for name, each in zip(("line", "geodesic"), both, strict=True):
        z = tf.reshape(each, [-1, model.latent_dim])
        shown = np.asarray(model.decode(z)).reshape(len(z), -1)
        distances = np.min(np.sum(shown**2, axis=1)[:, None] + squares - 2.0 * shown @ flat.T, axis=1)
        found[f"to_data_{name}"] = float(np.mean(distances) / flat.shape[1])
        found[f"scale_{name}"] = float(np.mean(model.likelihood(z).stddev()))
    return found


def main() -> None:
    """Trains and measures what results.json does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="fashion_mnist", choices=("fashion_mnist", "mnist", "digits"))
    parser.add_argument("--data-dir", default=os.environ.get("TFDS_DATA_DIR"))
    parser.add_argument("--images", type=int, default=10_000, help="of the training split")
    parser.add_argument("--test-images", type=int, default=10_000, help="of the test split")
    parser.add_argument("--first", type=int, default=20, help="epochs of the first stage")
    parser.add_argument("--second", type=int, default=5, help="epochs of the second")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--latent-dim", type=int, default=2)
    parser.add_argument("--trainings", nargs="*", default=list(TRAININGS), choices=list(TRAININGS))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    train = arrays(arguments.data, "train", arguments.data_dir)[0][: arguments.images]
    test, labels = (each[: arguments.test_images] for each in arrays(arguments.data, "test", arguments.data_dir))
    for seed in range(arguments.seeds):
        for training in arguments.trainings:
            if f"{training} {seed}" in results:
                continue
            started = time.monotonic()
            keras.utils.set_random_seed(seed)
            model = tfzoo.create_model(
                "riemannian_vae",
                event_shape=train.shape[1:],
                latent_dim=arguments.latent_dim,
                first_stage_epochs=arguments.first,
                seed=seed,
                **TRAININGS[training],
            )
            model.compile(optimizer=keras.optimizers.Adam(1e-3))
            model.fit(train, batch_size=100, epochs=arguments.first + arguments.second, verbose=0)
            seconds = time.monotonic() - started
            found = {**bounds(model, test), **fids(model, arguments.data, test), **walks(model, test)}
            codes, half = np.asarray(model.encode(test)), len(test) // 2
            classified = metrics.latent_classification(codes[:half], labels[:half], codes[half:], labels[half:])
            found["f1"] = float(classified.macro_f1)
            results[f"{training} {seed}"] = {**found, "seconds": seconds}
            path.write_text(json.dumps(results, indent=2))
            print(training, seed, {key: round(value, 4) for key, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
