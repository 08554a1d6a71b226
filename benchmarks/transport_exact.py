"""The default method against exact assignment: four laws of the source, small and middling n, d = 2, 64 and 100.

    python benchmarks/transport_exact.py [--sizes N ...] [--dimensions D ...] [--json FILE]

Exact costs are lapjv's if it is installed, else scipy's. A row is right if every point is matched once, the cost is
within 1e-3 of the exact one, and the dual below it.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.transport.clouds import KINDS, cloud
from tfzoo.transport import semidiscrete

__all__ = ["main"]


def exact_cost(x: np.ndarray, y: np.ndarray) -> float:
    """Returns the least mean squared distance of a one-to-one matching."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    matrix = np.sum(x**2, axis=1)[:, np.newaxis] + np.sum(y**2, axis=1) - 2.0 * x @ y.T
    try:
        from lapjv import lapjv

        matches = lapjv(matrix)[0]
    except ImportError:
        from scipy.optimize import linear_sum_assignment

        matches = linear_sum_assignment(matrix)[1]
    return float(np.mean(np.sum((x - y[matches]) ** 2, axis=1)))


def main() -> None:
    """Prints a line per problem, and how many were right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 64, 100])
    parser.add_argument("--json", default=None)
    args = parser.parse_args()
    rows = []
    for dimension in args.dimensions:
        for n in args.sizes:
            for kind in KINDS:
                x, y = cloud(kind, n, dimension)
                start = time.perf_counter()
                solution = semidiscrete.solve(x, y)
                seconds = time.perf_counter() - start
                cost, dual, exact = float(solution.cost), float(solution.dual), exact_cost(x, y)
                matched = len(np.unique(solution.assignment)) == n and float(solution.unmatched_fraction) == 0.0
                right = matched and dual <= exact * (1 + 1e-9) and exact * (1 - 1e-9) <= cost <= exact * (1 + 1e-3)
                row = {"n": n, "d": dimension, "kind": kind, "seconds": round(seconds, 3), "right": right}
                row.update(above_exact=cost / exact - 1.0, gap=(cost - dual) / cost)
                rows.append({**row, "converged": bool(solution.converged)})
                print(json.dumps(rows[-1]), flush=True)
    print(f"{sum(row['right'] for row in rows)} of {len(rows)} right")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
