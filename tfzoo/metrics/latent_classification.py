"""Latent classification: how much of a class do the latent codes keep?

A classifier is trained on the codes of training images and tested on those of test images: the F1 score of each
class, their mean (macro F1), their standard deviation ACROSS CLASSES (what the Riemannian VAE paper prints after its
+-), and the accuracy.

Deviations: the paper's classifier is an MLP d -> 20 -> ReLU -> 10, trained 10 epochs by AdamW at 1e-4 on batches of
one, unshuffled. The default here has that shape, but codes are standardised first (else the scale of a latent space
would decide how far the training comes) and Adam trains it on batches of 200 to convergence: minutes become seconds.
The paper's training is ``classifier=MLPClassifier((20,), learning_rate_init=1e-4, batch_size=1, max_iter=10,
shuffle=False, alpha=0.0)``.

References:
  Kalatzis et al. 2020, Variational autoencoders with Riemannian Brownian motion priors, arXiv:2002.05227.
"""

import warnings
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfzoo.metrics.kept_examples import KeptExamples
from tfzoo.metrics.validation import as_array, as_batch, as_label_batch, as_labels, refuse_weights
from tfzoo.types import Tensor, TensorLike

__all__ = ["LatentClassification", "LatentClassificationResult", "check_classes", "latent_classification"]


class LatentClassificationResult(NamedTuple):
    """Scores on the test codes."""

    f1: np.ndarray  # [K], one per class
    macro_f1: float
    std: float  # of f1 across classes (divisor K)
    accuracy: float
    classes: np.ndarray  # [K], the labels that f1 belongs to


def latent_classification(
    train_latents: TensorLike,
    train_labels: TensorLike,
    test_latents: TensorLike,
    test_labels: TensorLike,
    *,
    classifier: Any = None,
    seed: int = 0,
) -> LatentClassificationResult:
    """Returns the scores of a classifier trained on one set of latent codes and tested on another.

    Args:
      train_latents: ``[N, D]``.
      train_labels: whole numbers ``[N]``, at least two classes.
      test_latents: ``[M, D]``.
      test_labels: ``[M]``, no class that training has not.
      classifier: any scikit-learn classifier; a copy is fitted. None = standardised codes into an MLP with 20 ReLU
        units.
      seed: of the default classifier.

    Raises:
      ValueError: for one class only, unknown test classes, NaN, wrong or mismatching shapes.
    """
    from sklearn.base import clone  # late: a second to import
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import f1_score

    train_latents, test_latents = (
        as_array(value, name, "[N, D]")
        for value, name in ((train_latents, "train_latents"), (test_latents, "test_latents"))
    )
    if train_latents.shape[1] != test_latents.shape[1]:
        raise ValueError(
            "Latents for training and test must have one dimension. "
            f"Received: {train_latents.shape[1]} and {test_latents.shape[1]}"
        )
    train_labels = as_labels(train_labels, "train_labels", len(train_latents))
    test_labels = as_labels(test_labels, "test_labels", len(test_latents))
    check_classes(train_labels, test_labels)
    fitted = _default_classifier(seed) if classifier is None else clone(classifier)
    with warnings.catch_warnings():
        # A fixed number of epochs is the protocol, so reaching it is no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(train_latents, train_labels)
    predictions = fitted.predict(test_latents)
    # A class without test examples has no F1.
    classes = np.unique(test_labels)
    f1 = f1_score(test_labels, predictions, labels=classes, average=None, zero_division=0.0)
    accuracy = float(np.mean(predictions == test_labels))
    return LatentClassificationResult(f1, float(f1.mean()), float(f1.std()), accuracy, classes)


def check_classes(train_labels: np.ndarray, test_labels: np.ndarray) -> None:
    """Raises ValueError where labels ``[N]`` are of less than two classes, or those ``[M]`` of a test of others."""
    classes = np.unique(train_labels)
    if len(classes) < 2:
        raise ValueError(f"`train_labels` must have at least two classes. Received: {classes.tolist()} only")
    unknown = np.setdiff1d(test_labels, classes)
    if len(unknown):
        raise ValueError(f"`test_labels` must be among the training classes. Received: {unknown.tolist()} besides")


def _default_classifier(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier((20,), random_state=seed))


@keras.saving.register_keras_serializable("tfzoo")
class LatentClassification(keras.metrics.Metric):
    """`latent_classification` over batches: ``update_state(labels, latents)``.

    `result` holds back a share of the examples seen, the same of each class, fits the default classifier on the others
    and scores it on that share; for the official split of a data set use the pure function. Keeps all codes and fits
    in scikit-learn (seconds), so it runs in eager code and in a tf.function, but neither under XLA nor across replicas.

    Args:
      test_fraction: the share held back.
      seed: of the split and of the classifier.
      name: of the metric, and of its entries: ``name_macro_f1``, ``name_std`` and ``name_accuracy``.
      dtype: of the result.
    """

    def __init__(
        self,
        test_fraction: float = 0.25,
        *,
        seed: int = 0,
        name: str = "latent_classification",
        dtype: str = "float64",
    ) -> None:
        if not 0.0 < test_fraction < 1.0:
            raise ValueError(f"`test_fraction` must lie between 0 and 1. Received: {test_fraction}")
        super().__init__(name=name, dtype=dtype)
        self.test_fraction = test_fraction
        self.seed = seed
        self._labels = KeptExamples(tf.int64)
        self._latents = KeptExamples(tf.float64)
        self._width: int | None = None

    def update_state(self, labels: TensorLike, latents: TensorLike, sample_weight: None = None) -> None:
        """Adds a batch: labels ``[B]`` (or ``[B, 1]``) and latents ``[B, D]``."""
        refuse_weights(sample_weight)
        labels = as_label_batch(labels, "labels")
        latents = as_batch(latents, "latents", "[N, D]")
        if not latents.shape[:1].is_compatible_with(labels.shape):
            raise ValueError(
                f"`labels` and `latents` must be equally many. Received: {labels.shape[0]} and {latents.shape[0]}"
            )
        if self._width not in (None, latents.shape[1]):
            raise ValueError(f"All latents must have one dimension, {self._width}. Received: {latents.shape[1]}")
        self._width = latents.shape[1]
        self._labels.append(labels)
        self._latents.append(latents)

    def result(self) -> dict[str, Tensor]:
        """Returns {name_macro_f1, name_std, name_accuracy}; NaN until the examples can be split by class."""

        def compute(labels: np.ndarray, latents: np.ndarray) -> np.ndarray:
            from sklearn.model_selection import train_test_split

            _, counts = np.unique(labels, return_counts=True)
            held_back = int(np.ceil(self.test_fraction * len(labels)))
            if len(counts) < 2 or counts.min() < 2 or not len(counts) <= held_back <= len(labels) - len(counts):
                return np.full(3, np.nan)
            latents = latents.reshape(len(labels), -1)
            train_latents, test_latents, train_labels, test_labels = train_test_split(
                latents, labels, test_size=self.test_fraction, random_state=self.seed, stratify=labels
            )
            scores = latent_classification(train_latents, train_labels, test_latents, test_labels, seed=self.seed)
            return np.array([scores.macro_f1, scores.std, scores.accuracy])

        values = tf.numpy_function(compute, [self._labels.values(), self._latents.values()], tf.float64)
        values = tf.unstack(tf.cast(tf.ensure_shape(values, [3]), self.dtype))
        return {f"{self.name}_{key}": value for key, value in zip(("macro_f1", "std", "accuracy"), values, strict=True)}

    def reset_state(self) -> None:
        """Forgets all examples."""
        self._labels.clear()
        self._latents.clear()

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "test_fraction": self.test_fraction, "seed": self.seed}
