"""Compiled functions that may be called from a `tf.py_function`.

A `tf.py_function` holds a thread of TensorFlow's pool ("inter-op") as long as it runs, and a `tf.function` that it
calls waits for another one: on one core, or with as many callers as threads, for ever. So one thread is always left to
the pool: a caller that would hold the last runs operations one by one, which takes no thread but its own, and longer.
"""

import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["compiled", "from_py_function", "one_by_one"]

_runs_one_by_one = contextvars.ContextVar("_runs_one_by_one", default=False)
_one_semaphore = threading.Lock()


def compiled(*signature: Any) -> Callable[[Callable], Callable]:
    """Returns a decorator as `tf.function`, for functions of arguments of this signature; none is for any tensors."""

    def decorate(function: Callable) -> Callable:
        graph = tf.function(function, input_signature=signature or None, autograph=False, reduce_retracing=True)

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            if not _runs_one_by_one.get():
                return graph(*arguments)
            return function(*(tf.nest.map_structure(_as_tensor, signature, arguments) if signature else arguments))

        return call

    return decorate


def _as_tensor(spec: tf.TensorSpec, value: Any) -> Tensor:
    return tf.convert_to_tensor(value, spec.dtype)


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """In it, on this thread, `compiled` functions run operation by operation."""
    token = _runs_one_by_one.set(True)
    try:
        yield
    finally:
        _runs_one_by_one.reset(token)


@contextlib.contextmanager
def from_py_function() -> Iterator[None]:
    """In it `compiled` functions may be called where a thread of the pool is held; one by one, if it is the last."""
    with _one_semaphore:  # for callers that are the first at once, too
        spare = _spare_threads()
    if not spare.acquire(blocking=False):
        with one_by_one():
            yield
        return
    try:
        yield
    finally:
        spare.release()


@functools.cache
def _spare_threads() -> threading.Semaphore:
    """Returns as many permits as threads of the pool may be held at once."""
    asked = tf.config.threading.get_inter_op_parallelism_threads() or int(os.environ.get("TF_NUM_INTEROP_THREADS") or 0)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return threading.Semaphore(max(0, (asked or cores) - 1))
