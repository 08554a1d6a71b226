"""Inside a graph the solver ends, however few threads TensorFlow has and however many ask for it at once."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from tfzoo.transport import semidiscrete
from tfzoo.transport.threads import one_by_one

SCRIPT = """
import sys, threading
import numpy as np, tensorflow as tf
from tfzoo.transport import semidiscrete

source, target = np.random.default_rng(0).normal(size=[2, 200, 5]).astype(np.float32)
options = dict(method="adam", max_iterations=10)
expected = semidiscrete.solve(source, target, **options).dual
solve = tf.function(lambda: semidiscrete.solve(source, target, **options).dual)
duals = []
callers = [threading.Thread(target=lambda: duals.extend([solve() for _ in range(5)])) for _ in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
np.testing.assert_allclose(duals, np.full(20, expected), rtol=1e-5)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_four_callers_wait_for_no_thread_that_one_of_them_holds(threads):
    environment = {**os.environ, "TF_NUM_INTEROP_THREADS": threads}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("dimension", "options"),
    [
        (2, {}),
        (20, {"tolerance": 1e-6}),
        (20, {"method": "adam", "max_iterations": 60}),
        (20, {"method": "adam", "max_iterations": 60, "masses": np.full(400, 1 / 400)}),
    ],
    ids=["default", "exact", "adam", "masses"],
)
def test_one_by_one_finds_what_compiled_code_does(dimension, options):
    generator = np.random.default_rng(1)
    num_targets = 400 if "masses" in options else 300
    source, target = generator.normal(size=[300, dimension]), generator.normal(size=[num_targets, dimension])
    source, target = source.astype(np.float32), target.astype(np.float32)
    compiled = semidiscrete.solve(source, target, **options)
    with one_by_one():
        found = semidiscrete.solve(source, target, **options)
    rtol = 2.0 * options.get("tolerance", 1e-3)
    np.testing.assert_allclose(found.cost, compiled.cost, rtol=rtol)
    np.testing.assert_allclose(found.dual, compiled.dual, rtol=rtol)
    for one, other in zip(found, compiled, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape


def test_a_warm_start_one_by_one():
    source, target = np.random.default_rng(2).normal(size=[2, 500, 20]).astype(np.float32)
    first = semidiscrete.solve(source, target)
    start = {"initial_potentials": first.potentials, "initial_candidates": first.candidates}
    compiled = semidiscrete.solve(source, target, **start)
    with one_by_one():
        found = semidiscrete.solve(source, target, **start)
    tf.debugging.assert_equal(found.assignment, compiled.assignment)


def test_concurrent_solves_leave_tensor_float_32_as_it_was(monkeypatch):
    """The first one in ends first, while the other still runs."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    entered, inside, ended = threading.Event(), threading.Barrier(2), threading.Event()
    seen, match = [], semidiscrete.match_points

    def wait(problem, *args, **kwargs):
        entered.set()
        inside.wait(60)
        if len(problem.source) == 21:
            assert ended.wait(60)
        seen.append(enabled())
        return match(problem, *args, **kwargs)

    monkeypatch.setattr(semidiscrete, "match_points", wait)
    first, second = (threading.Thread(target=semidiscrete.solve, args=(np.eye(n), np.eye(n))) for n in (20, 21))
    before = enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        first.start()
        assert entered.wait(60)
        second.start()
        first.join()
        ended.set()
        second.join()
        assert enabled()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    assert seen == [False, False]
