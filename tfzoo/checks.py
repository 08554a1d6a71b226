"""Checks of arguments that parts of every kind share."""

import numpy as np

__all__ = ["check_positive"]


def check_positive(name: str, value: int) -> int:
    """Returns `value` as an int, or raises ValueError unless it is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1. Received: {value!r}")
    return int(value)
