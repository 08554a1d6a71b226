"""Optimizers by their names: the fused one where there is one, and a step size that falls from epoch to epoch."""

import keras
import numpy as np
import pytest

from tfzoo import optimizers
from tfzoo.optimizers.by_name import make_optimizer

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Adam", optimizers.Adam), ("Adamax", optimizers.Adamax), ("SGD", keras.optimizers.SGD)],
)
def test_the_class_of_a_name(name, expected):
    assert type(make_optimizer(name, 0.1, decay=1, updates_per_epoch=0, options={})) is expected


def test_options_and_decay_by_epochs():
    optimizer = make_optimizer("Adam", 0.1, decay=0.5, updates_per_epoch=2, options={"beta_1": 0.5})
    assert optimizer.beta_1 == 0.5
    weight = keras.Variable(np.zeros(2), dtype="float32")
    optimizer.build([weight])
    rates = []
    for _ in range(5):
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([np.ones(2, "float32")], [weight])
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.05, 0.05, 0.025], rtol=1e-6)


def test_decay_over_an_epoch_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match=r"known length\. Received: 0 updates"):
        make_optimizer("Adam", 0.1, decay=0.5, updates_per_epoch=0, options={})
