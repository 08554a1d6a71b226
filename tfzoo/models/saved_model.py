"""SavedModels that TensorFlow alone can load and serve.

| signature | inputs | outputs |
|---|---|---|
| encode | images, seed | z |
| decode | z | images |
| sample | seed | images, one for each row of seed |
| reconstruct (also serving_default) | images, seed | images |
| log_prob | images, seed | log_prob, nats, by importance sampling, or annealed, with `num_samples` samples or chains |
| score | images, seed | score, -log p(x, z): higher is more anomalous |
| inpaint | images, mask, seed | images, completed by a chain; of models that infer by one, and of `latent_flow_vae` |
| sample_brownian | z, seed | images, of where motions from z end; of `riemannian_vae` with its Brownian prior |
| interpolate | start, end | images ``[B, num_points, *event_shape]`` |

Images and masks are float32 ``[B, *event_shape]``, z float32 ``[B, D]``, seed int32 ``[B, 2]``: one pair per example,
since a server may join the requests of many clients. An answer depends on its own row of the inputs only. A pixel is
visible where its mask is above 1/2; where none is, the chain goes by the prior alone: to its mode, if it has no noise.
A row with a number that is not finite, of a visible pixel, a mask or a z, is answered by NaN.
There is no `jit_compile`, no Python function and no stateful random op inside: stock servers refuse the first two at
request time, and the third would give every client another's stream. Shapes are checked in the graph, since servers do
not.
"""

import contextlib
import functools
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfzoo import random
from tfzoo.checks import check_positive
from tfzoo.types import Tensor

if TYPE_CHECKING:
    from tfzoo.models.base import LatentVariableModel

__all__ = ["replacing", "signatures", "write"]


def signatures(
    model: "LatentVariableModel",
    *,
    num_samples: int | None = None,
    num_points: int = 10,
    num_steps: int | None = None,
) -> dict[str, Callable[..., dict[str, Tensor]]]:
    """Returns the signatures' concrete functions by name.

    Args:
      model: any model of the zoo.
      num_samples: importance samples, or annealed chains, behind `log_prob`; None takes 100 or 16 of them.
      num_points: images of an interpolation, both ends included.
      num_steps: of the chains behind all that infers, or behind `inpaint` where only that has chains; None takes the
        model's own.

    Raises:
      ValueError: if a number is not positive, or `num_steps` is given for a model without the signature `inpaint`.
    """
    if num_samples is None:
        num_samples = model.num_served_samples
    check_positive("num_samples", num_samples)
    check_positive("num_points", num_points)
    if num_steps is not None and "inpaint" not in model.own_signatures:
        raise ValueError(f"num_steps is of models with the signature inpaint. Received: num_steps={num_steps}")
    steps = {} if num_steps is None else {"num_steps": check_positive("num_steps", num_steps)}
    options = steps if model.takes_masks else {}  # of `encode` and what uses it
    images = tf.TensorSpec([None, *model.event_shape], tf.float32)
    z = tf.TensorSpec([None, model.latent_dim], tf.float32)
    seed = tf.TensorSpec([None, 2], tf.int32)

    def sample(seed: Tensor) -> Tensor:
        return model.decode(random.sample(model.prior(), 1, seed)[0])

    def log_prob(images: Tensor, seed: Tensor) -> Tensor:
        return model.served_log_prob(images, num_samples, seed)

    def interpolate(start: Tensor, end: Tensor) -> Tensor:
        return model.interpolate(start, end, num_points, seed=tf.zeros([tf.shape(start)[0], 2], tf.int32), **options)

    def inpaint(images: Tensor, mask: Tensor, seed: Tensor) -> Tensor:
        return model.inpaint(images, mask, 1, seed, **steps)[0]

    def sample_brownian(z: Tensor, seed: Tensor) -> Tensor:
        return model.sample_brownian(z, seed)

    table: dict[str, tuple[Callable[..., Tensor], dict[str, tf.TensorSpec], str]] = {
        "encode": (functools.partial(model.encode, **options), {"images": images, "seed": seed}, "z"),
        "decode": (model.decode, {"z": z}, "images"),
        "sample": (sample, {"seed": seed}, "images"),
        "reconstruct": (functools.partial(model.reconstruct, **options), {"images": images, "seed": seed}, "images"),
        "log_prob": (log_prob, {"images": images, "seed": seed}, "log_prob"),
        "score": (functools.partial(model.anomaly_score, **options), {"images": images, "seed": seed}, "score"),
        "interpolate": (interpolate, {"start": images, "end": images}, "images"),
    }
    own: dict[str, tuple[Callable[..., Tensor], dict[str, tf.TensorSpec], str]] = {
        "inpaint": (inpaint, {"images": images, "mask": images, "seed": seed}, "images"),
        "sample_brownian": (sample_brownian, {"z": z, "seed": seed}, "images"),
    }
    table |= {name: own[name] for name in model.own_signatures}
    functions = {name: _function(*row) for name, row in table.items()}
    functions["serving_default"] = functions["reconstruct"]
    return functions


def _function(method: Callable[..., Tensor], inputs: dict[str, tf.TensorSpec], output: str) -> Callable:
    def call(**values: Tensor) -> dict[str, Tensor]:
        # A server feeds what it is sent, whatever the shapes that the signature names.
        values = _rows_matched({name: tf.ensure_shape(values[name], spec.shape) for name, spec in inputs.items()})
        if "mask" in values:  # what it hides is nothing to anyone, not even where it is NaN
            values["images"] = tf.where(values["mask"] > 0.5, values["images"], 0.0)
        # Positional, since the methods call their images x.
        result = tf.cast(method(*values.values()), tf.float32)
        return {output: _where_finite(result, [value for value in values.values() if value.dtype.is_floating])}

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()}
    return tf.function(call, autograph=False).get_concrete_function(**specs)


def _where_finite(result: Tensor, inputs: list[Tensor]) -> Tensor:
    """Returns the result, NaN in the rows of which an input is not finite: a chain would answer with its start."""
    finite = [tf.reduce_all(tf.math.is_finite(tf.reshape(value, [tf.shape(value)[0], -1])), axis=1) for value in inputs]
    if not finite:
        return result
    sound = tf.reduce_all(tf.stack(finite), axis=0)
    sound = tf.reshape(sound, tf.concat([tf.shape(sound), tf.ones([tf.rank(result) - 1], tf.int32)], 0))
    return tf.where(sound, result, math.nan)


def _rows_matched(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the inputs, which fail at run time where they have not all the same number of rows."""
    if len(values) == 1:
        return values
    rows = [tf.shape(value)[0] for value in values.values()]
    message = f"{' and '.join(values)} must have the same number of rows. Received:"
    check = tf.debugging.Assert(tf.reduce_all([row == rows[0] for row in rows]), [message, *rows])
    with tf.control_dependencies([check]):
        return {name: tf.identity(value) for name, value in values.items()}


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives a folder beside `path`, which is not there yet; what is written there takes its place at the end.

    Where writing fails, or what is done with the new one before, `path` stays as it was, and nothing stays beside it.

    Args:
      path: a folder that does not exist yet, or an earlier SavedModel, which is then replaced.

    Raises:
      ValueError: if `path` cannot be written, or is a file or a folder of something else.
    """
    path = pathlib.Path(path).absolute()
    if path.exists() and not (path / "saved_model.pb").exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"path must be a new folder or an earlier export. Received: {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = pathlib.Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise ValueError(f"path must be writable ({error.strerror}). Received: {path}") from None
    new, old = work / "new", work / "old"
    try:
        yield new
        new.chmod(0o755)  # a server may run as another user
        if path.exists():
            path.rename(old)
        new.rename(path)
    except OSError as error:
        raise ValueError(f"path must be writable ({error.strerror}). Received: {path}") from None
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(work)


def write(model: "LatentVariableModel", path: str | os.PathLike, **kwargs: Any) -> None:
    """Writes the SavedModel of `model` at `path`: beside it first, then by renaming.

    Args:
      model: any model of the zoo.
      path: as for `replacing`.
      **kwargs: of `signatures`.

    Raises:
      ValueError: as `replacing`.
    """
    module = tf.Module()
    # What the signatures capture has to hang on the saved object.
    module.captured = [weight.value for weight in model.weights]
    functions = signatures(model, **kwargs)
    with replacing(path) as new:
        tf.saved_model.save(module, str(new), signatures=functions)
