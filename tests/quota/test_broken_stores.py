"""The test of the suite: for each of its clauses a store that breaks it, which this clause must notice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from streamguard.quota import QuotaStore
from streamguard.testing import QuotaStoreSuite

from .broken import BROKEN
from .broken.bench import Bench

pytestmark = pytest.mark.anyio

CLAUSES = sorted(name for name in dir(QuotaStoreSuite) if name.startswith("test_"))


async def fails(clause: str, store: Bench) -> bool:
    """Whether `store` fails a clause."""

    class Suite(QuotaStoreSuite):
        async def advance(self, seconds: float) -> None:
            store.clock.turn(seconds)

    check = cast("Callable[[QuotaStore], Awaitable[None]]", getattr(Suite(), clause))
    try:
        await check(store)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 -- however it fails, it fails
        return True
    return False


def test_every_clause_is_broken_by_a_store() -> None:
    assert sorted(BROKEN) == CLAUSES


async def test_the_bench_itself_keeps_every_clause() -> None:
    assert [clause for clause in CLAUSES if await fails(clause, Bench())] == []


@pytest.mark.parametrize("clause", BROKEN)
async def test_a_broken_clause_is_noticed_and_no_other(clause: str) -> None:
    broken = BROKEN[clause]
    assert {other for other in CLAUSES if await fails(other, broken.store())} == broken.clauses
