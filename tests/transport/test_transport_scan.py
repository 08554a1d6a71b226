"""Looks at all pairs: the highest of each row, exactly, in blocks."""

import numpy as np
import pytest
import tensorflow as tf

from tfzoo.transport import auction, matching, problem, scan, sparse

pytestmark = pytest.mark.fast


def points(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("num_targets", "count"), [(1, 1), (63, 5), (64, 64), (65, 2), (1000, 32), (1000, 1000)])
def test_candidates_are_the_highest(num_targets, count):
    source, target, offsets = points(20, 3), points(num_targets, 3, seed=1), points(num_targets, seed=2)
    rows = np.array([3, 0, 19, 3, 7], np.int32)
    values, columns = scan.candidates(source, rows, target, offsets, count, 2)
    scores = 2.0 * source @ target.T - offsets
    np.testing.assert_allclose(np.sort(values), np.sort(scores[rows])[:, -count:], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores[rows], columns.numpy(), axis=1), values, atol=1e-5)
    assert all(len(set(row)) == count for row in columns.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("num_rows", "num_targets"), [(1, 1), (9, 50), (1030, 4100)])
def test_row_maxima(num_rows, num_targets, dtype):
    source, target = points(num_rows, 3).astype(dtype), points(num_targets, 3, seed=1).astype(dtype)
    offsets = points(num_targets, seed=2).astype(dtype)
    maxima = scan.row_maxima(*map(tf.constant, (source, target, offsets)))
    assert maxima.dtype == dtype
    np.testing.assert_allclose(maxima, (2.0 * source @ target.T - offsets).max(axis=1), atol=100 * np.finfo(dtype).eps)


def test_scores_of_chosen_columns():
    source, target, offsets = points(9, 3), points(50, 3, seed=1), points(50, seed=2)
    columns = np.random.default_rng(3).integers(0, 50, (9, 4)).astype(np.int32)
    scores = np.take_along_axis(2.0 * source @ target.T - offsets, columns, axis=1)
    np.testing.assert_allclose(scan.scores_at(source, target, offsets, columns, 4), scores, atol=1e-5)


@pytest.mark.parametrize("softness", [1e-6, 0.5])
def test_soft_maxima(softness):
    source, target, offsets = points(9, 3), points(50, 3, seed=1), points(50, seed=2)
    scores = (2.0 * source @ target.T - offsets).astype(np.float64)
    highest = scores.max(axis=1)
    expected = highest + softness * np.log(np.sum(np.exp((scores - highest[:, np.newaxis]) / softness), axis=1))
    soft, third = scan.soft_maxima(source, target, offsets, softness, 3, 4)
    np.testing.assert_allclose(soft, expected, atol=1e-5)
    np.testing.assert_allclose(third, np.sort(scores, axis=1)[:, -3], atol=1e-5)


def full_lists(benefits):
    order = np.argsort(-benefits, axis=1).astype(np.int32)
    values = np.take_along_axis(benefits, order, axis=1)
    return auction.Lists(tf.constant(values), tf.constant(order), tf.fill([len(values)], -np.float32(np.inf)))


def test_the_auction_ends_within_epsilon_of_everyones_best():
    benefits, epsilon = points(40, 40), 0.05
    market = auction.open_market(tf.zeros([40]), 40)
    market = auction.run_rounds(market, full_lists(benefits), epsilon, 0, 100_000)
    matches = market.matches.numpy()
    np.testing.assert_array_equal(np.sort(matches), np.arange(40))
    np.testing.assert_array_equal(market.owners.numpy()[matches], np.arange(40))
    values = benefits - market.prices.numpy()
    assert np.all(values[np.arange(40), matches] >= values.max(axis=1) - epsilon - 1e-5)


def test_used_up_lists_are_not_bid_from():
    lists = full_lists(points(300, 300))
    short = auction.Lists(lists.benefits[:, :2], lists.targets[:, :2], lists.benefits[:, 1])
    market = auction.run_rounds(auction.open_market(tf.zeros([300]), 300), short, 0.01, 0, 100_000)
    assert tf.size(market.stale) > 0
    owned = market.matches.numpy()[market.matches.numpy() >= 0]
    assert len(owned) == len(set(owned)) == 300 - int(market.num_unmatched)
    assert not set(market.stale.numpy()) & set(np.flatnonzero(market.matches.numpy() >= 0))


def test_rows_left_over_share_with_the_owners_of_what_they_want(monkeypatch):
    equal = np.full(400, 1 / 400)
    stall = matching._Stall(problem.Problem(points(400, 16), points(400, 16, seed=1), equal, equal, None), equal, 16)
    stall.bid(matching._Auction(0.02, 0.05, 1000))
    assert stall.market.num_unmatched == 20
    shared = stall.give_the_rest()
    monkeypatch.setattr(matching, "_WANTED", 0)
    alone = stall.give_the_rest()
    for matches in (shared, alone):
        np.testing.assert_array_equal(np.sort(matches), np.arange(400))
    has_target = stall.market.matches.numpy() >= 0
    assert np.any(shared[has_target] != stall.market.matches.numpy()[has_target])
    np.testing.assert_array_equal(alone[has_target], stall.market.matches.numpy()[has_target])
    cost, most = (np.mean(np.sum((stall.problem.source - stall.problem.target[m]) ** 2, 1)) for m in (shared, alone))
    assert cost < 0.99 * most


def test_prices_prove_the_sparse_optimum():
    benefits = points(30, 30)
    lists = full_lists(benefits)
    matches = sparse.match_candidates(lists, np.zeros(30), np.arange(30), np.diag(benefits).astype(np.float64))
    owners = np.argsort(matches).astype(np.int32)
    own = benefits[np.arange(30), matches].astype(np.float64)
    prices = sparse.raise_prices(np.zeros(30), owners, matches, own, lists, 1e-6).numpy()
    np.testing.assert_allclose(own - prices[matches], (benefits - prices).max(axis=1), atol=1e-4)


def test_no_tensor_holds_all_pairs():
    """Every shape in the graphs has an unknown size, or is small: blocks are what `block_size` says."""
    assert scan.default_block_size(100_000) * 100_000 < 1e8
    points, numbers = tf.TensorSpec([None, None]), [tf.TensorSpec([], tf.int32)] * 2
    rows, offsets = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None])
    look = tf.function(scan.candidates.__wrapped__)
    graph = look.get_concrete_function(points, rows, points, offsets, *numbers).graph
    products = [op for op in graph.get_operations() if op.type == "MatMul"]
    assert not products  # all of them are inside the loop over blocks
    loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    assert len(loops) == 1


def test_directions_of_spread_are_counted():
    def directions(widths):
        source, target = np.random.default_rng(0).normal(size=(2, 3000, len(widths))) * widths
        masses = np.full(3000, 1 / 3000)
        return problem.Problem(source + 7.0, target, masses, masses, None).num_directions()

    np.testing.assert_allclose(directions([1.0] * 3), 3.0, rtol=0.05)
    np.testing.assert_allclose(directions([1.0] + [0.01] * 99), 1.0, rtol=0.05)
    assert directions([1.0] * 2) <= 2.0  # never more than there are
    assert 80 < directions([1.0] * 100) < 100
