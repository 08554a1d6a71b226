"""The version is the same wherever it stands."""

import pathlib

import pytest
import yaml

import tfzoo

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.fast
def test_citation_agrees_with_the_package() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == tfzoo.__version__
