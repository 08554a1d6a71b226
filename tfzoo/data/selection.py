"""Parts of a data set by label: some classes only, or all but one, which then is what a detector has to find.

The protocol of anomaly detection (`held_out`): all images of a set are one pool, of which the splits are made anew.

    normal    label != held_out, permuted
    "train"   the first 80 % of the normal ones
    "test"    the other 20 %, and all images of the held-out class, mixed

so that far more of the test images are anomalous than of the set: 35 % of MNIST's, with the digit 4 held out.

References:
  Zenati et al. 2018, Efficient GAN-based anomaly detection, arXiv:1802.06222 (the protocol; their pool has MNIST's
    images in another order, so that their splits are of the same sizes but not of the same images).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfzoo.data.listing import rows_of
from tfzoo.data.sources import Stream, Table

__all__ = ["Selection"]

# RandomState's stream is frozen by NumPy's compatibility policy, default_rng's is not.
PERMUTATION_SEED = 42
HELD_OUT_SPLITS = ("train", "test")


class Selection(NamedTuple):
    """What to take of a data set; see `tfzoo.data.load`.

    Attributes:
      held_out: the class that is left out of "train"; None for none.
      classes: the labels to keep; None for all.
    """

    held_out: int | None
    classes: tuple[int, ...] | None

    @classmethod
    def of(cls, held_out: int | None, classes: Sequence[int] | None) -> "Selection":
        """Checks the options.

        Raises:
          ValueError: if `held_out` is no label, `classes` are not distinct labels, or both are given.
        """
        if held_out is not None and not _is_label(held_out):
            raise ValueError(f"`held_out` must be a label, 0 or more, or None. Received: {held_out!r}")
        if classes is not None:
            listed = isinstance(classes, list | tuple | np.ndarray) and len(classes) > 0
            if not listed or not all(map(_is_label, classes)) or len(set(classes)) < len(classes):
                raise ValueError(f"`classes` must be distinct labels, such as (0, 1), or None. Received: {classes!r}")
        if held_out is not None and classes is not None:
            raise ValueError(
                "`held_out` and `classes` are two protocols: one of them must be None. "
                f"Received: held_out={held_out}, classes={classes}"
            )
        return cls(
            None if held_out is None else int(held_out), None if classes is None else tuple(int(c) for c in classes)
        )

    def source_split(self, split: str) -> str:
        """The split of the whole set that a split of the selection is taken from.

        Raises:
          ValueError: if the selection has no such split.
        """
        if self.held_out is None:
            return split
        if split not in HELD_OUT_SPLITS:
            raise ValueError(
                f"With `held_out`, `split` must be one of {', '.join(HELD_OUT_SPLITS)}. Received: {split!r}"
            )
        return "all"

    def apply(self, source: Table | Stream, split: str) -> Table | Stream:
        """Takes a split of the selection from its `source_split`.

        Raises:
          ValueError: if the examples are not in memory, a label does not occur among theirs, or nothing is left.
        """
        if self == (None, None):
            return source
        table = self.in_memory(source)
        rows = self._rows(table.labels, split)
        return table._replace(images=table.images[rows], labels=table.labels[rows])

    @staticmethod
    def in_memory(source: Table | Stream) -> Table:
        """Returns a table as it is.

        Raises:
          ValueError: for a stream.
        """
        if isinstance(source, Stream):
            raise ValueError(
                "`held_out` and `classes` need a set that is read into memory: one of up to 1 GiB, and cache=True. "
                f"Received: {source.num_examples} examples of shape {source.event_shape} on disk"
            )
        return source

    def sizes(self, labels: np.ndarray, num_examples: Mapping[str, int]) -> dict[str, int]:
        """The sizes of the selection's splits.

        Args:
          labels: of the whole set in canonical order, `[N]`.
          num_examples: the sizes of the set's splits.
        """
        if self.held_out is not None:
            return {split: len(self._rows(labels, split)) for split in HELD_OUT_SPLITS}
        self._check_known(labels)
        kept = self._is_kept(labels)
        return {split: int(kept[rows_of(num_examples, split)].sum()) for split in num_examples}

    def _rows(self, labels: np.ndarray, split: str) -> np.ndarray:
        known = self._check_known(labels)
        if self.held_out is None:
            return np.flatnonzero(self._is_kept(labels))
        if len(known) < 2:
            raise ValueError(f"`held_out` must leave other classes to learn. Received: {self.held_out}, the only one")
        random = np.random.RandomState(PERMUTATION_SEED)
        normal = random.permutation(np.flatnonzero((labels >= 0) & (labels != self.held_out)))
        cut = len(normal) * 8 // 10
        if split == "train":
            return normal[:cut]
        return random.permutation(np.concatenate([normal[cut:], np.flatnonzero(labels == self.held_out)]))

    def _is_kept(self, labels: np.ndarray) -> np.ndarray:
        return np.isin(labels, self.classes or ())

    def _check_known(self, labels: np.ndarray) -> list[int]:
        """Returns the labels that there are."""
        known = np.unique(labels[labels >= 0]).tolist()
        for label in self.classes or (self.held_out,):
            if label not in known:
                names = ", ".join(map(str, known)) or "(there are none)"
                raise ValueError(f"`held_out` and `classes` must be of the labels {names}. Received: {label}")
        return known


def _is_label(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0
