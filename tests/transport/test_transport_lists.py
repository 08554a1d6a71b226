"""What rows know of the targets."""

import numpy as np
import pytest
import tensorflow as tf

from tfzoo.transport.lists import UNKNOWN, Lists

pytestmark = pytest.mark.fast

SIZE, KNOWN = 30, 4


def best_of(values, count):
    """Returns lists of each row's best targets at prices of 0."""
    best, targets = tf.math.top_k(values, count)
    return Lists(best, targets, best[:, -1])


@pytest.mark.parametrize("most", [5, 8, 100])
def test_added_candidates_stand_once_and_bounds_hold(most, test_seed):
    generator = np.random.default_rng(test_seed)
    benefits = generator.normal(size=(SIZE, SIZE)).astype(np.float32)
    lists, prices = best_of(benefits, KNOWN), np.zeros(SIZE, np.float32)
    for _ in range(4):
        # Prices rise, so bounds of before hold; some rows look again.
        prices += generator.uniform(0.0, 1.0, SIZE).astype(np.float32)
        rows = np.sort(generator.permutation(SIZE)[:20]).astype(np.int32)
        new = best_of(tf.gather(benefits - prices, rows), KNOWN)
        new = new._replace(benefits=new.benefits + tf.gather(prices, new.targets))
        lists = lists.add(tf.constant(rows), new, tf.constant(prices), most)
        found, targets = lists.benefits.numpy(), lists.targets.numpy()
        assert targets.shape[1] <= most
        for i in range(SIZE):
            known = targets[i][found[i] > UNKNOWN]
            assert len(np.unique(known)) == len(known) >= KNOWN
            assert set(targets[i]) == set(known)
            np.testing.assert_allclose(found[i][found[i] > UNKNOWN], benefits[i, known], rtol=1e-5, atol=1e-6)
            others = np.delete(benefits[i] - prices, known)
            assert np.all(others <= lists.bounds[i] + 1e-6)
        if most >= 3 * KNOWN:
            # What a row values most now is known to those that have looked.
            assert np.all([np.argmax(benefits[i] - prices) in targets[i] for i in rows])
