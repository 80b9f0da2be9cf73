"""The fast tier, `scripts/test --fast`: tests that start no process, which are pure or run within their own.

Left out are the directories that are about processes, tests marked `slow` or `processes`, clauses that wait for time to
pass, and tests with a server: by fixture, or as one of several stores.
One that is let in by mistake fails as soon as it starts a process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ["only_fast", "processes_refused"]

DIRECTORIES: Final = frozenset({"cli", "clients", "docs", "e2e", "examples", "harness"})
"""The directories of tests that are about processes."""

SERVERS: Final = ("redis", "postgres", "mariadb", "sqlite")
"""How the names of stores that need a server begin, where tests are parametrised with stores. SQLite needs none, but
where tests keep messages in it, they keep streams in Redis."""

STARTING_FIXTURES: Final = frozenset({"redis_server", "own_redis", "postgres_server", "mariadb_server"})
"""The fixtures that start servers; others that do, ask for one of these."""

_TESTS: Final = Path(__file__).parent

_STARTS: Final = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"})
"""The audit events of starting a process."""


def only_fast(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests of the fast tier, and the others."""
    fast = [item for item in items if _is_fast(item)]
    return fast, [item for item in items if item not in set(fast)]


def _is_fast(item: pytest.Item) -> bool:
    if item.get_closest_marker("slow") or item.get_closest_marker("processes"):
        return False
    if not STARTING_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return False
    if DIRECTORIES.intersection(item.path.relative_to(_TESTS).parts):
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
