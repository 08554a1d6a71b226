"""Eager code runs graphs: few of them, whatever the sizes and seeds."""

import numpy as np
import pytest
import tensorflow as tf

from tfzoo import random
from tfzoo.compiled import Compiled

pytestmark = pytest.mark.fast


def noisy(x, *, seed, scale=1.0):
    assert not tf.executing_eagerly()
    noise = random.normal(tf.shape(x)[:1], seed, x.dtype) if seed.shape.rank == 1 else tf.cast(seed[:, 0], x.dtype)
    return x + scale * noise


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_seed_and_one_for_each_in_any_order_and_size(order):
    run = Compiled(noisy)
    seeds = [lambda count: tf.constant([1, 2]), lambda count: tf.range(2 * count)[:, tf.newaxis] * [1, 1]]
    for count in (2, 3, 4, 5, 1):
        for which in order:
            x, seed = tf.zeros([count]), seeds[which](count)[: count if which else None]
            expected = random.normal([count], seed, tf.float32) if which == 0 else np.arange(count)
            np.testing.assert_allclose(run(x, seed=seed), expected)
    assert run.num_traces == 2
    for scale in (2.0, np.float64(2.0)):
        found = run(tf.zeros([4]), seed=seeds[1](4)[:4], scale=scale)
        np.testing.assert_allclose(found, 2.0 * np.arange(4))
    assert run.num_traces == 3


def test_it_is_a_part_of_a_graph():
    run = Compiled(noisy)
    outer = tf.function(lambda x: run(x, seed=tf.constant([1, 2])))
    assert outer(tf.zeros([3])).shape == (3,)
    assert run.num_traces == 0


def test_without_a_seed():
    run = Compiled(lambda x: 2.0 * x)
    for count in (1, 2, 3):
        assert run(tf.ones([count])).shape == (count,)
    assert run.num_traces == 1
