"""Many small volumes cut from a large one."""

import numpy as np

__all__ = ["crops"]


def crops(
    volume: np.ndarray, crop_shape: tuple[int, int, int], count: int | None = None, *, seed: int = 0
) -> np.ndarray:
    """Cuts crops from a volume: at random places, or side by side.

    Random crops overlap; for splits that share no voxel, cut the volume first:

    ```python
    hu = nibabel.load("head.nii.gz").get_fdata()
    unit = np.clip((hu + 1000) / 3000, 0, 1)  # air 0, dense bone 1
    train = tfzoo.data.crops(unit[:, :, :80], (60, 50, 50), 500, seed=1)
    test = tfzoo.data.crops(unit[:, :, 80:], (60, 50, 50))
    tfzoo.data.load(train, batch_size=10)
    ```

    Args:
      volume: `[T, H, W]`, of any dtype.
      crop_shape: of one crop, in voxels.
      count: how many crops, each place equally likely; None for all that fit beside each other without overlap, in the
        order of their places, the margin that is left being shared by both ends of an axis.
      seed: of the random places.

    Returns:
      `[N, *crop_shape, 1]`, the dtype kept.

    Raises:
      ValueError: if the volume has another rank, or is smaller than a crop.
    """
    volume = np.asarray(volume)
    sides = np.array(crop_shape)
    if volume.ndim != 3:
        raise ValueError(f"Crops are cut from one volume [T, H, W]. Received: shape {volume.shape}")
    if sides.shape != (3,) or (sides < 1).any() or (sides > volume.shape).any():
        raise ValueError(f"`crop_shape` must be a triple of ints from 1 to {volume.shape}. Received: {crop_shape!r}")
    windows = np.lib.stride_tricks.sliding_window_view(volume, tuple(crop_shape))  # a view: [places..., *crop_shape]
    if count is None:
        margins = np.array(volume.shape) % sides // 2
        cut = windows[tuple(slice(margin, None, side) for margin, side in zip(margins, sides, strict=True))]
        return cut.reshape(-1, *crop_shape, 1)
    if count < 1:
        raise ValueError(f"`count` must be a positive int or None. Received: {count!r}")
    places = np.random.default_rng(seed).integers(0, windows.shape[:3], (count, 3))
    return windows[tuple(places.T)][..., np.newaxis]
