"""What every test gets: a backend, a Redis of its own on request, and guards that fail a test for what it leaves."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from hypothesis import settings

import streamguard
from streamguard.stores import RedisClient

from .harness.mariadb import MariaDBServer
from .harness.postgres import PostgresServer
from .harness.proxy import FaultProxy
from .harness.redis import DATABASES, RedisServer
from .harness.sentry import leftovers
from .harness.tls_contexts import share_tls_contexts
from .tiers import (
    EXAMPLES,
    Tier,
    directory_of,
    is_looked_at,
    is_measured,
    is_repeating,
    only,
    processes_refused,
    slow_first,
    tier_of,
)

pytest_plugins = ["tests.harness.redis_fixtures"]

# The package asks for it when a suite is first used; some tests import a suite's parts before that.
pytest.register_assert_rewrite(
    "streamguard.testing._stream_store", "streamguard.testing._message_store", "streamguard.testing._quota_store"
)

_blocking_calls = BlockBuster(scanned_modules=streamguard)
"""Only calls made from the package's own code count, so that tests may use subprocesses and files on the loop. One for
all tests: to gather the functions that may block takes as long as half a small test."""
_TASK_GRACE_SECONDS = 0.5
_TIER = "tier"
"""The property of a test's reports that names its tier."""
_CPU = "cpu"
"""The property of a report that says how many seconds of CPU it took."""
_MEASURES_PROCESSES = "COVERAGE_PROCESS_CONFIG"
"""The variable that makes coverage begin with each Python that is started."""
_MANY_DIRECTORIES = 5
"""A run of so many directories ends by saying how long each took."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loop", choices=["asyncio", "uvloop"], default="asyncio", help="event loop of the async tests (asyncio)"
    )
    parser.addoption("--fast", action="store_true", help="only tests that start no process; see tests/tiers.py")
    parser.addoption("--slow", action="store_true", help="only tests marked slow; see tests/tiers.py")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("whole", deadline=None)  # a busy machine is no failure
    settings.register_profile("fast", deadline=None, max_examples=EXAMPLES)
    settings.load_profile("fast" if config.getoption("--fast") else "whole")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """In the fast tier, what none of its tests needs is not imported."""
    return True if config.getoption("--fast") and not is_looked_at(collection_path) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for tier in (Tier.FAST, Tier.SLOW):
        if config.getoption(f"--{tier}"):
            items[:], others = only(tier, items)
            config.hook.pytest_deselected(items=others)
    for item in items:
        tier = tier_of(item)
        item.user_properties.append((_TIER, tier.value))
    items[:] = slow_first(items, _processes(config))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, of which there is next to none among all that stays; and of the processes
    that share the tests, which all import the same, let the first alone measure what imports reach."""
    first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    gc.disable()
    try:
        with nullcontext() if first else _unmeasured(processes=True):
            return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Leave ten thousand collected tests out of each garbage collection to come: it would look through them all, about
    a second for a test that makes a deep structure."""
    gc.collect()
    gc.freeze()


def _processes(config: pytest.Config) -> int:
    """How many processes share the tests."""
    count: int = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests each tier and directory had, and how long they took together."""
    tests: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    cpu: defaultdict[str, float] = defaultdict(float)
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            properties = dict(report.user_properties)
            for part in (str(properties.get(_TIER)), directory_of(report.nodeid)):
                tests[part] += report.when == "call"
                seconds[part] += report.duration
                cpu[part] += float(str(properties.get(_CPU, 0)))
    for tier in Tier:
        if count := tests.pop(tier, 0):
            terminalreporter.write_line(f"tier {tier}: {count} tests, {seconds[tier]:.0f} s of them")
    if len(tests) >= _MANY_DIRECTORIES:
        for part in sorted(tests, key=lambda one: -seconds[one]):
            terminalreporter.write_line(
                f"{part}: {tests[part]} tests, {seconds[part]:.0f} s, {cpu[part]:.0f} s of CPU besides servers"
            )


class _CPUMeter:
    """What this process, and those of its children that have ended, have used since it was last read."""

    def __init__(self) -> None:
        self._last = 0.0

    def read(self) -> float:
        times = os.times()
        now = times.user + times.system + times.children_user + times.children_system
        used, self._last = now - self._last, now
        return used


_meter = _CPUMeter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Each report says how many seconds of CPU its phase took."""
    report = yield
    report.user_properties = [*report.user_properties, (_CPU, _meter.read())]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """In the fast tier, a test that starts a process fails; coverage is measured where it counts."""
    _meter.read()
    with (
        processes_refused() if item.config.getoption("--fast") else nullcontext(),
        nullcontext() if is_measured(item) else _unmeasured(processes=not is_repeating(item)),
    ):
        return (yield)


@contextmanager
def _unmeasured(*, processes: bool) -> Iterator[None]:
    """Pause coverage, in threads that begin meanwhile too: a test that reads large JSON in one takes ten times as long
    with it. pytest-cov's own pause does not do: in a process of xdist a second coverage goes on, the process's own.

    Args:
        processes: measure those that are started all the same: a later test that counts may use one again.
    """
    trace, threads_trace = sys.gettrace(), threading.gettrace()
    asked = None if processes else os.environ.pop(_MEASURES_PROCESSES, None)
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(threads_trace)
        sys.settrace(trace)
        if asked is not None:
            os.environ[_MEASURES_PROCESSES] = asked


@pytest.fixture(scope="session", autouse=True)
def _shared_tls_contexts() -> Iterator[None]:
    """No client of httpx reads the authorities' certificates again."""
    with pytest.MonkeyPatch.context() as patch:
        share_tls_contexts(patch)
        yield


@pytest.fixture(scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """asyncio only: redis-py's asyncio client does not run under trio. `--loop=uvloop` runs the tests on uvloop."""
    return "asyncio", {"use_uvloop": request.config.getoption("--loop") == "uvloop"}


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The run's shared Redis, for reading and writing only; whoever stops or breaks one takes `own_redis`."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _database_numbers() -> Iterator[int]:
    return itertools.cycle(range(1, DATABASES))


@pytest.fixture
def redis_database(redis_server: RedisServer, _database_numbers: Iterator[int]) -> Iterator[int]:
    """The number of an empty database of the shared Redis; afterwards every key left in it must have a TTL."""
    database = next(_database_numbers)
    client = redis_server.client(database)
    client.flushdb()
    yield database
    immortal = redis_server.keys_without_ttl(database)
    client.flushdb()
    assert not immortal, f"keys without a TTL: {immortal[:10]}"


@pytest.fixture
def redis_url(redis_server: RedisServer, redis_database: int) -> str:
    """URL of an empty database of the shared Redis; afterwards every key left in it must have a TTL."""
    return redis_server.database_url(redis_database)


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[RedisClient]:
    """The stores' connection to an empty database of the shared Redis."""
    async with RedisClient(redis_url, command_seconds=5) as client:  # this machine may be busy
        assert await client.start() == []
        yield client


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[FaultProxy]:
    """A proxy with faults in front of the shared Redis."""
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def own_redis() -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis for this test alone, to be stopped, killed, paused or restarted: `own_redis(aof=True)`.

    Those still answering at the end must hold no key without a TTL; all are killed.
    """
    servers: list[RedisServer] = []

    def start(*, aof: bool = False, config: dict[str, str] | None = None) -> RedisServer:
        server = RedisServer(aof=aof, config=config)
        servers.append(server)
        server.start()
        return server

    yield start
    immortal: list[bytes] = []
    for server in servers:
        if server.running:
            server.resume()
            immortal += server.keys_without_ttl()
        server.close()
    assert not immortal, f"keys without a TTL: {immortal[:10]}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The run's shared PostgreSQL; tests take turns in it with tables of their own. Whoever breaks one starts one."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDBServer]:
    """The run's shared MariaDB, likewise."""
    with MariaDBServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_of_sentry_is_left() -> Iterator[None]:
    """Fails a test after which a client of Sentry's is on, or its threads or integrations are still there."""
    yield
    assert not (left := leftovers()), f"left of Sentry: {left}"


@pytest.fixture(autouse=True)
def _async_guards(request: pytest.FixtureRequest) -> Iterator[None]:
    """Turns the guards below on for async tests; they come first, so they are torn down after all other fixtures."""
    if "anyio_backend" not in request.fixturenames:
        yield
        return
    request.getfixturevalue("_no_task_survives")
    _blocking_calls.activate()
    try:
        yield
    finally:
        _blocking_calls.deactivate()


@pytest.fixture
async def _no_task_survives() -> AsyncIterator[None]:
    """Fails a test after which an asyncio task still runs. Tasks that are just ending get half a second."""
    yield
    # anyio's test runner has two tasks of its own: one that runs tests and fixtures, one that waits for the result.
    left = {task for task in asyncio.all_tasks() if "TestRunner." not in getattr(task.get_coro(), "__qualname__", "")}
    if left:
        _, left = await asyncio.wait(left, timeout=_TASK_GRACE_SECONDS)
    for task in left:
        task.cancel()
    assert not left, f"tasks that survived the test: {left}"
