"""The tiers of the tests: fast, slow, and all between.

- **fast**, `scripts/test --fast`: under a minute on two cores, with tests that start no process. Left out are the
  directories that are about processes, tests marked `slow`, `long` or `processes`, clauses that wait for time to pass
  or write to a file, and tests with a server: by fixture, or as one of several stores. A test that is let in by mistake
  fails as soon as it starts a process. Property tests try fewer examples. Every process of a run imports all that is
  collected, so what no test of the tier needs is not even looked at.
- **slow**, `scripts/test --slow`: tests and modules marked `slow`, which test the tests (a store with a seeded bug must
  be found), sweep over much, or take half a minute or more. `-m "not slow"` leaves them out.
- **middle**: the others, with servers and processes.

The whole suite has all of them. It begins with the slow ones, so that none is left to one process at the end, and
measures no coverage within them: what only they reach counts as not reached. Nor is it measured where tests repeat in
another place what others show of the package, in `REPEATING` and where they are marked `repeats`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import pytest

__all__ = [
    "ELSEWHERE",
    "EXAMPLES",
    "MODULES",
    "REPEATING",
    "Tier",
    "directory_of",
    "is_looked_at",
    "is_measured",
    "is_repeating",
    "only",
    "processes_refused",
    "slow_first",
    "tier_of",
]

DIRECTORIES: Final = frozenset(
    {"cli", "clients", "contrib", "docs", "e2e", "examples", "harness", "ops", "servers", "telemetry"}
)
"""The directories of tests that are about processes, or import what takes each process some seconds."""

SERVERS: Final = ("redis", "postgres", "mariadb", "sqlite")
"""How the names of stores that need a server begin, where tests are parametrised with stores. SQLite needs none, but
where tests keep messages in it, they keep streams in Redis."""

ELSEWHERE: Final = ("OnRealTime", "OnSQLite")
"""What the classes are called whose clauses the tier runs in another place: on a clock that is turned, and in memory,
where each takes a fifth of what it takes with a file and a thread."""

STARTING_FIXTURES: Final = frozenset(
    {
        "mariadb_server",
        "own_redis",
        "own_redis_cluster",
        "own_redis_sentinels",
        "postgres_server",
        "redis_6_2",
        "redis_account",
        "redis_account_sentinels",
        "redis_cluster",
        "redis_of_kind",
        "redis_sentinels",
        "redis_server",
        "redis_tls",
        "redis_tls_sentinels",
        "redis_valkey",
    }
)
"""The fixtures that start servers; others that do, ask for one of these."""

MODULES: Final = frozenset(
    {
        "runtime/test_failures.py",
        "web/endpoint/test_pydantic_ai.py",
        "web/endpoint/test_recognised_responses.py",
        "web/endpoint/test_returned_events.py",
        "web/endpoint/test_returned_ui_messages.py",
        "wire/test_sdks.py",
    }
)
"""Modules that import the clients of real providers, which takes each process some seconds."""

REPEATING: Final = frozenset(
    {
        "benchmarks",
        "clients",
        "docs",
        "e2e",
        "examples",
        "harness",
        "hot_path",
        "lifetimes",
        "ops",
        "schedules",
        "servers",
    }
)
"""The directories without coverage: their tests are about what stands on the package, about what it runs in, or do once
more, in another order, in processes or counted, what tests of its parts do.
Coverage makes Python take twice as long, in the servers and commands that they start too."""

MODELS: Final = ("contrib/", "docs/test_provider_pages.py", "clients/test_histories.py")
"""How the places of tests begin that import the libraries of several model providers and agents."""

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


class Tier(StrEnum):
    FAST = "fast"
    MIDDLE = "middle"
    SLOW = "slow"


_TIER: Final = pytest.StashKey[Tier]()


def tier_of(item: pytest.Item) -> Tier:
    """The tier of a test, found once: a run asks for that of each of its many tests again and again."""
    if (known := item.stash.get(_TIER, None)) is not None:
        return known
    tier = Tier.SLOW if item.get_closest_marker("slow") else Tier.FAST if _is_fast(item) else Tier.MIDDLE
    item.stash[_TIER] = tier
    return tier


def is_measured(item: pytest.Item) -> bool:
    """Whether what the test reaches counts as covered."""
    return tier_of(item) is not Tier.SLOW and not is_repeating(item)


def is_repeating(item: pytest.Item) -> bool:
    """Whether other tests show what this one shows of the package."""
    return item.get_closest_marker("repeats") is not None or _place(item.path).partition("/")[0] in REPEATING


def directory_of(nodeid: str) -> str:
    """The directory below `tests`, or the module in it, that a test belongs to."""
    return "/".join(nodeid.partition("::")[0].split("/")[:2])


def only(tier: Tier, items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The tests of a tier, and the others."""
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        (chosen if tier_of(item) is tier else others).append(item)
    return chosen, others


def slow_first(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """The tests in an order in which a share of the slow ones comes first in each process.

    `--dist worksteal` cuts the list into as many pieces as there are processes, of which each begins with one. The
    other tests of a module stay together, and those that import models' libraries, which together take a process eight
    seconds, come first: to be in one piece, and begun before others have nothing left and share them.
    """
    slow, others = only(Tier.SLOW, items)
    others.sort(key=lambda item: not _place(item.path).startswith(MODELS))
    ordered: list[pytest.Item] = []
    for remaining in range(processes, 0, -1):
        size = (len(items) - len(ordered)) // remaining
        share = min(size, -(-len(slow) // remaining))
        ordered += [*slow[:share], *others[: size - share]]
        slow, others = slow[share:], others[size - share :]
    return ordered


def _is_fast(item: pytest.Item) -> bool:
    if any(item.get_closest_marker(mark) for mark in ("long", "processes")):
        return False
    if not STARTING_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        return False
    if not is_looked_at(item.path):
        return False
    if any(place in item.nodeid for place in ELSEWHERE):
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
