"""How long a training step and `fit` take: against the same step written by hand, and against pythae.

    python benchmarks/training_step.py [--quick] [--with-pythae] [--json FILE]

Method. TensorFlow and PyTorch have a process each (`side.py`), and the contestants take turns: in a round each runs a
few steps of each network, in an order that is reversed from one round to the next. Ratios are taken within a round;
their median over the rounds is reported with the quartiles. Batch 100, 28x28x1, Adam, float32, squared error; the
networks are in `networks.py`. `fit` is compared over fresh builds, an epoch of each side in turn.

A busy neighbour on the machine costs a parallel step more than its share, since each operation waits for its slowest
thread. Where /proc/stat tells (Linux), rounds in which other processes used more than a tenth of a core are repeated;
if too few are left, all rounds count and the table says so.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from side import Side

# The peer at its best: glibc keeps large activations instead of giving them back to the system at each step.
PEER_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "536870912",
}
BATCH_SIZE = 100
EXAMPLES = 6000
STEPS_A_ROUND = {"mlp": 10, "small": 4}
FOREIGN_LOAD = 0.1  # cores used by others, above which a round does not count

Case = tuple[str, str, int]  # model, network, latent_dim


class Load:
    """Cores used by other processes between two calls, or None where the system does not tell."""

    def __init__(self, sides: Iterable[Side]) -> None:
        self._sides = list(sides)
        self._last = self._now()

    def _now(self) -> tuple[float, float | None]:
        try:
            ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        except OSError:
            return time.perf_counter(), None
        busy = sum(ticks) - ticks[3] - ticks[4]  # all but idle and waiting for a disk; stolen time included
        own = sum(side.ask("cpu") for side in self._sides) + time.process_time()
        return time.perf_counter(), busy / os.sysconf("SC_CLK_TCK") - own

    def since_last(self) -> float | None:
        """Returns the mean number of cores since the last call."""
        (start, before), (end, after) = self._last, self._now()
        self._last = end, after
        return None if before is None or after is None else max(0.0, after - before) / (end - start)


def quiet_rounds(run_round: Callable[[int], dict], load: Load, count: int, most: int) -> tuple[list[dict], dict]:
    """Runs rounds until `count` of them were undisturbed, at most `most`; returns those that count, and their tale."""
    rounds: list[tuple[float | None, dict]] = []
    quiet: list[dict] = []
    load.since_last()
    while len(quiet) < count and len(rounds) < most:
        result = run_round(len(rounds))
        foreign = load.since_last()
        rounds.append((foreign, result))
        if foreign is None or foreign <= FOREIGN_LOAD:
            quiet.append(result)
        print(f"\r  {len(quiet)} of {count} rounds, {len(rounds) - len(quiet)} disturbed ", end="", flush=True)
    print()
    enough = len(quiet) >= min(count, 5)
    told = {"rounds": len(rounds), "undisturbed": len(quiet), "all_count": not enough}
    told["foreign_load"] = [None if load is None else round(load, 3) for load, _ in rounds]
    return quiet if enough else [result for _, result in rounds], told


def quartiles(values: list[float]) -> list[float]:
    """Returns the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return [values[0]] * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, middle, high]


def compare_steps(cases: list[Case], sides: dict[str, Side], count: int) -> dict:
    """Times one training step of each case on each side."""
    print("training step")
    contestants = [(case, name) for case in cases for name in sides]
    built: dict[str, dict] = {}
    for case, name in contestants:
        key = "/".join(map(str, (*case, name)))
        built[key] = sides[name].ask("build_step", name, key, case, BATCH_SIZE)
    for case in cases:
        label = "/".join(map(str, case))
        weights = {name: built[f"{label}/{name}"]["weights"] for name in sides}
        assert len(set(weights.values())) == 1, f"{label}: the networks differ in size: {weights}"
        ours, plain = built[f"{label}/tfzoo"]["first_loss"], built[f"{label}/by hand"]["first_loss"]
        assert abs(ours - plain) < 0.02 * abs(plain), f"{label}: the losses differ: {ours} and {plain}"

    def run_round(number: int) -> dict:
        order = contestants if number % 2 == 0 else contestants[::-1]
        times: dict[str, float] = {}
        for case, name in order:
            key = "/".join(map(str, (*case, name)))
            times[key] = statistics.median(sides[name].ask("step", key, STEPS_A_ROUND[case[1]]))
        return times

    run_round(0)  # threads, caches and allocators settle
    rounds, told = quiet_rounds(run_round, Load(set(sides.values())), count, 3 * count)
    for side in set(sides.values()):
        side.ask("clear")
    results = {}
    for case in cases:
        label = "/".join(map(str, case))
        times = {name: [r[f"{label}/{name}"] for r in rounds] for name in sides}
        ratios = {
            name: quartiles([ours / other for ours, other in zip(times["tfzoo"], times[name], strict=True)])
            for name in sides
            if name != "tfzoo"
        }
        results[label] = {
            "weights": built[f"{label}/tfzoo"]["weights"],
            "milliseconds": {name: quartiles(values) for name, values in times.items()},
            "ratio": ratios,
        }
    return {"cases": results, **told}


def compare_fits(cases: list[Case], sides: dict[str, Side], builds: int, epochs: int) -> dict:
    """Times epochs of `fit` and of pythae's trainer, over fresh builds."""
    results = {}
    for case in cases:
        label = "/".join(map(str, case))
        print(f"fit {label}")
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        spread: list[float] = []
        tales = []
        for _ in range(builds):
            for name, side in sides.items():
                side.ask("build_fit", name, case, EXAMPLES, BATCH_SIZE)

            def run_round(number: int) -> dict:
                order = list(sides) if number % 2 == 0 else list(sides)[::-1]
                return {name: EXAMPLES / sides[name].ask("fit") for name in order}

            rounds, told = quiet_rounds(run_round, Load(sides.values()), epochs, 3 * epochs)
            tales.append(told)
            for name in sides:
                speeds[name].append(statistics.median(r[name] for r in rounds))
            spread += [r["tfzoo"] / r["pythae"] for r in rounds] if "pythae" in sides else []
        for side in sides.values():
            side.ask("clear")
        results[label] = {
            "examples_per_second": speeds,
            "median": {name: statistics.median(values) for name, values in speeds.items()},
            "builds": tales,
        }
        if spread:
            per_build = [a / b for a, b in zip(speeds["tfzoo"], speeds["pythae"], strict=True)]
            results[label]["ratio"] = quartiles(per_build)
            results[label]["ratio_of_epochs"] = quartiles(spread)
    return results


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Prints a table that can be pasted into a README."""
    print(f"\n{title}\n")
    lines = [header, ["---"] * len(header), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("| " + " | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) + " |")


def judged(ratio: list[float], target: float, *, at_most: bool) -> list[str]:
    """Returns the cells of a ratio: with its quartiles, the target, and whether it is met."""
    met = ratio[1] <= target if at_most else ratio[1] >= target
    sign = "<=" if at_most else ">="
    return [f"{ratio[1]:.2f} [{ratio[0]:.2f}, {ratio[2]:.2f}]", f"{sign} {target:.2f} {'met' if met else 'MISSED'}"]


def report(results: dict) -> None:
    """Prints the tables, targets beside."""
    steps = results["step"]
    with_pythae = any("pythae" in case["ratio"] for case in steps["cases"].values())
    header = ["model, network, D", "tfzoo ms", "by hand ms", "tfzoo / by hand", "target"]
    header += ["pythae ms", "tfzoo / pythae", "target"] if with_pythae else []
    rows = []
    for label, case in steps["cases"].items():
        model = label.split("/")[0]
        milliseconds = {name: f"{values[1]:.2f}" for name, values in case["milliseconds"].items()}
        row = [label.replace("/", ", "), milliseconds["tfzoo"], milliseconds["by hand"]]
        row += judged(case["ratio"]["by hand"], 1.10, at_most=True)
        if with_pythae:
            row += [milliseconds["pythae"]]
            row += judged(case["ratio"]["pythae"], {"vae": 0.75, "iwae": 0.70}[model], at_most=True)
        rows.append(row)
    print_table(f"Training step, medians of {rounds_told(steps)} [quartiles of the ratio]", header, rows)
    if "fit" not in results:
        return
    header = ["model, network, D", "tfzoo ex/s", "of the builds"]
    header += ["pythae ex/s", "tfzoo / pythae", "target"] if with_pythae else []
    rows = []
    for label, case in results["fit"].items():
        ours = case["examples_per_second"]["tfzoo"]
        row = [label.replace("/", ", "), f"{case['median']['tfzoo']:.0f}", f"{min(ours):.0f} - {max(ours):.0f}"]
        if with_pythae:
            row += [f"{case['median']['pythae']:.0f}", *judged(case["ratio"], 1.10, at_most=False)]
        rows.append(row)
    builds = max(len(case["builds"]) for case in results["fit"].values())
    disturbed = sum(told["all_count"] for case in results["fit"].values() for told in case["builds"])
    note = f"; {disturbed} builds were disturbed by other processes" if disturbed else ""
    print_table(f"fit, medians of {builds} fresh builds, epochs of {EXAMPLES}{note}", header, rows)


def rounds_told(told: dict) -> str:
    """Says how many rounds count."""
    if told["all_count"]:
        return f"all {told['rounds']} rounds, most of them disturbed by other processes: run it on a quiet machine"
    return f"{told['undisturbed']} undisturbed rounds of {told['rounds']}"


def machine() -> dict:
    """Returns what the figures were measured on."""
    model = platform.processor() or platform.machine()
    if pathlib.Path("/proc/cpuinfo").exists():
        names = [
            line for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n") if line.startswith("model name")
        ]
        model = names[0].split(":")[1].strip() if names else model
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


def pythae_is_there(python: str) -> bool:
    """Returns whether that interpreter has pythae and torch."""
    if python == sys.executable:
        return all(importlib.util.find_spec(name) is not None for name in ("pythae", "torch"))
    return (
        shutil.which(python) is not None
        and not subprocess.run([python, "-c", "import pythae, torch"], capture_output=True, check=False).returncode
    )


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="D = 64 only, few rounds, two builds")
    parser.add_argument("--with-pythae", action="store_true", help="compare with pythae, if it is installed")
    parser.add_argument("--pythae-python", default=sys.executable, help="an interpreter that has torch and pythae")
    parser.add_argument("--only", choices=("step", "fit"), help="one part only")
    parser.add_argument("--json", default="training_step.json", help="where the figures are written")
    args = parser.parse_args()

    dimensions = [64] if args.quick else [16, 64]
    cases = [(model, network, d) for model in ("vae", "iwae") for network in ("mlp", "small") for d in dimensions]
    peer = args.with_pythae and pythae_is_there(args.pythae_python)
    if args.with_pythae and not peer:
        print("pythae is skipped: it is not installed here (pip install torch pythae, or name --pythae-python)")

    ours = Side("tfzoo_side")
    sides = {"tfzoo": ours, "by hand": ours}
    if peer:
        sides["pythae"] = Side("pythae_side", args.pythae_python, PEER_MALLOC)
    versions = {name: version for side in dict.fromkeys(sides.values()) for name, version in side.info.items()}
    results: dict = {"machine": machine(), "versions": versions}
    print(", ".join(f"{key} {value}" for key, value in {**results["machine"], **versions}.items()))
    if args.only != "fit":
        results["step"] = compare_steps(cases, sides, count=8 if args.quick else 30)
    if args.only != "step":
        del sides["by hand"]
        chosen = [(model, network, 64) for model in ("vae", "iwae") for network in ("mlp", "small")]
        results["fit"] = compare_fits(chosen, sides, builds=2 if args.quick else 5, epochs=3)
    for side in dict.fromkeys(sides.values()):
        side.close()
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    report(results)
    print(f"\nWritten: {args.json}")


if __name__ == "__main__":
    main()
