"""Metrics as slow double loops over plain numbers: obviously right, for small inputs."""

import itertools
import math

import numpy as np


def inception_score(probabilities: np.ndarray) -> float:
    """Exponential of the mean Kullback-Leibler divergence from each row to the mean row."""
    num_samples, num_classes = probabilities.shape
    marginal = [sum(probabilities[i, k] for i in range(num_samples)) / num_samples for k in range(num_classes)]
    divergence = 0.0
    for i in range(num_samples):
        for k in range(num_classes):
            p = probabilities[i, k]
            if p > 0.0:
                divergence += p * (math.log(p) - math.log(marginal[k])) / num_samples
    return math.exp(divergence)


def auprc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Trapezoids under precision against recall, one point per distinct threshold, from (recall 0, precision 1)."""
    points = [(0.0, 1.0)]
    num_positive = sum(1 for label in labels if label == 1)
    for threshold in sorted(set(scores.tolist()), reverse=True):
        true_positive = false_positive = 0
        for label, score in zip(labels, scores, strict=True):
            if score >= threshold:
                true_positive += label == 1
                false_positive += label == 0
        points.append((true_positive / num_positive, true_positive / (true_positive + false_positive)))
    area = 0.0
    for (recall0, precision0), (recall1, precision1) in itertools.pairwise(points):
        area += (recall1 - recall0) * (precision0 + precision1) / 2.0
    return area


def covariance(features: np.ndarray) -> np.ndarray:
    """Unbiased covariance, one pair of columns at a time."""
    num_examples, width = features.shape
    mean = features.sum(0) / num_examples
    result = np.zeros((width, width))
    for i in range(width):
        for j in range(width):
            for n in range(num_examples):
                result[i, j] += (features[n, i] - mean[i]) * (features[n, j] - mean[j]) / (num_examples - 1)
    return result


def f1(labels: np.ndarray, predictions: np.ndarray, label: int) -> float:
    """Harmonic mean of one class's precision and recall."""
    hit = sum(1 for a, b in zip(labels, predictions, strict=True) if a == label and b == label)
    predicted = sum(1 for b in predictions if b == label)
    actual = sum(1 for a in labels if a == label)
    return 2.0 * hit / (predicted + actual)
