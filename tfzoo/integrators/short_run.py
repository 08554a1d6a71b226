"""Short-run Langevin dynamics: a fixed, small number of steps of unadjusted Langevin, without accept or reject.

For a log density log p, step size s and temperature T, a step is

    position' = position + (s^2 / 2) grad log p(position) + s sqrt(T) noise

so s is the deviation of the noise at T = 1; without noise it is gradient ascent with the rate s^2 / 2. Nothing corrects
for the finite step or the finite number of steps: on a Gaussian of precision c the stationary variance is
1 / (c (1 - s^2 c / 4)), and after K steps from a variance v_0 it is the recursion v' = (1 - s^2 c / 2)^2 v + s^2.

A chain diverges where a step would take it beyond reach or where its log density is not finite; it stays at its last
sound position and is marked.

References:
  Nijkamp et al., "Learning Non-Convergent Non-Persistent Short-Run MCMC Toward Energy-Based Model",
    https://arxiv.org/abs/1904.09770
  An, Xie, Li, "Learning Deep Latent Variable Models by Short-Run MCMC Inference with Optimal Transport Correction",
    CVPR 2021, eq. 7 (its step size s is this one)
  Nijkamp et al., "Learning Multi-layer Latent Variable Model via Variational Optimization of Short Run MCMC for
    Approximate Inference", https://arxiv.org/abs/1912.01909 (of the same convention)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.integrators.arguments import as_non_negative, as_step_sizes, check_num_steps, step_size_at
from tfzoo.integrators.phase_space import within_reach
from tfzoo.math import repeat, value_and_gradient
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["State", "init", "integrate", "step"]

_BLOCK = 64  # steps whose noise is drawn at once


class State(NamedTuple):
    """Positions of chains.

    Attributes:
      position: ``[..., D]``.
      is_finite: False for chains that have diverged and stand still since, bool ``[...]``.
      trace: the log density before each step of the last `integrate`, ``[K, ...]``; None where it was not asked for.
    """

    position: Tensor
    is_finite: Tensor
    trace: Tensor | None = None


def init(position: TensorLike) -> State:
    """Returns the state before the first step; chains that start beyond reach are marked, and rest at the origin.

    Args:
      position: ``[..., D]``, floating point.

    Raises:
      ValueError: for another dtype, or no dimension D.
    """
    position = tf.convert_to_tensor(position)
    if not position.dtype.is_floating or position.shape.rank == 0:
        raise ValueError(f"position must be floating point [..., D]. Received: {position.dtype.name} {position.shape}")
    sound = within_reach(position)
    return State(tf.where(sound[..., tf.newaxis], position, tf.zeros_like(position)), sound)


def step(
    state: State,
    log_prob_fn: Callable[..., Tensor],
    *,
    step_size: TensorLike,
    temperature: TensorLike | None = 1.0,
    seed: Seed = None,
) -> State:
    """Returns the state after one step; one gradient of `log_prob_fn`.

    Args:
      state: from `init` or an earlier step.
      log_prob_fn: positions ``[..., D]`` to log densities ``[...]``.
      step_size: s, a number or one per dimension ``[D]``.
      temperature: T of the noise; None for none.
      seed: of the noise: an int, a pair, or one per example; see `tfzoo.random.normal`.

    Raises:
      ValueError: for a step size or temperature that is negative or of a wrong shape, a `log_prob_fn` that returns the
        wrong shape, or noise without a seed.
    """
    s = as_step_sizes(step_size, state.position)
    amplitude, noise = _amplitude(temperature, state.position), None
    if amplitude is not None:
        noise = s * amplitude * _noise(state.position, _as_noise_seed(seed, state.position), 1)[0]
    return _step(state, log_prob_fn, 0.5 * tf.square(s), noise)[0]


def integrate(
    state: State,
    log_prob_fn: Callable[..., Tensor],
    *,
    step_size: TensorLike,
    num_steps: int,
    temperature: TensorLike | None = 1.0,
    seed: Seed = None,
    trace: bool = False,
    data: Sequence[Tensor] = (),
    chunk_size: int | None = None,
) -> State:
    """Returns the state after `num_steps` steps; `num_steps` gradients of `log_prob_fn`.

    Example::

        state = short_run.init(tf.random.normal([100, 64]))
        state = short_run.integrate(state, lambda z: model.log_joint(x, z), step_size=0.1, num_steps=20, seed=0)

    Args:
      state: from `init` or an earlier call.
      log_prob_fn: as in `step`; also of `data` where it is given: ``log_prob_fn(position, *data)``.
      step_size: as in `step`, or annealed: one per step ``[num_steps, 1]``, or step and dimension ``[num_steps, D]``.
      num_steps: K, from 0 on.
      temperature: as in `step`.
      seed: as in `step`. The noise of 64 steps is drawn at once, ``[64, ..., D]``.
      trace: keep the log density before each step.
      data: tensors with one row for each chain, such as images ``[B, H, W, C]``, for positions ``[B, D]``.
      chunk_size: so many chains go through all their steps before the next ones start, which bounds the memory of
        `log_prob_fn`; needs positions ``[B, D]``. With one seed for all, the noise depends on it. Not for XLA.

    Raises:
      ValueError: as `step`, or for chunks of positions that are not ``[B, D]``, or of data without a row for each.
    """
    steps = as_step_sizes(step_size, state.position, check_num_steps(num_steps))
    amplitude = _amplitude(temperature, state.position)
    seed = None if amplitude is None else _as_noise_seed(seed, state.position)

    def run(state: State, data: Sequence[Tensor], seed: Tensor | None) -> State:
        return _integrate(
            state,
            (lambda position: log_prob_fn(position, *data)) if data else log_prob_fn,
            steps,
            num_steps,
            amplitude,
            seed,
            trace,
        )

    if chunk_size is None:
        return run(state, data, seed)
    check_positive("chunk_size", chunk_size)
    if state.position.shape.rank != 2:
        raise ValueError(f"positions must be [B, D] where they go in chunks. Received: {state.position.shape}")
    known = state.position.shape[0]
    for each in data:
        if not each.shape[:1].is_compatible_with([known]):
            raise ValueError(f"data must have one row for each of {known} chains. Received: shape {each.shape}")
    if known is not None and known <= chunk_size:
        return run(state, data, seed)
    return _in_chunks(run, state, data, seed, chunk_size, num_steps if trace else None)


def _as_noise_seed(seed: Seed, position: Tensor) -> Tensor:
    if seed is None:
        raise ValueError("seed must be given where there is noise. Received: None")
    return random.as_seed(seed, position.shape[-2] if len(position.shape) > 1 else None)


def _amplitude(temperature: TensorLike | None, position: Tensor) -> Tensor | None:
    """Returns sqrt(T), ``[]``."""
    if temperature is None:
        return None
    return tf.sqrt(as_non_negative("temperature", temperature, position.dtype))


def _noise(position: Tensor, seed: Tensor, num_steps: int) -> Tensor:
    """Returns the noise of some steps, ``[num_steps, ..., D]``."""
    shape = tf.concat([[num_steps], tf.shape(position)], 0)
    return tf.ensure_shape(random.normal(shape, seed, position.dtype), [num_steps, *position.shape])


def _step(
    state: State, log_prob_fn: Callable[[Tensor], Tensor], rate: Tensor, noise: Tensor | None
) -> tuple[State, Tensor]:
    """Returns the next state, and the log density of the one before."""
    value, gradient = value_and_gradient(log_prob_fn, state.position)
    position = state.position + rate * gradient
    if noise is not None:
        position += noise
    going = state.is_finite & tf.math.is_finite(value) & within_reach(position)
    return State(tf.where(going[..., tf.newaxis], position, state.position), going), value


def _integrate(
    state: State,
    log_prob_fn: Callable[[Tensor], Tensor],
    steps: Tensor,
    num_steps: int,
    amplitude: Tensor | None,
    seed: Tensor | None,
    trace: bool,
) -> State:
    shape = state.position.shape[:-1]
    values = tf.TensorArray(state.position.dtype, size=num_steps if trace else 0, element_shape=shape)
    carried = (state.position, state.is_finite, values)
    rates = 0.5 * tf.square(steps)
    deviations = None if amplitude is None else steps * amplitude

    def block(carried: Any, first: Tensor | int, number: Tensor | int, size: int) -> Any:
        """Takes `size` steps, from the one numbered `first` on."""
        # At each step the noise would cost several times what the rest of a step does beside the gradient.
        noise = None if seed is None else _noise(carried[0], random.fold_in(seed, number), size)

        def body(k: Tensor, carried: Any) -> Any:
            position, is_finite, values = carried
            added = None if noise is None else step_size_at(deviations, first + k) * noise[k]
            state, value = _step(State(position, is_finite), log_prob_fn, step_size_at(rates, first + k), added)
            return state.position, state.is_finite, values.write(first + k, value) if trace else values

        return repeat(body, carried, size)

    whole, rest = divmod(num_steps, _BLOCK) if seed is not None else (0, num_steps)
    carried = repeat(lambda i, carried: block(carried, i * _BLOCK, i, _BLOCK), carried, whole)
    if rest:
        carried = block(carried, whole * _BLOCK, whole, rest)
    position, is_finite, values = carried
    return State(position, is_finite, values.stack() if trace else None)


def _in_chunks(
    run: Callable[[State, Sequence[Tensor], Tensor | None], State],
    state: State,
    data: Sequence[Tensor],
    seed: Tensor | None,
    size: int,
    num_traced: int | None,
) -> State:
    """Returns the state of all chains; the chains of a chunk go through all their steps before the next ones start."""
    count = tf.shape(state.position)[0]
    dim = state.position.shape[-1]
    num_chunks = (count + size - 1) // size
    parts = [  # rows first, so that chunks are joined by rows
        tf.TensorArray(state.position.dtype, num_chunks, element_shape=[None, dim], infer_shape=False),
        tf.TensorArray(tf.bool, num_chunks, element_shape=[None], infer_shape=False),
        tf.TensorArray(state.position.dtype, num_chunks, element_shape=[None, num_traced or 0], infer_shape=False),
    ]

    def body(i: Tensor, parts: list[tf.TensorArray]) -> tuple[Tensor, list[tf.TensorArray]]:
        rows = slice(i * size, (i + 1) * size)
        chunk_seed = seed
        if seed is not None:
            chunk_seed = seed[rows] if seed.shape.rank == 2 else random.fold_in(seed, i)
        end = run(State(state.position[rows], state.is_finite[rows]), [each[rows] for each in data], chunk_seed)
        traced = tf.zeros([tf.shape(end.position)[0], 0], end.position.dtype)
        if end.trace is not None:
            traced = tf.transpose(end.trace)
        ends = (end.position, end.is_finite, traced)
        return i + 1, [part.write(i, each) for part, each in zip(parts, ends, strict=True)]

    _, parts = tf.while_loop(lambda i, _: i < num_chunks, body, (tf.constant(0), parts), parallel_iterations=1)
    position, is_finite, traced = (part.concat() for part in parts)
    known = state.position.shape[0]
    return State(
        tf.ensure_shape(position, [known, dim]),
        tf.ensure_shape(is_finite, [known]),
        None if num_traced is None else tf.transpose(traced),
    )
