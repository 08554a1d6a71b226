"""What `tfzoo.evaluation` asks of models and data before hours of work: whatever can be looked at in seconds."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfzoo.metrics.auprc import check_anomalies
from tfzoo.metrics.latent_classification import check_classes
from tfzoo.models.amortised import AmortisedModel
from tfzoo.models.base import LatentVariableModel

__all__ = ["AMORTISED", "METRICS", "check_metrics"]

# What `tfzoo.evaluation.evaluate` can measure.
METRICS = ("elbo", "nll", "mse", "inception_score", "fid", "f1", "ais", "auprc")

# What needs q(z|x).
AMORTISED = ("elbo", "nll")


def check_metrics(
    names: Sequence[str], model: LatentVariableModel, dataset: tf.data.Dataset, held_out: int | None
) -> None:
    """Raises ValueError for an unknown name, or one that a model or data set cannot be measured by.

    Args:
      names: of metrics.
      model: of the zoo.
      dataset: batches of {"label"}; read where a metric needs labels.
      held_out: label of the anomalies, None of a model that was trained on all.
    """
    for name in names:
        if name not in METRICS:
            raise ValueError(f"metrics must be among {', '.join(METRICS)}. Received: {name!r}")
        if name in AMORTISED and not isinstance(model, AmortisedModel):
            raise ValueError(
                f"{name} needs a model with an encoder: ais bounds log p(x) of the others. "
                f"Received: {name} of {type(model).__name__}"
            )
        if name == "auprc" and held_out is None:
            raise ValueError(
                "auprc needs a model that was trained without a class: tfzoo train ... --held-out LABEL. "
                "Received: one trained on all"
            )
    if {"f1", "auprc", "fid"} & set(names):
        _check_labels(names, np.concatenate([np.asarray(batch["label"]) for batch in dataset]), held_out)


def _check_labels(names: Sequence[str], labels: np.ndarray, held_out: int | None) -> None:
    """Raises ValueError where a classifier, or a curve, of these labels ``[N]`` would fail for them."""
    half = len(labels) // 2
    if "fid" in names and len(labels) < 2:
        raise ValueError(f"fid needs two images at least. Received: {len(labels)}")
    try:
        if "f1" in names:
            of = "f1 learns from the first half of the images and is tested on the second"
            check_classes(labels[:half], labels[half:])
        if "auprc" in names:
            of = f"auprc needs images of the label {held_out}, the anomalies, and of others"
            check_anomalies(labels == held_out)
    except ValueError as error:
        raise ValueError(f"{of}: {error}") from None
