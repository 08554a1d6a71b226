import numpy as np
import pytest
from scipy import ndimage

from tfzoo import data
from tfzoo.data import phantoms

CORNER = np.ones((3, 3, 3))  # voxels that touch at a corner are neighbours


@pytest.fixture(scope="module")
def tubes():
    return data.spiral_tubes(30, seed=7)[..., 0]


def levels(volume):
    """Intensities of the background and of the tube: the median, and that of the brightest hundred voxels."""
    return np.median(volume), np.median(np.sort(volume, axis=None)[-100:])


def inside(volume):
    return volume > np.mean(levels(volume))


@pytest.mark.fast
def test_a_volume_depends_on_its_seed_and_its_index_only():
    three, one = data.spiral_tubes(3, seed=5), data.spiral_tubes(1, seed=5, start=2)
    assert three.shape == (3, 60, 50, 50, 1)
    assert three.dtype == np.float32
    assert np.array_equal(three[2], one[0])
    assert not np.array_equal(three[0], three[1])
    assert not np.array_equal(one, data.spiral_tubes(1, seed=6, start=2))
    assert data.spiral_tubes(0).shape == (0, 60, 50, 50, 1)


def test_volumes_are_frozen():
    # A change here would make other data of everybody's old runs. Sums and not voxels: exp and cos may differ in the
    # last digit from machine to machine.
    sums = data.spiral_tubes(3, seed=20).sum(axis=(1, 2, 3, 4), dtype=np.float64)
    np.testing.assert_allclose(sums, [22414.3, 20017.4, 27164.4], rtol=1e-5)


def test_each_volume_is_one_tube_on_a_background_wholly_inside(tubes):
    for volume in tubes:
        assert volume.min() >= 0
        assert volume.max() <= 1
        mask = inside(volume)
        assert ndimage.label(mask, CORNER)[1] == 1
        assert ndimage.label(~mask)[1] == 1  # no cavity
        border = mask.copy()
        border[1:-1, 1:-1, 1:-1] = False
        assert not border.any()
        assert 0.01 < mask.mean() < 0.08
        background, tube = levels(volume)
        assert 0.04 < background < 0.21
        assert 0.55 < tube < 1.0


def test_the_tube_is_open_and_its_turns_do_not_touch(tubes):
    # The mask of a tube that touched itself would have a handle, and its skeleton a ring: the Euler characteristic of
    # a solid without holes is 1. The median takes the noise's bumps off the wall.
    for volume in tubes:
        assert euler_characteristic(inside(ndimage.median_filter(volume, 3))) == 1


def euler_characteristic(mask):
    """Vertices - edges + faces - cubes of the union of closed unit cubes."""
    total, padded = 0, np.pad(mask, 1)
    for kind in np.ndindex(2, 2, 2):  # along which axes a cell is a point, not an interval
        cells = padded
        for axis in np.flatnonzero(kind):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            cells = cells[tuple(ahead)] | cells[tuple(behind)]
        total += (-1) ** (3 - sum(kind)) * np.count_nonzero(cells)
    return total


def test_the_centre_line_winds_between_two_and_three_times_and_gets_narrower():
    for index in range(30):
        random = np.random.RandomState(index)
        points, radii = phantoms._centre_line(random, np.array([60, 50, 50]))
        steps = np.diff(points, axis=0)
        lengths = np.linalg.norm(steps, axis=1)
        assert lengths.max() < 1.01 * phantoms.STEP
        assert lengths.min() > 0.95 * phantoms.STEP
        bends = np.arccos(np.clip(np.sum(steps[1:] * steps[:-1], 1) / (lengths[1:] * lengths[:-1]), -1, 1))
        assert 1.9 < bends.sum() / (2 * np.pi) < 2.9  # a climbing turn bends by a little less than a flat one
        assert (np.diff(radii) < 0).all()
        assert radii[0] < 8
        assert radii[-1] > 0.8


def test_a_straight_tube_has_the_volume_of_its_cylinder():
    # Partial volumes: the sum of intensities is the tube's volume, to a hundredth, wherever it lies between voxels.
    for offset, radius, wall in [(0.0, 3.0, 1.0), (0.3, 3.0, 1.0), (0.5, 4.5, 2.0)]:
        points = np.stack([np.arange(-5, 45, 0.7), *np.full((2, 72), 19.5 + offset)], axis=1)
        depth = phantoms._depth((40, 40, 40), points, np.full(72, radius), wall)
        measured = np.clip(depth / wall + 0.5, 0, 1).sum() / 40
        exact = np.pi * (radius**2 + wall**2 / 12)  # a linear wall adds its own second moment
        assert abs(measured / exact - 1) < 0.015


@pytest.mark.fast
def test_other_shapes_are_filled_too():
    volume = data.spiral_tubes(1, (24, 40, 32), seed=1)[0, ..., 0]
    assert volume.shape == (24, 40, 32)
    assert ndimage.label(inside(volume), CORNER)[1] == 1


@pytest.mark.fast
def test_the_named_set_is_generated_and_agrees_with_its_facts():
    facts = data.info("spiral_tubes")
    assert facts.event_shape == (60, 50, 50, 1)
    assert [facts.num_examples[split] for split in ("train", "validation", "test")] == [864, 108, 108]
    test = data.load("spiral_tubes", "test", batch_size=54)
    assert len(test) == 2
    batch = next(test.as_numpy_iterator())
    assert batch["image"].shape == (54, *facts.event_shape)
    assert set(batch["label"]) == {-1}
    made = data.spiral_tubes(54, seed=phantoms.SET_SEED, start=864 + 108)
    np.testing.assert_allclose(batch["image"], made, atol=0.5 / 255 + 1e-6)


def test_the_splits_of_the_named_set_follow_each_other(monkeypatch):
    made = []
    monkeypatch.setattr(phantoms, "_quantized", lambda shape, start, stop: made.append((start, stop)) or np.zeros(1))
    for split in ("train", "validation", "test", "train+validation", "all"):
        phantoms.load_spiral_tubes(split)
    assert made == [(0, 864), (864, 972), (972, 1080), (0, 972), (0, 1080)]


@pytest.mark.fast
def test_the_named_set_is_cropped_and_not_resized():
    with pytest.raises(ValueError, match=r"is for images \[H, W, C\]\. Received: examples of shape \(60, 50, 50, 1\)$"):
        data.info("spiral_tubes", image_size=32)
    assert data.info("spiral_tubes", volume_shape=(32, 32, 32)).event_shape == (32, 32, 32, 1)
    cropped = next(data.load("spiral_tubes", "test", batch_size=2, volume_shape=(64, 48, 50)).as_numpy_iterator())
    assert cropped["image"].shape == (2, 64, 48, 50, 1)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1}, r"^`count`, `seed` and `start` must not be negative\. Received: -1, 0 and 0$"),
        ({"count": 1, "start": -2}, r"must not be negative\. Received: 1, 0 and -2$"),
        ({"count": 1, "seed": -3}, r"must not be negative\. Received: 1, -3 and 0$"),
        ({"count": 1, "volume_shape": (60, 50)}, r"^`volume_shape` must be .* Received: \(60, 50\)$"),
        ({"count": 1, "volume_shape": (60, 50, 8)}, r"^`volume_shape` must be .* Received: \(60, 50, 8\)$"),
    ],
)
def test_impossible_tubes_are_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.spiral_tubes(**arguments)
