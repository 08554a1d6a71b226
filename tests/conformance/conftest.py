"""A test with a `case` runs for each model and shape, with an `image_case` for each model, with a `training_case` for
each way of training.
"""

import pytest

from tests.conformance.cases import CASES, IMAGE_CASES, TRAINING_CASES

PARAMETERS = {"case": CASES, "image_case": IMAGE_CASES, "training_case": TRAINING_CASES}


def pytest_generate_tests(metafunc):
    for name, cases in PARAMETERS.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, cases, ids=str)


@pytest.fixture(scope="session")
def shared_models():
    """One model for each case, for tests that neither train it nor mind its state."""
    models = {}

    def get(case):
        if case not in models:
            models[case] = case.model()
        return models[case]

    return get
