"""A test with a `case` runs for each model and shape, with an `image_case` for each model, with an `amortised_case` for
each that has an encoder, with a `training_case` for each way of training.
"""

import pytest

from tests.conformance.cases import (
    AMORTISED_CASES,
    AMORTISED_METHODS,
    CASES,
    IMAGE_CASES,
    LIKE_ANOTHER,
    SLOW,
    TRAINING_CASES,
    Case,
)

PARAMETERS = {
    "case": CASES,
    "image_case": IMAGE_CASES,
    "amortised_case": AMORTISED_CASES,
    "training_case": TRAINING_CASES,
}


def pytest_generate_tests(metafunc):
    for name, cases in PARAMETERS.items():
        if name in metafunc.fixturenames:
            if metafunc.module.__name__.endswith("bad_input"):
                cases = [case for case in cases if case.name not in LIKE_ANOTHER]
            metafunc.parametrize(name, cases, ids=str)


def pytest_collection_modifyitems(config, items):
    def has_the_method(item):
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        case = parameters.get("image_case")
        if not isinstance(case, Case) or case.amortised:
            return True
        return not {parameters.get("method"), parameters.get("name")} & AMORTISED_METHODS

    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        case = parameters.get("case") or parameters.get("image_case")
        if isinstance(case, Case) and case.name in SLOW.get(item.originalname, ()):
            item.add_marker(pytest.mark.slow)

    dropped = [item for item in items if not has_the_method(item)]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if has_the_method(item)]


@pytest.fixture(scope="session")
def shared_models():
    """One model for each case, for tests that neither train it nor mind its state."""
    models = {}

    def get(case):
        if case not in models:
            models[case] = case.model()
        return models[case]

    return get
