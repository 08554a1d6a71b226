"""Contestants in turns, rounds that other processes disturbed left out, ratios within a round.

A busy neighbour on the machine costs a parallel step more than its share, since each operation waits for its slowest
thread. Where /proc/stat tells (Linux), rounds in which other processes used more than a tenth of a core are repeated;
if too few are left, all rounds count and the table says so.
"""

import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable

from side import Side

__all__ = ["Load", "quartiles", "quiet_rounds", "ratios", "rounds_told"]

FOREIGN_LOAD = 0.1  # cores used by others, above which a round does not count


class Load:
    """Cores used by other processes between two calls, or None where the system does not tell."""

    def __init__(self, sides: Iterable[Side]) -> None:
        self._sides = list(sides)
        self._last = self._now()

    def _now(self) -> tuple[float, float | None]:
        try:
            ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        except OSError:
            return time.perf_counter(), None
        busy = sum(ticks) - ticks[3] - ticks[4]  # all but idle and waiting for a disk; stolen time included
        own = sum(side.ask("cpu") for side in self._sides) + time.process_time()
        return time.perf_counter(), busy / os.sysconf("SC_CLK_TCK") - own

    def since_last(self) -> float | None:
        """Returns the mean number of cores since the last call."""
        (start, before), (end, after) = self._last, self._now()
        self._last = end, after
        return None if before is None or after is None else max(0.0, after - before) / (end - start)


def quiet_rounds(run_round: Callable[[int], dict], load: Load, count: int, most: int) -> tuple[list[dict], dict]:
    """Runs rounds until `count` of them were undisturbed, at most `most`; returns those that count, and their tale."""
    rounds: list[tuple[float | None, dict]] = []
    quiet: list[dict] = []
    load.since_last()
    while len(quiet) < count and len(rounds) < most:
        result = run_round(len(rounds))
        foreign = load.since_last()
        rounds.append((foreign, result))
        if foreign is None or foreign <= FOREIGN_LOAD:
            quiet.append(result)
        print(f"\r  {len(quiet)} of {count} rounds, {len(rounds) - len(quiet)} disturbed ", end="", flush=True)
    print()
    enough = len(quiet) >= min(count, 5)
    told = {"rounds": len(rounds), "undisturbed": len(quiet), "all_count": not enough}
    told["foreign_load"] = [None if load is None else round(load, 3) for load, _ in rounds]
    return quiet if enough else [result for _, result in rounds], told


def quartiles(values: list[float]) -> list[float]:
    """Returns the lower quartile, the median and the upper quartile."""
    if len(values) < 2:
        return [values[0]] * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, middle, high]


def ratios(rounds: list[dict], numerator: str, denominator: str) -> list[float]:
    """Returns the quartiles of the ratio of two contestants over the rounds."""
    return quartiles([r[numerator] / r[denominator] for r in rounds])


def rounds_told(told: dict) -> str:
    """Says how many rounds count."""
    if told["all_count"]:
        return f"all {told['rounds']} rounds, most of them disturbed by other processes: run it on a quiet machine"
    return f"{told['undisturbed']} undisturbed rounds of {told['rounds']}"
