"""What no solver can work with is refused in one sentence."""

import numpy as np
import pytest

from tests.transport.clouds import cloud
from tfzoo.transport import divergence, semidiscrete

pytestmark = pytest.mark.fast

SOURCE, TARGET = cloud("shifted", 6, 2)
HOLED = SOURCE.copy()
HOLED[3, 1] = np.nan
ENDLESS = TARGET.copy()
ENDLESS[0, 0] = np.inf
START = {"initial_potentials": np.zeros(6)}

CASES = {
    "nan": ((HOLED, TARGET), {}, "source must be finite"),
    "infinite": ((SOURCE, ENDLESS), {}, "target must be finite"),
    "no points": ((SOURCE[:0], TARGET[:0]), {}, "at least one"),
    "no dimension": ((SOURCE[:, :0], TARGET[:, :0]), {}, "at least one"),
    "rank": ((SOURCE[0], TARGET), {}, r"points \[N, D\]"),
    "dimensions": ((SOURCE, TARGET[:, :1]), {}, "the same dimension"),
    "numbers of points": ((SOURCE, TARGET[:4]), {}, "equally many, or have masses"),
    "text": ((np.array([["a", "b"]]), TARGET), {}, "real numbers"),
    "complex": ((SOURCE * 1j, TARGET), {}, "real numbers"),
    "ragged": (([[1.0], [1.0, 2.0]], TARGET), {}, "array of numbers"),
    "method": ((SOURCE, TARGET), {"method": "sinkhorn"}, "adam, auction"),
    "tolerance 0": ((SOURCE, TARGET), {"tolerance": 0.0}, "tolerance must be a positive number"),
    "far": ((SOURCE.astype(np.float64) * 1e160, TARGET), {}, r"source must be within 1e\+150"),
    "tolerance of adam": (
        (SOURCE, TARGET),
        {"tolerance": 1.0, "method": "adam"},
        'tolerance of method "adam" is a fraction',
    ),
    "tolerance nan": ((SOURCE, TARGET), {"tolerance": float("nan")}, "tolerance must be a positive number"),
    "tolerance text": ((SOURCE, TARGET), {"tolerance": "1e-3"}, "tolerance must be a positive number"),
    "block_size": ((SOURCE, TARGET), {"block_size": 0}, "block_size must be a whole number"),
    "max_iterations": ((SOURCE, TARGET), {"max_iterations": 1.5}, "max_iterations must be a whole number"),
    "seed": ((SOURCE, TARGET), {"seed": [1, 2, 3]}, "seed must be"),
    "seeds": ((SOURCE, TARGET), {"seed": [[1, 2], [3, 4]]}, "seed must be"),
    "potentials' shape": ((SOURCE, TARGET), {"initial_potentials": np.zeros(5)}, "initial_potentials must have"),
    "potentials nan": ((SOURCE, TARGET), {"initial_potentials": np.full(6, np.nan)}, "initial_potentials must be"),
    "candidates' shape": (
        (SOURCE, TARGET),
        {**START, "initial_candidates": np.zeros([5, 2], int)},
        r"integers \[6, K\]",
    ),
    "candidates' dtype": ((SOURCE, TARGET), {**START, "initial_candidates": np.zeros([6, 2])}, r"integers \[6, K\]"),
    "no candidate": ((SOURCE, TARGET), {**START, "initial_candidates": np.full([6, 2], 6)}, r"in \[0, 6\)"),
    "candidate -1": ((SOURCE, TARGET), {**START, "initial_candidates": np.full([6, 2], -1)}, r"in \[0, 6\)"),
    "candidates alone": ((SOURCE, TARGET), {"initial_candidates": np.zeros([6, 2], int)}, "need initial_potentials"),
    "adam's candidates": (
        (SOURCE, TARGET),
        {**START, "initial_candidates": np.zeros([6, 2], int), "method": "adam"},
        'method="auction"',
    ),
    "masses by auction": ((SOURCE, TARGET), {"masses": np.full(6, 1 / 6)}, 'method="adam"'),
    "masses' sum": ((SOURCE, TARGET), {"masses": np.full(6, 0.2), "method": "adam"}, "sum to 1"),
    "negative": ((SOURCE, TARGET), {"masses": [-0.5, 0.5, 0.5, 0.5, 0, 0], "method": "adam"}, "not be negative"),
    "masses' shape": ((SOURCE, TARGET), {"masses": [0.5, 0.5], "method": "adam"}, "masses of the target"),
    "source masses": ((SOURCE, TARGET), {"masses": ([1.0], None), "method": "adam"}, "masses of the source"),
    "three masses": ((SOURCE, TARGET), {"masses": (None, None, None), "method": "adam"}, "or a pair"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused(case):
    args, kwargs, message = CASES[case]
    with pytest.raises(ValueError, match=message) as error:
        semidiscrete.solve(*args, **kwargs)
    text = str(error.value)
    assert "Received: " in text
    assert "\n" not in text


@pytest.mark.parametrize("case", ["nan", "no points", "rank", "dimensions"])
def test_divergence_refuses_it_too(case):
    with pytest.raises(ValueError, match="Received: "):
        divergence(*CASES[case][0])
