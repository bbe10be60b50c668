"""
conftest.py: fixtures around the harness. `launch` starts gateways for one test, `launch_module` for
all tests of a file; both stop them at the end and fail the test if they did not end cleanly.
"""
import contextlib
import pathlib
import sys
import warnings

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)


def pytest_configure(config):
    config.addinivalue_line("markers", "races: also runs under the thread sanitiser")


def pytest_collection_modifyitems(items):
    if not harness.BINARY.exists():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"{harness.BINARY} is not built; set FG_BINARY"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    for value in item.funcargs.values():
        if isinstance(value, harness.Floodgate):
            value.keep = True
            report.sections.append((f"floodgate, {value.run}", value.log[-4000:]))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return harness.make_certificate(tmp_path_factory.mktemp("certificate"))


@contextlib.contextmanager
def launcher(certificate):
    started = []

    def launch(sections, **kwargs):
        gateway = harness.Floodgate(certificate, sections, **kwargs)
        started.append(gateway)
        return gateway

    problems = []
    try:
        yield launch
    finally:
        for gateway in started:
            try:
                gateway.stop()
            except AssertionError as error:
                problems.append(str(error))
            gateway.clean()
    assert not problems, "\n".join(problems)


@pytest.fixture
def launch(certificate):
    with launcher(certificate) as launch_one:
        yield launch_one


@pytest.fixture(scope="module")
def launch_module(certificate):
    with launcher(certificate) as launch_one:
        yield launch_one


@contextlib.contextmanager
def upstreams(kind=harness.Upstream):
    made = []

    def make(*args, **kwargs):
        one = kind(*args, **kwargs)
        made.append(one)
        return one

    try:
        yield make
    finally:
        for one in made:
            with contextlib.suppress(OSError):
                one.close()


@pytest.fixture
def upstream():
    with upstreams() as make:
        yield make


@pytest.fixture(scope="module")
def upstream_module():
    with upstreams() as make:
        yield make


@pytest.fixture
def recorder():
    with upstreams(harness.Recorder) as make:
        yield make


@pytest.fixture(scope="module")
def recorder_module():
    with upstreams(harness.Recorder) as make:
        yield make
