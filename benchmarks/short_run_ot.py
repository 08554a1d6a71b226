"""The ablations of the transport correction's paper, on the embedded digits: alpha, s, K, L_2 and the latent dimension.

    python benchmarks/short_run_ot.py [--quick | --only NAME ...] [--epochs N] [--seeds N] [--json FILE]
        [--picture FILE]

Every row trains a model on the 1,297 training images (8x8, in [-1, 1], likelihood of scale 0.3) with the settings of
`BASE`, but for what the row changes. Measured are, after the last epoch: the mean squared distance between the codes of
the training images and their matches among samples of the prior, before the last correction; the mean squared error of
reconstructions of the test images, per pixel, in [-1, 1], from codes by 20 K steps without noise; the FID of as many
samples as there are images, with the features of the digits classifier. The picture has the three over the epochs for
each alpha, as the paper's figure 5.

Each s has two rows, trained without corrections and with them. The paper's table 4 has each s "before the OT
correction" and "after", and does not say how the former was trained. It is read as a training with alpha = 0: the
paper's "after" for s = 0.03 is what its table 6 has of the whole training, and its "before" has an MSE that is no
higher for any s, as small alphas have in its figure 5.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Iterable, Iterator
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
# What is trained without corrections too.
BEFORE_AND_AFTER = {"step_size"}
# What the paper reports for MNIST (FID by other features), by what is changed, its value and alpha: the direction only.
PAPER = {
    ("step_size", 0.03, 0.0): "s = .003, .015, .03, .06: MSE .007, .008, .011, .027, FID 44.51, 28.10, 22.70, 109.97",
    ("step_size", 0.03, 0.5): "s = .003, .015, .03, .06: MSE .018, .013, .013, .027, FID 40.61, 26.86, 21.89, 87.77",
    ("num_steps", 30, 0.5): "K = 30, 50, 100: FID 22.32, 18.57, 15.43",
    ("num_learning_steps", 1, 0.5): "L_2 = 1, 2, 3: FID 21.89, 17.32, 14.28",
}


class Measured(keras.callbacks.Callback):
    """Measures after every so many epochs, and after the last.

    The transport cost is that of the stored codes before the epoch's correction. FID and MSE do not depend on stored
    codes: they are the same before that correction and after it.
    """

    def __init__(self, images: np.ndarray, test: np.ndarray, every: int):
        super().__init__()
        self.images, self.test, self.every = images, test, every
        self.network = metrics.classifier("digits")
        self.rows: list[dict] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 < self.params["epochs"]:
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
                marker=".",
            )
        axis.set(title=title, xlabel="epoch", yscale="log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def variants(names: Iterable[str]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yields of each row what is changed, its value, and all the changes of `BASE`."""
    for name in names:
        for value in GRID[name]:
            if name in BEFORE_AND_AFTER:
                yield name, value, {name: value, "alpha": 0.0}
            yield name, value, {name: value}


def measure(names: Iterable[str], epochs: int, seeds: Iterable[int]) -> list[dict]:
    """Returns the rows: what each changes, and what was measured along each of its trainings."""
    rows, known = [], {}
    for name, value, changes in variants(names):
        start = time.perf_counter()
        settings = {**BASE, **changes}
        key = json.dumps(settings, sort_keys=True)
        if key not in known:
            known[key] = [train(changes, epochs, 5 if name == "alpha" else epochs, seed) for seed in seeds]
        rows.append({"changed": name, "value": value, "alpha": settings["alpha"], "runs": known[key]})
        print(f"{' '.join(cells(rows[-1])[:6])}  ({time.perf_counter() - start:.0f} s)", flush=True)
    return rows


def cells(row: dict) -> list[str]:
    """Returns a row of the table, of what was measured last."""
    last = [run[-1] for run in row["runs"]]
    measures = [_spread([each[name] for each in last]) for name in ("transport_cost", "mse", "fid")]
    paper = PAPER.get((row["changed"], row["value"], row["alpha"]), "")
    return [row["changed"], str(row["value"]), f"{row['alpha']:g}", *measures, paper]


def curve(runs: list[list[dict]]) -> list[dict]:
    """Returns the means over trainings, at each epoch that was measured."""
    return [{key: statistics.fmean(run[i][key] for run in runs) for key in row} for i, row in enumerate(runs[0])]


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--quick", action="store_true", help="alpha only, one seed")
    part.add_argument("--only", nargs="+", choices=GRID, default=list(GRID), metavar="NAME", help=", ".join(GRID))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2, help="trainings a row")
    parser.add_argument("--json", default="short_run_ot.json", type=pathlib.Path, help="where the figures are written")
    parser.add_argument(
        "--picture", default="short_run_ot.png", type=pathlib.Path, help="of alpha, where it is measured"
    )
    args = parser.parse_args(words)
    if min(args.epochs, args.seeds) < 1:
        parser.error(f"--epochs and --seeds must be positive. Received: {args.epochs}, {args.seeds}")
    if args.quick:
        args.only, args.seeds = ["alpha"], 1
    # Alpha comes first, whatever was asked for first: its trainings are measured along the way, and others reuse them.
    args.only = [name for name in GRID if name in args.only]
    return args


def main(words: list[str] | None = None) -> None:
    """Runs what the command line asks for."""
    args = arguments(words)
    rows = measure(args.only, args.epochs, range(args.seeds))
    results = {"machine": machine(), "epochs": args.epochs, "base": BASE, "rows": rows}
    args.json.write_text(json.dumps(results, indent=2) + "\n")
    curves = {row["value"]: curve(row["runs"]) for row in rows if row["changed"] == "alpha"}
    if curves:
        draw(curves, args.picture)
    header = ["changed", "value", "alpha", "transport cost", "MSE", "FID", "paper, MNIST"]
    seeds = "one seed" if args.seeds == 1 else f"mean [least, most] of {args.seeds} seeds"
    print_table(f"Digits, after epoch {args.epochs}, {seeds}", header, [cells(row) for row in rows])
    print(f"\nWritten: {args.json}{f', {args.picture}' if curves else ''}")


def _spread(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.3g}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.3g}, {max(values):.3g}]"


if __name__ == "__main__":
    main()
