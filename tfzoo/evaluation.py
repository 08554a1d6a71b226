"""Numbers about a trained model: each says its estimator, its sample count and its error.

Likelihoods and bounds are in nats an example, means over test images; `standard_error` is that of the mean over images,
``standard deviation / sqrt(number of images)``; of the area under a curve, by the bootstrap.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import numpy as np
import tensorflow as tf

from tfzoo import metrics as tfzoo_metrics
from tfzoo import random
from tfzoo.evaluation_checks import AMORTISED, METRICS, check_metrics
from tfzoo.models.amortised import AmortisedModel
from tfzoo.models.base import LatentVariableModel
from tfzoo.objectives import annealed, importance
from tfzoo.types import Tensor

__all__ = ["METRICS", "Annealing", "default_metrics", "evaluate", "paired_difference", "subset"]

# Samples at once, fixed: the last batch of a data set may be smaller, and its noise must not depend on that.
_CHUNK = 32

_SPLITS, _SPLIT_SIZE = 10, 10  # of an inception score, images a split at least: a single one has 1, whatever it shows

# Feature networks that know a data set's images.
_CLASSIFIERS = {"digits": "digits", "mnist": "mnist", "binarized_mnist": "mnist", "fashion_mnist": "fashion_mnist"}


class Annealing(NamedTuple):
    """How much work "ais" does: every chain takes about a dozen gradients a step, five times over.

    Attributes:
      num_images: so many of the data set, chosen at random, and as many simulated ones.
      num_steps: temperatures.
      num_chains: independent chains an image.
    """

    num_images: int = 20
    num_steps: int = 200
    num_chains: int = 8


_ANNEALING = Annealing()


def default_metrics(model: LatentVariableModel) -> list[str]:
    """Returns what to measure of a model where nothing is asked for."""
    return [*AMORTISED, "mse"] if isinstance(model, AmortisedModel) else ["mse"]


def evaluate(
    model: LatentVariableModel,
    dataset: tf.data.Dataset,
    names: Iterable[str],
    *,
    dataset_name: str = "",
    value_range: tuple[float, float] = (0.0, 1.0),
    num_samples: int = 1000,
    num_generated: int | None = None,
    annealing: Annealing = _ANNEALING,
    held_out: int | None = None,
    num_runs: int = 10,
    seed: int = 0,
    progress: Callable[[str, int], Callable[[], None]] | None = None,
    done: Callable[[str, dict[str, Any]], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Measures a model on a data set.

    Args:
      model: a model of the zoo.
      dataset: batches of {"image", "label", "index"}.
      names: of `METRICS`.
      dataset_name: chooses the classifier behind "inception_score" and "fid"; other data take InceptionV3.
      value_range: of the images.
      num_samples: importance samples an image, for "nll".
      num_generated: generated images for "inception_score" and "fid"; None takes as many as the data set has. A score
        has 10 splits, or as many as leave 10 images to each.
      annealing: for "ais".
      held_out: label of the anomalies, for "auprc".
      num_runs: how often "auprc" infers all images anew, by other noise; a model without noise is measured once.
      seed: the same seed gives the same numbers.
      progress: called with a metric's name and its number of steps; returns what is called after each step.
      done: called with a metric's name and its dict as soon as it is measured: a later one may fail.

    Returns:
      A dict for each metric: numbers and words, and under "per_image" (of those that are means over images) a pair of
      arrays ``[N]``, each image's index in its split and its value.

    Raises:
      ValueError: for an unknown name, or one that this model or data set cannot be measured by. What can be looked at
        in seconds is looked at before any work.
      RuntimeError: if a feature network is needed and cannot be had; before any work, too.
    """
    names = list(dict.fromkeys(names))
    check_metrics(names, model, dataset, held_out)
    progress = progress or (lambda name, steps: lambda: None)
    session = _Session(
        model,
        dataset,
        dataset_name,
        value_range,
        num_samples,
        num_generated,
        annealing,
        held_out,
        num_runs,
        random.as_seed(seed),
        progress,
    )
    if {"inception_score", "fid"} & set(names):
        session.check_network()
    results = {}
    for name in names:
        results[name] = getattr(session, name)()
        if done:
            done(name, results[name])
    return results


@dataclasses.dataclass
class _Session:
    """One evaluation, by the arguments of `evaluate`: what several metrics share is computed once."""

    model: LatentVariableModel
    dataset: tf.data.Dataset
    dataset_name: str
    value_range: tuple[float, float]
    num_samples: int
    num_generated: int | None
    annealing: Annealing
    held_out: int | None
    num_runs: int
    seed: Tensor
    progress: Callable[[str, int], Callable[[], None]]

    def __post_init__(self) -> None:
        self.indices = np.concatenate([np.asarray(batch["index"]) for batch in self.dataset])
        self.num_images = len(self.indices)

    def _map(self, name: str, function: Callable[[Tensor, Tensor], Any]) -> list[np.ndarray]:
        """Applies `function` (images, seed) to all batches, and joins each of its results."""
        compiled = tf.function(function, autograph=False, reduce_retracing=True)
        return self._apply(compiled, self.seed, self.progress(name, len(self.dataset)))

    def _apply(self, compiled: Callable, seed: Tensor, step: Callable[[], None]) -> list[np.ndarray]:
        results = []
        for i, batch in enumerate(self.dataset):
            results.append([np.asarray(value) for value in compiled(batch["image"], random.fold_in(seed, i))])
            step()
        return [np.concatenate(column) for column in zip(*results, strict=True)]

    def _labels(self) -> np.ndarray:
        return np.concatenate([np.asarray(batch["label"]) for batch in self.dataset])

    def _summary(self, values: np.ndarray) -> dict[str, Any]:
        """Returns what stands beside the mean of one value an image."""
        return {**_error(values), "per_image": (self.indices, values)}

    def elbo(self) -> dict[str, Any]:
        model = cast(AmortisedModel, self.model)
        (values,) = self._map("elbo", lambda x, seed: (model.elbo(x, 1, seed),))
        return {
            "elbo": _mean(values),
            **self._summary(values),
            "estimator": f"{model.estimator}, 1 sample an image",
        }

    def nll(self) -> dict[str, Any]:
        model = cast(AmortisedModel, self.model)

        def estimate(x: Tensor, seed: Tensor) -> importance.Estimate:
            return model.estimate_log_prob(x, self.num_samples, seed, chunk_size=min(_CHUNK, self.num_samples))

        values, errors, effective = self._map("nll", estimate)
        return {
            "nll": -_mean(values),
            **self._summary(-values),
            # Of the mean, from the finite numbers of samples; unknown from a single one.
            "sampling_error": float(np.sqrt(np.sum(np.square(errors, dtype=np.float64))) / len(errors))
            if self.num_samples > 1
            else None,
            "median_effective_sample_size": float(np.median(effective)),
            "num_samples": self.num_samples,
            "estimator": f"importance sampling from {model.proposal_name}, {self.num_samples} samples an image",
        }

    def mse(self) -> dict[str, Any]:
        def squared(x: Tensor, seed: Tensor) -> tuple[Tensor]:
            error = tf.square(x - tf.cast(self.model.reconstruct(x, seed), x.dtype))
            return (tf.reduce_mean(tf.reshape(error, [tf.shape(x)[0], -1]), axis=1),)

        (values,) = self._map("mse", squared)
        low, high = self.value_range
        return {
            "mse": _mean(values),
            **self._summary(values),
            "range": [low, high],
            "estimator": f"per pixel, {self._code()}",
        }

    def _code(self) -> str:
        inference = getattr(self.model, "inference", None)  # of models that infer by a chain
        return "one code an image" + (f" by {inference}" if inference else "")

    def _unit(self, images: Tensor) -> np.ndarray:
        low, high = self.value_range
        return np.clip((np.asarray(images) - low) / (high - low), 0.0, 1.0)

    @functools.cached_property
    def _network(self) -> tuple[Any, str]:
        name = _CLASSIFIERS.get(self.dataset_name)
        if name:
            network = tfzoo_metrics.classifier(name)
            if network.image_shape == self.model.event_shape:  # no resized images
                return network, f"{name} classifier"
        return tfzoo_metrics.inception_v3(), "InceptionV3 (keras.applications)"

    def check_network(self) -> None:
        """Raises what the feature network would raise later: it may be missing, or not be for such images."""
        network, _ = self._network
        getattr(network, "features", network)(self._unit(next(iter(self.dataset))["image"][:1]))

    @property
    def _num_generated(self) -> int:
        return self.num_generated or self.num_images

    def _generated(self) -> np.ndarray:
        batch = 500
        sample = tf.function(lambda seed: self.model.sample(batch, seed), autograph=False)
        count = -(-self._num_generated // batch)
        images = [self._unit(sample(random.fold_in(self.seed, 10_000 + i))) for i in range(count)]
        return np.concatenate(images)[: self._num_generated]

    def inception_score(self) -> dict[str, Any]:
        network, name = self._network
        splits = max(1, min(_SPLITS, self._num_generated // _SPLIT_SIZE))
        result = tfzoo_metrics.inception_score(network.probabilities(self._generated()), num_splits=splits)
        return {
            "inception_score": float(result.mean),
            # `std` has the divisor S; an error's deviation has S - 1.
            "standard_error": float(result.std / math.sqrt(splits - 1)) if splits > 1 else None,
            "estimator": f"{name}, {self._num_generated} samples in {splits} split{'s' if splits > 1 else ''}",
        }

    def fid(self) -> dict[str, Any]:
        network, name = self._network
        real = np.concatenate([self._unit(batch["image"]) for batch in self.dataset])
        features = getattr(network, "features", network)
        value = tfzoo_metrics.frechet_inception_distance(real, self._generated(), feature_network=features)
        return {"fid": float(value), "estimator": f"{name}, {self._num_generated} samples against {len(real)} images"}

    def f1(self) -> dict[str, Any]:
        (codes,) = self._map("f1", lambda x, seed: (self.model.encode(x, seed),))
        labels = self._labels()
        half = len(codes) // 2
        result = tfzoo_metrics.latent_classification(codes[:half], labels[:half], codes[half:], labels[half:])
        return {
            "f1": float(result.macro_f1),
            "per_class": {str(label): float(value) for label, value in zip(result.classes, result.f1, strict=True)},
            "estimator": f"MLP on {half} codes, tested on {len(codes) - half}",
        }

    def auprc(self) -> dict[str, Any]:
        anomalous = (self._labels() == self.held_out).astype(np.int32)
        compiled = tf.function(
            lambda x, seed: (self.model.anomaly_score(x, seed),), autograph=False, reduce_retracing=True
        )
        seeds = [random.fold_in(self.seed, 20_000 + run) for run in range(self.num_runs)]
        images = next(iter(self.dataset))["image"]
        first, second = (np.asarray(compiled(images, random.fold_in(seed, 0))[0]) for seed in (*seeds, self.seed)[:2])
        without_noise = np.array_equal(first, second)
        seeds = seeds[:1] if without_noise else seeds
        step = self.progress("auprc", len(seeds) * len(self.dataset))
        scores = np.concatenate([self._apply(compiled, seed, step) for seed in seeds])  # [runs, N]
        results = [tfzoo_metrics.auprc(anomalous, run) for run in scores]
        values, base_rate, floor = [result.auprc for result in results], results[0].base_rate, results[0].floor
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        runs = "1 run" if len(values) == 1 else f"{len(values)} runs, deviation {deviation:.2g}"
        runs += ", without noise" if without_noise else ""
        return {
            "auprc": float(np.mean(values)),
            "deviation": deviation,
            "standard_error": tfzoo_metrics.auprc_standard_error(anomalous, scores),
            "base_rate": base_rate,
            "floor": floor,
            "runs": values,
            "held_out": self.held_out,
            "num_images": self.num_images,
            "estimator": f"-log p(x, z), {self._code()}; label {self.held_out} held out, {self.num_images} images, "
            f"{runs}; base rate {base_rate:.3f}, floor {floor:.3f}",
        }

    def ais(self) -> dict[str, Any]:
        model, settings = self.model, self.annealing
        images = subset(self.dataset, min(settings.num_images, self.num_images), batch_size=settings.num_images)
        images = next(iter(images))["image"]
        z_seed, x_seed, real_seed, simulated_seed = random.split(self.seed, 4)
        certified = model.has_normalised_prior
        step = self.progress("ais", 2 if certified else 1)

        def bounds(x: Tensor, posterior_sample: Tensor | None, seed: Tensor) -> annealed.Bounds:
            options = {"num_steps": settings.num_steps, "num_chains": settings.num_chains, "seed": seed}
            log_joint, start = functools.partial(model.log_joint, x), model.annealing_start(x)
            result = annealed.log_prob_bounds(log_joint, start, posterior_sample=posterior_sample, **options)
            step()
            return result

        real = bounds(images, None, real_seed)
        lower, gap = np.asarray(real.lower), {}
        how = f"HMC from {model.annealing_origin}, {settings.num_steps} steps, {settings.num_chains} chains an image"
        if certified:
            # The certificate: the same chains on data whose exact posterior sample is known.
            z = model.prior().sample(len(images), seed=z_seed)
            both = bounds(model.likelihood(z).sample(seed=x_seed), z, simulated_seed)
            gaps = np.asarray(both.upper - both.lower)
            gap = {"bdmc_gap": _mean(gaps), "bdmc_gap_standard_error": _error(gaps)["standard_error"]}
            how += f"; upper minus lower bound on simulated images {gap['bdmc_gap']:.2g} nats"
        else:
            # Its exact samples would need exact samples of the prior.
            lower = lower - np.asarray(model.log_normalizer(seed=z_seed, num_steps=settings.num_steps))
            how += "; less the logarithm of the prior's normaliser by the same, whose error is not in this one"
            how += ": an estimate, without a certificate"
        acceptance = _mean(np.asarray(real.acceptance))
        estimator = f"annealed importance sampling with {how}"
        return {"ais": -_mean(lower), **_error(lower), **gap, "acceptance": acceptance, "estimator": estimator}


def _mean(values: np.ndarray) -> float:
    """Returns the mean of what is finite: an image whose chains all diverge has no bound."""
    finite = values[np.isfinite(values)]
    return float(np.mean(finite, dtype=np.float64)) if len(finite) else math.nan


def _error(values: np.ndarray) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    several = len(finite) > 1
    error = float(np.std(finite, ddof=1, dtype=np.float64) / math.sqrt(len(finite))) if several else None
    result = {"standard_error": error, "num_images": len(finite)}
    return result | ({"num_diverged_images": len(values) - len(finite)} if len(finite) < len(values) else {})


def subset(dataset: tf.data.Dataset, count: int, *, batch_size: int, held_out: int | None = None) -> tf.data.Dataset:
    """Returns `count` images of a data set, chosen at random, but always the same ones: in the data set's order.

    MNIST's first test images are cleaner than its last, so the first ones of a split are no sample of it.

    Args:
      dataset: batches of {"image", "label", "index"}.
      count: how many.
      batch_size: of the result.
      held_out: a label that has the same share among the chosen images as among all.

    Raises:
      ValueError: if there are fewer.
    """
    indices = np.concatenate([np.asarray(batch["index"]) for batch in dataset])
    if count > len(indices):
        raise ValueError(f"images must be at most {len(indices)}, the size of the split. Received: {count}")
    kinds = [indices]
    if held_out is not None:
        is_held_out = np.concatenate([np.asarray(batch["label"]) for batch in dataset]) == held_out
        kinds = [indices[is_held_out], indices[~is_held_out]]
    first = round(count * len(kinds[0]) / len(indices))
    chosen = np.zeros(indices.max() + 1, bool)
    noise = np.random.default_rng(0)
    for kind, number in zip(kinds, (first, count - first), strict=False):
        chosen[noise.choice(kind, number, replace=False)] = True
    chosen = tf.constant(chosen)
    kept = dataset.unbatch().filter(lambda element: chosen[element["index"]]).batch(batch_size)
    return kept.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))


def paired_difference(first: dict[int, float], second: dict[int, float]) -> tuple[float, float, int]:
    """Returns the mean of first - second over the images of both, its standard error, and how many they are.

    Args:
      first: image's index -> value.
      second: the same of another model.

    Raises:
      ValueError: if they share no two images.
    """
    shared = sorted(i for i in first.keys() & second.keys() if math.isfinite(first[i]) and math.isfinite(second[i]))
    if len(shared) < 2:
        raise ValueError(f"both runs must be measured on the same images. Received: {len(shared)} in common")
    differences = np.array([first[index] - second[index] for index in shared])
    return _mean(differences), _error(differences)["standard_error"], len(shared)
