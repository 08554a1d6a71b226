"""Adam on the dual: cells, masses, and what the paper's numbers do."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import transport as reference
from tests.transport.clouds import cloud
from tfzoo.transport import divergence, semidiscrete
from tfzoo.transport.dual_adam import minimize_dual

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def solved():
    source, target = cloud("scaled", 400, 8)
    return source, target, semidiscrete.solve(source, target, method="adam", seed=1)


def cells(source, target, potentials):
    return np.argmax(source.astype(np.float64) @ target.T + potentials, axis=1)


def test_unmatched_points_are_half_the_gradient(solved):
    source, target, solution = solved
    assert solution.converged
    counts = np.bincount(cells(source, target, solution.potentials.numpy()), minlength=400)
    half_norm = 0.5 * np.sum(np.abs(counts / 400 - 1 / 400))
    assignment = solution.assignment.numpy()
    np.testing.assert_allclose(solution.unmatched_fraction, half_norm, atol=1e-9)
    assert np.mean(assignment == -1) == solution.unmatched_fraction
    assert 0 < solution.unmatched_fraction <= 0.05


def test_whoever_is_matched_is_matched_alone_and_in_its_cell(solved):
    source, target, solution = solved
    assignment = solution.assignment.numpy()
    kept = np.flatnonzero(assignment >= 0)
    assert len(set(assignment[kept])) == len(kept)
    np.testing.assert_array_equal(assignment[kept], cells(source, target, solution.potentials.numpy())[kept])
    distances = np.sum((source[kept].astype(np.float64) - target[assignment[kept]]) ** 2, axis=1)
    np.testing.assert_allclose(solution.cost, distances.mean(), rtol=1e-9)


def test_the_dual_is_below_the_exact_cost(solved):
    source, target, solution = solved
    exact = reference.assignment_cost(source, target)
    assert exact * (1 - 0.01) <= solution.dual <= exact * (1 + 1e-9)


def test_the_seed_chooses_who_stays(solved):
    source, target, solution = solved
    same = semidiscrete.solve(source, target, method="adam", seed=1)
    other = semidiscrete.solve(source, target, method="adam", seed=2)
    np.testing.assert_array_equal(same.assignment, solution.assignment)
    assert np.any(other.assignment.numpy() != solution.assignment.numpy())
    np.testing.assert_array_equal(other.potentials, solution.potentials)


def test_a_warm_start_is_shorter(solved):
    source, target, solution = solved
    warm = semidiscrete.solve(source, target, method="adam", initial_potentials=solution.potentials)
    assert int(warm.num_iterations) < 0.5 * int(solution.num_iterations)


def test_the_first_step_is_as_long_as_the_learning_rate_says():
    """The means of gradients and of their squares, which start at 0, are made up for that."""
    source, target, halves = tf.fill([4, 1], 0.5), tf.constant([[-1.0], [1.0]]), tf.fill([2], 0.5)
    # The second cell has all mass at both looks: what is found is the potentials after the first step.
    results = minimize_dual(source, target, tf.fill([4], 0.25), halves, tf.zeros([2]), 0.0, 2, 4)
    np.testing.assert_allclose(results[4], [3e-3, -3e-3], rtol=1e-4)


@pytest.mark.parametrize("n", [30, 60])
def test_any_masses(n):
    source, _ = cloud("shifted", n, 3)
    _, target = cloud("shifted", 12, 3, seed=1)
    generator = np.random.default_rng(0)
    ours, theirs = generator.dirichlet(np.ones(n)), generator.dirichlet(np.ones(12))
    exact = reference.transport_cost(source, target, ours, theirs)
    solution = semidiscrete.solve(source, target, masses=(ours, theirs), method="adam", tolerance=0.03)
    np.testing.assert_array_equal(solution.assignment, cells(source, target, solution.potentials.numpy()))
    wrong = np.bincount(solution.assignment, weights=ours, minlength=12) - theirs
    np.testing.assert_allclose(solution.unmatched_fraction, 0.5 * np.abs(wrong).sum(), atol=1e-6)
    dual = reference.dual_value(source, target, solution.potentials.numpy().astype(np.float64), ours, theirs)
    assert solution.dual >= dual * (1 - 1e-5)  # that of these potentials, or a higher one
    distances = np.sum((source.astype(np.float64) - target[solution.assignment.numpy()]) ** 2, axis=1)
    np.testing.assert_allclose(solution.cost, ours @ distances, rtol=1e-6)
    assert exact * (1 - 0.05) <= solution.dual <= exact * (1 + 1e-9)


@pytest.mark.parametrize("offset", [0.0, 30.0, 1e4])
def test_the_cost_is_that_of_the_cells_wherever_the_points_lie(offset):
    """Cells hold 5 % of wrong masses here, so that their means are not the target's."""
    source, target = (points.astype(np.float64) for points in (cloud("scaled", 300, 2)[0], cloud("scaled", 10, 2)[1]))
    source[:, 0] += offset
    solution = semidiscrete.solve(source, target, masses=np.full(10, 0.1), method="adam")
    assert solution.unmatched_fraction > 0
    distances = np.sum((source - target[solution.assignment.numpy()]) ** 2, axis=1)
    np.testing.assert_allclose(solution.cost, distances.mean(), rtol=1e-9)
    np.testing.assert_allclose(solution.gap, distances.mean() - solution.dual, rtol=1e-6, atol=1e-9 * offset**2)


def test_masses_of_the_target_alone():
    source, _ = cloud("shifted", 50, 2)
    _, target = cloud("shifted", 5, 2)
    masses = np.full(5, 0.2)
    one = semidiscrete.solve(source, target, masses=masses, method="adam")
    two = semidiscrete.solve(source, target, masses=(np.full(50, 0.02), masses), method="adam")
    np.testing.assert_array_equal(one.assignment, two.assignment)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("far", [1.0, 1e4, 1e30])
def test_a_target_without_mass_changes_nothing(far, dtype):
    source, target = (points.astype(dtype) for points in (cloud("scaled", 500, 2)[0], cloud("scaled", 50, 2)[1]))
    target[0] = far
    masses = np.append(0.0, np.random.default_rng(0).dirichlet(np.ones(49)))
    whole = semidiscrete.solve(source, target, masses=masses, method="adam")
    without = semidiscrete.solve(source, target[1:], masses=masses[1:], method="adam")
    assert whole.converged
    np.testing.assert_array_equal(whole.assignment, without.assignment + 1)
    for name in ("cost", "dual", "gap", "unmatched_fraction"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(without, name))
    potentials = whole.potentials.numpy()
    np.testing.assert_array_equal(potentials[1:], without.potentials)
    scores = source.astype(np.float64) @ target.astype(np.float64).T + potentials
    lead = scores[:, 1:].max(axis=1) - scores[:, 0]  # as little as rounding allows
    assert 0 < lead.min() <= 1e-5 * np.abs(scores).max()
    again = semidiscrete.solve(source, target, masses=masses, method="adam", initial_potentials=potentials)
    assert int(again.num_iterations) < int(whole.num_iterations)


def test_points_without_mass_on_both_sides_belong_somewhere():
    """A source point beyond float32 too, whose distance no coupling pays."""
    source, target = (cloud("scaled", n, 3)[k].astype(np.float64) for k, n in enumerate((200, 12)))
    source[7], target[[2, 5]] = 1e45, [[1e45] * 3, [-1e6] * 3]
    ours, theirs = np.ones(200), np.ones(12)
    ours[[7, 8]], theirs[[2, 5]] = 0, 0
    masses = ours / ours.sum(), theirs / theirs.sum()
    solution = semidiscrete.solve(source, target, masses=masses, method="adam", block_size=64)
    assert solution.converged
    assignment, potentials = solution.assignment.numpy(), solution.potentials.numpy()
    np.testing.assert_array_equal(assignment, cells(source, target, potentials))
    assert not np.any(np.isin(assignment, [2, 5]))
    kept = semidiscrete.solve(
        source[ours > 0], target[theirs > 0], masses=theirs[theirs > 0] / theirs.sum(), method="adam"
    )
    np.testing.assert_allclose(solution.dual, kept.dual, rtol=1e-6)
    np.testing.assert_allclose(solution.cost, kept.cost, rtol=1e-6)


def test_potentials_of_targets_without_mass_are_finite():
    """In float32, where the highest that no source point prefers is beyond its range."""
    source, target = cloud("scaled", 100, 2)[0], cloud("scaled", 6, 2)[1].astype(np.float64)
    target[0] = 1e100
    masses = np.append(0.0, np.full(5, 0.2))
    solution = semidiscrete.solve(source, target, masses=masses, method="adam")
    assert solution.converged
    assert np.all(np.isfinite(solution.potentials))
    assert solution.potentials.dtype == tf.float32
    semidiscrete.solve(source, target, masses=masses, method="adam", initial_potentials=solution.potentials)


def test_the_printed_stopping_rule_holds_from_the_start():
    """The 2-norm of the gradient is below 0.05 at h = 0, where most points are unmatched."""
    source, target = cloud("heavy", 5000, 16)
    counts = np.bincount(np.argmax(source @ target.T, axis=1), minlength=5000)
    gradient = counts / 5000 - 1 / 5000
    assert np.sum(np.abs(gradient)) / 2 > 0.5
    assert np.linalg.norm(gradient[counts < 50]) < 0.05


def test_divergence_of_equally_many_points():
    source, target = cloud("shifted", 300, 3)
    np.testing.assert_allclose(divergence(source, target), reference.assignment_cost(source, target), rtol=1e-3)
    np.testing.assert_allclose(divergence(source, source), 0.0, atol=1e-9)


def test_divergence_of_other_numbers_of_points():
    source, _ = cloud("shifted", 60, 3)
    _, target = cloud("shifted", 20, 3, seed=1)
    exact = reference.transport_cost(source, target, np.full(60, 1 / 60), np.full(20, 1 / 20))
    value = divergence(tf.constant(source), target)
    assert exact * 0.97 <= value <= exact * (1 + 1e-9)


@pytest.mark.parametrize("shape", [(3, 10, 1), (2, 3, 2), (20, 100, 2), (30, 300, 2), (11, 10, 3), (1, 5, 2)])
def test_divergence_is_the_same_both_ways(shape):
    n, m, d = shape
    source, target = cloud("shifted", n, d)[0], cloud("scaled", m, d, seed=1)[1]
    exact = reference.transport_cost(source, target, np.full(n, 1 / n), np.full(m, 1 / m))
    for value in (divergence(source, target), divergence(target, source)):
        assert exact * (1 - 1e-3) <= value <= exact * (1 + 1e-6)


@pytest.mark.parametrize("sizes", [(3, 5), (5, 3)])
@pytest.mark.parametrize("name", ["source", "target"])
def test_divergence_names_what_is_not_finite(sizes, name):
    points = {name: np.zeros((size, 2)) for name, size in zip(("source", "target"), sizes, strict=True)}
    points[name][1, 1] = np.nan
    with pytest.raises(ValueError, match=rf"^{name} must be finite\. Received: 1 values that are not$"):
        divergence(**points)


def test_divergence_in_a_graph_where_sizes_are_unknown():
    compiled = tf.function(lambda *samples: divergence(*samples), input_signature=[tf.TensorSpec([None, None])] * 2)
    source, target = cloud("shifted", 60, 3)
    for other in (target, target[:20]):
        np.testing.assert_array_equal(compiled(source, other), divergence(source, other))


@pytest.mark.parametrize("mode", ["eager", "graph", "graph of unknown sizes"])
def test_divergence_of_equally_many_points_has_the_gradient_of_finite_differences(mode):
    source, target = (tf.constant(points[:30], tf.float64) for points in cloud("shifted", 60, 3))
    rng = np.random.default_rng(0)
    ways = tf.constant(rng.normal(size=(2, 30, 3)))

    def slopes(source, target):
        with tf.GradientTape() as tape:
            tape.watch([source, target])
            value = 3.0 * divergence(source, target)
        return tape.gradient(value, [source, target])

    if mode != "eager":
        shape = [30, 3] if mode == "graph" else [None, None]
        slopes = tf.function(slopes, autograph=False, input_signature=[tf.TensorSpec(shape, tf.float64)] * 2)
    found = [tf.reduce_sum(slope * way) for slope, way in zip(slopes(source, target), ways, strict=True)]
    step = 1e-5
    for i, slope in enumerate(found):
        moved = [divergence(source + sign * (1 - i) * ways[0], target + sign * i * ways[1]) for sign in (step, -step)]
        np.testing.assert_allclose(slope, 3.0 * (moved[0] - moved[1]) / (2.0 * step), rtol=1e-6)


def test_a_divergence_is_a_loss():
    target = tf.constant(cloud("clustered", 100, 2)[0], tf.float32)
    points = tf.Variable(cloud("shifted", 100, 2)[1], dtype=tf.float32)
    optimizer = tf.keras.optimizers.SGD(30.0)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = divergence(points, target)
        optimizer.apply_gradients([(tape.gradient(loss, points), points)])
        return loss

    losses = [step().numpy() for _ in range(20)]
    assert losses[-1] < 1e-3 * losses[0]


def test_a_divergence_of_other_numbers_of_points_has_no_gradient():
    def slope(source, target):
        with tf.GradientTape() as tape:
            tape.watch(source)
            value = divergence(source, target)
        return tape.gradient(value, source)

    source, target = tf.ones([3, 2]), tf.zeros([2, 2])
    with pytest.raises(ValueError, match=r"equally many points to have a gradient\. Received: 3 and 2$"):
        slope(source, target)
    unknown = tf.function(slope, autograph=False, input_signature=[tf.TensorSpec([None, 2])] * 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="equally many points to have a gradient"):
        unknown(source, target)


def test_a_solution_has_no_gradient_in_a_graph_either():
    def slope(source):
        with tf.GradientTape() as tape:
            tape.watch(source)
            cost = semidiscrete.solve(source, tf.zeros([4, 2])).cost
        return tape.gradient(cost, source)

    assert slope(tf.ones([4, 2])) is None
    assert tf.function(lambda source: 1.0 if slope(source) is None else 0.0, autograph=False)(tf.ones([4, 2])) == 1.0


@pytest.mark.parametrize("n", [20, 40, 80])
def test_a_fraction_that_is_met_exactly_has_converged(n):
    # The default, 0.05, is not a number of float32, and a whole number of these points.
    solution = semidiscrete.solve(*cloud("scaled", n, 4), method="adam")
    assert solution.converged
    assert solution.unmatched_fraction <= 0.05
