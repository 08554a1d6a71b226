"""What a large problem takes beside a matrix of all pairs."""

import pathlib
import subprocess
import sys

import pytest

_SCRIPT = """
import pathlib
import numpy as np
from tfzoo.transport import semidiscrete

def status(key):
    lines = pathlib.Path("/proc/self/status").read_text().split(chr(10))
    return float(next(line.split()[1] for line in lines if line.startswith(key))) / 1024

generator = np.random.default_rng(0)
x = generator.standard_t(5, size=(20_000, 64)).astype(np.float32)
y = generator.normal(size=(20_000, 64)).astype(np.float32)
semidiscrete.solve(x[:1000], y[:1000])
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
solution = semidiscrete.solve(x, y)
assert len(np.unique(solution.assignment)) == 20_000
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_twenty_thousand_points_take_a_quarter_of_their_matrix():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) < 400  # MiB; float32 distances of all pairs are 1,526
