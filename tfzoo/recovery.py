"""How well a model completes what is hidden of images, beside two plain fills that it has to beat.

Errors are mean squares at the hidden pixels, on [0, 1] whatever the range of the images: of one completion of each
image by the model or of the mean of several, of the mean of the training images, and of the mean of their nearest ones
(`tfzoo.metrics.neighbour_fill`). Training images count as far as training has seen them. An image of which nothing is
hidden has no error. The mean of completions is the model's best guess; one of them is an image.

References:
  Xie et al., "A Tale of Two Latent Flows", https://arxiv.org/abs/2301.09300, table 5
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.data.masks import Mask, coverage
from tfzoo.metrics import mean_fill, neighbour_fill
from tfzoo.models.base import LatentVariableModel

__all__ = ["measure"]

_DONORS = 5000  # training images at most, the first ones
_NEIGHBOURS = 5


def measure(
    model: LatentVariableModel,
    dataset: tf.data.Dataset,
    training: tf.data.Dataset,
    *,
    masks: Sequence[str] = (),
    value_range: tuple[float, float] = (0.0, 1.0),
    num_neighbours: int = _NEIGHBOURS,
    num_completions: int = 1,
    num_steps: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int], Callable[[], None]] | None = None,
    done: Callable[[str, dict[str, Any]], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measures a model's completions of the images of a data set.

    Args:
      model: a model of the zoo, of images.
      dataset: batches of {"image", "index"}, in a fixed order, perhaps with a "mask" (1 = visible).
      training: the same of the training images; the first 5,000 count.
      masks: kinds of `tfzoo.data.masks`, random ones by an image's index and the seed 0: the same for every model; none
        for the data set's own.
      value_range: of the images.
      num_neighbours: k of the nearest ones.
      num_completions: of each image, whose mean is measured.
      num_steps: of the chain to each, see the model's `inpaint`; None for its default.
      seed: of the completions.
      progress: as of `tfzoo.evaluation.evaluate`.
      done: as of `tfzoo.evaluation.evaluate`, for each kind.

    Returns:
      For each kind, by the name "recovery_square_20", what `tfzoo.evaluation.evaluate` returns for a metric, with the
      "mean_image" and the "neighbours" beside the model.

    Raises:
      ValueError: for images without masks where no kind is given, an unknown kind or one that is not for images of this
        size, or examples that are no images.
    """
    kinds = check_masks(model, dataset, masks)
    check_positive("num_completions", num_completions)
    options = {} if num_steps is None else {"num_steps": num_steps}
    donors, donors_mask = _donors(training)
    results = {}
    for kind in kinds:
        label = "own" if kind is None else str(kind)
        name = f"recovery_{label.replace(':', '_')}"
        step = (progress or (lambda name, steps: lambda: None))(name, len(dataset))
        columns, hidden = [], []
        for i, batch in enumerate(dataset):
            images = np.asarray(batch["image"])
            mask = batch["mask"] if kind is None else kind.draw(batch["index"], images.shape[1:3])
            completions = model.inpaint(
                images, mask, num_completions, seed=random.fold_in(random.as_seed(seed), i), **options
            )
            fills = (
                np.mean(completions, axis=0),
                mean_fill(images, mask, donors, donors_mask),
                neighbour_fill(images, mask, donors, donors_mask, num_neighbours=num_neighbours),
            )
            errors = [_errors(images, mask, fill, value_range) for fill in fills]
            columns.append(np.stack([np.asarray(batch["index"]), *errors]))
            hidden.append(coverage(mask))
            step()
        index, ours, mean, near = np.concatenate(columns, axis=1)
        defined = np.isfinite(ours)
        count = int(defined.sum())
        mean, near, share = (float(np.mean(each[defined])) for each in (mean, near, np.concatenate(hidden)))
        inference = getattr(model, "inference", None)  # of models that infer by a chain
        results[name] = {
            name: float(np.mean(ours[defined])),
            "standard_error": float(np.std(ours[defined], ddof=1) / np.sqrt(count)) if count > 1 else None,
            "num_images": count,
            "mean_image": mean,
            "neighbours": near,
            "coverage": share,
            "estimator": f"MSE at the hidden pixels on [0, 1], {share:.1%} hidden, "
            + ("one completion" if num_completions == 1 else f"mean of {num_completions} completions")
            + (f" by {inference}" if inference else "")
            + (f" of {num_steps} steps" if num_steps else "")
            + f"; mean image {mean:.4f}, {num_neighbours} neighbours {near:.4f}, of {len(donors)} training images",
            "per_image": (index.astype(np.int64)[defined], ours[defined]),
        }
        if done:
            done(name, results[name])
    return results


def check_masks(model: LatentVariableModel, dataset: tf.data.Dataset, masks: Sequence[str]) -> list[Mask | None]:
    """Returns the kinds of masks that `measure` takes in turn, None for the data set's own; errors are as there."""
    if len(model.event_shape) != 3:
        raise ValueError(f"recovery is for images [H, W, C]. Received: event_shape {model.event_shape}")
    if not masks and "mask" not in dataset.element_spec:
        raise ValueError("recovery needs a kind of masks, such as --mask square:20, for whole images. Received: none")
    kinds = [Mask.of(kind) for kind in masks]
    for kind in kinds:
        kind.check(model.event_shape[:2])
    return [*kinds] or [None]


def _donors(training: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training images ``[N, H, W, C]``, and what training has seen of them."""
    images, masks = [], []
    for element in training.unbatch().take(_DONORS).batch(500):
        images.append(np.asarray(element["image"]))
        masks.append(np.asarray(element["mask"]) if "mask" in element else np.ones([len(images[-1]), 1, 1, 1]))
    return np.concatenate(images), np.concatenate(masks)


def _errors(
    images: np.ndarray, mask: np.ndarray, completed: np.ndarray, value_range: tuple[float, float]
) -> np.ndarray:
    """Returns the mean square at the hidden pixels of each image on [0, 1], ``[B]``; NaN where nothing is hidden."""
    hidden = np.broadcast_to(np.asarray(mask) == 0, images.shape).reshape(len(images), -1)
    squares = np.square((images - np.asarray(completed)).reshape(len(images), -1), dtype=np.float64)
    low, high = value_range
    with np.errstate(invalid="ignore"):
        return np.sum(squares * hidden, axis=1) / hidden.sum(axis=1) / (high - low) ** 2
