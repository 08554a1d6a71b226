"""What the check of an export says; that its numbers hold is tried with each model by the command line."""

import pytest
import tensorflow as tf
from absl import logging

import tfzoo
from tfzoo.verification import tolerance, verify_export


@pytest.fixture
def absl_messages(caplog):
    """What absl logs, from warnings on; its logger hands nothing on by itself."""
    verbosity, logger = logging.get_verbosity(), logging.get_absl_logger()
    logging.set_verbosity(logging.WARNING)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    logging.set_verbosity(verbosity)


def test_gradients_that_are_not_saved_are_no_matter_of_an_export(tmp_path, absl_messages):
    model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=2, seed=0)  # by transposed convolutions
    model.export(tmp_path / "export")
    found = verify_export(model, tmp_path / "export")
    assert set(found) >= {"encode", "decode", "serving_default"}
    assert "unsaved custom gradients" not in absl_messages.text
    tf.saved_model.load(str(tmp_path / "export"))  # whoever loads it hears of them
    assert "unsaved custom gradients" in absl_messages.text


def test_half_precision_may_differ_by_its_roundings(tmp_path):
    model = tfzoo.create_model("vae", event_shape=(8, 8, 1), latent_dim=2, seed=0, dtype="mixed_bfloat16")
    model.export(tmp_path / "export")
    differences = verify_export(model, tmp_path / "export")
    assert max(differences.values()) <= tolerance(model) == 3e-2
    assert tolerance(tfzoo.create_model("vae", event_shape=(4,), latent_dim=2)) == 1e-4
