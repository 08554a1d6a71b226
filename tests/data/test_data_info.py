import numpy as np
import pytest

from tfzoo import data

pytestmark = pytest.mark.fast


def test_names_are_sorted_and_each_has_complete_facts():
    names = data.list_datasets()
    assert names == sorted(names)
    assert set(names) >= {"digits", "mnist", "fashion_mnist", "binarized_mnist", "kmnist", "svhn_cropped", "celeb_a"}
    assert "spiral_tubes" in names
    for name in names:
        facts = data.info(name)
        assert facts.name == name
        assert len(facts.event_shape) in (3, 4)
        assert all((facts.licence, facts.source, facts.citation))
        counts = facts.num_examples
        assert counts["train"] + counts["validation"] == counts["train+validation"]
        assert counts["train+validation"] + counts["test"] == counts["all"]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "binarized_mnist"])
def test_the_28x28_sets_are_50000_10000_10000(name):
    counts = data.info(name).num_examples
    assert [counts[split] for split in ("train", "validation", "test")] == [50_000, 10_000, 10_000]


def test_facts_of_arrays_are_counted():
    facts = data.info((np.zeros((5, 4, 3, 1)), np.array([0, 2, 2, 1, -1])))
    assert (facts.event_shape, facts.num_classes) == ((4, 3, 1), 3)
    assert facts.num_examples == {"train": 5, "all": 5}


def test_the_size_asked_for_is_in_the_facts():
    assert data.info("celeb_a").event_shape == (64, 64, 3)
    assert data.info("celeb_a", image_size=32).event_shape == (32, 32, 3)


def test_facts_cannot_be_changed():
    with pytest.raises(AttributeError):
        data.info("digits").num_classes = 3
