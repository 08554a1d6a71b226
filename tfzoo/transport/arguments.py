"""Checks of what users hand to the solvers."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.types import TensorLike

__all__ = ["as_candidates", "as_masses", "as_points", "as_potentials", "check_tolerance"]


def _as_array(name: str, value: TensorLike) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers. Received: {type(value).__name__}") from error
    if array.dtype.kind not in "fiu" and array.dtype != tf.bfloat16.as_numpy_dtype:
        raise ValueError(f"{name} must hold real numbers. Received: dtype {array.dtype}")
    return array


_FARTHEST = 1e150


def _check_finite(name: str, array: np.ndarray) -> np.ndarray:
    if not np.all(np.isfinite(array.astype(np.float64))):
        raise ValueError(f"{name} must be finite. Received: {np.sum(~np.isfinite(array))} values that are not")
    return array


def as_points(source: TensorLike, target: TensorLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns both sets of points as arrays ``[N, D]`` and ``[M, D]``.

    Raises:
      ValueError: for none, another rank, different dimensions, or what is no finite real number.
    """
    points = {"source": _as_array("source", source), "target": _as_array("target", target)}
    for name, array in points.items():
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{name} must be points [N, D], at least one. Received: shape {array.shape}")
        _check_finite(name, array)
        if np.abs(array.astype(np.float64)).max() > _FARTHEST:
            raise ValueError(f"{name} must be within {_FARTHEST:g}, whose squares are finite. Received: points beyond")
    if points["source"].shape[1] != points["target"].shape[1]:
        raise ValueError(
            "source and target must have the same dimension. "
            f"Received: shapes {points['source'].shape} and {points['target'].shape}"
        )
    return points["source"], points["target"]


def as_masses(masses: Any, num_rows: int, num_targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the masses of source and target points, float64, each of sum 1; equal ones where none are given.

    Raises:
      ValueError: for other shapes, negative masses, or a sum that is not 1.
    """
    pair = masses if isinstance(masses, tuple) else (None, masses)
    if len(pair) != 2:
        raise ValueError(f"masses must be the target's, or a pair (source's, target's). Received: {len(pair)} of them")
    checked = []
    for name, given, size in zip(("source", "target"), pair, (num_rows, num_targets), strict=True):
        if given is None:
            checked.append(np.full(size, 1.0 / size))
            continue
        array = _check_finite("masses", _as_array("masses", given)).astype(np.float64)
        if array.shape != (size,):
            raise ValueError(f"masses of the {name} must have the shape [{size}]. Received: shape {array.shape}")
        if np.any(array < 0) or abs(array.sum() - 1.0) > 1e-4:
            raise ValueError(
                f"masses must not be negative, and sum to 1. Received: least {array.min():g}, sum {array.sum():g}"
            )
        checked.append(array / array.sum())
    return checked[0], checked[1]


def as_potentials(potentials: TensorLike, num_targets: int) -> np.ndarray:
    """Returns potentials as an array ``[M]``, float64.

    Raises:
      ValueError: for another shape, or what is no finite real number.
    """
    array = _check_finite("initial_potentials", _as_array("initial_potentials", potentials)).astype(np.float64)
    if array.shape != (num_targets,):
        raise ValueError(f"initial_potentials must have the shape [{num_targets}]. Received: shape {array.shape}")
    return array


def as_candidates(candidates: TensorLike, num_rows: int, num_targets: int) -> np.ndarray | None:
    """Returns candidates as an array ``[N, K]``, int32; None for fewer than two a row, from which nobody can choose.

    Raises:
      ValueError: for another shape, or what is no target's number.
    """
    array = _as_array("initial_candidates", candidates)
    if array.dtype.kind not in "iu" or array.ndim != 2 or len(array) != num_rows or array.shape[1] > num_targets:
        raise ValueError(
            f"initial_candidates must be integers [{num_rows}, K], K at most {num_targets}. "
            f"Received: {array.dtype}, shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() >= num_targets):
        raise ValueError(
            f"initial_candidates must be in [0, {num_targets}). Received: values from {array.min()} to {array.max()}"
        )
    return array.astype(np.int32) if array.shape[1] > 1 else None


def check_tolerance(tolerance: Any) -> float:
    """Returns `tolerance`, or raises ValueError unless it is a positive finite number."""
    number = isinstance(tolerance, (int, float, np.integer, np.floating)) and not isinstance(tolerance, bool)
    if not number or not np.isfinite(tolerance) or tolerance <= 0:
        raise ValueError(f"tolerance must be a positive number. Received: {tolerance!r}")
    return float(tolerance)
