"""How long a training step and `fit` take: against the same step written by hand, and against pythae.

    python benchmarks/training_step.py [--quick] [--with-pythae] [--json FILE]

Method. TensorFlow and PyTorch have a process each (`side.py`), and the contestants take turns: in a round each runs a
few steps of each network, in an order that is reversed from one round to the next. Ratios are taken within a round;
their median over the rounds is reported with the quartiles. Batch 100, 28x28x1, Adam, float32, squared error; the
networks are in `networks.py`. `fit` is compared over fresh builds, an epoch of each side in turn.
"""

import argparse
import json
import pathlib
import statistics
import sys

from report import MALLOC, judged, machine, print_table, pythae_is_there
from rounds import Load, quartiles, quiet_rounds, rounds_told
from side import Side

BATCH_SIZE = 100
EXAMPLES = 6000
STEPS_A_ROUND = {"mlp": 10, "small": 4}

Case = tuple[str, str, int]  # model, network, latent_dim


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


def report(results: dict) -> None:
    """Prints the tables of what was measured, targets beside."""
    if "step" in results:
        report_steps(results["step"])
    if "fit" in results:
        report_fits(results["fit"])


def report_steps(steps: dict) -> None:
    """Prints the table of the training step."""
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


def report_fits(fits: dict) -> None:
    """Prints the table of `fit`."""
    with_pythae = any("ratio" in case for case in fits.values())
    header = ["model, network, D", "tfzoo ex/s", "of the builds"]
    header += ["pythae ex/s", "tfzoo / pythae", "target"] if with_pythae else []
    rows = []
    for label, case in fits.items():
        ours = case["examples_per_second"]["tfzoo"]
        row = [label.replace("/", ", "), f"{case['median']['tfzoo']:.0f}", f"{min(ours):.0f} - {max(ours):.0f}"]
        if with_pythae:
            row += [f"{case['median']['pythae']:.0f}", *judged(case["ratio"], 1.10, at_most=False)]
        rows.append(row)
    builds = max(len(case["builds"]) for case in fits.values())
    disturbed = sum(told["all_count"] for case in fits.values() for told in case["builds"])
    note = f"; {disturbed} builds were disturbed by other processes" if disturbed else ""
    print_table(f"fit, medians of {builds} fresh builds, epochs of {EXAMPLES}{note}", header, rows)


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

    ours = Side("tfzoo_side", environment=MALLOC)
    sides = {"tfzoo": ours, "by hand": ours}
    if peer:
        sides["pythae"] = Side("pythae_side", args.pythae_python, MALLOC)
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
