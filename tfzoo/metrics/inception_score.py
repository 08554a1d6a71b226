"""Inception score: are samples clear, and is every class among them?

    IS = exp( E_x KL(p(y|x) || p(y)) ),    p(y) = E_x p(y|x)

between 1 (every sample looks the same to the classifier) and the number of classes K (each is certain, all classes
equally often). The score means something only with a classifier of the data at hand: ImageNet's Inception gives about 2
on MNIST, where a classifier of MNIST allows 10; so always say which one was used.

Deviations: the original's p log p is -inf * 0 for a probability of zero, here 0 log 0 = 0.

References:
  Salimans et al. 2016, Improved techniques for training GANs, arXiv:1606.03498.
  Barratt and Sharma 2018, A note on the inception score, arXiv:1801.01973 (what it does not measure).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.feature_networks import (
    Network,
    answers_in_batches,
    network_config,
    network_from_config,
    probability_function,
)
from tfzoo.metrics.validation import as_array, as_batch, refuse_weights
from tfzoo.types import Tensor, TensorLike

__all__ = ["InceptionScore", "InceptionScoreResult", "inception_score"]


class InceptionScoreResult(NamedTuple):
    """Mean and standard deviation of the score over the splits."""

    mean: float
    std: float


def inception_score(
    samples: TensorLike | Iterable[Any], *, classifier: Network = None, num_splits: int = 10, batch_size: int = 256
) -> InceptionScoreResult:
    """Returns the inception score of samples, averaged over consecutive splits of them.

    Args:
      samples: class probabilities ``[N, K]``; with a `classifier`, images ``[N, H, W, C]`` in its range. Or an
        iterable of batches (a tf.data.Dataset of images or of dicts with an "image").
      classifier: a name ("mnist", "fashion_mnist", "digits", "inception_v3"), an `ImageClassifier`, or any callable
        images -> probabilities ``[B, K]``. None = `samples` are probabilities.
      num_splits: the papers use 10 splits of 50,000 samples; a split's score is biased downwards by its size.
      batch_size: images per call of the classifier.

    Raises:
      ValueError: for fewer samples than splits, NaN, or rows that are not probabilities.
    """
    _check_num_splits(num_splits)
    answers = list(answers_in_batches(probability_function(classifier), samples, batch_size))
    if not answers:
        raise ValueError("`samples` must not be empty. Received: 0 batches")
    probabilities = np.concatenate(
        [_check_probabilities(as_array(answer, "probabilities", "[N, K]")) for answer in answers]
    )
    if len(probabilities) < num_splits:
        raise ValueError(f"{num_splits} splits need at least as many samples. Received: {len(probabilities)}")
    splits = np.array_split(probabilities, num_splits)
    counts = np.array([float(len(split)) for split in splits])
    sums = np.stack([split.sum(0) for split in splits])
    negative_entropies = np.stack([np.sum(tf.math.xlogy(split, split)) for split in splits])
    scores = _scores(counts, sums, negative_entropies)
    return InceptionScoreResult(float(np.mean(scores)), float(np.std(scores)))


def _scores(counts: TensorLike, sums: TensorLike, negative_entropies: TensorLike) -> Tensor:
    """exp(mean over x of sum_y p log p  -  sum_y p(y) log p(y)), per split: ``[S], [S, K], [S] -> [S]``."""
    counts = tf.maximum(tf.cast(counts, tf.float64), 1.0)
    marginals = sums / counts[:, None]
    return tf.exp(negative_entropies / counts - tf.reduce_sum(tf.math.xlogy(marginals, marginals), -1))


def _check_num_splits(num_splits: int) -> None:
    if num_splits < 1:
        raise ValueError(f"`num_splits` must be at least 1. Received: {num_splits}")


def _check_probabilities(probabilities: np.ndarray) -> np.ndarray:
    if probabilities.min() < 0.0:
        raise ValueError(f"Probabilities must not be negative. Received: {probabilities.min():g}")
    sums = probabilities.sum(-1)
    worst = sums[np.argmax(np.abs(sums - 1.0))]
    if abs(worst - 1.0) > 1e-3:
        raise ValueError(f"Each row of probabilities must sum to 1. Received: a row with the sum {worst:g}")
    return probabilities


@keras.saving.register_keras_serializable("tfzoo")
class InceptionScore(keras.metrics.Metric):
    """Inception score over batches: ``update_state(samples)``; `result` is a dict of mean and std over splits.

    A stream has no known end to cut into consecutive splits, so examples are dealt to the splits in turn; with one
    split it is the pure function's value. Sums only are kept. In a compiled model it must be given samples, not
    targets: call it from a callback.

    Args:
      classifier: as `inception_score`; None = batches are probabilities ``[B, K]``.
      num_splits: how many hands to deal to.
      name: of the metric, and of its entries: ``name`` and ``name_std``.
      dtype: of the result; sums are float64 whatever it is.
    """

    def __init__(
        self,
        classifier: Network = None,
        *,
        num_splits: int = 10,
        name: str = "inception_score",
        dtype: str = "float64",
    ) -> None:
        _check_num_splits(num_splits)
        super().__init__(name=name, dtype=dtype)
        self.classifier = classifier
        self.num_splits = num_splits
        self._function = probability_function(classifier)
        self._counts = self.add_variable((num_splits,), "zeros", dtype="float64", name="counts")
        self._negative_entropies = self.add_variable((num_splits,), "zeros", dtype="float64", name="negative_entropies")
        self._sums: Any = None  # made when the number of classes is known

    def update_state(self, samples: TensorLike, sample_weight: None = None) -> None:
        """Adds a batch, shapes as `inception_score`."""
        refuse_weights(sample_weight)
        answers = samples if self._function is None else self._function(samples)
        probabilities = as_batch(answers, "probabilities", "[N, K]")
        if not tf.is_symbolic_tensor(probabilities):
            _check_probabilities(probabilities.numpy())
        num_classes = probabilities.shape[-1]
        if self._sums is None:
            self._sums = self.add_variable((self.num_splits, num_classes), "zeros", dtype="float64", name="sums")
        if num_classes != self._sums.shape[-1]:
            raise ValueError(f"All batches must have {self._sums.shape[-1]} classes. Received: {num_classes}")
        seen = tf.cast(tf.reduce_sum(tf.convert_to_tensor(self._counts)), tf.int32)
        split = (seen + tf.range(tf.shape(probabilities)[0])) % self.num_splits
        dealt = tf.one_hot(split, self.num_splits, dtype=tf.float64)  # [B, S]
        entropies = tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), -1)  # [B]
        self._counts.assign_add(tf.reduce_sum(dealt, 0))
        self._negative_entropies.assign_add(tf.linalg.matvec(dealt, entropies, transpose_a=True))
        self._sums.assign_add(tf.linalg.matmul(dealt, probabilities, transpose_a=True))

    def result(self) -> dict[str, Tensor]:
        """Returns {name: mean, name_std: standard deviation} over the splits that have a sample; NaN before any."""
        if self._sums is None:
            nan = tf.constant(float("nan"), self.dtype)
            return {self.name: nan, f"{self.name}_std": nan}
        counts, sums, negative_entropies = map(
            tf.convert_to_tensor, (self._counts, self._sums, self._negative_entropies)
        )
        filled = tf.cast(counts > 0.0, tf.float64)
        number = tf.reduce_sum(filled)
        scores = _scores(counts, sums, negative_entropies)
        mean = tf.reduce_sum(filled * scores) / number
        variance = tf.reduce_sum(filled * (scores - mean) ** 2) / number
        return {self.name: tf.cast(mean, self.dtype), f"{self.name}_std": tf.cast(tf.sqrt(variance), self.dtype)}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; a callable classifier must be Keras-serializable."""
        return {
            **super().get_config(),
            "classifier": network_config(self.classifier),
            "num_splits": self.num_splits,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "InceptionScore":
        """Returns the metric of a `get_config`."""
        return cls(**{**config, "classifier": network_from_config(config["classifier"])})
