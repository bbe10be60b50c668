"""
conftest.py: fixtures around the harness. `launch` starts gateways for one test, `launch_module` for
all tests of a file; both stop them at the end and fail the test if they did not end cleanly.
And which tests go on side by side: those of one group never, all others as there is room.
"""
import contextlib
import functools
import pathlib
import sys
import warnings

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import harness  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)


def pytest_configure(config):
    config.addinivalue_line("markers", "races: also runs under the thread sanitiser")


# Each of these wants all cores, so they run one behind the other; others mostly wait.
COMPUTING = ("test_inference", "test_reload_command")
WAITING_LONG = ("test_waiting_room",)


@functools.cache
def shares_a_server(path):
    return 'scope="module"' in path.read_text()


def group_of(nodeid, root):
    """A worker of xdist runs a group from its first test to its last."""
    file = nodeid.split("::")[0]
    if pathlib.Path(file).name.startswith(COMPUTING):
        return "computing"
    return file if shares_a_server(root / file) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling  # it need not be there for a single file

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return group_of(nodeid, config.rootpath)
    return Groups(config, log)


def put_long_groups_first(config, items):
    """So that nobody is alone with one of them at the end."""
    def key(item):
        group = group_of(item.nodeid, config.rootpath)
        return group != "computing", group == item.nodeid, not item.path.name.startswith(WAITING_LONG)
    items.sort(key=key)


def pytest_collection_modifyitems(config, items):
    put_long_groups_first(config, items)
    if not harness.BINARY.exists():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"{harness.BINARY} is not built; set FG_BINARY"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    gateways = {}
    for value in item.funcargs.values():
        for gateway in [value] if isinstance(value, harness.Floodgate) else getattr(value, "started", []):
            gateways[gateway.run] = gateway
    for run, gateway in gateways.items():
        gateway.keep = True
        report.longrepr.addsection(f"floodgate, {run}", gateway.log[-4000:])


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

    launch.started = started
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
