"""Shortest augmenting paths on the candidates: exact, and with prices that prove it."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tests.transport.clouds import KINDS, cloud
from tfzoo.transport import semidiscrete
from tfzoo.transport.paths import match_by_paths

pytestmark = pytest.mark.fast


def candidates(n, k, seed):
    """Returns k targets of each row, the last of them a permutation's, and random benefits."""
    generator = np.random.default_rng(seed)
    first = generator.permutation(n)
    others = np.stack([generator.permutation(n)[: k - 1] for _ in range(n)])
    targets = np.concatenate([others, first[:, np.newaxis]], axis=1).astype(np.int32)
    benefits = generator.normal(size=(n, n))
    return targets, np.take_along_axis(benefits, targets, axis=1), first.astype(np.int32)


@pytest.mark.parametrize(("n", "k", "seed"), [(2, 2, 0), (40, 4, 1), (150, 10, 2), (150, 150, 3)])
def test_it_is_the_best_over_the_candidates_and_its_prices_prove_it(n, k, seed):
    targets, benefits, first = candidates(n, k, seed)
    start = np.random.default_rng(seed).normal(size=n)
    matches, prices = match_by_paths(targets, benefits, start, first, 0.0)
    np.testing.assert_array_equal(np.sort(matches), np.arange(n))
    dense = np.full((n, n), -1e3)
    np.put_along_axis(dense, targets, benefits, axis=1)
    rows, columns = linear_sum_assignment(dense, maximize=True)
    rows_all = np.arange(n)
    np.testing.assert_allclose(dense[rows_all, matches].sum(), dense[rows, columns].sum(), atol=1e-9)
    values = dense - prices
    np.testing.assert_allclose(values[rows_all, matches], values.max(axis=1), atol=1e-9)
    assert np.all(prices >= start - 1e-9)


def test_whoever_has_nothing_gets_something():
    targets, benefits, _ = candidates(60, 8, 4)
    nothing = np.full(60, -1, np.int32)
    matches, _ = match_by_paths(targets, benefits, np.zeros(60), nothing, 0.0)
    np.testing.assert_array_equal(np.sort(matches), np.arange(60))


def test_a_matching_that_is_best_stays_and_so_do_its_prices():
    targets, benefits, first = candidates(50, 5, 5)
    matches, prices = match_by_paths(targets, benefits, np.zeros(50), first, 0.0)
    again, same = match_by_paths(targets, benefits, prices, matches, 1e-9)
    np.testing.assert_array_equal(again, matches)
    np.testing.assert_allclose(same, prices, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_points_in_the_plane(kind):
    source, target = cloud(kind, 5000, 2)
    solution = semidiscrete.solve(source, target)
    np.testing.assert_array_equal(np.sort(solution.assignment), np.arange(5000))
    assert solution.converged
    assert 0 <= solution.gap <= 1e-3 * solution.cost
