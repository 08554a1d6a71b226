"""The law of a Riemannian Brownian motion: what a Gaussian is in a flat space.

`sample` runs the motion from `loc` (`tfzoo.integrators.riemannian_brownian`); `log_prob` is the heat kernel of a short
duration t, with the geodesic distance l between z and `loc`, in D dimensions,

    log p(z) = -D/2 log(2 pi t) + log H0 - l^2 / (2 t)           [ + 1/2 log det G(z) ]

a density of the Riemannian volume sqrt(det G) dz or, with the last term, of dz itself. H0 is one of

    "one"        1, the right order of t^0 near `loc`
    "van_vleck"  Delta^1/2, the Van Vleck-Morette determinant: the right order of t^0 anywhere before the cut locus,
                 Delta = det(-d^2 (l^2 / 2) / d loc dz) / sqrt(det G(loc) det G(z))
    "paper"      see below

so it integrates to 1 up to terms of the order of t times the curvature: a bound made with it is a bound up to these. On
a flat manifold, where G is constant in some chart, "one" and "van_vleck" are exact.

`log_prob` costs a geodesic for each point, "van_vleck" 2 D of them more, where `squared_distance_fn` has no closed
form; `sample` costs `num_steps` metrics with their derivatives.

Where the metric is singular there is no density and no motion: in eager code both say so, in graphs they are NaN. A
`jitter` makes such metrics regular, `tfzoo.math.metric_tensors`.

Deviations from the paper:
  - its H0 = (det G(z) / det G(loc))^1/2 is neither density: it is the one of dz over sqrt(det G(loc)), depends on the
    chart, and integrates to det G(loc)^(-1/2) (test_distributions_brownian.py). `h0="paper"` has it; in the measure
    "lebesgue" it is the printed formula;
  - its motion has no drift, see the integrator: `drift=False`.

References:
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
  Hsu, "Stochastic Analysis on Manifolds", 2002, theorem 5.1.1 (the kernel)
  Poisson, Pound, Vega, "The Motion of Point Particles in Curved Spacetime", https://arxiv.org/abs/1102.0529, section 7
    (the Van Vleck determinant)
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfzoo import random
from tfzoo.checks import check_choice, check_positive
from tfzoo.compiled import Compiled
from tfzoo.geometry import geodesic
from tfzoo.geometry.metric import evaluate, log_volume
from tfzoo.integrators import riemannian_brownian
from tfzoo.integrators.arguments import as_positive
from tfzoo.math.metric_tensors import MetricFn, check_jitter, cholesky, lifted
from tfzoo.types import Seed, Tensor, TensorLike

__all__ = ["RiemannianBrownian", "check_h0", "check_motion"]

_H0 = ("one", "van_vleck", "paper")
_MEASURES = ("lebesgue", "riemannian")
# Of central differences, in units of the motion's own width: their error is 1e-4 of it, rounding's less in float32 too.
_STEP = 0.02


class RiemannianBrownian(tfd.Distribution):
    """Where a Brownian motion on a manifold is after some time, in a chart of D coordinates.

    Example, of a decoder that makes a manifold of its latent space::

        law = tfzoo.distributions.RiemannianBrownian(tf.zeros([2]), 0.5, embedding_fn=decoder)
        z = law.sample(100, seed=0)
        log_prob = law.log_prob(z)

    The geometry is one of these:
      - `embedding_fn`, a decoder, whose pull-back metric it is;
      - `metric_fn`, any metric;
      - `metric`, one constant matrix: the law is then the Gaussian N(loc, duration metric^-1) exactly.

    Args:
      loc: where the motion starts, ``[..., D]``.
      duration: t, positive, ``[...]``.
      metric: a symmetric positive definite matrix ``[D, D]``.
      metric_fn: positions ``[N, D]`` to metrics ``[N, D, D]``, traced once. Beside `embedding_fn` it is the metric of
        samples and volumes, and distances are the embedding's.
      embedding_fn: positions ``[N, D]`` to outputs, see `tfzoo.geometry.metric.pullback`. Another output, a small
        multiple of z, makes a singular metric regular, in distances too.
      squared_distance_fn: two batches of positions ``[..., D]`` to squared geodesic distances ``[...]``; None finds
        geodesics by `tfzoo.geometry.geodesic`.
      h0: "one", "van_vleck" or "paper". Gradients take "van_vleck" as a constant.
      measure: what `log_prob` is a density of: "lebesgue", dz, or "riemannian", sqrt(det G) dz.
      jitter: times (1 + the sum of the eigenvalues) is added to the diagonal of the metric of samples and volumes;
        distances go without it. 1e-5 keeps float32 positive definite.
      drift: False leaves the Laplace-Beltrami drift out of `sample`, as the paper does.
      num_steps: of `sample`.
      validate_args: of `tfd.Distribution`.
      allow_nan_stats: of `tfd.Distribution`.
      name: of the operations.

    Raises:
      ValueError: if an argument is out of its range, there is not one geometry, or `metric` is singular.
    """

    def __init__(
        self,
        loc: TensorLike,
        duration: TensorLike,
        *,
        metric: TensorLike | None = None,
        metric_fn: MetricFn | None = None,
        embedding_fn: Callable[[Tensor], Any] | None = None,
        squared_distance_fn: Callable[[Tensor, Tensor], Tensor] | None = None,
        h0: str = "one",
        measure: str = "lebesgue",
        jitter: float = 0.0,
        drift: bool = True,
        num_steps: int = 100,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "RiemannianBrownian",
    ) -> None:
        parameters = dict(locals())
        check_h0(h0)
        check_choice("measure", measure, _MEASURES)
        if (metric is None) == (metric_fn is None and embedding_fn is None):
            given = "none" if metric is None else "metric and a function"
            raise ValueError(f"one of metric, metric_fn and embedding_fn must be the geometry. Received: {given}")
        check_positive("num_steps", num_steps)
        self._jitter = check_jitter(jitter)
        with tf.name_scope(name) as name:
            # Variables stay what they are, for gradients.
            self._loc = loc if isinstance(loc, tf.Variable) else tf.convert_to_tensor(loc)
            if not self._loc.dtype.is_floating or not self._loc.shape.rank or self._loc.shape[-1] is None:
                raise ValueError(
                    f"loc must be floating point [..., D]. Received: {self._loc.dtype.name} {self._loc.shape}"
                )
            self._duration = duration
            if not isinstance(duration, tf.Variable):
                self._duration = as_positive("duration", duration, self._loc.dtype, shape=None)
            _check_batches(self._loc.shape[:-1], tf.TensorShape(self._duration.shape))
            self._metric = None if metric is None else _constant_metric(metric, self._loc, self._jitter)
            self._metric_fn = metric_fn
            self._embedding_fn = embedding_fn
            self._squared_distance_fn = squared_distance_fn
            self._h0, self._measure, self._drift, self._num_steps = h0, measure, drift, num_steps
            self._compiled_motion = Compiled(self._motion)
            super().__init__(
                dtype=self._loc.dtype,
                reparameterization_type=tfd.FULLY_REPARAMETERIZED,
                validate_args=validate_args,
                allow_nan_stats=allow_nan_stats,
                parameters=parameters,
                name=name,
            )

    def _parameter_control_dependencies(self, is_init: bool) -> list:
        if not self.validate_args or is_init == isinstance(self._duration, tf.Variable):
            return []
        return [tf.debugging.assert_positive(self._duration, message="duration must be positive. Received: another")]

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict:
        properties = tfp.util.ParameterProperties
        return {
            "loc": properties(event_ndims=1),
            "duration": properties(default_constraining_bijector_fn=lambda: tfp.bijectors.Softplus()),
        }

    @property
    def loc(self) -> Tensor:
        """Where the motion starts, ``[..., D]``."""
        return self._loc

    @property
    def duration(self) -> Tensor:
        """How long it goes, ``[...]``."""
        return self._duration

    @property
    def drift(self) -> bool:
        """Whether the motion has the Laplace-Beltrami drift."""
        return self._drift

    def metric(self, z: TensorLike) -> Tensor:
        """Returns the metric ``[..., D, D]`` at `z` ``[..., D]``, with its jitter."""
        z = self._as_points(z)
        if self._metric is not None:
            return tf.broadcast_to(self._metric, tf.concat([tf.shape(z), tf.shape(z)[-1:]], 0))
        embedding_fn = self._embedding_fn if self._metric_fn is None else None
        return evaluate(embedding_fn, self._metric_fn, z, self._jitter)

    def squared_distance(self, z: TensorLike) -> Tensor:
        """Returns the squared geodesic distance of `z` ``[..., D]`` from `loc`, ``[...]``."""
        return self._squared_distance(tf.convert_to_tensor(self._loc), self._as_points(z))

    def _as_points(self, z: TensorLike) -> Tensor:
        z, size = tf.convert_to_tensor(z, self.dtype), self._loc.shape[-1]
        if z.shape.rank == 0 or not z.shape[-1:].is_compatible_with([size]):
            raise ValueError(f"z must have the shape [..., {size}]. Received: shape {z.shape}")
        return z

    def _squared_distance(self, start: Tensor, z: Tensor) -> Tensor:
        start, z = _broadcast(start, z)
        if self._metric is not None:
            return tf.reduce_sum((z - start) * tf.linalg.matvec(self._metric, z - start), axis=-1)
        if self._squared_distance_fn is not None:
            return self._squared_distance_fn(start, z)
        metric_fn = self._metric_fn if self._embedding_fn is None else None
        return geodesic.squared_distance(self._embedding_fn, start, z, metric_fn=metric_fn)

    def _event_shape(self) -> tf.TensorShape:
        return self._loc.shape[-1:]

    def _event_shape_tensor(self) -> Tensor:
        return tf.constant([self._loc.shape[-1]], tf.int32)

    # === Density ===

    def _log_prob(self, z: Tensor) -> Tensor:
        z = self._as_points(z)
        start, t = tf.convert_to_tensor(self._loc), tf.convert_to_tensor(self._duration)
        log_prob = -0.5 * self._loc.shape[-1] * tf.math.log(2.0 * math.pi * t)
        log_prob -= self._squared_distance(start, z) / (2.0 * t)
        if self._h0 == "van_vleck" and self._metric is None:
            log_prob += 0.5 * self._log_van_vleck(start, z, t)
        if self._h0 == "paper":
            log_prob -= log_volume(self.metric(start))
        return log_prob + log_volume(self.metric(z)) if self._measure == "lebesgue" else log_prob

    def _log_van_vleck(self, start: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """Returns log Delta ``[...]``."""
        size = z.shape[-1]
        start, z = (tf.stop_gradient(each) for each in _broadcast(start, z, tf.stop_gradient(t[..., tf.newaxis])))
        metric = self.metric(start)
        # In each coordinate a part of the width that the motion has there.
        steps = _STEP * tf.sqrt(t[..., tf.newaxis] / tf.linalg.diag_part(metric))
        moves = tf.linalg.diag(steps)  # [..., D, D]
        starts = start[..., tf.newaxis, :] + tf.stack([moves, -moves])  # [2, ..., D, D]: ends, coordinates
        ends = tf.broadcast_to(z[..., tf.newaxis, :], tf.shape(starts))
        with tf.GradientTape() as tape:
            tape.watch(ends)
            half_squares = 0.5 * self._squared_distance(starts, ends)
        forward, backward = tf.unstack(tape.gradient(half_squares, ends))
        mixed = (backward - forward) / (2.0 * steps[..., tf.newaxis])
        # By QR, which XLA has; the sign is not looked at: no conjugate point is on the way of a shortest geodesic.
        triangle = tf.linalg.qr(tf.ensure_shape(mixed, [*z.shape, size])).r
        log_det = tf.reduce_sum(tf.math.log(tf.abs(tf.linalg.diag_part(triangle))), axis=-1)
        return tf.stop_gradient(log_det - log_volume(metric) - log_volume(self.metric(z)))

    # === Samples ===

    def _sample_n(self, n: int | Tensor, seed: Seed = None) -> Tensor:
        return self._walk([n], random.as_seed(seed))

    def sample_each(self, num_samples: int | Tensor, seed: Tensor) -> Tensor:
        """Returns ``[S, B, D]`` by one seed for each of B examples ``[B, 2]``, each by its own only."""
        if self.batch_shape.rank == 0:
            return self._walk([num_samples, tf.shape(seed)[0] if seed.shape[0] is None else seed.shape[0]], seed)
        return self._walk([num_samples], seed)

    def _walk(self, sizes: list[int | Tensor], seed: Tensor) -> Tensor:
        loc, t = tf.convert_to_tensor(self._loc), tf.convert_to_tensor(self._duration)
        shape = tf.concat([tf.stack(sizes), self.batch_shape_tensor(), tf.shape(loc)[-1:]], 0)
        static = [None if tf.is_tensor(size) else size for size in sizes]
        start = tf.ensure_shape(tf.broadcast_to(loc, shape), [*static, *self.batch_shape, *self.event_shape])
        run = self._compiled_motion if self._metric is None else self._motion
        ends = run(start, tf.broadcast_to(t, tf.shape(start)[:-1]), seed=seed)
        return check_motion(ends) if tf.executing_eagerly() else ends

    def _motion(self, start: Tensor, t: Tensor, *, seed: Tensor) -> Tensor:
        """Returns where motions from `start` ``[..., D]`` are; NaN where they meet a singular metric."""
        # On a constant metric a single step is exact.
        flat = self._metric is not None
        state = riemannian_brownian.integrate(
            riemannian_brownian.init(start),
            self.metric,
            duration=t,
            num_steps=1 if flat else self._num_steps,
            drift=self._drift and not flat,
            seed=seed,
        )
        return tf.where(state.is_finite[..., tf.newaxis], state.position, tf.constant(math.nan, start.dtype))


def check_h0(h0: str) -> str:
    """Returns `h0`, or raises ValueError unless it is a name of the kernel's factor."""
    return check_choice("h0", h0, _H0)


def check_motion(z: Tensor) -> Tensor:
    """Returns the ends `z` ``[..., D]`` of motions, or raises ValueError if any has failed and is NaN."""
    failed = np.any(np.isnan(z.numpy()), axis=-1)
    if np.any(failed):
        raise ValueError(
            "a Brownian motion needs a metric that is positive definite wherever it goes: where a decoder flattens a "
            "direction, give its metric a jitter. "
            f"Received: {np.sum(failed)} motions of {failed.size} that met another, or left for infinity"
        )
    return z


def _broadcast(first: Tensor, second: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two batches of positions of one shape, the one that they and `others` broadcast to."""
    everything = (first, second, *others)
    shape = functools.reduce(tf.broadcast_dynamic_shape, [tf.shape(each) for each in everything])
    static = functools.reduce(tf.broadcast_static_shape, [each.shape for each in everything])
    first, second = (tf.ensure_shape(tf.broadcast_to(each, shape), static) for each in (first, second))
    return first, second


def _check_batches(loc: tf.TensorShape, duration: tf.TensorShape) -> None:
    try:
        tf.broadcast_static_shape(loc, duration)
    except ValueError:
        raise ValueError(f"duration must broadcast with the batch {loc} of loc. Received: shape {duration}") from None


def _constant_metric(metric: TensorLike, loc: Tensor, jitter: float) -> Tensor:
    metric, size = tf.convert_to_tensor(metric, loc.dtype), loc.shape[-1]
    if not metric.shape.is_compatible_with([size, size]):
        raise ValueError(f"metric must be a matrix [{size}, {size}]. Received: shape {metric.shape}")
    known = tf.get_static_value(metric)
    if known is not None and not np.allclose(known, known.T, rtol=1e-4, atol=1e-4 * np.max(np.abs(known))):
        raise ValueError(f"metric must be symmetric. Received: {known.tolist()}")
    metric = lifted(metric, jitter)
    cholesky(metric)  # says in eager code if it is singular
    return metric


@tfd.RegisterKL(RiemannianBrownian, RiemannianBrownian)
def _kl(a: RiemannianBrownian, b: RiemannianBrownian, name: str | None = None) -> Tensor:
    """Returns KL(a || b) ``[...]`` of two laws on constant metrics, which are Gaussians.

    Raises:
      NotImplementedError: for curved ones, where it has no closed form.
    """
    if a._metric is None or b._metric is None:
        raise NotImplementedError(
            "KL of Brownian motions has a closed form on constant metrics only: average a.log_prob(z) - b.log_prob(z) "
            "over samples of a, both in the same measure"
        )
    with tf.name_scope(name or "kl_brownian"):
        size = a.event_shape[-1]
        ratio = tf.convert_to_tensor(a.duration) / tf.convert_to_tensor(b.duration)
        trace = tf.linalg.trace(tf.linalg.solve(a._metric, b._metric)) * ratio
        shift = b._squared_distance(tf.convert_to_tensor(b.loc), tf.convert_to_tensor(a.loc)) / b.duration
        log_det = size * tf.math.log(ratio) + 2.0 * (log_volume(b._metric) - log_volume(a._metric))
        return 0.5 * (trace + shift - size - log_det)
