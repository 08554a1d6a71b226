"""Optimal transport between two sets of points under squared distances, by its semi-discrete dual.

    min over assignments of mean_i |x_i - y_t(i)|^2,        t(i) = argmax_j <x_i, y_j> + h_j

The potentials h say which source points belong to which target point; at the best ones every cell holds its target's
mass. No coupling costs less than the dual at any h, so cost - dual bounds how far an assignment is from the best one.
Memory is O(n) and one block of pairs: never all of them.

References:
  Bertsekas, "The auction algorithm", Annals of Operations Research 14, 1988.
  Jonker, Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
    Computing 38, 1987.
  An, Xie, Li, "Learning Deep Latent Variable Models by Short-Run MCMC Inference with Optimal Transport Correction",
    CVPR 2021.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.transport.arguments import as_candidates, as_masses, as_points, as_potentials, check_tolerance
from tfzoo.transport.dual_adam import minimize_dual
from tfzoo.transport.line import solve_line
from tfzoo.transport.massless import extend
from tfzoo.transport.problem import Problem
from tfzoo.transport.repeats import match_points
from tfzoo.transport.threads import from_py_function
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["Solution", "solve"]

_METHODS = ("adam", "auction")
_TOLERANCES = {"auction": 1e-3, "adam": 0.05}
_ITERATIONS = {"auction": 50, "adam": 5000}


class Solution(NamedTuple):
    """An assignment of source to target points, and the proof of how good it is; all are tensors.

    Attributes:
      assignment: the target of each source point, -1 for unmatched, int32 ``[N]``. With masses it is the cell.
      potentials: h, with mean 0, ``[M]``, float64 for a source of that, else float32: `initial_potentials` of the next
        call. Targets of mass 0 are not in the mean; theirs are so low that no source point prefers them.
      cost: mean squared distance over the points that are matched; with masses, their weighted mean. float64.
      dual: a lower bound of every coupling's cost, in the same units; with "adam" the highest found. float64.
      gap: cost - dual, and more exact than the difference of these two where the samples lie far apart; where every
        point is matched one to one, the cost is at most so much above the least. With method "adam" it may be negative,
        since points are left out or cells do not hold their masses. float64.
      unmatched_fraction: of the source points; with masses, the mass in wrong cells. float64.
      num_iterations: rounds of bids, none where many points are equal, or steps of Adam. int32.
      converged: whether `tolerance` was reached. bool.
      candidates: the targets that each source point values most, as far as is known, the best first, int32 ``[N, K]``:
        `initial_candidates` of the next call. K is 0 where that would gain nothing (method "adam", one dimension, up to
        256 points, many equal points).
    """

    assignment: Tensor
    potentials: Tensor
    cost: Tensor
    dual: Tensor
    gap: Tensor
    unmatched_fraction: Tensor
    num_iterations: Tensor
    converged: Tensor
    candidates: Tensor


def solve(
    source: TensorLike,
    target: TensorLike,
    *,
    masses: Any = None,
    tolerance: float | None = None,
    method: str = "auction",
    initial_potentials: TensorLike | None = None,
    initial_candidates: TensorLike | None = None,
    block_size: int | None = None,
    max_iterations: int | None = None,
    seed: Seed = None,
) -> Solution:
    """Matches source points with target points at the least mean squared distance.

        codes = ...                                                  # [N, D], arrays or tensors
        solution = semidiscrete.solve(codes, prior_samples)          # [N, D]
        moved = tf.gather(prior_samples, solution.assignment)
        solution = semidiscrete.solve(
            later_codes,
            prior_samples,
            initial_potentials=solution.potentials,
            initial_candidates=solution.candidates,
        )

    "auction" matches one to one (n = m, equal masses): every point is matched. It runs on any device, its sparse steps
    on the host. Clusters far apart on both sides need exact steps: a minute for 20,000 points, where others take a
    second. So do points nearly along a line: ten seconds for 4,000. Points may repeat, on either side: some centres,
    each as often as it has to take points, are a clustering into sizes that are given. "adam" is the paper's gradient
    descent on the dual, hundreds of times slower, and takes any masses.

    It is meant for eager code; inside a `tf.function` it runs as a `tf.py_function`, and where TensorFlow has a single
    thread for operations ("inter-op", as on one core) about ten times slower. A solution has no gradients: gather the
    targets by its `assignment` for a loss that has, or take `tfzoo.transport.divergence`.

    Args:
      source: x, finite, ``[N, D]``.
      target: y, ``[M, D]``.
      masses: the target points' ``[M]``, or a pair of the source points' and the target points' (None in it: equal
        ones), each of sum 1; for method "adam". None asks for n = m and a one-to-one matching.
      tolerance: for "auction" of the gap, relative to the cost after both means are moved to the origin (and no less
        than float32 resolves, 4e-6 of the points' mean squares); None for 1e-3, for every n. For "adam" of the
        unmatched fraction, None for 0.05.
      method: "auction" or "adam".
      initial_potentials: an earlier solution's, ``[M]``: a warm start, for the same targets in the same order. If
        many are farther off than those of any solution, as in other units, the start is a cold one.
      initial_candidates: an earlier solution's, ``[N, K]``, beside its potentials, for "auction": a third of the time
        if the source points, in the same order, have moved little. The gap proves the answer all the same.
      block_size: source points that are looked at together; None for what suits the device.
      max_iterations: for "auction" how often candidates are renewed, None for 50; for "adam" its steps, None for 5,000.
      seed: of what is drawn: points of the coarse problem ("auction"), who stays in a shared cell ("adam"). None is the
        same as 0, so that results can be repeated.

    Raises:
      ValueError: for points that are none, not finite, or of different dimensions, for n != m without masses, masses
        with method "auction", and arguments out of their range.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}. Received: {method!r}")
    tolerance = _TOLERANCES[method] if tolerance is None else check_tolerance(tolerance)
    if method == "adam" and tolerance >= 1:
        raise ValueError(f'tolerance of method "adam" is a fraction, below 1. Received: {tolerance}')
    block_size = None if block_size is None else check_positive("block_size", block_size)
    steps = _ITERATIONS[method] if max_iterations is None else check_positive("max_iterations", max_iterations)
    key = random.as_seed(0 if seed is None else seed)
    if key.shape != (2,):
        raise ValueError(f"seed must be an int or a pair of integers. Received: shape {key.shape}")

    def solve_eagerly(
        source: TensorLike, target: TensorLike, masses: Any, potentials: Any, candidates: Any, key: Tensor
    ) -> Solution:
        x, y = as_points(source, target)
        if masses is None and len(x) != len(y):
            raise ValueError(f"source and target must be equally many, or have masses. Received: {len(x)} and {len(y)}")
        if masses is not None and method == "auction":
            raise ValueError('masses need method="adam". Received: method="auction"')
        start = None if potentials is None else as_potentials(potentials, len(y))
        known = None if candidates is None else as_candidates(candidates, len(x), len(y))
        if known is not None and (start is None or method != "auction"):
            raise ValueError(
                'initial_candidates need initial_potentials and method="auction". '
                f"Received: initial_potentials={'None' if start is None else 'an array'}, method={method!r}"
            )
        dtype = np.float64 if x.dtype == np.float64 else np.float32
        with _whole_float32():
            ours, theirs = as_masses(masses, len(x), len(y))
            rows, columns = np.flatnonzero(ours), np.flatnonzero(theirs)
            problem = Problem(x[rows], y[columns], ours[rows], theirs[columns], block_size)
            if method == "auction":
                return _match(problem, start, known, tolerance, steps, key, dtype)
            start = None if start is None else start[columns]
            found = _find_cells(problem, start, tolerance, steps, key, dtype, one_to_one=masses is None)
            if len(rows) == len(x) and len(columns) == len(y):
                return found
            cells, potentials = found.assignment.numpy(), found.potentials.numpy()
            cells, potentials = extend(x, y, rows, columns, cells, potentials, problem.block_size)
            return found._replace(assignment=tf.constant(cells), potentials=tf.constant(potentials))

    if tf.executing_eagerly():
        return solve_eagerly(source, target, masses, initial_potentials, initial_candidates, key)
    return _in_graph(solve_eagerly, source, target, masses, initial_potentials, initial_candidates, key)


class _TensorFloat32:
    """How many solves run now, and what the setting was before the first of them."""

    def __init__(self) -> None:
        self.lock, self.num_users, self.before = threading.Lock(), 0, True


_tensor_float_32 = _TensorFloat32()


@contextlib.contextmanager
def _whole_float32() -> Iterator[None]:
    """Keeps GPUs from products in TensorFloat-32, whose rounding is not the one that the dual is corrected for.

    The setting is the process's: the first solve that runs changes it, and the last one sets it back.
    """
    with _tensor_float_32.lock:
        if not _tensor_float_32.num_users:
            _tensor_float_32.before = tf.config.experimental.tensor_float_32_execution_enabled()
            tf.config.experimental.enable_tensor_float_32_execution(False)
        _tensor_float_32.num_users += 1
    try:
        yield
    finally:
        with _tensor_float_32.lock:
            _tensor_float_32.num_users -= 1
            if not _tensor_float_32.num_users:
                tf.config.experimental.enable_tensor_float_32_execution(_tensor_float_32.before)


def _match(
    problem: Problem,
    start: np.ndarray | None,
    known: np.ndarray | None,
    tolerance: float,
    steps: int,
    key: Tensor,
    dtype: type,
) -> Solution:
    generator = np.random.default_rng(np.asarray(key).view(np.uint32))
    num_rounds, converged = 0, True
    if problem.source.shape[1] == 1:
        matches, prices = solve_line(problem.source[:, 0], problem.target[:, 0])
        maxima, candidates = problem.benefits(matches) - prices[matches], None
    else:
        first = None if start is None else problem.prices(start)
        known = None if first is None else known
        found = match_points(problem, first, known, tolerance=tolerance, max_iterations=steps, generator=generator)
        matches, prices, maxima, candidates = found.matches, found.prices, found.maxima, found.candidates
        num_rounds, converged = found.num_rounds, found.converged
    cost, dual = problem.cost(matches), problem.dual(prices, maxima)
    if converged and not problem.is_within(tolerance, cost, dual):
        dual = problem.dual(prices)  # costs so small that the bound of rounding matters
        converged = problem.is_within(tolerance, cost, dual)
    potentials: np.ndarray = problem.potentials(prices).astype(dtype)
    return _solution(problem, matches, potentials, cost, dual, 0.0, num_rounds, converged, candidates)


def _find_cells(
    problem: Problem,
    start: np.ndarray | None,
    tolerance: float,
    steps: int,
    key: Tensor,
    dtype: type,
    *,
    one_to_one: bool,
) -> Solution:
    prices = None if start is None else problem.prices(start)
    prices = np.zeros(len(problem.target)) if prices is None else prices
    potentials = -0.5 * (problem.squares + prices)
    h, cells, misplaced, num_steps, lowest, maxima = minimize_dual(
        problem.x,
        problem.y,
        tf.constant(problem.source_masses, tf.float32),
        tf.constant(problem.target_masses, tf.float32),
        tf.constant(potentials - potentials.mean(), tf.float32),
        tolerance,
        steps,
        problem.block_size,
    )
    prices, lowest_prices = (-2.0 * each.numpy().astype(np.float64) - problem.squares for each in (h, lowest))
    assignment, unmatched, converged = cells.numpy(), float(misplaced), misplaced <= tolerance  # in float32, as there
    if one_to_one:
        assignment = _one_of_each_cell(assignment, key)
        unmatched = float(np.mean(assignment < 0))
    cost, dual = problem.cost(assignment), problem.dual(lowest_prices, 2.0 * maxima.numpy())
    centred: np.ndarray = problem.potentials(prices).astype(dtype)
    return _solution(problem, assignment, centred, cost, dual, unmatched, int(num_steps), converged)


def _one_of_each_cell(cells: np.ndarray, key: Tensor) -> np.ndarray:
    """Returns the cells with all rows but one of each, at random, unmatched."""
    order = np.argsort(random.uniform([len(cells)], key).numpy(), kind="stable")
    _, first = np.unique(cells[order], return_index=True)
    kept = order[first]
    assignment = np.full(len(cells), -1, np.int32)
    assignment[kept] = cells[kept]
    return assignment


def _solution(
    problem: Problem,
    assignment: np.ndarray,
    potentials: np.ndarray,
    cost: float,
    dual: float,
    unmatched: float,
    num_iterations: int,
    converged: bool,
    candidates: np.ndarray | None = None,
) -> Solution:
    none = np.empty([len(assignment), 0], np.int32)
    return Solution(
        tf.constant(assignment, tf.int32),
        tf.constant(potentials),
        tf.constant(cost + problem.shift, tf.float64),
        tf.constant(dual + problem.shift, tf.float64),
        tf.constant(cost - dual, tf.float64),
        tf.constant(unmatched, tf.float64),
        tf.constant(num_iterations, tf.int32),
        tf.constant(bool(converged)),
        tf.constant(none if candidates is None else candidates),
    )


def _in_graph(solve_eagerly: Any, source: TensorLike, target: TensorLike, *others: Any) -> Solution:
    """Runs `solve_eagerly` as an operation of a graph."""
    source, target = tf.convert_to_tensor(source), tf.convert_to_tensor(target)
    nested = [source, target, *others]
    # A tf.py_function has a gradient of its own, and here that fails: indices have none.
    given = [tf.stop_gradient(part) for part in tf.nest.flatten(nested) if part is not None]

    def run(*values: Tensor) -> list[Tensor]:
        rest = iter(values)
        whole = [None if part is None else next(rest) for part in tf.nest.flatten(nested)]
        with from_py_function():
            return list(solve_eagerly(*tf.nest.pack_sequence_as(nested, whole)))

    dtype = tf.float64 if source.dtype == tf.float64 else tf.float32
    dtypes = [tf.int32, dtype, *([tf.float64] * 4), tf.int32, tf.bool, tf.int32]
    solution = Solution(*tf.py_function(run, given, dtypes))
    shapes = [source.shape[:1], target.shape[:1], *([[]] * 6), [source.shape[0], None]]
    return Solution(*(tf.ensure_shape(part, shape) for part, shape in zip(solution, shapes, strict=True)))
