"""The test of the suite: for each of its clauses a store that breaks it, which this clause must notice and no other."""

from __future__ import annotations

import pytest

from streamguard.testing import MessageStoreSuite

from ..harness.broken import fails
from .broken import BROKEN
from .broken.bench import TTL_SECONDS, Bench

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CLAUSES = sorted(name for name in dir(MessageStoreSuite) if name.startswith("test_"))


async def noticed(clause: str, store: Bench) -> bool:
    """Whether a clause fails on `store`, whose clock can be turned."""

    class Suite(MessageStoreSuite):
        ttl_seconds = TTL_SECONDS
        _depth = 20_000  # no encoder of Python's goes so deep; 100,000 would take most of the time of these tests

        async def advance(self, seconds: float) -> None:
            store.clock.now += seconds

    return await fails(Suite(), clause, store)


def test_every_clause_is_broken_by_a_store() -> None:
    assert sorted(BROKEN) == CLAUSES


async def test_the_bench_itself_keeps_every_clause() -> None:
    assert [clause for clause in CLAUSES if await noticed(clause, Bench())] == []


@pytest.mark.parametrize("clause", BROKEN)
async def test_a_broken_clause_is_noticed_and_no_other(clause: str) -> None:
    broken = BROKEN[clause]
    assert {other for other in CLAUSES if await noticed(other, broken.store())} == broken.clauses
