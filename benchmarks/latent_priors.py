"""Four priors under one generator on the embedded digits, and the sweeps of the latent flow's paper (its figure 3).

    python benchmarks/latent_priors.py [--quick] [--epochs N] [--seeds N] [--json FILE]

Every row trains on the 1,297 training images (8x8, in [-1, 1], likelihood of scale 0.3, 16 latents, K = 20 steps of
s = 0.1 from noise, Adam at 1e-3, the energy prior's at 2e-4, batch 100), but for what the row changes. Measured are:
the mean squared error of reconstructions of the test images, per pixel, in [-1, 1], from codes by 20 K steps without
noise (or by the encoder); the FID of as many samples as there are images, with the features of the digits classifier;
the transport divergence (squared 2-Wasserstein distance) of the training images' codes, inferred as in training, to as
many samples of the prior, and beside it that of two samples of the prior, about which it is if the codes are the
prior's.
"""

import argparse
import json
import math
import pathlib
import statistics
import time
from typing import Any

import keras
import numpy as np
from report import machine, print_table

import tfzoo
from tfzoo import evaluation, metrics, transport

MODELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("abp", {}),
    ("latent_flow", {}),
    ("latent_flow_vae", {}),
    ("latent_ebm", {}),
    ("latent_ebm", {"contrast": "flow"}),
)
LATENT_DIM = 16
# The chains of `abp` start from noise, so that the prior alone differs.
OWN: dict[str, dict[str, Any]] = {"abp": {"chain": "noise", "num_steps": 20, "step_size": 0.1}}
SWEEPS: dict[str, list] = {
    "num_steps": [5, 10, 20, 40],
    "step_size": [0.03, 0.1, 0.2, 0.3],
    "latent_dim": [2, 4, 8, 16, 32],
    "flow_steps": [1, 2, 5, 8],
}
# What the paper finds; its figure has no numbers in its text.
PAPER = {
    "num_steps": "best near 40, 20 already good",
    "latent_dim": "50 to 100 on CIFAR-10",
    "flow_steps": "deeper is better",
}
# MSE and FID of its table 2 on CIFAR-10, by other features.
PAPER_MODELS = {
    "abp": ".018, 90.3",
    "latent_flow": ".016, 66.4",
    "latent_flow_vae": ".020, 69.7",
    "latent_ebm": ".020, 70.2",
}


def train(name: str, changes: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Returns what was measured after a training."""
    keras.utils.set_random_seed(seed)
    options = {"batch_size": 100, "value_range": (-1, 1), "seed": seed}
    images, train_images, test = (
        np.concatenate([batch["image"] for batch in tfzoo.data.load("digits", split, shuffle=False, **options)])
        for split in ("all", "train", "test")
    )
    options_of_model = {"latent_dim": LATENT_DIM, **OWN.get(name, {}), **changes}
    model = tfzoo.create_model(name, event_shape=(8, 8, 1), seed=seed, **options_of_model)
    rate = 2e-4 if name == "latent_ebm" else 1e-3
    prior_optimizer = {} if name == "abp" else {"prior_optimizer": keras.optimizers.Adam(rate, 0.5)}
    model.compile(optimizer=keras.optimizers.Adam(1e-3, 0.5), **prior_optimizer)
    start = time.perf_counter()
    model.fit(tfzoo.data.load("digits", "train", **options), epochs=epochs, verbose=0)
    seconds = time.perf_counter() - start
    samples, real = (np.clip((np.asarray(each) + 1) / 2, 0, 1) for each in (model.sample(len(images), seed=1), images))
    network = metrics.classifier("digits")
    codes = model(train_images, seed=0)["z"][0]  # as in training
    annealing = evaluation.Annealing(num_images=50, num_steps=500, num_chains=8)
    held_back = tfzoo.data.load("digits", "test", shuffle=False, **options)
    nats = evaluation.evaluate(model, held_back, ["ais"], dataset_name="digits", annealing=annealing, seed=0)["ais"]
    prior = [model.prior().sample(len(train_images), seed=[0, number]) for number in range(2)]
    return {
        "mse": float(np.mean((np.asarray(model.reconstruct(test, seed=0)) - test) ** 2)),
        "fid": float(metrics.frechet_inception_distance(real, samples, feature_network=network.features)),
        "divergence": float(transport.divergence(codes, prior[0])),
        "floor": float(transport.divergence(prior[1], prior[0])),
        "nats": nats["ais"],
        "nats_error": nats["standard_error"],
        "gap": nats.get("bdmc_gap", math.nan),
        "seconds": seconds,
    }


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the models only")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2, help="trainings a row")
    parser.add_argument("--json", default="latent_priors.json", help="where the figures are written")
    args = parser.parse_args()

    seeds = range(args.seeds)
    rows = [(name, changes, "" if changes else PAPER_MODELS[name]) for name, changes in MODELS]
    if not args.quick:
        rows += [
            ("latent_flow", {key: value}, PAPER.get(key, "")) for key, values in SWEEPS.items() for value in values
        ]
    known: dict[str, list[dict]] = {}
    results: dict = {"machine": machine(), "epochs": args.epochs, "rows": []}
    table = []
    for name, changes, paper in rows:
        model = {"latent_dim": LATENT_DIM, "num_steps": 20, "step_size": 0.1, "flow_steps": 5, **changes}
        key = json.dumps([name, model], sort_keys=True)
        if key not in known:
            known[key] = [train(name, changes, args.epochs, seed) for seed in seeds]
        runs = known[key]
        results["rows"].append({"model": name, "changed": changes, "runs": runs})
        measures = ("mse", "fid", "divergence", "floor", "nats", "nats_error", "gap", "seconds")
        cells = [_spread([run[measure] for run in runs]) for measure in measures]
        table.append([name, ", ".join(f"{k} = {v}" for k, v in changes.items()), *cells, paper])
        print(" ".join(table[-1]), flush=True)
        pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    header = ["model", "changed", "MSE", "FID", "divergence", "of two prior samples", "-log p(x)", "its error", "gap"]
    header += ["seconds", "the paper"]
    print_table(f"Digits, {args.epochs} epochs, mean [least, most] of {len(seeds)} seeds", header, table)
    print(f"\nWritten: {args.json}")


def _spread(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.3g}, {max(values):.3g}]"


if __name__ == "__main__":
    main()
