"""What geometry costs: metrics against passes through the decoder and stochman, geodesics against stochman and L-BFGS.

    python benchmarks/geometry.py [--quick] [--with-stochman] [--json FILE]

The decoder is that of `geometry_case.py`, 784 means and 784 scales of 2 or 10 latents, the same weights on both sides.
A "pass" is one forward-mode derivative at 1,000 points, with the images; 100 geodesics are stochman's default splines
of 5 nodes, measured at 20 points. Energies are against those of SciPy's L-BFGS in the same space, in float64.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

from report import MALLOC, judged, machine, print_table
from rounds import Load, quiet_rounds, ratios, rounds_told
from side import Side

# Label -> (side, step, kind, latent dimension, repetitions a round).
CONTESTANTS = {
    "metric, d = 2": ("ours", "pullback", "both", 2, 9),
    "pass, d = 2": ("ours", "pass", "both", 2, 9),
    "metric, d = 10": ("ours", "pullback", "both", 10, 9),
    "pass, d = 10": ("ours", "pass", "both", 10, 9),
    "geodesics": ("ours", "geodesics", "both", 2, 3),
    "metric of stochman, d = 2": ("stochman", "pullback", "both", 2, 9),
    "metric of stochman, d = 10": ("stochman", "pullback", "both", 10, 9),
    "geodesics of stochman": ("stochman", "geodesics", "both", 2, 1),
}
# Numerator, denominator, times of the denominator, what their ratio may be at most.
QUESTIONS = [
    ("metric, d = 2", "pass, d = 2", 2, 1.2),
    ("metric, d = 10", "pass, d = 10", 10, 1.2),
    ("metric, d = 2", "metric of stochman, d = 2", 1, 1.0),
    ("metric, d = 10", "metric of stochman, d = 10", 1, 1.0),
    ("geodesics", "geodesics of stochman", 1, 0.3),
]


def has_stochman(python: str) -> bool:
    """Returns whether that interpreter has PyTorch and stochman."""
    return (
        shutil.which(python) is not None
        and not subprocess.run([python, "-c", "import stochman, torch"], capture_output=True, check=False).returncode
    )


def energy_rows(energies: dict, sides: dict[str, Side]) -> list[list[str]]:
    """Returns the rows of a table of energies over those of L-BFGS."""
    rows = []
    for name in sides:
        over = [e / r for e, r in zip(energies[name]["energies"], energies["ours"]["reference"], strict=True)]
        met = statistics.mean(over) <= 1.005 and max(over) <= 1.02
        aim = f"<= 1.005, 1.02 {'met' if met else 'MISSED'}" if name == "ours" else ""
        rows.append([name, f"{statistics.mean(over):.5f}", f"{max(over):.4f}", f"{min(over):.4f}", aim])
    return rows


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--with-stochman", action="store_true", help="compare with stochman, if it is installed")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has torch and stochman")
    parser.add_argument("--json", default="geometry.json", help="where the figures are written")
    args = parser.parse_args()

    sides = {"ours": Side("geometry_side", environment=MALLOC)}
    if args.with_stochman and has_stochman(args.torch_python):
        sides["stochman"] = Side("geometry_stochman", args.torch_python, MALLOC)
    elif args.with_stochman:
        print("stochman is skipped: it is not installed here (pip install torch stochman, or name --torch-python)")
    versions = {name: version for side in sides.values() for name, version in side.info.items()}
    results: dict = {"machine": machine(), "versions": versions}
    print(", ".join(f"{key} {value}" for key, value in {**results["machine"], **versions}.items()))

    contestants = {label: how for label, how in CONTESTANTS.items() if how[0] in sides}
    for label, (side, step, kind, latent_dim, _) in contestants.items():
        sides[side].ask("build_step", step, label, (kind, latent_dim), 1)

    def run_round(number: int) -> dict:
        order = list(contestants) if number % 2 == 0 else list(contestants)[::-1]
        return {
            label: statistics.median(sides[contestants[label][0]].ask("step", label, contestants[label][-1]))
            for label in order
        }

    count = 3 if args.quick else 8
    rounds, told = quiet_rounds(run_round, Load(sides.values()), count, 3 * count)
    print(rounds_told(told))
    rows, results["ratios"] = [], {}
    results["milliseconds"] = {label: statistics.median(r[label] for r in rounds) for label in contestants}
    for a, b, times, most in QUESTIONS:
        if a in contestants and b in contestants:
            ratio = [each / times for each in ratios(rounds, a, b)]
            name = f"{a} / {f'{times} x ' if times > 1 else ''}{b}"
            results["ratios"][name] = ratio
            both = [f"{results['milliseconds'][label]:.1f}" for label in (a, b)]
            rows.append([name, *both, *judged(ratio, most, at_most=True)])
    energies = results["energies"] = {name: side.ask("energies", 2) for name, side in sides.items()}
    for side in sides.values():
        side.close()
    pathlib.Path(args.json).write_text(json.dumps({**results, **told}, indent=2) + "\n")
    print_table("1,000 metrics, 100 geodesics", ["ratio", "ms", "ms", "median [quartiles]", "aim"], rows)
    print_table("Energy over that of L-BFGS", ["side", "mean", "worst", "best", "aim"], energy_rows(energies, sides))
    straight = [e < s for e, s in zip(energies["ours"]["energies"], energies["ours"]["straight"], strict=True)]
    print(
        f"\nLess energy than the straight line: {sum(straight)} of {len(straight)}; converged "
        f"{energies['ours']['converged']:.0%}, {energies['ours']['evaluations']:.1f} evaluations a curve"
    )
    print(f"Written: {args.json}")


if __name__ == "__main__":
    main()
