"""Points that repeat are one target with places: exact all the same, and in a fraction of the rounds."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tests.reference import transport as reference
from tests.transport.test_transport_paths import candidates
from tfzoo.transport import problem, semidiscrete
from tfzoo.transport.paths import fill_places, match_by_paths

pytestmark = pytest.mark.fast


def repeated(n, dimension, copies, seed):
    """Returns n points, each one of about n / copies distinct ones, in random order."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n // copies, dimension))[generator.integers(0, n // copies, n)]


def assert_is_best(solution, source, target, tolerance=1e-3):
    exact = reference.assignment_cost(source, target)
    np.testing.assert_array_equal(np.sort(solution.assignment), np.arange(len(source)))
    assert solution.converged
    own = np.mean(np.sum((source - target[solution.assignment.numpy()]) ** 2, axis=1))
    np.testing.assert_allclose(solution.cost, own, rtol=1e-9)
    assert exact * (1 - 1e-8) <= solution.cost <= exact * (1 + tolerance)
    assert exact * (1 - tolerance) <= solution.dual <= exact * (1 + 1e-8)


@pytest.mark.parametrize("dimension", [2, 8])
@pytest.mark.parametrize(("of_source", "of_target"), [(1, 20), (20, 1), (20, 5), (5, 20), (600, 3)])
@pytest.mark.parametrize("pairs", [problem.EXACT_PAIRS, 0], ids=["float64", "bounded"])
def test_copies_on_either_side(dimension, of_source, of_target, pairs, monkeypatch):
    monkeypatch.setattr(problem, "EXACT_PAIRS", pairs)  # where a large problem's dual comes from
    source, target = repeated(600, dimension, of_source, 0) + 0.5, repeated(600, dimension, of_target, 1)
    solution = semidiscrete.solve(source, target)
    assert_is_best(solution, source, target)
    assert solution.num_iterations == 0  # no bids
    assert solution.candidates.shape == (600, 0)


@pytest.mark.parametrize(("of_source", "of_target"), [(1, 20), (20, 1)])
def test_the_dual_of_copies_is_that_of_the_potentials(of_source, of_target):
    source, target = repeated(600, 3, of_source, 0), repeated(600, 3, of_target, 1)
    solution = semidiscrete.solve(source, target)
    masses = np.full(600, 1.0 / 600)
    dual = reference.dual_value(source, target, solution.potentials.numpy(), masses, masses)
    np.testing.assert_allclose(solution.dual, dual, rtol=1e-8)


@pytest.mark.parametrize(("of_source", "of_target"), [(1, 20), (20, 1)])
def test_a_warm_start_of_copies(of_source, of_target):
    source, target = repeated(1200, 8, of_source, 0), repeated(1200, 8, of_target, 1)
    cold = semidiscrete.solve(source, target)
    again = semidiscrete.solve(source, target, initial_potentials=cold.potentials, initial_candidates=cold.candidates)
    assert_is_best(again, source, target)
    moved = source + 0.01 * np.random.default_rng(2).normal(size=source.shape)
    assert_is_best(semidiscrete.solve(moved, target, initial_potentials=cold.potentials), moved, target)


@pytest.mark.parametrize("n", [1, 3, 300])
@pytest.mark.parametrize(("first", "second"), [(0.1, 0.1 + 1e-6), (0.0, 1e-6), (0.3, 0.3 + 1e-6), (0.1, 0.7)])
def test_one_point_on_either_side(n, first, second):
    solution = semidiscrete.solve(np.full((n, 8), first), np.full((n, 8), second))
    assert_is_best(solution, np.full((n, 8), first), np.full((n, 8), second))
    assert abs(solution.gap) <= 1e-9 * solution.cost


def test_a_cost_far_below_the_spread_of_a_lattice_is_proved():
    # Noise that sets points apart would hide more than the tolerance.
    generator = np.random.default_rng(0)
    source = generator.integers(0, 20, (600, 2)).astype(np.float64)
    target = source[generator.permutation(600)]
    target[:12] += generator.integers(-1, 2, (12, 2))
    solution = semidiscrete.solve(source, target)
    assert_is_best(solution, source, target)
    assert solution.gap <= 1e-3 * solution.cost


@pytest.mark.parametrize(("m", "k", "seed"), [(1, 1, 0), (7, 3, 1), (40, 10, 2)])
def test_paths_with_places_are_the_best_over_the_candidates(m, k, seed):
    generator = np.random.default_rng(seed)
    places = generator.integers(1, 6, m)
    copies = np.repeat(np.arange(m), places)
    n = len(copies)
    first = generator.permutation(copies).astype(np.int32)
    others = np.stack([generator.permutation(m)[:k] for _ in range(n)])
    targets = np.concatenate([others, first[:, np.newaxis]], axis=1).astype(np.int32)
    benefits = generator.normal(size=(n, m))
    of_candidates = np.take_along_axis(benefits, targets, axis=1)
    start = generator.normal(size=m)
    matches, prices = match_by_paths(targets, of_candidates, start, first, 0.0, places)
    np.testing.assert_array_equal(np.bincount(matches, minlength=m), places)
    allowed = np.full((n, m), -1e3)
    np.put_along_axis(allowed, targets, of_candidates, axis=1)
    rows, columns = linear_sum_assignment(allowed[:, copies], maximize=True)
    np.testing.assert_allclose(allowed[rows, matches].sum(), allowed[:, copies][rows, columns].sum(), atol=1e-9)
    values = allowed - prices
    np.testing.assert_allclose(values[rows, matches], values.max(axis=1), atol=1e-9)
    assert np.all(prices >= start - 1e-9)


def test_one_place_each_is_as_without_places():
    targets, benefits, first = candidates(50, 5, 5)
    without = match_by_paths(targets, benefits, np.zeros(50), first, 0.0)
    with_places = match_by_paths(targets, benefits, np.zeros(50), first, 0.0, np.ones(50, int))
    for one, other in zip(without, with_places, strict=True):
        np.testing.assert_array_equal(one, other)


def test_places_go_to_the_first_who_want_them():
    wanted = np.array([2, 2, 0, 2, 2, 1], np.int32)
    filled = fill_places(wanted, np.array([3, 1, 2]))
    np.testing.assert_array_equal(filled[[0, 1, 2, 5]], [2, 2, 0, 1])
    np.testing.assert_array_equal(np.bincount(filled), [3, 1, 2])
