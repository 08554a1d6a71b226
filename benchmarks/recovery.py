"""Recovery of hidden pixels by models that have never seen them: beside the mean image and the nearest neighbours.

    python benchmarks/recovery.py --data DATA [--model abp] [--set chain=noise] [--epochs 60] --out FOLDER

For each kind of mask a model is trained on images of which the mask hides a part, always the same of each image, and
then completes them: by its chain of training from noise ("short_run", a fresh one) and by descent. Errors are mean
squares at the hidden pixels on [0, 1]. Beside it, on the same images: each pixel's mean over the images that see it,
and the mean of the k nearest images that see it, for the best of three k.

The masks are those of the papers at 64x64; at another size squares have the same share of a side. DATA is a name of
`tfzoo.data.list_datasets()`, a folder, a .npz file, or a .npy file of images uint8 [N, H, W, C].

A run goes on where it was stopped: each kind has a run folder and a line in results.json.

References:
  Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300, tables 5 and 6
"""

import argparse
import json
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import yaml

import tfzoo
from tfzoo import metrics, pictures

KINDS = ("square:20", "square:30", "square:40", "patches:30", "patches:50", "patches:70")  # at 64x64
NEIGHBOURS = (5, 10, 20)
BATCH = 250


def scaled(kind: str, size: int) -> str:
    """Returns a kind of masks at another size than 64."""
    name, _, amount = kind.partition(":")
    return f"square:{round(int(amount) * size / 64)}" if name == "square" else kind


def arrays(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and masks of a data set."""
    batches = list(dataset.as_numpy_iterator())
    return tuple(np.concatenate([batch[key] for batch in batches]) for key in ("image", "mask"))


def hidden_mse(images: np.ndarray, mask: np.ndarray, completed: np.ndarray) -> float:
    """Returns the mean square at the hidden pixels, on [0, 1], of images on [-1, 1]."""
    value = metrics.mse(images, completed, value_range=(-1.0, 1.0), where=np.broadcast_to(mask == 0, images.shape))
    return metrics.convert_mse(value, source_range=(-1.0, 1.0))


def complete(model: keras.Model, images: np.ndarray, mask: np.ndarray, inference: str) -> np.ndarray:
    """Returns one completion of each image."""
    model.inference = inference
    rows = range(0, len(images), BATCH)
    return np.concatenate([model.inpaint(images[i : i + BATCH], mask[i : i + BATCH], 1, seed=i)[0] for i in rows])


def measure(kind: str, arguments: argparse.Namespace, options: dict[str, Any], out: pathlib.Path) -> dict[str, Any]:
    """Trains on one kind of masks, and returns the errors."""
    name = arguments.data
    source = np.load(name)[: arguments.images] if name.endswith(".npy") else name
    load = {"value_range": (-1.0, 1.0), "image_size": arguments.image_size, "mask": scaled(kind, arguments.image_size)}
    images, mask = arrays(
        tfzoo.data.load(source, batch_size=BATCH, shuffle=False, **load).take(arguments.images // BATCH)
    )
    # The same images by the same indices, so that the masks are the same.
    dataset = tfzoo.data.load(np.clip((images + 1.0) / 2.0, 0.0, 1.0), batch_size=arguments.batch_size, **load)
    keras.utils.set_random_seed(0)
    model = tfzoo.create_model(arguments.model, event_shape=images.shape[1:], seed=0, **options)
    schedule = keras.optimizers.schedules.ExponentialDecay(arguments.learning_rate, len(dataset), 0.998)
    own = {}
    if model.prior_layer.trainable_weights:
        own["prior_optimizer"] = keras.optimizers.Adam(arguments.prior_learning_rate, beta_1=0.5)
    model.compile(keras.optimizers.Adam(schedule, beta_1=0.5), **own)
    shown = slice(0, 10)
    started = time.monotonic()
    model.fit(
        dataset,
        epochs=arguments.epochs,
        verbose=0,
        callbacks=[
            tfzoo.callbacks.SafeBackup(out / "backup"),
            tfzoo.callbacks.ResumableHistory(out / "history.csv"),
            tfzoo.callbacks.RecoveredImages(
                out / "recovered",
                images[shown],
                mask[shown],
                every=max(1, arguments.epochs // 4),
                value_range=(-1.0, 1.0),
            ),
        ],
    )
    minutes = (time.monotonic() - started) / 60
    donors, donors_mask = images, mask
    images, mask = images[: arguments.measured], mask[: arguments.measured]
    completed = {inference: complete(model, images, mask, inference) for inference in ("short_run", "descent")}
    mean = metrics.mean_fill(images, mask, donors, donors_mask)
    near = {k: metrics.neighbour_fill(images, mask, donors, donors_mask, num_neighbours=k) for k in NEIGHBOURS}
    errors = {k: hidden_mse(images, mask, each) for k, each in near.items()}
    best = min(errors, key=errors.__getitem__)
    rows = [each[shown] for each in (*completed.values(), mean, near[best])]
    picture = pictures.recovery(images[shown], mask[shown], *rows, value_range=(-1.0, 1.0))
    pictures.save(out / "completed.png", picture)
    return {
        "mask": load["mask"],
        "coverage": float(np.mean(mask == 0)),
        **{inference: hidden_mse(images, mask, each) for inference, each in completed.items()},
        "mean_image": hidden_mse(images, mask, mean),
        "neighbours": errors[best],
        "k": best,
        "never_seen": float(np.mean(np.all(donors_mask == 0, axis=0))),
        "minutes": minutes,
    }


def main() -> None:
    """Measures the kinds that are asked for, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="abp")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the model")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--measured", type=int, default=1000, help="images that are completed, the first ones")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--prior-learning-rate", type=float, default=2e-4, help="of a learned prior")
    parser.add_argument("--kinds", default=",".join(KINDS), help="as at 64x64")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    options = {key: yaml.safe_load(value) for key, _, value in (each.partition("=") for each in arguments.set)}
    path = arguments.out / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for kind in arguments.kinds.split(","):
        if kind not in results:
            folder = arguments.out / kind.replace(":", "_")
            folder.mkdir(parents=True, exist_ok=True)
            results[kind] = measure(kind, arguments, options, folder)
            path.write_text(json.dumps(results, indent=2) + "\n")
        row = results[kind]
        print(
            f"{row['mask']:>11} {100 * row['coverage']:4.0f} % hidden: short run {row['short_run']:.4f}, "
            f"descent {row['descent']:.4f}, mean image {row['mean_image']:.4f}, "
            f"{row['k']} neighbours {row['neighbours']:.4f}; {row['minutes']:.1f} minutes",
            flush=True,
        )


if __name__ == "__main__":
    main()
