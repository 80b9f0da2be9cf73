"""A table of bounded size whose entries expire."""

from __future__ import annotations

import pytest

from streamguard.stores.memory import MemoryStore, expiring
from streamguard.stores.memory.expiring import ExpiringTable
from streamguard.stores.records import RequestClaim
from streamguard.values import SessionKey, StreamRef


def test_a_value_stands_until_its_time() -> None:
    table: ExpiringTable[str, int] = ExpiringTable()
    table.put("a", 1, 10.0)
    table.put("b", 2, 20.0)
    assert (table.get("a", 9.9), table.get("a", 10.0), table.get("c", 0.0)) == (1, None, None)
    assert (table.until("a"), table.until("c")) == (10.0, 0.0)
    table.expire(10.0)
    assert (len(table), table.get("b", 10.0)) == (1, 2)


def test_a_value_that_is_set_again_stands_as_long_as_it_says() -> None:
    table: ExpiringTable[str, int] = ExpiringTable()
    table.put("a", 1, 10.0)
    table.put("a", 2, 30.0)
    table.expire(20.0)
    assert table.get("a", 20.0) == 2
    table.expire(30.0)
    assert len(table) == 0


def test_past_its_size_what_expires_first_is_forgotten() -> None:
    table: ExpiringTable[int, int] = ExpiringTable(limit=10)
    for number in range(30):
        table.put(number, number, 100.0 + number % 7)
    assert len(table) == 10
    table.put(99, 99, 1_000.0)
    table.put(98, 98, 50.0)
    assert table.get(99, 0.0) == 99
    assert table.get(98, 0.0) is None


def test_values_that_were_removed_take_no_room() -> None:
    table: ExpiringTable[int, int] = ExpiringTable()
    table.put(-1, 1, 1e9)
    for number in range(10_000):
        table.put(number, number, 1e9)
        table.remove(number)
        table.remove(number)
    assert len(table) == 1
    assert len(table._looks) < 200
    assert table.get(-1, 0.0) == 1


@pytest.mark.anyio
async def test_what_requests_make_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of requests, and the marks of erased sessions."""
    monkeypatch.setattr(ExpiringTable.__init__, "__defaults__", (50,))
    assert expiring.MAX_ENTRIES == 100_000
    store = MemoryStore()
    for number in range(200):
        key = SessionKey("ann", f"session {number}")
        await store.claim_request("ann", f"key {number}", RequestClaim(StreamRef(key, "0" * 24), "f"), ttl_seconds=60)
        await store.erase(key, mark_seconds=60)
    assert len(store._tables.claims) == len(store._tables.erased) == 50
    assert await store.erasure(SessionKey("ann", "session 199")) is not None
