"""The handwritten digits that come with scikit-learn: 1,797 real 8x8 images, no download."""

import numpy as np

from tfzoo.data.sources import Table

__all__ = ["load_digits"]

# The file's own order follows its writers: cut as it is, the parts would be of different hands. This seed draws one
# order, for good.
PERMUTATION_SEED = 20
TRAIN, VALIDATION, TEST = slice(0, 1297), slice(1297, 1497), slice(1497, 1797)
ROWS = {
    "train": TRAIN,
    "validation": VALIDATION,
    "train+validation": slice(0, 1497),
    "test": TEST,
    "all": slice(0, 1797),
}


def load_digits(split: str) -> Table:
    """Reads one split: 1,297 train, 200 validation and 300 test images of a fixed permutation.

    Args:
      split: one of `tfzoo.data.load`'s splits.

    Returns:
      uint8 images `[N, 8, 8, 1]` with values 0..16, and labels 0..9.
    """
    from sklearn import datasets  # slow to import

    images, labels = datasets.load_digits(return_X_y=True)
    # RandomState's stream is frozen by NumPy's compatibility policy, default_rng's is not.
    rows = np.random.RandomState(PERMUTATION_SEED).permutation(len(images))[ROWS[split]]
    return Table(images[rows].reshape(-1, 8, 8, 1).astype(np.uint8), labels[rows].astype(np.int32), 16.0)
