"""The hot path makes no more calls per event than are on record in `calls.json`.

After a change that has to make more of them: `python -m tests.hot_path.recording`, and say in the commit why.
"""

from __future__ import annotations

import json
from functools import partial

import pytest
from starlette.types import Message

from streamguard.runtime.producing.backlog import Backlog
from streamguard.web.response.chunk_sender import ChunkSender
from tests.harness.redis import RedisServer

from .counting import Calls, Kind
from .growth import check, tenth_more
from .recording import CASES, RECORD, Case, Load, measured

pytestmark = [pytest.mark.anyio, pytest.mark.long]

ONE_CALL = 0.9
"""Less than one more call for each event."""
RECORDED = {name: Calls(**calls) for name, calls in json.loads(RECORD.read_text()).items()}


async def check_calls(case: Case, url: str) -> None:
    await check(case, url, RECORDED[str(case)], measured, partial(_most, case))


def _most(case: Case, before: float) -> float:
    """How many calls pass where so many are on record."""
    if not case.on_redis and case.load is not Load.LONE:  # the same in every run: a single call more is found
        return min(tenth_more(before), before + ONE_CALL)
    return tenth_more(before)


@pytest.mark.parametrize("case", [case for case in CASES if not case.on_redis], ids=str)
async def test_an_event_in_memory_makes_no_more_calls_than_on_record(case: Case) -> None:
    await check_calls(case, "memory://")


@pytest.mark.parametrize("case", [case for case in CASES if case.on_redis], ids=str)
async def test_an_event_on_redis_makes_no_more_calls_than_on_record(case: Case, redis: RedisServer) -> None:
    await check_calls(case, redis.url)


def test_every_case_is_on_record() -> None:
    assert RECORDED.keys() == {str(case) for case in CASES}


@pytest.mark.parametrize("kind", Kind)
async def test_one_more_call_per_event_is_found(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    add_data = Backlog.add_data

    def add_and_more(self: Backlog, payload: bytes) -> None:
        add_data(self, payload)

    case = Case(kind, on_redis=False, load=Load.BURST)
    await check_calls(case, "memory://")
    monkeypatch.setattr(Backlog, "add_data", add_and_more)
    with pytest.raises(AssertionError, match="found Calls"):
        await check_calls(case, "memory://")


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.UVICORN])  # there no task is woken
async def test_a_longer_way_for_each_wake_is_found(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ChunkSender.run

    async def run_deeper(self: ChunkSender, start: Message, before: bytes = b"") -> bool:
        return await run(self, start, before)

    case = Case(kind, on_redis=False, load=Load.MANY)
    before, _ = await measured(case, "memory://")
    monkeypatch.setattr(ChunkSender, "run", run_deeper)
    found, _ = await measured(case, "memory://")
    assert found.resumed > before.resumed + ONE_CALL
