"""What the exporting process computed, for the verifying one to compare with."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfzoo.models.base import LatentVariableModel

__all__ = ["example_inputs", "expected_outputs", "flatten"]


def example_inputs(model: LatentVariableModel, batch_size: int) -> dict[str, np.ndarray]:
    """Returns inputs by the names that signatures give them, a batch of each.

    Images are drawn from the model, so that they are in the range of its likelihood; masks (1 = visible) from fair
    coins; seeds from all pairs.
    """
    rng = np.random.default_rng(0)
    z = [np.asarray(model.prior().sample(batch_size, seed=[0, salt]), np.float32) for salt in range(3)]
    images, start, end = (
        np.asarray(model.likelihood(each).sample(seed=[1, salt]), np.float32) for salt, each in enumerate(z)
    )
    mask = rng.integers(0, 2, images.shape).astype(np.float32)
    seed = rng.integers(-(2**31), 2**31, (batch_size, 2)).astype(np.int32)
    return {"images": images, "start": start, "end": end, "mask": mask, "z": z[0], "seed": seed}


def expected_outputs(
    model: LatentVariableModel,
    path: pathlib.Path,
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    *,
    num_samples: int,
    num_points: int,
    **options: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Returns signature -> output -> array: from the model itself where it has the same call, else from its export.

    Args:
      model: what was exported.
      path: of its SavedModel.
      inputs: signature -> input -> array.
      num_samples: behind the signature log_prob.
      num_points: of the signature interpolate.
      **options: of whatever infers: `num_steps`.
    """
    inferring = options if model.takes_masks else {}  # of `encode` and what uses it

    def interpolate(start: np.ndarray, end: np.ndarray) -> Any:
        return model.interpolate(start, end, num_points, np.zeros([len(start), 2], np.int32), **inferring)

    calls: dict[str, tuple[str, Callable[..., Any]]] = {
        "encode": ("z", functools.partial(model.encode, **inferring)),
        "decode": ("images", model.decode),
        "sample": ("images", lambda seed: model.sample(len(seed), seed)),
        "reconstruct": ("images", functools.partial(model.reconstruct, **inferring)),
        "log_prob": ("log_prob", lambda images, seed: model.served_log_prob(images, num_samples, seed)),
        "score": ("score", functools.partial(model.anomaly_score, **inferring)),
        "interpolate": ("images", interpolate),
        "sample_brownian": ("images", lambda z, seed: model.sample_brownian(z, seed)),
        "inpaint": ("images", lambda images, mask, seed: model.inpaint(images, mask, 1, seed, **options)[0]),
    }
    outputs: dict[str, Any] = {}
    for name, (key, call) in calls.items():
        if name not in inputs:
            continue
        # By position, in the order of `example_inputs`: the methods call their images x.
        outputs[name] = {key: call(*inputs[name].values())}
    outputs["serving_default"] = outputs["reconstruct"]
    others = sorted(set(inputs) - set(outputs))
    if others:
        loaded = tf.saved_model.load(str(path)).signatures
        for name in others:
            outputs[name] = loaded[name](**{key: tf.constant(value) for key, value in inputs[name].items()})
    return {name: {key: np.asarray(value, np.float32) for key, value in each.items()} for name, each in outputs.items()}


def flatten(
    inputs: Mapping[str, Mapping[str, np.ndarray]], outputs: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Returns all arrays: "inputs/NAME", once for all signatures, and "outputs/SIGNATURE/NAME"."""
    given = {f"inputs/{key}": value for arrays in inputs.values() for key, value in arrays.items()}
    return given | {f"outputs/{name}/{key}": value for name, each in outputs.items() for key, value in each.items()}
