"""Checks of arguments that parts of every kind share: Python's numbers and NumPy's are one, a bool or string is none.

What passes is returned as Python has it, so that a configuration is JSON. What does not is a ValueError.
"""

import math
from collections.abc import Sequence

import numpy as np

__all__ = [
    "check_between",
    "check_choice",
    "check_number",
    "check_positive",
    "check_positive_number",
    "check_whole",
    "check_widths",
]


def check_whole(name: str, value: int, least: int) -> int:
    """Returns `value` as an int, or raises ValueError unless it is a whole number of at least `least`."""
    if not _is_whole(value) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}. Received: {value!r}")
    return int(value)


def check_positive(name: str, value: int) -> int:
    """Returns `value` as an int, or raises ValueError unless it is a whole number of at least 1."""
    return check_whole(name, value, 1)


def check_widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Returns `widths` as ints, or raises ValueError unless they are whole numbers of at least 1, and not none."""
    known = tuple(widths) if isinstance(widths, (Sequence, np.ndarray)) else ()
    if not known or not all(_is_whole(width) and width >= 1 for width in known):
        raise ValueError(f"{name} must be one or more whole numbers, each of at least 1. Received: {widths!r}")
    return tuple(int(width) for width in known)


def check_positive_number(name: str, value: float) -> float:
    """Returns `value` as a float, or raises ValueError unless it is a finite number above 0."""
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{name} must be a positive number. Received: {value!r}")
    return float(value)


def check_number(name: str, value: float, least: float, most: float = math.inf) -> float:
    """Returns `value` as a float, or raises ValueError unless it is a finite number from `least` to `most`."""
    if not _is_number(value) or not least <= value <= most:
        wanted = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be a number {wanted}. Received: {value!r}")
    return float(value)


def check_between(name: str, value: float, low: float, high: float) -> float:
    """Returns `value` as a float, or raises ValueError unless it is a number strictly between `low` and `high`."""
    if not _is_number(value) or not low < value < high:
        raise ValueError(f"{name} must be a number strictly between {low:g} and {high:g}. Received: {value!r}")
    return float(value)


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Returns `value`, or raises ValueError unless it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}. Received: {value!r}")
    return str(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, (float, np.floating)) and math.isfinite(value))
