"""What integrators cost: against the gradients that they need, each other, and pythae's Hamiltonian VAE.

    python benchmarks/integrators.py [--quick] [--with-pythae] [--json FILE]

Method and networks as in `training_step.py`. Three questions:

- K quasi-symplectic steps against K gradients of log p(x, z) with respect to z, in one graph each;
- a training step of the Langevin VAE against the Hamiltonian VAE's, K = 2 and 5;
- a training step of the Hamiltonian VAE, K = 5, with the exact gradient and with the first-order one, against pythae's,
  which takes 2 K gradients and leaves the second order out.
"""

import argparse
import json
import pathlib
import statistics
import sys

from report import MALLOC, judged, machine, print_table, pythae_is_there
from rounds import Load, quiet_rounds, ratios, rounds_told
from side import Side

BATCH_SIZE = 100
LATENT_DIM = 64
STEPS_A_ROUND = {"mlp": 5, "small": 2}

# Label -> (step of the side, model).
OURS = {
    "integrate": ("integrate", "langevin_vae_5"),
    "gradients": ("gradients", "langevin_vae_5"),
    "langevin 2": ("tfzoo", "langevin_vae_2"),
    "langevin 5": ("tfzoo", "langevin_vae_5"),
    "hamiltonian 2": ("tfzoo", "hamiltonian_vae_2"),
    "hamiltonian 5": ("tfzoo", "hamiltonian_vae_5"),
    "hamiltonian 5, first order": ("tfzoo", "hamiltonian_vae_5_first_order"),
    "vae": ("tfzoo", "vae"),
}
PEER = {"pythae hvae 5": ("pythae", "hamiltonian_vae_5")}
# Numerator, denominator, what their ratio may be at most.
QUESTIONS = [
    ("integrate", "gradients", 1.10),
    ("langevin 2", "hamiltonian 2", 1.0),
    ("langevin 5", "hamiltonian 5", 1.0),
    ("hamiltonian 5", "pythae hvae 5", 1.0),
    ("hamiltonian 5, first order", "pythae hvae 5", 0.5),
]


def measure(network: str, sides: dict[str, Side], count: int) -> tuple[list[dict], dict]:
    """Returns the milliseconds of each contestant in each round that counts, and the rounds' tale."""
    print(network)
    for label, side in sides.items():
        step, model = {**OURS, **PEER}[label]
        side.ask("build_step", step, label, (model, network, LATENT_DIM), BATCH_SIZE)

    def run_round(number: int) -> dict:
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        return {label: statistics.median(sides[label].ask("step", label, STEPS_A_ROUND[network])) for label in order}

    run_round(0)  # threads, caches and allocators settle
    rounds = quiet_rounds(run_round, Load(set(sides.values())), count, 3 * count)
    for side in set(sides.values()):
        side.ask("clear")
    return rounds


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--with-pythae", action="store_true", help="compare with pythae, if it is installed")
    parser.add_argument("--pythae-python", default=sys.executable, help="an interpreter that has torch and pythae")
    parser.add_argument("--json", default="integrators.json", help="where the figures are written")
    args = parser.parse_args()

    ours = Side("tfzoo_side", environment=MALLOC)
    sides = dict.fromkeys(OURS, ours)
    if args.with_pythae and pythae_is_there(args.pythae_python):
        sides |= dict.fromkeys(PEER, Side("pythae_side", args.pythae_python, MALLOC))
    elif args.with_pythae:
        print("pythae is skipped: it is not installed here (pip install torch pythae, or name --pythae-python)")
    versions = {name: version for side in dict.fromkeys(sides.values()) for name, version in side.info.items()}
    results: dict = {"machine": machine(), "versions": versions}
    print(", ".join(f"{key} {value}" for key, value in {**results["machine"], **versions}.items()))
    rows = []
    for network in STEPS_A_ROUND:
        rounds, told = measure(network, sides, count=8 if args.quick else 30)
        times = {label: statistics.median(r[label] for r in rounds) for label in sides}
        asked = [(a, b, most) for a, b, most in QUESTIONS if a in sides and b in sides]
        results[network] = {
            "milliseconds": times,
            "ratios": {f"{a} / {b}": ratios(rounds, a, b) for a, b, _ in asked},
            **told,
        }
        print(rounds_told(told))
        for a, b, most in asked:
            cells = judged(ratios(rounds, a, b), most, at_most=True)
            rows.append([network, f"{a} / {b}", f"{times[a]:.2f}", f"{times[b]:.2f}", *cells])
    for side in dict.fromkeys(sides.values()):
        side.close()
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    header = ["network", "ratio", "ms", "ms", "median [quartiles]", "aim"]
    print_table(f"Integrators, D = {LATENT_DIM}, batch {BATCH_SIZE}", header, rows)
    print(f"\nWritten: {args.json}")


if __name__ == "__main__":
    main()
