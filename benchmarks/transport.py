"""One-to-one matching beside exact and approximate solvers: seconds, memory, and how far from the best.

    python benchmarks/transport.py [--quick] [--peer-python PYTHON] [--json FILE]

Each solver runs in a process of its own, once on a tenth of the points (compilation, imports) and then on all of them:
three times and the median, where that is quick. Memory is the peak above what the process held just before the first.
Peers are optional: scipy, lapjv, lap, POT, OTT-JAX.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

__all__ = ["main"]

# Adam stops with 5 % of the points left out, its default, or 2.5 %: there the gradient's L1 norm is the paper's 0.05.
ADAM = {"tfzoo adam": None, "tfzoo adam 2.5 %": 0.025}
# From an earlier solution's potentials, alone or with its candidates.
WARM = {
    "tfzoo warm": {"initial_potentials": "potentials", "initial_candidates": "candidates"},
    "tfzoo warm, potentials": {"initial_potentials": "potentials"},
}
SOLVERS = ("tfzoo", *WARM, *ADAM, "scipy", "lapjv", "lap", "pot", "ott")
SIZES = {"tfzoo": 60_000, **dict.fromkeys(WARM, 60_000), "scipy": 5_000, "lapjv": 20_000, "lap": 10_000}
SIZES |= dict.fromkeys(ADAM, 2_000)
LIMIT = 240.0  # seconds a solver may take
QUICK = 10.0  # seconds below which a solver is run three times


def clouds(n: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns ten heavy-tailed clusters, and a standard normal law."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(10, dimension))
    source = centres[generator.integers(0, 10, n)] + 0.5 * generator.standard_t(5, size=(n, dimension)) + 0.3
    return source.astype(np.float32), generator.normal(size=(n, dimension)).astype(np.float32)


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns all of them, as exact solvers want them."""
    matrix = x @ y.T
    matrix *= -2.0
    matrix += np.sum(x**2, axis=1)[:, np.newaxis]
    matrix += np.sum(y**2, axis=1)
    return matrix


def run_solver(name: str, x: np.ndarray, y: np.ndarray, start: dict | None = None) -> tuple[np.ndarray, dict]:
    """Returns the assignment, and what else the solver says."""
    if name.startswith("tfzoo"):
        from tfzoo.transport import semidiscrete

        method = "adam" if name in ADAM else "auction"
        solution = semidiscrete.solve(x, y, method=method, tolerance=ADAM.get(name), **(start or {}))
        said = {"gap": float(solution.gap / solution.cost), "unmatched": float(solution.unmatched_fraction)}
        kept = {key: getattr(solution, which).numpy() for key, which in WARM.get(name, {}).items()}
        return solution.assignment.numpy(), {**said, "start": kept}
    if name == "scipy":
        from scipy.optimize import linear_sum_assignment

        return linear_sum_assignment(squared_distances(x, y))[1], {}
    if name == "lapjv":
        from lapjv import lapjv

        return lapjv(squared_distances(x, y))[0], {}
    if name == "lap":
        import lap

        return lap.lapjv(squared_distances(x, y))[1], {}
    if name == "pot":
        import ot

        mass = np.full(len(x), 1.0 / len(x))
        return ot.emd(mass, mass, squared_distances(x, y), numItermax=10**8).argmax(axis=1), {}
    from ott.geometry import pointcloud
    from ott.solvers import linear

    geometry = pointcloud.PointCloud(x, y, epsilon=0.002 * float(np.mean(squared_distances(x[:500], y[:500]))))
    plan = linear.solve(geometry, threshold=1e-2 / len(x) ** 0.5, max_iterations=2000).matrix
    return np.asarray(plan).argmax(axis=1), {}


def measure(name: str, n: int, dimension: int) -> dict:
    """Returns seconds, peak memory in MiB and cost of one run."""
    x, y = clouds(n, dimension)
    few = max(300, n // 10)
    run_solver(name, x[:few], y[:few])
    start = None
    if name in WARM:
        start = run_solver(name, x, y)[1]["start"]
        x = x + 0.1 * np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    begin = time.perf_counter()
    assignment, said = run_solver(name, x, y, start)
    seconds = time.perf_counter() - begin
    memory = _status("VmHWM") - before
    if seconds < QUICK:
        times = [seconds]
        for _ in range(2):
            begin = time.perf_counter()
            run_solver(name, x, y, start)
            times.append(time.perf_counter() - begin)
        seconds = statistics.median(times)
    said.pop("start", None)
    kept = assignment >= 0
    cost = float(np.mean(np.sum((x[kept].astype(np.float64) - y[assignment[kept]]) ** 2, axis=1)))
    matched = len(np.unique(assignment[kept])) / n
    return {"seconds": seconds, "mib": memory, "cost": cost, "matched": matched, **said}


def _status(key: str) -> float:
    """Returns a line of /proc/self/status in MiB."""
    path = pathlib.Path("/proc/self/status")
    if not path.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return float(next(line.split()[1] for line in path.read_text().split("\n") if line.startswith(key))) / 1024


def main() -> None:
    """Runs every solver on every size, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 5,000 points")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--sizes", type=int, nargs="+", default=None)
    parser.add_argument("--solvers", nargs="+", default=SOLVERS, choices=SOLVERS)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--json", default="transport.json")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args.dimension)))
        return
    sizes = args.sizes or ([1000, 5000] if args.quick else [1000, 5000, 10_000, 20_000, 60_000])
    results = []
    for n in sizes:
        rows = [row for name in args.solvers if n <= SIZES.get(name, 5_000) and (row := _ask(name, n, args))]
        exact = [row["cost"] for row in rows if row["solver"] in ("scipy", "lapjv", "lap", "pot")]
        for row in rows:
            same = exact and row["solver"] not in WARM  # which has moved points
            row["above_exact"] = row["cost"] / min(exact) - 1.0 if same else None
            print(json.dumps(row), flush=True)
        results += rows
    pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


def print_table(results: list[dict]) -> None:
    """Prints the results in Markdown."""
    print("| n | solver | seconds | MiB | cost | matched | certified gap | above exact |")
    print("|---|---|---|---|---|---|---|---|")
    for row in results:
        gap, above = (f"{row[key]:.1e}" if row.get(key) is not None else "" for key in ("gap", "above_exact"))
        figures = (
            f"{row['seconds']:.3g} | {row['mib']:.0f} | {row['cost']:.6g} | {row['matched']:.4f} | {gap} | {above}"
        )
        print(f"| {row['n']:,} | {row['solver']} | {figures} |")


def _ask(name: str, n: int, args: argparse.Namespace) -> dict | None:
    python = sys.executable if name.startswith("tfzoo") else args.peer_python
    command = [python, "-W", "ignore", __file__, "--one", name, str(n), "--dimension", str(args.dimension)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return print(f"{name}, {n}: more than {LIMIT:.0f} s")
    if done.returncode:
        return print(f"{name}, {n}: exit {done.returncode}: {done.stderr.strip().split(chr(10))[-1]}")
    return {"solver": name, "n": n, **json.loads(done.stdout.strip().split("\n")[-1])}


if __name__ == "__main__":
    main()
