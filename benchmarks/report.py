"""What a benchmark prints, and the machine and the peer it met."""

import importlib.util
import os
import pathlib
import platform
import shutil
import subprocess
import sys

__all__ = ["MALLOC", "judged", "machine", "print_table", "pythae_is_there"]

# Both sides at their best: glibc keeps large activations instead of giving them back to the system at each step.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "536870912",
}


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Prints a table that can be pasted into a README."""
    print(f"\n{title}\n")
    lines = [header, ["---"] * len(header), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        print("| " + " | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) + " |")


def judged(ratio: list[float], target: float, *, at_most: bool) -> list[str]:
    """Returns the cells of a ratio: with its quartiles, the target, and whether it is met."""
    met = ratio[1] <= target if at_most else ratio[1] >= target
    sign = "<=" if at_most else ">="
    return [f"{ratio[1]:.2f} [{ratio[0]:.2f}, {ratio[2]:.2f}]", f"{sign} {target:.2f} {'met' if met else 'MISSED'}"]


def machine() -> dict:
    """Returns what the figures were measured on."""
    model = platform.processor() or platform.machine()
    if pathlib.Path("/proc/cpuinfo").exists():
        names = [
            line for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n") if line.startswith("model name")
        ]
        model = names[0].split(":")[1].strip() if names else model
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


def pythae_is_there(python: str) -> bool:
    """Returns whether that interpreter has pythae and torch."""
    if python == sys.executable:
        return all(importlib.util.find_spec(name) is not None for name in ("pythae", "torch"))
    return (
        shutil.which(python) is not None
        and not subprocess.run([python, "-c", "import pythae, torch"], capture_output=True, check=False).returncode
    )
