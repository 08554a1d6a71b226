import numpy as np
import pytest

from tfzoo import data

pytestmark = pytest.mark.fast

VOLUME = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10)  # a voxel's value says where it is


def test_a_random_crop_is_a_part_of_the_volume():
    crops = data.crops(VOLUME, (3, 4, 5), 50, seed=1)
    assert crops.shape == (50, 3, 4, 5, 1)
    assert crops.dtype == np.int16
    for crop in crops[..., 0]:
        t, h, w = np.unravel_index(crop[0, 0, 0], VOLUME.shape)
        np.testing.assert_array_equal(crop, VOLUME[t : t + 3, h : h + 4, w : w + 5])


def test_every_place_is_equally_likely():
    corners = data.crops(VOLUME, (7, 7, 9), 6000, seed=2)[:, 0, 0, 0, 0]  # 2 * 3 * 2 places
    counts = np.unique(corners, return_counts=True)[1]
    assert len(counts) == 12
    assert np.abs(counts - 500).max() < 4 * np.sqrt(500 * 11 / 12)


def test_the_same_seed_cuts_the_same_crops():
    first, again, other = (data.crops(VOLUME, (3, 4, 5), 8, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_a_count_crops_lie_beside_each_other():
    crops = data.crops(VOLUME, (4, 3, 4))
    assert crops.shape == (2 * 3 * 2, 4, 3, 4, 1)
    tiled = crops[..., 0].reshape(2, 3, 2, 4, 3, 4).transpose(0, 3, 1, 4, 2, 5).reshape(8, 9, 8)
    np.testing.assert_array_equal(tiled, VOLUME[:, :, 1:-1])
    np.testing.assert_array_equal(data.crops(VOLUME, VOLUME.shape)[0, ..., 0], VOLUME)


def test_crops_can_be_loaded():
    batch = next(data.load(data.crops(VOLUME / 1000, (6, 5, 5), 4), batch_size=4).as_numpy_iterator())
    assert batch["image"].shape == (4, 6, 5, 5, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((VOLUME[0], (3, 3, 3)), r"^Crops are cut from one volume \[T, H, W\]\. Received: shape \(9, 10\)$"),
        ((VOLUME[..., None], (3, 3, 3)), r"Received: shape \(8, 9, 10, 1\)$"),
        ((VOLUME, (9, 3, 3)), r"^`crop_shape` must be .* to \(8, 9, 10\)\. Received: \(9, 3, 3\)$"),
        ((VOLUME, (0, 3, 3)), r"^`crop_shape` must be .* Received: \(0, 3, 3\)$"),
        ((VOLUME, (3, 3)), r"^`crop_shape` must be .* Received: \(3, 3\)$"),
        ((VOLUME, (3, 3, 3), 0), r"^`count` must be a positive int or None\. Received: 0$"),
    ],
)
def test_an_impossible_crop_is_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.crops(*arguments)
