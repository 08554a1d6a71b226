"""The metric that a decoder f gives to its latent space, and what follows from it.

    G(z) = J(z)' J(z),   J = df / dz                                       the pull-back of the distance between images
    Gamma^i_jk = 1/2 G^il (d_j G_lk + d_k G_lj - d_l G_jk)                 Christoffel symbols
    sqrt(det G(z)) dz                                                      the volume that images of dz have

With a mean and a scale as outputs, G = J_mean' J_mean + J_scale' J_scale: the expected metric of a Gaussian decoder.

`pullback` costs D passes through the decoder (or M, where it has fewer outputs M than inputs D) and one evaluation;
G v costs three passes for any D. The Christoffel symbols differentiate the metric D times.

Where the decoder flattens a direction, or has D > M, G is singular: it has no inverse, and the volume is 0. `inverse`,
`log_volume` and `christoffel` then say so. `jitter=` of `pullback` adds ``jitter (1 + trace(G))`` to the diagonal
of G: in part in proportion to G, since far from the data float32 rounds the small eigenvalues of a huge metric to
anything, negative numbers included.

Deviations from the paper of the Riemannian VAE:
  The metric is that of the decoder, as in its authors' code; the paper says "derived from the encoder"
  (test_geometry_metric.py: equals the Jacobian by its transpose).

References:
  Arvanitidis, Hansen, Hauberg, "Latent Space Oddity: on the Curvature of Deep Generative Models",
    https://arxiv.org/abs/1710.11379
  Kalatzis, Eklund, Arvanitidis, Hauberg, "Variational Autoencoders with Riemannian Brownian Motion Priors",
    https://arxiv.org/abs/2002.05227
"""

from collections.abc import Sequence

import tensorflow as tf

from tfzoo.geometry.arguments import EmbeddingFn, as_points, check_functions
from tfzoo.math.jacobians import directional_derivative, value_and_jacobian
from tfzoo.math.metric_tensors import MetricFn, check_jitter, check_metric, cholesky, lifted, log_volume
from tfzoo.types import Tensor, TensorLike

__all__ = ["christoffel", "evaluate", "gram", "inverse", "log_volume", "metric_vector_product", "pullback"]


def pullback(embedding_fn: EmbeddingFn, z: TensorLike, *, jitter: float = 0.0) -> Tensor:
    """Returns the metric ``[..., D, D]`` of latent space at `z` ``[..., D]``.

    Args:
      embedding_fn: the decoder, any Keras layer or function: points ``[N, D]`` to outputs ``[N, ...]``, each of its own
        point only, or a tuple of such outputs, such as a mean and a scale, whose metrics add.
      z: points.
      jitter: times (1 + the sum of the eigenvalues) is added to the diagonal; 1e-5 keeps float32 positive definite.

    Raises:
      ValueError: if `z` is no batch of points, `embedding_fn` returns something else, or `jitter` is negative.
    """
    z, jitter = as_points("z", z), check_jitter(jitter)
    size = z.shape[-1]
    _, jacobians = value_and_jacobian(embedding_fn, tf.reshape(z, [-1, size]))
    return tf.reshape(gram(jacobians, jitter), tf.concat([tf.shape(z), [size]], 0))


def gram(jacobians: Sequence[Tensor], jitter: float) -> Tensor:
    """Returns the metric ``[N, D, D]`` of `jacobians` ``[N, D, M]`` of one output each; `jitter` as in `pullback`."""
    return lifted(tf.add_n([tf.matmul(jacobian, jacobian, transpose_b=True) for jacobian in jacobians]), jitter)


def evaluate(
    embedding_fn: EmbeddingFn | None, metric_fn: MetricFn | None, z: TensorLike, jitter: float = 0.0
) -> Tensor:
    """Returns the metric ``[..., D, D]`` at `z` ``[..., D]`` by whichever function is given; else as `pullback`."""
    check_functions(embedding_fn, metric_fn)
    if embedding_fn is not None:
        return pullback(embedding_fn, z, jitter=jitter)
    assert metric_fn is not None
    z, jitter = as_points("z", z), check_jitter(jitter)
    size = z.shape[-1]
    points = tf.reshape(z, [-1, size])
    metric = lifted(check_metric(metric_fn(points), points), jitter)
    return tf.reshape(metric, tf.concat([tf.shape(z), [size]], 0))


def metric_vector_product(embedding_fn: EmbeddingFn, z: TensorLike, vector: TensorLike) -> Tensor:
    """Returns G(z) v ``[..., D]`` for `vector` v ``[..., D]`` without the Jacobian: one pass forward, one back.

    Arguments and errors as `pullback`.
    """
    z = as_points("z", z)
    vector = as_points("vector", vector, like=z)
    points = tf.reshape(z, [-1, z.shape[-1]])
    with tf.GradientTape() as tape:
        tape.watch(points)
        values, tangents = directional_derivative(embedding_fn, points, tf.reshape(vector, tf.shape(points)))
    zero = tf.UnconnectedGradients.ZERO
    return tf.reshape(tape.gradient(values, points, tangents, unconnected_gradients=zero), tf.shape(z))


def inverse(metric: TensorLike) -> Tensor:
    """Returns G^-1 ``[..., D, D]`` of metrics G ``[..., D, D]``; errors as `log_volume`."""
    factor = cholesky(metric)
    unit = tf.eye(factor.shape[-1], batch_shape=tf.shape(factor)[:-2], dtype=factor.dtype)
    return tf.linalg.cholesky_solve(factor, unit)


def christoffel(metric_fn: MetricFn, z: TensorLike) -> Tensor:
    """Returns the Christoffel symbols Gamma^i_jk at `z` ``[..., D]``, as ``[..., i, j, k]``, ``[..., D, D, D]``.

    Args:
      metric_fn: points ``[N, D]`` to metrics ``[N, D, D]``, such as ``lambda z: pullback(decoder, z)``.
      z: points.

    Raises:
      ValueError: if `z` is no batch of points, `metric_fn` returns another shape, or as `log_volume`.
    """
    z = as_points("z", z)
    size = z.shape[-1]
    metric, lowered = lowered_christoffel(metric_fn, tf.reshape(z, [-1, size]))
    raised = tf.linalg.cholesky_solve(cholesky(metric), tf.reshape(lowered, [-1, size, size * size]))
    return tf.reshape(raised, tf.concat([tf.shape(z), [size, size]], 0))


def lowered_christoffel(metric_fn: MetricFn, points: Tensor) -> tuple[Tensor, Tensor]:
    """Returns metrics ``[N, D, D]`` at `points` ``[N, D]``, and the symbols of the first kind Gamma_ljk there."""
    size = points.shape[-1]
    (metric,), (derivatives,) = value_and_jacobian(lambda points: check_metric(metric_fn(points), points), points)
    metric = tf.reshape(metric, [-1, size, size])
    derivatives = tf.reshape(derivatives, [-1, size, size, size])  # [N, j, l, k]: by z_j, of G_lk
    by_j = tf.transpose(derivatives, [0, 2, 1, 3])
    by_k = tf.transpose(derivatives, [0, 2, 3, 1])
    return metric, 0.5 * (by_j + by_k - derivatives)
