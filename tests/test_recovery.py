"""What is reported of completions is what the library's own functions give, at the hidden pixels, on [0, 1]."""

import numpy as np
import pytest

import tfzoo
from tfzoo import data, random, recovery
from tfzoo.data.masks import Mask, coverage
from tfzoo.metrics import mean_fill, neighbour_fill

IMAGES = np.random.default_rng(0).random((30, 6, 6, 1)).astype(np.float32)
OTHERS = np.random.default_rng(1).random((40, 6, 6, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> tfzoo.models.ABP:
    options = {"latent_dim": 2, "num_steps": 2, "chain": "noise", "inference": "short_run", "seed": 0}
    return tfzoo.create_model("abp", event_shape=(6, 6, 1), **options)


def test_errors_are_those_at_the_hidden_pixels(model) -> None:
    dataset = data.load(IMAGES, batch_size=30, shuffle=False, value_range=(-1, 1))
    training = data.load(OTHERS, batch_size=20, shuffle=False, value_range=(-1, 1), mask="square:2", seed=3)
    found = recovery.measure(
        model, dataset, training, masks=["square:3", "left"], value_range=(-1, 1), num_neighbours=2
    )
    assert list(found) == ["recovery_square_3", "recovery_left"]
    images, others = 2 * IMAGES - 1, 2 * OTHERS - 1
    donors = Mask.of("square:2").draw(np.arange(40), (6, 6), 3).numpy()
    for kind, report in zip(("square:3", "left"), found.values(), strict=True):
        mask = Mask.of(kind).draw(np.arange(30), (6, 6), 0).numpy()
        hidden = mask == 0

        def error(filled, hidden=hidden):
            return np.mean(((filled - images) / 2)[hidden] ** 2)

        assert report["mean_image"] == pytest.approx(error(mean_fill(images, mask, others, donors)), rel=1e-5)
        near = neighbour_fill(images, mask, others, donors, num_neighbours=2)
        assert report["neighbours"] == pytest.approx(error(near), rel=1e-5)
        assert report["coverage"] == pytest.approx(coverage(mask).mean())
        name = f"recovery_{kind.replace(':', '_')}"
        index, values = report["per_image"]
        np.testing.assert_array_equal(index, np.arange(30))
        assert report[name] == pytest.approx(values.mean())
        assert report["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(30))
        # Noise that nothing was learned of: the model's image is flat, about as far as the middle grey.
        assert report[name] == pytest.approx(1 / 12, rel=0.5)
        assert "one completion by short_run; mean image 0." in report["estimator"]
        assert "2 neighbours 0." in report["estimator"]
        assert "of 40 training images" in report["estimator"]


def test_a_model_that_knows_the_images_has_no_error(model, monkeypatch) -> None:
    dataset = data.load(IMAGES, batch_size=16, shuffle=False, mask="patches:30", seed=5)
    monkeypatch.setattr(type(model), "inpaint", lambda self, x, mask, count, seed: np.asarray(x)[np.newaxis])
    steps, told = [], {}
    options = {"progress": lambda *_: lambda: steps.append(1), "done": told.__setitem__}
    found = recovery.measure(model, dataset, dataset, **options)
    report = found["recovery_own"]
    assert told == found
    assert report["recovery_own"] == 0.0
    assert report["mean_image"] > 0.05
    assert len(steps) == 2
    masks = Mask.of("patches:30").draw(np.arange(30), (6, 6), 5)
    assert report["coverage"] == pytest.approx(coverage(masks)[coverage(masks) > 0].mean())


def test_the_mean_of_several_completions_is_measured(model) -> None:
    dataset = data.load(IMAGES, batch_size=30, shuffle=False, value_range=(-1, 1))
    options = {"masks": ["left"], "value_range": (-1, 1), "num_completions": 3, "num_steps": 4, "seed": 7}
    report = recovery.measure(model, dataset, dataset, **options)["recovery_left"]
    images, mask = 2 * IMAGES - 1, Mask.of("left").draw(np.arange(30), (6, 6), 0).numpy()
    completions = model.inpaint(images, mask, 3, seed=random.fold_in(random.as_seed(7), 0), num_steps=4).numpy()
    hidden = mask == 0
    expected = np.mean(((completions.mean(0) - images) / 2)[hidden] ** 2)
    assert report["recovery_left"] == pytest.approx(expected, rel=1e-5)
    # Less than one of them is off, by their variance.
    assert expected < np.mean(((completions - images) / 2)[:, hidden] ** 2)
    assert "mean of 3 completions by short_run of 4 steps; mean image 0." in report["estimator"]
    with pytest.raises(ValueError, match=r"^num_completions must be .* Received: 0$"):
        recovery.measure(model, dataset, dataset, masks=["left"], num_completions=0)


@pytest.mark.fast
def test_what_cannot_be_measured_is_one_sentence(model) -> None:
    dataset = data.load(IMAGES, batch_size=16)
    with pytest.raises(ValueError, match=r"^recovery needs a kind of masks, .* for whole images\. Received: none$"):
        recovery.measure(model, dataset, dataset)
    with pytest.raises(ValueError, match=r"^`mask` must hide a part of .* 6x6 pixels\. Received: 'square:7'$"):
        recovery.check_masks(model, dataset, ["left", "square:7"])
    vectors = data.load(IMAGES.reshape(30, -1), batch_size=16)
    with pytest.raises(ValueError, match=r"^recovery is for images \[H, W, C\]\. Received: event_shape \(36,\)$"):
        recovery.measure(tfzoo.create_model("vae", event_shape=(36,)), vectors, vectors, masks=["box"])
