"""Data sets that tensorflow-datasets prepares on disk.

The order is that of tensorflow-datasets' files, which are shuffled once, the same everywhere, when they are prepared.
MNIST, Fashion-MNIST, KMNIST: the last 10,000 of the 60,000 training images in that order are the split "validation".
CIFAR-10 and SVHN: the last 5,000 and 8,000; the papers train on "train+validation". The others bring three splits.
"""

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib import error as url_error
from urllib import request

import tensorflow as tf

from tfzoo.data.catalogue import CATALOGUE
from tfzoo.data.resizing import resize
from tfzoo.data.sources import PARALLEL_CALLS, Stream, Table, as_table, fits_in_memory

__all__ = ["load_tfds"]

OWN_VALIDATION = ("binarized_mnist", "celeb_a")
PROBE_SECONDS = 5.0
CELEB_A_ROWS, CELEB_A_COLUMNS = slice(45, 173), slice(25, 153)  # 128x128 around the face, of 218x178


def load_tfds(
    name: str,
    split: str,
    *,
    image_size: tuple[int, int] | None,
    data_dir: str | pathlib.Path | None,
    cache: bool,
    download: bool,
) -> Table | Stream:
    """Opens one split of a prepared data set.

    Args:
      name: a name of the catalogue, not "digits".
      split: one of `tfzoo.data.load`'s splits.
      image_size: (height, width), or None for the catalogue's.
      data_dir: tensorflow-datasets' folder; None for its default.
      cache: read all images now, unless they are too many.
      download: try to download and prepare the set if it is not there.

    Returns:
      uint8 images: a table with `cache` where it fits, else a stream.

    Raises:
      FileNotFoundError: if the set is not prepared and cannot be.
      ValueError: if `image_size` is given for binarized_mnist.
    """
    facts = CATALOGUE[name]
    if name == "binarized_mnist" and image_size not in (None, facts.event_shape[:2]):
        raise ValueError(f"binarized_mnist is binary and cannot be resized. Received: image_size={image_size}")
    tfds = _import_tfds(name)
    directory = None if data_dir is None else str(pathlib.Path(data_dir).expanduser())
    with _quiet():
        builder = tfds.builder(name, data_dir=directory)
        if not builder.is_prepared():
            _prepare(builder, name, download)
        dataset = builder.as_dataset(
            split=_instructions(name)[split],
            shuffle_files=False,
            read_config=tfds.ReadConfig(interleave_cycle_length=1),  # files one after the other: the canonical order
        )
    height, width, channels = facts.event_shape
    size = image_size or (height, width)
    event_shape = (*size, channels)
    crops, resizes = name == "celeb_a", name == "celeb_a" or size != (height, width)

    def read(example: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        image = example["image"]
        if crops:
            image = image[CELEB_A_ROWS, CELEB_A_COLUMNS]
        if resizes:
            image = resize(image, size)
        label = tf.cast(example["label"], tf.int32) if "label" in example else tf.constant(-1)
        return tf.ensure_shape(image, event_shape), label

    dataset = dataset.map(read, num_parallel_calls=PARALLEL_CALLS, deterministic=True)
    scale = 1.0 if name == "binarized_mnist" else 255.0
    stream = Stream(dataset, facts.num_examples[split], event_shape, scale)
    return as_table(stream) if cache and fits_in_memory(stream.num_examples, event_shape) else stream


def _instructions(name: str) -> dict[str, str]:
    """Our splits in tensorflow-datasets' slicing language."""
    if name in OWN_VALIDATION:
        parts = {"train": "train", "validation": "validation", "train+validation": "train+validation"}
    else:
        cut = CATALOGUE[name].num_examples["train"]
        parts = {"train": f"train[:{cut}]", "validation": f"train[{cut}:]", "train+validation": "train"}
    return parts | {"test": "test", "all": f"{parts['train+validation']}+test"}


def _import_tfds(name: str) -> ModuleType:
    try:
        # tensorflow-datasets 4.9.10 needs it on its first read and does not depend on it: missing, it fails far inside
        import importlib_resources  # noqa: F401
        import tensorflow_datasets as tfds

        if not hasattr(tfds, "builder"):  # its import failed, and said so in the logs only
            raise ImportError(
                "TensorFlow's protobuf is older than tensorflow-metadata's: install tensorflow-metadata<1.18"
            )
    except ImportError as error:
        raise FileNotFoundError(
            f"The data set {name!r} is read by tensorflow-datasets, which cannot be imported; "
            f'run: pip install "tfzoo[data]". Received: {error}'
        ) from None
    return tfds


def _prepare(builder: Any, name: str, download: bool) -> None:
    """Downloads and prepares a set, or raises the one error that says how to."""
    directory = pathlib.Path(builder.data_path).parents[1]
    urls = list(getattr(builder, "url_infos", {}))
    if not download:
        reason = "download=False"
    elif urls and not _reachable(urls[0]):  # asked first: tensorflow-datasets itself retries for minutes
        reason = f"no answer from {urls[0]}"
    else:
        try:
            builder.download_and_prepare()
        except Exception as error:  # noqa: BLE001  whatever failed in there, the way out is the same
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        else:
            return
    raise FileNotFoundError(
        f"The data set {name!r} is not prepared in {directory} and was not downloaded; with network access, run: "
        f"python -c \"import tensorflow_datasets as tfds; tfds.load('{name}', data_dir='{directory}')\". "
        f"Received: {reason}"
    )


def _reachable(url: str) -> bool:
    """Whether the server of a URL answers at all, be it with a refusal."""
    try:
        with request.urlopen(request.Request(url, method="HEAD"), timeout=PROBE_SECONDS):
            return True
    except url_error.HTTPError as answer:
        answer.close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences absl's log: tensorflow-datasets warns there of every folder that it looks into and finds empty."""
    log = logging.getLogger("absl")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
