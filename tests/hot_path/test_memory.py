"""An open stream in which nothing happens takes no more memory than is on record in `memory.json`.

After a change that has to take more: `python -m tests.hot_path.recording`, and say in the commit why.
"""

from __future__ import annotations

import json

import pytest

from streamguard.runtime.producing.stream import LiveStream
from streamguard.values import message_id_of
from tests.harness.redis import RedisServer

from .counting import Kind
from .growth import check
from .memory import StreamMemory
from .recording import MEMORY_RECORD, STREAM_CASES, StreamCase, memory_of_streams

pytestmark = [pytest.mark.anyio, pytest.mark.long]

RECORDED = {name: StreamMemory(**memory) for name, memory in json.loads(MEMORY_RECORD.read_text()).items()}


async def check_memory(case: StreamCase, url: str) -> None:
    await check(case, url, RECORDED[str(case)], memory_of_streams)


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if not case.on_redis], ids=str)
async def test_an_open_stream_in_memory_takes_no_more_than_on_record(case: StreamCase) -> None:
    await check_memory(case, "memory://")


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if case.on_redis], ids=str)
async def test_an_open_stream_on_redis_takes_no_more_than_on_record(case: StreamCase, redis: RedisServer) -> None:
    await check_memory(case, redis.url)


def test_every_case_is_on_record() -> None:
    assert RECORDED.keys() == {str(case) for case in STREAM_CASES}


async def test_a_tenth_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = StreamCase(Kind.GENERATOR, on_redis=False)
    begin, kept = LiveStream.begin, list[str]()

    def begin_with_more(self: LiveStream) -> None:
        begin(self)
        kept.append(message_id_of("0" * round(RECORDED[str(case)].size / 8)))

    monkeypatch.setattr(LiveStream, "begin", begin_with_more)
    with pytest.raises(AssertionError, match="found StreamMemory"):
        await check_memory(case, "memory://")
