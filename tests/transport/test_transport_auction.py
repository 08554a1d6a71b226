"""The default method against exact assignment, and what must not change its answer."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import transport as reference
from tests.transport.clouds import KINDS, cloud
from tfzoo.transport import matching, problem, semidiscrete

pytestmark = pytest.mark.fast


def assert_is_permutation(assignment):
    np.testing.assert_array_equal(np.sort(assignment), np.arange(len(assignment)))


def mean_squared_distance(source, target, assignment):
    return np.mean(np.sum((source.astype(np.float64) - target[assignment.numpy()]) ** 2, axis=1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "dimension"), [(200, 2), (500, 2), (500, 64)])
def test_cost_and_dual_enclose_the_exact_cost(kind, n, dimension):
    source, target = cloud(kind, n, dimension)
    exact = reference.assignment_cost(source, target)
    solution = semidiscrete.solve(source, target)
    assert_is_permutation(solution.assignment)
    assert solution.unmatched_fraction == 0
    assert solution.converged
    np.testing.assert_allclose(solution.cost, mean_squared_distance(source, target, solution.assignment), rtol=1e-9)
    assert exact * (1 - 1e-9) <= solution.cost <= exact * (1 + 1e-3)
    assert exact * (1 - 1e-3) <= solution.dual <= exact * (1 + 1e-9)
    np.testing.assert_allclose(solution.gap, solution.cost - solution.dual, rtol=0, atol=1e-12 * solution.cost)


@pytest.mark.parametrize("sizes", ["equal", "random", "different"])
@pytest.mark.parametrize(
    ("n", "dimension", "num_clusters", "deviation"),
    [(600, 16, 20, 0.01), (600, 64, 10, 0.1), (1200, 16, 20, 0.1), (1100, 8, 20, 0.003)],
)
def test_clusters_far_apart_on_both_sides(n, dimension, num_clusters, deviation, sizes):
    # A quarter of the points has other numbers in each cluster, so prices start wrong by distances between clusters.
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(num_clusters, dimension))
    labels = np.arange(n) % num_clusters if sizes == "equal" else generator.integers(0, num_clusters, n)
    others = generator.integers(0, num_clusters, n) if sizes == "different" else labels
    source, target = (centres[each] + deviation * generator.normal(size=(n, dimension)) for each in (labels, others))
    exact = reference.assignment_cost(source, target)
    solution = semidiscrete.solve(source, target)
    assert solution.converged
    assert_is_permutation(solution.assignment)
    assert exact * (1 - 1e-9) <= solution.cost <= exact * (1 + 1e-3)
    finest = 4e-6 * sum(np.sum(np.var(points, axis=0)) for points in (source, target))
    assert exact - max(1e-3 * exact, finest) <= solution.dual <= exact * (1 + 1e-9)


@pytest.mark.parametrize("noise", [0.1, 0.01, 0.001])
def test_what_has_converged_has_its_gap_within_the_tolerance(noise, monkeypatch):
    # Where costs are small, the bound of float32's rounding, which large problems take off the dual, is not.
    monkeypatch.setattr(problem, "EXACT_PAIRS", 0)
    generator = np.random.default_rng(0)
    source = generator.normal(size=(600, 200))
    target = (source + noise * generator.normal(size=source.shape))[generator.permutation(600)]
    solution = semidiscrete.solve(source, target)
    assert solution.converged
    assert solution.gap <= 1e-3 * solution.cost


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [2, 64, 100])
@pytest.mark.parametrize("n", [1000, 2000])
def test_cost_is_exact_to_a_thousandth_at_thousands_of_points(kind, n, dimension):
    source, target = cloud(kind, n, dimension)
    exact = reference.assignment_cost(source, target)
    solution = semidiscrete.solve(source, target)
    assert_is_permutation(solution.assignment)
    assert exact * (1 - 1e-9) <= solution.cost <= exact * (1 + 1e-3)
    assert solution.dual <= exact * (1 + 1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 257])
@pytest.mark.parametrize("dimension", [1, 3])
def test_few_points_and_a_line_are_exact(n, dimension):
    source, target = cloud("shifted", n, dimension)
    solution = semidiscrete.solve(source, target, tolerance=1e-6)
    assert_is_permutation(solution.assignment)
    np.testing.assert_allclose(solution.cost, reference.assignment_cost(source, target), rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("n", [100, 600])
def test_the_dual_is_that_of_the_potentials(n):
    source, target = cloud("clustered", n, 3)
    solution = semidiscrete.solve(source.astype(np.float64), target)
    masses = np.full(n, 1.0 / n)
    assert solution.potentials.dtype == tf.float64
    np.testing.assert_allclose(np.mean(solution.potentials), 0.0, atol=1e-12)
    for constant in (0.0, 5.0):
        dual = reference.dual_value(source, target, solution.potentials.numpy() + constant, masses, masses)
        np.testing.assert_allclose(solution.dual, dual, rtol=1e-8)


def test_each_point_is_in_the_cell_of_its_target():
    source, target = cloud("shifted", 600, 5)
    solution = semidiscrete.solve(source.astype(np.float64), target, tolerance=1e-6)
    scores = source.astype(np.float64) @ target.T + solution.potentials.numpy()
    own = scores[np.arange(600), solution.assignment]
    np.testing.assert_allclose(own, scores.max(axis=1), atol=1e-4)


@pytest.mark.parametrize("n", [100, 600])
def test_permuted_points_have_the_permuted_assignment(n):
    source, target = cloud("shifted", n, 4)
    order, other = np.random.default_rng(1).permutation(n), np.random.default_rng(2).permutation(n)
    whole = semidiscrete.solve(source, target, tolerance=1e-6).assignment.numpy()
    permuted = semidiscrete.solve(source[order], target[other], tolerance=1e-6).assignment.numpy()
    assert np.mean(other[permuted] == whole[order]) > 0.99


@pytest.mark.parametrize("n", [100, 600])
def test_translation_and_units_change_nothing_but_the_cost(n):
    source, target = cloud("scaled", n, 4)
    solution = semidiscrete.solve(source, target)
    moved = semidiscrete.solve(1e3 * (source.astype(np.float64) + 50.0), 1e3 * target.astype(np.float64))
    np.testing.assert_array_equal(moved.assignment, solution.assignment)
    shift = source.mean(axis=0, dtype=np.float64) - target.mean(axis=0, dtype=np.float64)
    expected = solution.cost + np.sum((shift + 50.0) ** 2 - shift**2)
    np.testing.assert_allclose(moved.cost, 1e6 * expected, rtol=1e-6)


@pytest.mark.parametrize("offset", [1e6, 1e10])
@pytest.mark.parametrize(("n", "dimension"), [(100, 5), (1000, 5), (1000, 1)])
def test_the_gap_proves_the_matching_however_far_apart_the_samples_lie(n, dimension, offset):
    """The cost is so large there that the difference of cost and dual is what rounding leaves of it."""
    source, target = np.random.default_rng(0).normal(size=(2, n, dimension))
    far = source + offset
    solution = semidiscrete.solve(far, target)
    assert_is_permutation(solution.assignment)
    assert solution.converged
    np.testing.assert_allclose(solution.cost, mean_squared_distance(far, target, solution.assignment), rtol=1e-9)
    source, target = far - far.mean(axis=0), target - target.mean(axis=0)
    cost, exact = mean_squared_distance(source, target, solution.assignment), reference.assignment_cost(source, target)
    assert cost - exact - 1e-9 <= solution.gap <= 1e-3 * cost


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_equal_points_are_matched_one_to_one(share):
    source, target = cloud("shifted", 600, 3)
    source[: int(600 * share)] = source[0]
    target[: int(300 * share)] = target[0]
    solution = semidiscrete.solve(source, target)
    assert_is_permutation(solution.assignment)
    exact = reference.assignment_cost(source, target)
    assert exact * (1 - 1e-9) <= solution.cost <= exact * (1 + 1e-3)
    assert solution.dual <= exact * (1 + 1e-9)


def test_points_on_a_lattice_are_matched():
    generator = np.random.default_rng(0)
    source, target = generator.integers(0, 4, (600, 2)), generator.integers(0, 4, (600, 2))
    solution = semidiscrete.solve(source, target)
    assert_is_permutation(solution.assignment)
    assert solution.cost <= reference.assignment_cost(source, target) * (1 + 1e-3) + 1e-4


@pytest.mark.parametrize("kind", ["a few rows far away", "heavy tails"])
@pytest.mark.parametrize("seed", [1, 3])
def test_prices_that_few_rows_would_pay_cost_no_exact_steps(kind: str, seed: int, monkeypatch) -> None:
    monkeypatch.setattr(matching, "match_candidates", None)  # what exact steps would call
    noise = np.random.default_rng(seed)
    source, target = noise.normal(size=(2, 2000, 64))
    if kind == "heavy tails":
        source = noise.standard_t(2, size=(2000, 64))
    else:
        source[:40] *= 30.0
    solution = semidiscrete.solve(source, target)
    assert solution.converged
    assert solution.num_iterations < 900


@pytest.mark.parametrize("kind", ["tiny", "orthogonal", "one pair far away"])
def test_points_that_float32_cannot_tell_apart_take_few_rounds(kind: str) -> None:
    source, target = np.random.default_rng(0).normal(size=(2, 1000, 16))
    if kind == "tiny":
        source *= 1e-8
    elif kind == "orthogonal":
        source[:, 8:], target[:, :8] = 0.0, 0.0
    else:
        source[0] = target[5] = 1e6
    solution = semidiscrete.solve(source, target)
    assert solution.num_iterations < 120
    again = semidiscrete.solve(
        source, target, initial_potentials=solution.potentials, initial_candidates=solution.candidates
    )
    for each in (solution, again):
        assert sorted(each.assignment.numpy()) == list(range(1000))
        assert each.gap <= 1e-5 * (np.mean(np.sum(source**2, axis=1)) + np.mean(np.sum(target**2, axis=1)))


def test_a_point_everywhere_costs_nothing():
    solution = semidiscrete.solve(np.ones((300, 3)), np.ones((300, 3)))
    assert_is_permutation(solution.assignment)
    np.testing.assert_allclose([solution.cost, solution.dual], 0.0, atol=1e-5)


def test_the_same_points_find_themselves():
    points, _ = cloud("shifted", 600, 5)
    order = np.random.default_rng(1).permutation(600)
    solution = semidiscrete.solve(points, points[order])
    np.testing.assert_array_equal(order[solution.assignment], np.arange(600))
    np.testing.assert_allclose(solution.cost, 0.0, atol=1e-9)


def test_a_warm_start_needs_fewer_rounds_for_the_same_quality():
    source, target = cloud("scaled", 2000, 8)
    cold = semidiscrete.solve(source, target)
    moved = source + 0.02 * np.random.default_rng(1).normal(size=source.shape).astype(np.float32)
    from_nothing = semidiscrete.solve(moved, target)
    warm = semidiscrete.solve(moved, target, initial_potentials=cold.potentials)
    assert warm.converged
    assert int(warm.num_iterations) < 0.6 * int(from_nothing.num_iterations)
    np.testing.assert_allclose(warm.cost, from_nothing.cost, rtol=1e-3)


def test_potentials_plus_a_constant_are_the_same_start():
    source, target = cloud("shifted", 600, 4)
    potentials = semidiscrete.solve(source, target).potentials
    first = semidiscrete.solve(source, target, initial_potentials=potentials)
    second = semidiscrete.solve(source, target, initial_potentials=potentials + 64.0)
    np.testing.assert_array_equal(first.assignment, second.assignment)


def test_a_seed_repeats_the_answer():
    source, target = cloud("clustered", 1100, 2)
    first = semidiscrete.solve(source, target, seed=3)
    second = semidiscrete.solve(tf.constant(source), tf.constant(target), seed=3)
    np.testing.assert_array_equal(first.assignment, second.assignment)
    np.testing.assert_array_equal(first.potentials, second.potentials)


def test_too_few_iterations_are_told():
    source, target = cloud("clustered", 1100, 2)
    solution = semidiscrete.solve(source, target, tolerance=1e-6, max_iterations=1)
    assert_is_permutation(solution.assignment)
    assert not solution.converged
    assert solution.gap > 1e-6 * solution.cost


def test_blocks_change_no_more_than_rounding():
    source, target = cloud("shifted", 600, 6)
    first = semidiscrete.solve(source, target, tolerance=1e-6, block_size=7)
    second = semidiscrete.solve(source, target, tolerance=1e-6)
    np.testing.assert_allclose(first.cost, second.cost, rtol=1e-5)


def test_it_runs_inside_a_graph():
    source, target = cloud("shifted", 300, 3)

    @tf.function
    def correct(source, target):
        return semidiscrete.solve(source, target)

    inside, outside = correct(tf.constant(source), tf.constant(target)), semidiscrete.solve(source, target)
    assert inside.assignment.shape == (300,)
    for one, other in zip(inside, outside, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
