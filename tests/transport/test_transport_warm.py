"""A solution is where the next one starts: less work, the same proof."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import transport as reference
from tests.transport.clouds import cloud
from tfzoo.transport import matching, problem, semidiscrete

pytestmark = pytest.mark.fast


def moved(points, size, seed=1):
    return points + size * np.random.default_rng(seed).normal(size=points.shape).astype(np.float32)


def start_from(solution):
    return {"initial_potentials": solution.potentials, "initial_candidates": solution.candidates}


def assert_is_good(solution, source, target):
    np.testing.assert_array_equal(np.sort(solution.assignment), np.arange(len(source)))
    exact = reference.assignment_cost(source, target)
    assert solution.converged
    assert exact * (1 - 1e-6) <= solution.cost <= exact * (1 + 1e-3)
    assert solution.dual <= exact * (1 + 1e-6)
    assert solution.gap <= 1e-3 * solution.cost * (1 + 1e-6)


def test_candidates_are_what_rows_value_most():
    source, target = cloud("heavy", 1000, 16)
    solution = semidiscrete.solve(source, target)
    candidates = solution.candidates.numpy()
    assert candidates.shape == (1000, 16)
    assert candidates.dtype == np.int32
    values = source.astype(np.float64) @ target.T + solution.potentials.numpy()
    listed = np.take_along_axis(values, candidates, axis=1)
    assert np.all(np.diff(listed, axis=1) <= 1e-4)
    np.testing.assert_allclose(listed[:, 0], values.max(axis=1), atol=1e-4)


@pytest.mark.parametrize(("n", "dimension", "method"), [(1000, 1, "auction"), (200, 16, "auction"), (300, 16, "adam")])
def test_nothing_is_kept_where_it_gains_nothing(n, dimension, method):
    source, target = cloud("shifted", n, dimension)
    solution = semidiscrete.solve(source, target, method=method)
    assert solution.candidates.shape == (n, 0)
    kwargs = start_from(solution) if method == "auction" else {"initial_potentials": solution.potentials}
    again = semidiscrete.solve(source, target, method=method, **kwargs)
    np.testing.assert_allclose(again.cost, solution.cost, rtol=1e-3 if method == "auction" else 0.1)


@pytest.mark.parametrize(("dimension", "width"), [(2, 1.0), (3, 1.0), (3, 0.01), (8, 0.01)])
def test_few_directions_are_matched_cold_and_warm(dimension, width):
    """Along a line, or nearly, rows move up one after the other, in long chains."""
    source, target = (points * [1.0, *[width] * (dimension - 1)] for points in cloud("shifted", 600, dimension))
    solution = semidiscrete.solve(source, target)
    assert_is_good(solution, source, target)
    later = moved(source, 0.01)
    assert_is_good(semidiscrete.solve(later, target, **start_from(solution)), later, target)


@pytest.mark.slow
def test_a_line_in_many_dimensions_is_matched():
    generator = np.random.default_rng(4008)
    source, target = generator.normal(size=(2, 4000, 8)) * [1.0, *[0.01] * 7]
    solution = semidiscrete.solve(source, target)  # in seconds; chains walked one by one take minutes
    assert_is_good(solution, source, target)


@pytest.mark.parametrize("kind", ["shifted", "clustered"])
@pytest.mark.parametrize("size", [0.0, 0.03, 0.3, 3.0])
def test_the_answer_is_as_good_after_any_move(kind, size):
    source, target = cloud(kind, 600, 16)
    first = semidiscrete.solve(source, target)
    later = moved(source, size)
    assert_is_good(semidiscrete.solve(later, target, **start_from(first)), later, target)
    assert_is_good(semidiscrete.solve(later, target, initial_potentials=first.potentials), later, target)


def test_few_rounds_of_bids_after_a_small_move():
    source, target = cloud("heavy", 1000, 32)
    first = semidiscrete.solve(source, target)
    later = moved(source, 0.03)
    cold, warm = semidiscrete.solve(later, target), semidiscrete.solve(later, target, **start_from(first))
    assert int(warm.num_iterations) < 0.5 * int(cold.num_iterations)


def test_warm_starts_follow_one_another():
    source, target = cloud("clustered", 600, 16)
    solution = semidiscrete.solve(source, target)
    for step in range(6):
        source = moved(source, 0.05, seed=step)
        solution = semidiscrete.solve(source, target, **start_from(solution))
    assert_is_good(solution, source, target)


@pytest.mark.parametrize("what", ["random", "one target", "twice the same", "others' targets"])
def test_wrong_candidates_cost_time_only(what):
    source, target = cloud("scaled", 700, 16)
    first = semidiscrete.solve(source, target)
    generator = np.random.default_rng(0)
    candidates = {
        "random": generator.integers(0, 700, (700, 16)),
        "one target": np.zeros([700, 16], np.int64),
        "twice the same": np.repeat(first.candidates.numpy()[:, :1], 2, axis=1),
        "others' targets": generator.permutation(first.candidates.numpy()),
    }[what]
    solution = semidiscrete.solve(source, target, initial_potentials=first.potentials, initial_candidates=candidates)
    assert_is_good(solution, source, target)


@pytest.mark.parametrize("size", [1e30, -1e30, 1e6])
def test_absurd_potentials_cost_time_only(size):
    source, target = cloud("shifted", 600, 16)
    potentials = np.random.default_rng(0).normal(size=600)
    potentials[::7] += size
    assert_is_good(semidiscrete.solve(source, target, initial_potentials=potentials), source, target)


@pytest.mark.parametrize("method", ["auction", "adam"])
@pytest.mark.parametrize("size", [1e4, 1e30, 1e308])
def test_potentials_of_other_units_are_no_start(size, method):
    source, target = (points[:, :2].astype(np.float64) for points in cloud("shifted", 600, 16))
    potentials = size * np.random.default_rng(0).uniform(-1.0, 1.0, size=600)
    cold, start = semidiscrete.solve(source, target, method=method), {"initial_potentials": potentials}
    if method == "auction":
        start["initial_candidates"] = cold.candidates
    for ours, theirs in zip(semidiscrete.solve(source, target, method=method, **start), cold, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_few_potentials_that_are_absurd_leave_the_others_a_start():
    source, target = cloud("heavy", 1000, 32)
    cold = semidiscrete.solve(source, target)
    potentials = cold.potentials.numpy()
    potentials[:10] = 1e30
    warm = semidiscrete.solve(source, target, initial_potentials=potentials, initial_candidates=cold.candidates)
    assert_is_good(warm, source, target)
    assert int(warm.num_iterations) < int(cold.num_iterations)


def test_float64_and_equal_points():
    source, target = (points.astype(np.float64) for points in cloud("heavy", 600, 16))
    source[:50], target[:30] = source[0], target[0]
    first = semidiscrete.solve(source, target)
    later = source + 0.01
    solution = semidiscrete.solve(later, target, **start_from(first))
    assert_is_good(solution, later, target)
    assert solution.potentials.dtype == tf.float64


def test_inside_a_function():
    source, target = cloud("shifted", 600, 16)
    first = semidiscrete.solve(source, target)

    @tf.function
    def solve(source, potentials, candidates):
        solution = semidiscrete.solve(source, target, initial_potentials=potentials, initial_candidates=candidates)
        assert solution.candidates.shape.as_list() == [600, None]
        return solution

    inside = solve(source, first.potentials, first.candidates)
    outside = semidiscrete.solve(source, target, **start_from(first))
    for ours, theirs in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_new_lists_after_a_small_move(monkeypatch):
    source, target = cloud("heavy", 1000, 32)
    first, later = semidiscrete.solve(source, target), moved(source, 0.01)
    monkeypatch.setattr(matching, "candidates", None)
    assert semidiscrete.solve(later, target, tolerance=5e-3, **start_from(first)).converged
    with pytest.raises(TypeError):
        semidiscrete.solve(later, target, initial_potentials=first.potentials)


@pytest.mark.parametrize("count", [2, 16])
@pytest.mark.parametrize("exact_pairs", [0, problem.EXACT_PAIRS])
def test_a_tight_tolerance_and_short_lists(count, exact_pairs, monkeypatch):
    """Where float32's rounding is taken off the dual too."""
    monkeypatch.setattr(problem, "EXACT_PAIRS", exact_pairs)
    source, target = cloud("heavy", 700, 16)
    first, later = semidiscrete.solve(source, target), moved(source, 0.02)
    start = {"initial_potentials": first.potentials, "initial_candidates": first.candidates[:, :count]}
    solution = semidiscrete.solve(later, target, tolerance=1e-5, **start)
    np.testing.assert_array_equal(np.sort(solution.assignment), np.arange(700))
    exact = reference.assignment_cost(later, target)
    assert solution.converged
    assert exact * (1 - 1e-6) <= solution.cost <= exact * (1 + 1e-5)
    assert exact * (1 - 1e-4) <= solution.dual <= exact * (1 + 1e-6)


def test_rows_with_used_up_lists_bid_once_after_a_surprise():
    """A row that waited for a list is free, and so a bidder again: it must not own two targets."""
    source, target = cloud("shifted", 600, 16)
    equal = np.full(600, 1 / 600)
    stall = matching._Stall(problem.Problem(source, target, equal, equal, None), np.zeros(600), 16)
    stall._lower_prices()
    stall.bid(matching._Auction(0.02, 0.05, 1000))
    bidders = stall.market.bidders
    stall.market = stall.market._replace(bidders=bidders[2:], stale=bidders[:2])
    values = stall._values().numpy().max(axis=1)
    values[:50] += 1.0
    stall._tell_the_surprised(values)
    market = stall.market
    assert len(market.stale) == 0
    np.testing.assert_array_equal(market.bidders, np.flatnonzero(market.matches.numpy() < 0))
    assert np.all(market.matches.numpy()[:50] == -1)
    owned = np.flatnonzero(market.owners.numpy() >= 0)
    np.testing.assert_array_equal(market.matches.numpy()[market.owners.numpy()[owned]], owned)
    stall.bid(matching._Auction(0.01, 0.002, 1000))
    np.testing.assert_array_equal(np.sort(stall.give_the_rest()), np.arange(600))


def test_products_are_not_rounded_to_tensor_float_32(monkeypatch):
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    seen, match = [], semidiscrete.match_points
    monkeypatch.setattr(semidiscrete, "match_points", lambda *a, **k: seen.append(enabled()) or match(*a, **k))
    before = enabled()
    semidiscrete.solve(*cloud("shifted", 20, 2))
    assert seen == [False]
    assert enabled() == before
