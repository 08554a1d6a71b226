"""Persistent Markov chains: one position for each example of a data set, kept from epoch to epoch.

The table is a weight that no optimiser touches, so it is saved and restored with its model. Its rows are addressed by
the data's "index". Under tf.distribute every replica holds the whole table; rows are gathered from all replicas before
they are written, so that the copies stay equal.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.checks import check_positive
from tfzoo.types import Tensor, TensorLike

__all__ = ["PersistentChains", "batch_index", "count_examples"]

_NO_INDEX = (
    'persistent chains need data with an "index" for each example, as tfzoo.data.load gives: '
    'a dict {"image", "index"}; chain="noise" goes without.'
)
_MOST = 2**31 - 1  # rows of a tensor, as TensorFlow counts them on some devices
_NO_END = "num_examples must be given for data without an end."


@keras.saving.register_keras_serializable("tfzoo")
class PersistentChains(keras.layers.Layer):
    """A table of positions ``[N, D]``, drawn from N(0, I) at first.

    Args:
      num_examples: N; None leaves the table to `build`, which takes N as its input shape ``(N,)``.
      latent_dim: D.
      seed: of the first positions.
    """

    def __init__(self, num_examples: int | None, latent_dim: int, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.num_examples: Any = num_examples
        self.latent_dim = latent_dim
        self.seed = seed
        self.positions: Any = None
        if num_examples is not None:
            self.build((check_positive("num_examples", num_examples),))

    def build(self, input_shape: tuple[int]) -> None:
        if input_shape[0] > _MOST:
            raise ValueError(f"index must be a row of a table, below {_MOST}. Received: {input_shape[0] - 1}")
        self.num_examples = input_shape[0]
        self.positions = self.add_weight(
            name="positions",
            shape=(self.num_examples, self.latent_dim),
            initializer=keras.initializers.RandomNormal(stddev=1.0, seed=self.seed),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )
        self.built = True

    def read(self, index: Tensor) -> Tensor:
        """Returns the positions ``[B, D]`` of the examples with these numbers ``[B]``; see `update` for errors."""
        return tf.gather(self.positions, self._checked(index))

    def has(self, index: Tensor) -> Tensor:
        """Returns which of these numbers ``[B]`` are rows of the table, bool ``[B]``."""
        return (index >= 0) & (index < self.num_examples)

    def update(self, index: Tensor, positions: Tensor) -> None:
        """Sets the positions ``[B, D]`` of the examples with these numbers ``[B]``.

        Raises:
          InvalidArgumentError: for a number beyond the table.
        """
        context = tf.distribute.get_replica_context()
        index = self._checked(index)[:, tf.newaxis]
        if context is None or not tf.distribute.has_strategy():
            self.positions.value.scatter_nd_update(index, positions)
            return
        index, positions = context.all_gather(index, axis=0), context.all_gather(positions, axis=0)
        self.positions.assign(tf.tensor_scatter_nd_update(self.positions, index, positions))

    def _checked(self, index: Tensor) -> Tensor:
        if self.num_examples is None:
            raise ValueError("num_examples must be given where steps are taken without fit. Received: None")
        message = f"index must be in 0 to {self.num_examples - 1}, a row of the persistent chains. Received: another"
        check = tf.debugging.Assert(tf.reduce_all(self.has(index)), [message])
        with tf.control_dependencies([check] if check is not None else []):  # none in eager code
            return tf.identity(index)

    def load_own_variables(self, store: Any) -> None:
        """Loads the table, which is made first where the file brings the number of examples."""
        if not self.built and len(store.keys()):
            self.build((len(store["0"]),))
        super().load_own_variables(store)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_examples": self.num_examples,
            "latent_dim": self.latent_dim,
            "seed": self.seed,
        }


def batch_index(data: TensorLike) -> Tensor:
    """Returns the "index" ``int64 [B]`` of a batch.

    Raises:
      ValueError: if the batch has none, or not whole numbers.
    """
    if not isinstance(data, dict) or "index" not in data:
        raise ValueError(f"{_NO_INDEX} Received: {_kind(data)}")
    index = tf.convert_to_tensor(data["index"])
    if not index.dtype.is_integer or index.shape.rank not in (None, 1, 2):
        raise ValueError(f"index must be whole numbers [B]. Received: {index.dtype.name}, shape {index.shape}")
    return tf.reshape(tf.cast(index, tf.int64), [-1])


def count_examples(data: Any) -> int:
    """Returns the number of rows that a table for this data needs: the largest "index" plus one, by one pass over it.

    Where indices have gaps, rows that belong to no example stay in the table as they were drawn.

    Args:
      data: a dict of arrays, or a `tf.data.Dataset` or `keras.utils.PyDataset` of dicts (also of pairs or triples that
        begin with one).

    Raises:
      ValueError: if there is no "index", the data has no end, or is of another kind, a generator say.
    """
    if isinstance(data, (dict, np.ndarray)) or tf.is_tensor(data):
        index = batch_index(data)
        return int(tf.reduce_max(index)) + 1 if len(index) else 0
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError(f"{_NO_END} Received: an infinite PyDataset")
        batches = (keras.utils.unpack_x_y_sample_weight(data[i])[0] for i in range(data.num_batches))
        return max(map(count_examples, batches), default=0)
    if not isinstance(data, tf.data.Dataset):
        raise ValueError(
            "num_examples must be given for data that is no dict of arrays, tf.data.Dataset or PyDataset. "
            f"Received: {type(data).__name__}"
        )
    spec, _, _ = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    if not isinstance(spec, dict) or "index" not in spec:
        raise ValueError(f"{_NO_INDEX} Received: a data set of {_kind(spec)}")
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{_NO_END} Received: an infinite data set")

    def largest(count: Tensor, *element: Any) -> Tensor:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(element if len(element) > 1 else element[0])
        return tf.maximum(count, tf.reduce_max(tf.cast(x["index"], tf.int64)))

    return int(data.reduce(np.int64(-1), largest)) + 1


def _kind(data: Any) -> str:
    if isinstance(data, dict):
        return f"a dict with the keys {', '.join(map(str, data))}"
    return "images alone"
