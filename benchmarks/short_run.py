"""What a short-run Langevin step costs: against the gradient it needs, TFP's kernel and PyTorch, and in bfloat16.

    python benchmarks/short_run.py [--quick] [--with-torch] [--json FILE]

Method as in `training_step.py`: batch 100, K steps in one graph; "gradients" are K passes through the decoder, forward
and back to z, and no more. Networks: `networks.py` at D = 64, and "dcgan", a
generator of 32x32x3 images with a quarter of the usual maps, at D = 100.
"""

import argparse
import importlib.util
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

from report import MALLOC, judged, machine, print_table
from rounds import Load, quiet_rounds, ratios, rounds_told
from side import Side

BATCH_SIZE = 100
LATENT_DIM = {"mlp": 64, "small": 64, "dcgan": 100}
STEPS_A_ROUND = {"mlp": 5, "small": 2, "dcgan": 2}

# Label -> (step of the side, kind).
OURS = {
    "30 steps": ("ours", "30"),
    "60 steps": ("ours", "60"),
    "30 gradients": ("gradients", "30"),
    "60 gradients": ("gradients", "60"),
    "30 of TFP": ("tfp", "30"),
    "30 in bfloat16": ("ours", "30 mixed_bfloat16"),
    "30 by Keras's layers": ("ours", "30 keras"),
}
PEER = {"30 of torch": ("torch", "30")}
# Numerator, denominator, what their ratio may be at most, and on which networks.
QUESTIONS = [
    ("30 steps", "30 gradients", 1.05, LATENT_DIM),
    ("60 steps", "60 gradients", 1.05, LATENT_DIM),
    ("30 steps", "30 of TFP", 1.0, LATENT_DIM),
    ("30 in bfloat16", "30 steps", 0.75, ("small", "dcgan")),
    ("30 in bfloat16", "30 by Keras's layers", 0.75, ("small", "dcgan")),
    ("30 steps", "30 of torch", 0.8, ("small", "dcgan")),
]


def measure(network: str, sides: dict[str, Side], count: int) -> tuple[list[dict], dict]:
    """Returns the milliseconds of each contestant in each round that counts, and the rounds' tale."""
    print(network)
    for label, side in sides.items():
        step, kind = {**OURS, **PEER}[label]
        side.ask("build_step", step, label, (kind, network, LATENT_DIM[network]), BATCH_SIZE)

    def run_round(number: int) -> dict:
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        return {label: statistics.median(sides[label].ask("step", label, STEPS_A_ROUND[network])) for label in order}

    run_round(0)  # threads, caches and allocators settle
    rounds = quiet_rounds(run_round, Load(set(sides.values())), count, 3 * count)
    for side in set(sides.values()):
        side.ask("clear")
    return rounds


def has_torch(python: str) -> bool:
    """Returns whether that interpreter has PyTorch."""
    if python == sys.executable:
        return importlib.util.find_spec("torch") is not None
    return (
        shutil.which(python) is not None
        and not subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode
    )


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--with-torch", action="store_true", help="compare with PyTorch, if it is installed")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--json", default="short_run.json", help="where the figures are written")
    parser.add_argument("--networks", nargs="+", default=list(LATENT_DIM), choices=LATENT_DIM, help="only these")
    args = parser.parse_args()

    ours = Side("short_run_side", environment=MALLOC)
    sides = dict.fromkeys(OURS, ours)
    if args.with_torch and has_torch(args.torch_python):
        sides |= dict.fromkeys(PEER, Side("short_run_torch", args.torch_python, MALLOC))
    elif args.with_torch:
        print("torch is skipped: it is not installed here (pip install torch, or name --torch-python)")
    versions = {name: version for side in dict.fromkeys(sides.values()) for name, version in side.info.items()}
    results: dict = {"machine": machine(), "versions": versions}
    print(", ".join(f"{key} {value}" for key, value in {**results["machine"], **versions}.items()))
    rows = []
    for network in args.networks:
        rounds, told = measure(network, sides, count=8 if args.quick else 30)
        times = {label: statistics.median(r[label] for r in rounds) for label in sides}
        asked = [(a, b, most) for a, b, most, where in QUESTIONS if a in sides and b in sides and network in where]
        results[network] = {
            "milliseconds": times,
            "ratios": {f"{a} / {b}": ratios(rounds, a, b) for a, b, _ in asked},
            **told,
        }
        print(rounds_told(told))
        for a, b, most in asked:
            cells = judged(ratios(rounds, a, b), most, at_most=True)
            rows.append([network, f"{a} / {b}", f"{times[a]:.1f}", f"{times[b]:.1f}", *cells])
            print("  " + "  ".join(rows[-1]))
    error = {network: ours.ask("drift", network, LATENT_DIM[network], 30) for network in args.networks}
    results["bfloat16"] = error
    for side in dict.fromkeys(sides.values()):
        side.close()
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    header = ["network", "ratio", "ms", "ms", "median [quartiles]", "aim"]
    print_table(f"Short-run Langevin, batch {BATCH_SIZE}", header, rows)
    for network, values in error.items():
        print(
            f"{network}: after 30 steps without noise bfloat16 is {values['difference']:.2g} off a coordinate, of "
            f"{values['moved']:.2g} moved; log p(x, z) {values['log_joint_difference']:+.2g} nats"
        )
    print(f"\nWritten: {args.json}")


if __name__ == "__main__":
    main()
