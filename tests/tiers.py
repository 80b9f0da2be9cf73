"""The fast tier, `scripts/test --fast`: under a minute on two cores, with tests that start no process.

Left out are the directories that are about processes, tests marked `slow`, `long` or `processes`, clauses that wait for
time to pass, and tests with a server: by fixture, or as one of several stores.
One that is let in by mistake fails as soon as it starts a process. Property tests try fewer examples.

Every process of a run imports all that is collected, so what no test of the tier needs is not even looked at.
The whole suite has all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

__all__ = ["EXAMPLES", "MODULES", "is_looked_at", "only_fast", "processes_refused"]

DIRECTORIES: Final = frozenset({"cli", "clients", "docs", "e2e", "examples", "harness"})
"""The directories of tests that are about processes."""

SERVERS: Final = ("redis", "postgres", "mariadb", "sqlite")
"""How the names of stores that need a server begin, where tests are parametrised with stores. SQLite needs none, but
where tests keep messages in it, they keep streams in Redis."""

STARTING_FIXTURES: Final = frozenset({"redis_server", "own_redis", "postgres_server", "mariadb_server"})
"""The fixtures that start servers; others that do, ask for one of these."""

MODULES: Final = frozenset({"runtime/test_failures.py"})
"""Modules that import the clients of real providers, which takes each process some seconds."""

EXAMPLES: Final = 20
"""How many examples a property test of the tier tries, unless it says so itself."""

_TESTS: Final = Path(__file__).parent

_STARTS: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"})
"""The audit events of starting a process."""


def is_looked_at(path: Path) -> bool:
    """Whether the tier may have tests there, in a file or directory."""
    place = _place(path)
    return place not in MODULES and DIRECTORIES.isdisjoint(place.split("/"))


@cache
def _place(path: Path) -> str:
    """A path below this directory."""
    return path.relative_to(_TESTS).as_posix() if path.is_relative_to(_TESTS) else ""


def only_fast(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests of the fast tier, and the others."""
    fast: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (fast if _is_fast(item) else others).append(item)
    return fast, others


def _is_fast(item: pytest.Item) -> bool:
    if any(item.get_closest_marker(mark) for mark in ("slow", "long", "processes")):
        return False
    if not STARTING_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return False
    if not is_looked_at(item.path):
        return False
    if "OnRealTime" in item.nodeid:  # the same clauses run on a clock that is turned
        return False
    parameters = item.name.partition("[")[2].lower().rstrip("]").split("-")
    return not any(parameter.startswith(SERVERS) for parameter in parameters)


class _Hook:
    """An audit hook, which can be added but never taken off again."""

    there = False
    refusing = False

    def __call__(self, event: str, _: tuple[object, ...]) -> None:
        if self.refusing and event in _STARTS:
            raise AssertionError("a test of the fast tier starts a process: mark it `processes`")


_hook: Final = _Hook()


@contextmanager
def processes_refused() -> Iterator[None]:
    """Within the block, nobody in this process may start another."""
    if not _hook.there:
        _hook.there = True
        sys.addaudithook(_hook)
    _hook.refusing = True
    try:
        yield
    finally:
        _hook.refusing = False
