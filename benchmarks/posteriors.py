"""How much of a bound's gap each posterior closes, and what it costs.

    python benchmarks/posteriors.py [--steps N] [--images N] [--data-dir DIR] [--json FILE]

The decoder is the one that comes with `vae_mnist`, and stays as it is: so log p(x) is the same for all, and a better
bound is a smaller gap. Encoder and heads start from the same weights and go on training with each posterior for the
same number of steps, the Gaussian too. Two tables: all flows with about the same number of weights, and the steps and
widths of two of them. The bound is over the same random test images, differences to the Gaussian are paired; the time
is that of a training step of the whole model, medians, as ratios to the Gaussian's.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from report import machine, print_table

import tfzoo
from tfzoo.bijectors import IAF, CouplingFlow, Flow, PCPMap

LATENT_DIM = 64
BATCH_SIZE = 100
SAMPLES = 20  # of the bound, an image
WEIGHTS = 150_000

# Name -> width -> flow.
FLOWS: dict[str, Callable[[int], Flow]] = {
    "iaf": lambda width: IAF(LATENT_DIM, num_steps=2, hidden_units=(width, width)),
    "iaf, gated": lambda width: IAF(LATENT_DIM, num_steps=2, hidden_units=(width, width), transformation="gated"),
    "pcp_map": lambda width: PCPMap(LATENT_DIM, hidden_units=(width, width)),
    "coupling": lambda width: CouplingFlow(LATENT_DIM, num_steps=4, hidden_units=(width, width)),
    "spline": lambda width: CouplingFlow(LATENT_DIM, num_steps=4, hidden_units=(width, width), transformation="spline"),
}
SWEEP: dict[str, Callable[[int, int], Flow]] = {
    "iaf": lambda steps, width: IAF(LATENT_DIM, num_steps=steps, hidden_units=(width, width)),
    "coupling": lambda steps, width: CouplingFlow(LATENT_DIM, num_steps=steps, hidden_units=(width, width)),
}


def of_about(make: Callable[[int], Flow], weights: int) -> Flow:
    """Returns the narrowest flow, for contexts of 64 numbers, that has at least `weights` weights."""
    for width in range(8, 1024, 8):
        flow = make(width)
        flow.build((None, 64))
        if flow.count_params() >= weights:
            return flow
    raise ValueError(f"no flow has {weights} weights")


def train(posterior: str | Flow, data: tf.data.Dataset, images: np.ndarray, steps: int) -> dict:
    """Trains all but the decoder from the preset's weights, and measures."""
    keras.utils.set_random_seed(0)
    model = tfzoo.create_model("vae_mnist", posterior=posterior, seed=0)
    model.adopt_weights(tfzoo.create_model("vae_mnist", pretrained=True))
    model.decoder.trainable = False
    model.compile(keras.optimizers.Adamax(5e-4))
    batches = iter(data.repeat())
    model.make_train_function()
    milliseconds = []
    for _ in range(steps):
        start = time.perf_counter()
        model.train_function(batches)
        milliseconds.append(1e3 * (time.perf_counter() - start))
    bounds = [model.elbo(images[i : i + 100], SAMPLES, seed=i) for i in range(0, len(images), 100)]
    # Weights beyond the Gaussian's heads.
    weights = 0 if isinstance(posterior, str) else posterior.count_params()
    return {
        "elbo": np.concatenate(bounds),
        "milliseconds": statistics.median(milliseconds[5:]),
        "weights": weights,
    }


def row(name: str, found: dict, gaussian: dict) -> list[str]:
    """Returns a posterior's line of a table."""
    gain = found["elbo"] - gaussian["elbo"]
    error = gain.std(ddof=1) / len(gain) ** 0.5
    ratio = found["milliseconds"] / gaussian["milliseconds"]
    return [
        name,
        str(found["weights"]),
        f"{found['elbo'].mean():.2f}",
        f"{gain.mean():+.2f} ± {error:.2f}",
        f"{ratio:.2f}",
    ]


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000, help="training steps of each posterior")
    parser.add_argument("--images", type=int, default=1000, help="random test images")
    parser.add_argument("--data-dir", help="where tensorflow-datasets keeps its data")
    parser.add_argument("--sweep-steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--sweep-widths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--json", default="posteriors.json", help="where the figures are written")
    args = parser.parse_args()

    options = {"data_dir": args.data_dir, "seed": 0}
    data = tfzoo.data.load("mnist", "train", batch_size=BATCH_SIZE, binarize="dynamic", **options)
    test = tfzoo.data.load("mnist", "test", batch_size=10_000, binarize="static", **options)
    images = next(iter(test))["image"].numpy()
    images = images[np.random.default_rng(0).permutation(len(images))[: args.images]]

    found = {"gaussian": train("gaussian", data, images, args.steps)}
    found |= {name: train(of_about(make, WEIGHTS), data, images, args.steps) for name, make in FLOWS.items()}
    header = ["posterior", "weights of the flow", "ELBO", "gap closed, nats", "training step / Gaussian's"]
    rows = [row(name, result, found["gaussian"]) for name, result in found.items()]
    print_table(f"{args.steps} steps each, decoder of vae_mnist, {len(images)} test images", header, rows)

    rows, swept = [], {}
    for name, make in SWEEP.items():
        for width in args.sweep_widths:
            for steps in args.sweep_steps:
                label = f"{name}, {steps} steps, width {width}"
                swept[label] = train(make(steps, width), data, images, args.steps)
                rows.append(row(label, swept[label], found["gaussian"]))
    print_table("Steps and widths", header, rows)
    results = {"machine": machine(), "steps": args.steps, "images": len(images)}
    for name, result in {**found, **swept}.items():
        results[name] = {**result, "elbo": float(result["elbo"].mean())}
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nWritten: {args.json}")


if __name__ == "__main__":
    main()
