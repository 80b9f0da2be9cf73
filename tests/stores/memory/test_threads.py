"""The stores in memory, shared by event loops of several threads: each step is one for all of them."""

from __future__ import annotations

import ast
import asyncio
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import streamguard
from streamguard.messages import Appended, MemoryMessageStore, Message, Role
from streamguard.quota import Admitted, MemoryQuotaStore, Quota, Refused
from streamguard.stores.memory import MemoryStore
from streamguard.stores.registrations import Registered
from streamguard.testing._stream_store.steps import Hints, begin, new_stream, put
from streamguard.values import SessionKey, StreamRef, new_stream_id

from ...harness.racing import raced

PACKAGE = Path(streamguard.__file__).parent
LOOPS = 4
STEPS = 20
ROUNDS = 25
"""More than are needed, nearly always, for threads to meet where they must not."""


@pytest.mark.anyio
async def test_a_viewer_in_another_loop_is_woken() -> None:
    store, hints = MemoryStore(), Hints()
    ref = await begin(store)
    subscribed = threading.Event()

    async def view() -> None:
        async with store.subscribe(ref, hints):
            subscribed.set()
            await hints.until(bool, description="the append of another loop")

    viewing = asyncio.create_task(asyncio.to_thread(asyncio.run, view()))
    await asyncio.to_thread(subscribed.wait, 10)
    await put(store, ref, 1, b"text")
    await viewing
    assert [data for _, data in hints.seen[0].events] == [b"text"]


@pytest.mark.anyio
async def test_a_viewer_whose_loop_is_closed_meanwhile_holds_up_nobody() -> None:
    """The loop is closed just after it was looked at, as a loop of another thread may be."""

    class Loop(asyncio.SelectorEventLoop):
        looked_at = False

        def call_soon_threadsafe(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
            if self.looked_at:
                self.close()
            return super().call_soon_threadsafe(*args, **options)

    store = MemoryStore()
    ref = await begin(store)
    loop = Loop()
    entering = store.subscribe(ref, lambda _: None)
    await asyncio.to_thread(loop.run_until_complete, entering.__aenter__())
    loop.looked_at = True
    assert (await put(store, ref, 1, b"text")).last_seq == 1


def test_loops_that_begin_streams_at_once_get_no_more_slots_than_there_are() -> None:
    for _ in range(ROUNDS):
        _begin_at_once(MemoryStore())


def _begin_at_once(store: MemoryStore) -> None:
    async def register() -> int:
        begun = 0
        for _ in range(STEPS):
            new = new_stream(SessionKey("ann", secrets.token_hex(8)))
            answer = await store.register(new, lease_seconds=60, ttl_seconds=60, limit=STEPS)
            begun += isinstance(answer, Registered)
        return begun

    assert sum(raced([register] * LOOPS)) == STEPS
    depths = asyncio.run(store.depths())
    assert depths.active == STEPS


def test_loops_that_reserve_at_once_are_admitted_up_to_the_limit() -> None:
    for _ in range(ROUNDS):
        _reserve_at_once(MemoryQuotaStore())


def _reserve_at_once(quota: MemoryQuotaStore) -> None:
    limits = [Quota(STEPS, "day", "requests")]

    async def reserve() -> int:
        admitted = 0
        for _ in range(STEPS):
            ref = StreamRef(SessionKey("ann", secrets.token_hex(8)), new_stream_id())
            answer = await quota.reserve(ref, {"requests": 1}, limits)
            assert isinstance(answer, Admitted | Refused)
            admitted += isinstance(answer, Admitted)
            if admitted % 2:
                await quota.commit(ref, {"requests": 1})
        return admitted

    assert sum(raced([reserve] * LOOPS)) == STEPS
    audit = asyncio.run(quota.audit("ann", limits))
    assert audit.drift == 0


def test_loops_that_write_to_a_session_at_once_lose_nothing() -> None:
    for _ in range(ROUNDS):
        _write_at_once(MemoryMessageStore(), SessionKey("ann", "session"))


def _write_at_once(store: MemoryMessageStore, key: SessionKey) -> None:
    asyncio.run(store.open_session(key))

    async def write() -> list[Appended]:
        messages = [Message(f"m{n}", Role.USER, ({"type": "text", "text": "hi"},)) for n in range(STEPS)]
        return [await store.append(key, message) for message in messages]

    answers = [answer for answers in raced([write] * LOOPS) for answer in answers]
    assert answers.count(Appended.CREATED) == STEPS
    assert answers.count(Appended.DUPLICATE) == STEPS * (LOOPS - 1)
    stored = asyncio.run(store.list(key, limit=STEPS * LOOPS))
    assert [one.position for one in stored] == list(range(1, STEPS + 1))


# -- what keeps it so -----------------------------------------------------------------------------------------------


def _steps(path: Path) -> Iterator[ast.AsyncFunctionDef]:
    """The methods that are one step each: all but those that only enter a subscription."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.AsyncFunctionDef) and not method.decorator_list:
                    yield method


def _locked(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.With) and ast.unparse(statement.items[0].context_expr).endswith("lock")


@pytest.mark.parametrize("path", [*sorted((PACKAGE / "stores/memory").glob("*.py")), PACKAGE / "quota/memory.py"])
def test_every_step_holds_the_lock_from_its_first_line_to_its_last(path: Path) -> None:
    assert [step.name for step in _steps(path) if len(step.body) != 1 or not _locked(step.body[0])] == []


def test_sessions_are_read_and_written_under_the_lock() -> None:
    for step in _steps(PACKAGE / "messages/memory.py"):
        outside = "\n".join(ast.unparse(one) for one in step.body if not _locked(one))
        assert any(map(_locked, step.body)), step.name
        assert "self." not in outside, step.name
