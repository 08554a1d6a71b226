"""How much of a bound's gap each posterior closes, and what it costs.

    tfzoo train vae_mnist --set latent_dim=2 --epochs 15 --out runs/vae_2d
    python benchmarks/posteriors.py runs/vae_2d [--steps N] [--images N] [--json FILE]

The decoder is the run's, and stays as it is: so log p(x) is the same for all, and a better bound is a smaller gap.
Encoder and heads start from the run's weights and go on training with each posterior for the same number of steps, the
Gaussian too. Two tables: all flows with about the same number of weights, and the steps and
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

from tfzoo import runs
from tfzoo.bijectors import IAF, CouplingFlow, Flow, PCPMap

SAMPLES = 20  # of the bound, an image
CONTEXT_DIM = 64

# Name -> latent_dim, width -> flow.
FLOWS: dict[str, Callable[[int, int], Flow]] = {
    "iaf": lambda size, width: IAF(size, num_steps=2, hidden_units=(width, width)),
    "iaf, gated": lambda size, width: IAF(size, num_steps=2, hidden_units=(width, width), transformation="gated"),
    "pcp_map": lambda size, width: PCPMap(size, hidden_units=(width, width)),
    "coupling": lambda size, width: CouplingFlow(size, num_steps=4, hidden_units=(width, width)),
    "spline": lambda size, width: CouplingFlow(size, num_steps=4, hidden_units=(width, width), transformation="spline"),
}
# Name -> latent_dim, steps, width -> flow.
SWEEP: dict[str, Callable[[int, int, int], Flow]] = {
    "iaf": lambda size, steps, width: IAF(size, num_steps=steps, hidden_units=(width, width)),
    "coupling": lambda size, steps, width: CouplingFlow(size, num_steps=steps, hidden_units=(width, width)),
}


def of_about(make: Callable[[int, int], Flow], size: int, weights: int) -> Flow:
    """Returns the narrowest flow that has at least `weights` weights."""
    for width in range(8, 1024, 8):
        flow = make(size, width)
        flow.build((None, CONTEXT_DIM))
        if flow.count_params() >= weights:
            return flow
    raise ValueError(f"no flow has {weights} weights")


def train(vae: keras.Model, posterior: str | Flow, data: tf.data.Dataset, images: np.ndarray, steps: int) -> dict:
    """Trains all but the decoder from the weights of a VAE, and measures."""
    keras.utils.set_random_seed(0)
    options = {**vae.get_config(), "posterior": posterior, "context_dim": CONTEXT_DIM, "name": None, "seed": 0}
    model = type(vae).from_config(options)
    model.adopt_weights(vae)
    model.decoder.trainable = False
    model.compile(keras.optimizers.Adam(1e-3))
    batches = iter(data.repeat())
    model.make_train_function()
    milliseconds = []
    for _ in range(steps):
        began = time.perf_counter()
        model.train_function(batches)
        milliseconds.append(1e3 * (time.perf_counter() - began))
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
    parser.add_argument("run", help="a trained VAE's run folder")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of each posterior")
    parser.add_argument("--weights", type=int, default=20_000, help="of each flow in the first table")
    parser.add_argument("--images", type=int, default=1000, help="random test images")
    parser.add_argument("--sweep-steps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--sweep-widths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--json", default="posteriors.json", help="where the figures are written")
    args = parser.parse_args()

    config, vae = runs.load(args.run)
    data = runs.load_split(config, "train")
    images = np.concatenate([batch["image"] for batch in runs.load_split(config, "test")])
    images = images[np.random.default_rng(0).permutation(len(images))[: args.images]]

    size = vae.latent_dim
    found = {"gaussian": train(vae, "gaussian", data, images, args.steps)}
    for name, make in FLOWS.items():
        found[name] = train(vae, of_about(make, size, args.weights), data, images, args.steps)
    header = ["posterior", "weights of the flow", "ELBO", "gap closed, nats", "training step / Gaussian's"]
    rows = [row(name, result, found["gaussian"]) for name, result in found.items()]
    print_table(f"{size} latents, {args.steps} steps each, {len(images)} test images", header, rows)

    rows, swept = [], {}
    for name, make in SWEEP.items():
        for width in args.sweep_widths:
            for steps in args.sweep_steps:
                label = f"{name}, {steps} steps, width {width}"
                swept[label] = train(vae, make(size, steps, width), data, images, args.steps)
                rows.append(row(label, swept[label], found["gaussian"]))
    print_table("Steps and widths", header, rows)
    results = {"machine": machine(), "steps": args.steps, "images": len(images)}
    for name, result in {**found, **swept}.items():
        results[name] = {**result, "elbo": float(result["elbo"].mean())}
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nWritten: {args.json}")


if __name__ == "__main__":
    main()
