"""What every test starts from: two logical CPU devices, one seed, and no noise from AutoGraph."""

import gc
import logging
import secrets

import keras
import pytest
import tensorflow as tf

SEED = 20240612


def pytest_addoption(parser):
    parser.addoption("--runslow", action="store_true", help="also run tests marked slow")
    parser.addoption("--vary_seed", action="store_true", help="a new seed for each test, to find flaky ones")


def pytest_sessionstart(session):
    # Replicas are tested on two logical devices; this must come before TensorFlow looks at its devices.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(config, items):
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    sums_replicas = tuple(int(part) for part in keras.__version__.split(".")[:2]) >= (3, 10)
    for item in items:
        if "slow" in item.keywords:
            if config.getoption("--runslow"):
                item.add_marker(pytest.mark.timeout(3600))
            else:
                item.add_marker(pytest.mark.skip(reason="slow: needs --runslow"))
        if "gpu" in item.keywords and not has_gpu:
            item.add_marker(pytest.mark.skip(reason="no GPU on this machine"))
        if "replicas" in item.keywords and not sums_replicas:
            item.add_marker(pytest.mark.skip(reason=f"Keras {keras.__version__} does not sum over replicas"))


@pytest.fixture
def test_seed(request):
    """The seed of a test: always the same, unless --vary_seed asks for another one, which a failure then shows."""
    if not request.config.getoption("--vary_seed"):
        return SEED
    value = secrets.randbits(31)
    request.node.add_report_section("setup", "seed", str(value))
    return value


@pytest.fixture(autouse=True)
def fresh_keras(test_seed):
    """Each test has Keras's names, policies and random numbers as at the start of a process."""
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(test_seed)


@pytest.fixture(autouse=True, scope="module")
def young_heap():
    """Takes what the tests of a file leave behind out of the collector's sight.

    Graphs of a thousand tests are millions of objects, and looking through them all, again and again, made the last
    files of a run many times slower than the first.
    """
    yield
    gc.collect()
    gc.freeze()


class _Messages(logging.Handler):
    def __init__(self):
        super().__init__()
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def no_autograph_warnings():
    """Fails a test in which AutoGraph left a function as it was: what runs then is not what was written."""
    handler = _Messages()
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    failures = [message for message in handler.messages if "AutoGraph could not transform" in message]
    assert not failures, failures
