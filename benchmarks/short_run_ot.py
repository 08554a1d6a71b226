"""The ablations of the transport correction's paper, on the embedded digits: alpha, s, K, L_2 and the latent dimension.

    python benchmarks/short_run_ot.py [--quick] [--epochs N] [--seeds N] [--json FILE] [--picture FILE]

Every row trains a model on the 1,297 training images (8x8, in [-1, 1], likelihood of scale 0.3) with the settings of
`BASE`, but for what the row changes. Measured are: the mean squared distance between the codes of the training images
and their matches among samples of the prior, before the last correction; the mean squared error of reconstructions of
the test images, per pixel, in [-1, 1], from codes by 20 K steps without noise; the FID of as many samples as there are
images, with the features of the digits classifier. The picture has the three over the epochs for each alpha, as the
paper's figure 5.
"""

import argparse
import json
import pathlib
import statistics
import time
from typing import Any

import keras
import matplotlib as mpl
import numpy as np
from report import machine, print_table

import tfzoo
from tfzoo import metrics

BASE: dict[str, Any] = {
    "alpha": 0.5,
    "step_size": 0.1,
    "num_steps": 30,
    "num_learning_steps": 1,
    "latent_dim": 16,
    "target": "fixed",
}
GRID: dict[str, list] = {
    "alpha": [0.0, 0.25, 0.5, 0.75, 1.0],
    "step_size": [0.03, 0.1, 0.2, 0.3],
    "num_steps": [10, 30, 60],
    "num_learning_steps": [1, 2, 3],
    "latent_dim": [4, 8, 16, 32],
    "target": ["fixed", "fresh"],
}
# What the paper reports for MNIST (FID by other features): they show the direction only.
PAPER = {
    ("step_size", 0.03): "s = 0.03: MSE .013, FID 21.89 (the best of four s)",
    ("num_steps", 30): "K = 30, 50, 100: FID 22.32, 18.57, 15.43",
    ("num_learning_steps", 1): "L_2 = 1, 2, 3: FID 21.89, 17.32, 14.28",
}


class Measured(keras.callbacks.Callback):
    """Measures at the end of every so many epochs, before the correction of that epoch, and after it."""

    def __init__(self, images: np.ndarray, test: np.ndarray, every: int):
        super().__init__()
        self.images, self.test, self.every = images, test, every
        self.network = metrics.classifier("digits")
        self.rows: list[dict] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every:
            return
        samples = np.clip((np.asarray(self.model.sample(len(self.images), seed=1)) + 1) / 2, 0, 1)
        fid = metrics.frechet_inception_distance(self.images, samples, feature_network=self.network.features)
        error = np.mean((np.asarray(self.model.reconstruct(self.test, seed=0)) - self.test) ** 2)
        cost = float((logs or {})["transport_cost"])
        self.rows.append({"epoch": epoch + 1, "fid": float(fid), "mse": float(error), "transport_cost": cost})


def train(changes: dict[str, Any], epochs: int, every: int, seed: int) -> list[dict]:
    """Returns what was measured along one training."""
    keras.utils.set_random_seed(seed)
    options = {"batch_size": 100, "value_range": (-1, 1), "seed": seed}
    images = np.concatenate([batch["image"] for batch in tfzoo.data.load("digits", "all", **options)])
    test = np.concatenate([batch["image"] for batch in tfzoo.data.load("digits", "test", **options)])
    model = tfzoo.create_model("short_run_ot", event_shape=(8, 8, 1), seed=seed, **{**BASE, **changes})
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    measured = Measured((images + 1) / 2, test, every)
    model.fit(tfzoo.data.load("digits", "train", **options), epochs=epochs, verbose=0, callbacks=[measured])
    return measured.rows


def draw(curves: dict[float, list[dict]], path: pathlib.Path) -> None:
    """Draws the three measures over the epochs, a line for each alpha."""
    mpl.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    titles = {"transport_cost": "transport cost to the prior", "mse": "test MSE", "fid": "FID (digits classifier)"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for i, (alpha, rows) in enumerate(curves.items()):
            label = f"alpha = {alpha:g}" + (" (ABP)" if alpha == 0 else "")
            axis.plot(
                [row["epoch"] for row in rows],
                [row[name] for row in rows],
                label=label,
                color=mpl.colormaps["viridis"](i / max(1, len(curves) - 1) * 0.9),
            )
        axis.set(title=title, xlabel="epoch", yscale="log")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="alpha only, one seed")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2, help="trainings a row")
    parser.add_argument("--json", default="short_run_ot.json", help="where the figures are written")
    parser.add_argument("--picture", default="short_run_ot.png", type=pathlib.Path)
    args = parser.parse_args()

    grid = {"alpha": GRID["alpha"]} if args.quick else GRID
    seeds = range(1 if args.quick else args.seeds)
    results: dict = {"machine": machine(), "epochs": args.epochs, "base": BASE, "rows": []}
    table, curves, known = [], {}, {}
    for name, values in grid.items():
        for value in values:
            key = json.dumps({**BASE, name: value}, sort_keys=True)
            start = time.perf_counter()
            every = 5 if name == "alpha" else args.epochs
            if key not in known or name == "alpha":
                known[key] = [train({name: value}, args.epochs, every, seed) for seed in seeds]
            runs = known[key]
            if name == "alpha":
                curves[value] = [
                    {key: statistics.fmean(run[i][key] for run in runs) for key in row} for i, row in enumerate(runs[0])
                ]
            last = [run[-1] for run in runs]
            results["rows"].append({"changed": name, "value": value, "runs": runs})
            cells = [[row[measure] for row in last] for measure in ("transport_cost", "mse", "fid")]
            table.append([name, str(value), *(_spread(each) for each in cells), PAPER.get((name, value), "")])
            print(f"{' '.join(table[-1][:5])}  ({time.perf_counter() - start:.0f} s)", flush=True)
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    draw(curves, args.picture)
    header = ["changed", "value", "transport cost", "MSE", "FID", "paper, MNIST"]
    print_table(f"Digits, {args.epochs} epochs, mean [least, most] of {len(seeds)} seeds", header, table)
    print(f"\nWritten: {args.json}, {args.picture}")


def _spread(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.3g}, {max(values):.3g}]"


if __name__ == "__main__":
    main()
