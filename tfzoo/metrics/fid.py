"""Frechet inception distance: how far two sets of images are apart in the features of a network.

    FID = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

is the squared 2-Wasserstein distance of the Gaussians with the features' means and covariances (unbiased, divisor
N - 1, as pytorch-fid). With factors C = L L', tr (C1 C2)^(1/2) is the sum of the singular values of L1' L2, that is of
the roots of the eigenvalues of the symmetric L1' C2 L1: always real, and exact for covariances without full rank,
where a matrix square root of C1 C2 is neither.

FID is biased upwards by fewer samples; compare only at equal numbers (the papers: 50,000 against the training set).
Moments cost O(N F^2), the distance O(F^3): about ten seconds for Inception's 2048 features, milliseconds for
`classifier`'s 128.

References:
  Heusel et al. 2017, GANs trained by a two time-scale update rule converge to a local Nash equilibrium,
  arXiv:1706.08500.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.feature_networks import (
    Network,
    answers_in_batches,
    feature_function,
    network_config,
    network_from_config,
)
from tfzoo.metrics.validation import as_array, as_batch, refuse_weights
from tfzoo.types import Tensor, TensorLike

__all__ = [
    "FeatureStatistics",
    "FrechetInceptionDistance",
    "feature_statistics",
    "frechet_distance",
    "frechet_inception_distance",
]


class FeatureStatistics(NamedTuple):
    """Moments of N feature vectors, float64: keep those of a training set to compare many models with it."""

    mean: np.ndarray  # [F]
    covariance: np.ndarray  # [F, F], unbiased
    num_examples: int


def frechet_distance(mean1: TensorLike, cov1: TensorLike, mean2: TensorLike, cov2: TensorLike) -> float:
    """Returns the squared 2-Wasserstein distance of two Gaussians.

    Args:
      mean1: ``[F]``.
      cov1: symmetric positive semi-definite ``[F, F]``, of any rank.
      mean2: ``[F]``.
      cov2: as `cov1`.

    Raises:
      ValueError: for wrong or mismatching shapes, NaN, or a matrix that is not symmetric or not semi-definite.
    """
    means = [as_array(mean1, "mean1", "[F]"), as_array(mean2, "mean2", "[F]")]
    covariances = [as_array(cov1, "cov1", "[F, F]"), as_array(cov2, "cov2", "[F, F]")]
    size = len(means[0])
    if len(means[1]) != size or any(covariance.shape != (size, size) for covariance in covariances):
        raise ValueError(
            "Means must be [F] and covariances [F, F] of one F. "
            f"Received: shapes {means[0].shape}, {covariances[0].shape}, {means[1].shape}, {covariances[1].shape}"
        )
    for name, covariance in zip(("cov1", "cov2"), covariances, strict=True):
        slack = 1e-6 * np.abs(covariance).max()
        asymmetry = np.abs(covariance - covariance.T).max()
        if asymmetry > slack:
            raise ValueError(f"`{name}` must be symmetric. Received: entries that differ by {asymmetry:g} across it")
        # Rounding of float32 sums makes eigenvalues slightly negative; more than that is not a covariance.
        smallest = np.linalg.eigvalsh(covariance)[0]
        if smallest < -slack * size:
            raise ValueError(f"`{name}` must be positive semi-definite. Received: an eigenvalue of {smallest:g}")
    return float(_distance(*(tf.constant(array) for array in (means[0], covariances[0], means[1], covariances[1]))))


def _distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    cross = tf.linalg.matmul(_factor(cov1), _factor(cov2), transpose_a=True)  # [F, F]
    root_trace = tf.reduce_sum(tf.linalg.svd(cross, compute_uv=False))
    distance = tf.reduce_sum((mean1 - mean2) ** 2) + tf.linalg.trace(cov1) + tf.linalg.trace(cov2) - 2.0 * root_trace
    return tf.maximum(distance, tf.zeros([], distance.dtype))  # rounding only: the distance is a square


def _factor(covariance: Tensor) -> Tensor:
    """Returns L with covariance = L L'."""
    values, vectors = tf.linalg.eigh(covariance)
    # A null direction's eigenvalue is noise of this size, and its root would be felt at 1e-8.
    noise = 2.2e-16 * tf.cast(tf.shape(values)[-1], values.dtype) * tf.reduce_max(tf.abs(values))
    return vectors * tf.sqrt(tf.where(values > noise, values, tf.zeros_like(values)))


def feature_statistics(
    images: TensorLike | Iterable[Any], *, feature_network: Network, batch_size: int = 256
) -> FeatureStatistics:
    """Returns mean and unbiased covariance of the features, accumulated batch by batch in float64.

    Args:
      images: float ``[N, H, W, C]`` in the network's range, or an iterable of batches (a tf.data.Dataset of images
        or of dicts with an "image").
      feature_network: a name ("mnist", "fashion_mnist", "digits", "inception_v3"), an `ImageClassifier`, any
        callable images -> ``[B, F]``, or None where `images` are features ``[N, F]`` already.
      batch_size: images per call of the network, where `images` is an array.

    Raises:
      ValueError: for fewer than two examples, NaN, or features that are not ``[B, F]`` of one F.
    """
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for answers in answers_in_batches(feature_function(feature_network), images, batch_size):
        features = as_array(answers, "features", "[N, F]")
        size = len(features)
        batch_mean = features.mean(0)
        centred = features - batch_mean
        if count == 0:
            mean, scatter = np.zeros_like(batch_mean), np.zeros((len(batch_mean), len(batch_mean)))
        elif batch_mean.shape != mean.shape:
            raise ValueError(f"All features must have one width, {len(mean)}. Received: {len(batch_mean)}")
        # Chan et al.'s update: two batches' scatter plus that of their means; no large sums are subtracted.
        shift = batch_mean - mean
        scatter += centred.T @ centred + np.outer(shift, shift) * (count * size / (count + size))
        mean = mean + shift * (size / (count + size))
        count += size
    if count < 2:
        raise ValueError(f"A covariance needs at least 2 examples. Received: {count}")
    return FeatureStatistics(mean, scatter / (count - 1), count)


def frechet_inception_distance(
    real: TensorLike | Iterable[Any],
    generated: TensorLike | Iterable[Any],
    *,
    feature_network: Network,
    batch_size: int = 256,
) -> float:
    """Returns the FID of generated against real images; 0 for equal sets, lower is better.

    Args:
      real: float ``[N, H, W, C]`` in the network's range ([0, 1] for ours), or an iterable of batches (a
        tf.data.Dataset of images or of dicts with an "image").
      generated: likewise; the numbers may differ.
      feature_network: a name ("mnist", "fashion_mnist", "digits", "inception_v3"), an `ImageClassifier`, any
        callable images -> ``[B, F]``, or None where the inputs are features ``[N, F]`` already. Values of
        different networks do not compare.
      batch_size: images per call of the network.

    Raises:
      ValueError: for fewer than two examples, NaN, wrong or mismatching shapes.
    """
    function = feature_function(feature_network)
    first = feature_statistics(real, feature_network=function, batch_size=batch_size)
    second = feature_statistics(generated, feature_network=function, batch_size=batch_size)
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)


@keras.saving.register_keras_serializable("tfzoo")
class FrechetInceptionDistance(keras.metrics.Metric):
    """FID over batches: ``update_state(real, generated)``, either may be None.

    Keeps plain sums only (float64 ``[F]`` and ``[F, F]``), which add up across replicas too; the function's update is
    more exact where features lie 1e5 of their spread or more from zero. `result` is NaN until both sides have two
    examples; it costs an SVD, so in a compiled model prefer a callback at the end of an epoch.

    Args:
      feature_network: as `frechet_inception_distance`; None = batches are features ``[B, F]``.
      name: of the metric.
      dtype: of the result; sums are float64 whatever it is.
    """

    def __init__(
        self, feature_network: Network = None, *, name: str = "frechet_inception_distance", dtype: str = "float64"
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.feature_network = feature_network
        self._function = feature_function(feature_network)
        self._sums: list[tuple[Any, Any, Any]] = []  # made when the width is known

    def update_state(
        self, real: TensorLike | None = None, generated: TensorLike | None = None, sample_weight: None = None
    ) -> None:
        """Adds a batch of either side or of both, shapes as `frechet_inception_distance`; sizes may differ."""
        refuse_weights(sample_weight)
        for side, (images, name) in enumerate(((real, "real"), (generated, "generated"))):
            if images is None:
                continue
            answers = images if self._function is None else self._function(images)
            features = as_batch(answers, f"features of `{name}`", "[N, F]")
            self._add(side, features)

    def _add(self, side: int, features: Tensor) -> None:
        width = features.shape[-1]
        if not self._sums:
            shapes = {"count": (), "sum": (width,), "products": (width, width)}
            for prefix in ("real", "generated"):
                count, total, products = (
                    self.add_variable(shape, "zeros", dtype="float64", name=f"{prefix}_{key}")
                    for key, shape in shapes.items()
                )
                self._sums.append((count, total, products))
        count, total, products = self._sums[side]
        if width != total.shape[0]:
            raise ValueError(f"All features must have one width, {total.shape[0]}. Received: {width}")
        count.assign_add(tf.cast(tf.shape(features)[0], tf.float64))
        total.assign_add(tf.reduce_sum(features, 0))
        products.assign_add(tf.linalg.matmul(features, features, transpose_a=True))

    def result(self) -> Tensor:
        """Returns the FID of everything seen since the last reset."""
        nan = tf.constant(float("nan"), tf.float64)
        if not self._sums:
            return tf.cast(nan, self.dtype)
        counts = [tf.convert_to_tensor(sums[0]) for sums in self._sums]
        moments = []
        for count, total, products in (map(tf.convert_to_tensor, sums) for sums in self._sums):
            mean = total / tf.maximum(count, 1.0)
            moments += [mean, (products - count * mean[:, None] * mean) / tf.maximum(count - 1.0, 1.0)]
        enough = tf.reduce_min(tf.stack(counts)) >= 2.0
        return tf.cast(tf.where(enough, _distance(*moments), nan), self.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; a callable network must be Keras-serializable."""
        return {**super().get_config(), "feature_network": network_config(self.feature_network)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FrechetInceptionDistance":
        """Returns the metric of a `get_config`."""
        return cls(**{**config, "feature_network": network_from_config(config["feature_network"])})
