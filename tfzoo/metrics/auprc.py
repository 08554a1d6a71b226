"""Area under the precision-recall curve of an anomaly score, never without its base rate.

The positive class is the anomaly and a higher score is more anomalous. The area is that of the trapezoids under
scikit-learn's ``precision_recall_curve``, as in the anomaly-detection papers. A random score reaches the base rate pi
(the share of anomalies), not 0.5, and no ordering of many examples falls below

    floor = 1 + (1 - pi) ln(1 - pi) / pi,

so areas compare only at one base rate, and an area below the floor, of scores that all differ, is a mistake in the
protocol.

Equal scores are cut by one straight line, which mostly flatters: a constant score has the area (1 + pi) / 2, not pi,
but all anomalies tied behind all others fall below the floor. Scores must be real-valued, not counts of votes.

References:
  Boyd et al. 2012, Unachievable region in precision-recall space and its effect on empirical evaluation,
  arXiv:1206.4667 (the floor).
  Zenati et al. 2018, Efficient GAN-based anomaly detection, arXiv:1802.06222 (the protocol).
"""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.kept_examples import KeptExamples
from tfzoo.metrics.validation import as_array, as_label_batch, as_labels, as_row_batch, refuse_weights
from tfzoo.types import Tensor, TensorLike

__all__ = ["AUPRC", "AUPRCResult", "auprc", "auprc_floor", "auprc_standard_error", "check_anomalies"]


class AUPRCResult(NamedTuple):
    """The area, what a random score would reach, and what the worst one would."""

    auprc: float
    base_rate: float
    floor: float


def auprc_floor(base_rate: float) -> float:
    """Returns the lowest area that any score can have for this share of anomalies (in the limit of many examples).

    Raises:
      ValueError: for a base rate outside (0, 1).
    """
    if not 0.0 < base_rate < 1.0:
        raise ValueError(f"`base_rate` must lie between 0 and 1. Received: {base_rate}")
    return 1.0 + (1.0 - base_rate) * math.log1p(-base_rate) / base_rate


def auprc(labels: TensorLike, scores: TensorLike) -> AUPRCResult:
    """Returns the area under the precision-recall curve with its base rate and floor.

    Args:
      labels: ``[N]``, 1 = anomaly, 0 = normal.
      scores: ``[N]``, higher = more anomalous (``model.anomaly_score``).

    Raises:
      ValueError: for other labels than 0 and 1, one class only, NaN, wrong or mismatching shapes.
    """
    from sklearn.metrics import auc, precision_recall_curve  # late: a second to import

    scores = as_array(scores, "scores", "[N]")
    labels = as_labels(labels, "labels", len(scores))
    check_anomalies(labels)
    precision, recall, _ = precision_recall_curve(labels, scores)
    base_rate = float(labels.mean())
    return AUPRCResult(float(auc(recall, precision)), base_rate, auprc_floor(base_rate))


def auprc_standard_error(labels: TensorLike, scores: TensorLike, *, num_resamples: int = 100) -> float:
    """Returns the standard error of an area by the bootstrap, that is, by drawing the examples anew.

    Normal and anomalous examples are drawn apart: the base rate belongs to the protocol.

    Args:
      labels: ``[N]``, 1 = anomaly, 0 = normal.
      scores: ``[N]``, or ``[R, N]`` of R runs, whose mean area it then is the error of.
      num_resamples: how often.

    Raises:
      ValueError: as `auprc`.
    """
    rows = np.atleast_2d(np.asarray(scores))
    for run in rows:
        auprc(labels, run)  # complains
    labels = np.asarray(labels)
    noise = np.random.default_rng(0)
    areas = []
    for _ in range(num_resamples):
        drawn = np.concatenate([noise.choice(kind, len(kind)) for kind in map(np.flatnonzero, (labels, 1 - labels))])
        areas.append(np.mean([auprc(labels[drawn], run[drawn]).auprc for run in rows]))
    return float(np.std(areas, ddof=1))


def check_anomalies(labels: np.ndarray) -> None:
    """Raises ValueError unless labels ``[N]`` are 0 (normal) and 1 (anomaly), some of each."""
    _check_binary(labels)
    if labels.min() == labels.max():
        raise ValueError(f"`labels` must have normal and anomalous examples. Received: {int(labels[0])} only")


def _check_binary(labels: np.ndarray) -> None:
    others = labels[~np.isin(labels, (0, 1))]
    if len(others):
        raise ValueError(f"`labels` must be 0 (normal) or 1 (anomaly). Received: {others[0]}")


@keras.saving.register_keras_serializable("tfzoo")
class AUPRC(keras.metrics.Metric):
    """AUPRC over batches: ``update_state(labels, scores)``; exact, unlike ``keras.metrics.AUC``, which has bins.

    Keeps all scores and ranks them in NumPy, so it runs in eager code and in a tf.function, but neither under XLA nor
    across replicas.

    Args:
      name: of the metric, and of its entries: ``name``, ``name_base_rate`` and ``name_floor``.
      dtype: of the result.
    """

    def __init__(self, *, name: str = "auprc", dtype: str = "float64") -> None:
        super().__init__(name=name, dtype=dtype)
        self._labels = KeptExamples(tf.int64)
        self._scores = KeptExamples(tf.float64)

    def update_state(self, labels: TensorLike, scores: TensorLike, sample_weight: None = None) -> None:
        """Adds a batch: labels ``[B]`` and scores ``[B]``, both also as ``[B, 1]``."""
        refuse_weights(sample_weight)
        labels, scores = as_label_batch(labels, "labels"), as_row_batch(scores, "scores")
        if not labels.shape.is_compatible_with(scores.shape):
            raise ValueError(
                f"`labels` and `scores` must be equally many. Received: {labels.shape[0]} and {scores.shape[0]}"
            )
        if not tf.is_symbolic_tensor(labels):
            _check_binary(labels.numpy())
        self._labels.append(labels)
        self._scores.append(scores)

    def result(self) -> dict[str, Tensor]:
        """Returns {name, name_base_rate, name_floor}; NaN until both classes were seen."""

        def compute(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
            if len(np.unique(labels)) < 2:
                return np.full(3, np.nan)
            return np.array(auprc(labels, scores))

        values = tf.numpy_function(compute, [self._labels.values(), self._scores.values()], tf.float64)
        values = tf.unstack(tf.cast(tf.ensure_shape(values, [3]), self.dtype))
        return dict(zip((self.name, f"{self.name}_base_rate", f"{self.name}_floor"), values, strict=True))

    def reset_state(self) -> None:
        """Forgets all examples."""
        self._labels.clear()
        self._scores.clear()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config()
