"""An open stream in which nothing happens takes no more memory than is on record in `memory.json`.

After a change that has to take more: `python -m tests.hot_path.recording`, and say in the commit why.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from streamguard.runtime.producing.stream import LiveStream
from streamguard.values import message_id_of
from tests.harness.redis import RedisServer

from .counting import Kind
from .memory import StreamMemory
from .recording import MEMORY_RECORD, STREAM_CASES, StreamCase, memory_of_streams

_RECORD = json.loads(MEMORY_RECORD.read_text())
RECORDED = {name: StreamMemory(**memory) for name, memory in _RECORD["streams"].items()}
GROWTH = 1.1

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.long,
    pytest.mark.skipif(
        _RECORD["python"] != ".".join(map(str, sys.version_info[:2])),
        reason=f"objects have other sizes than in Python {_RECORD['python']}, of which the record is",
    ),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def check(case: StreamCase, url: str) -> None:
    recorded = RECORDED[str(case)]

    def enough(found: StreamMemory) -> bool:
        return all(now <= before * GROWTH for now, before in zip(found, recorded, strict=True))

    found, most = await memory_of_streams(case, url, enough)
    assert enough(found), (
        f"{case}: an open stream takes {found}, {recorded} are on record. If it has to be, write the new figures with "
        f"`python -m tests.hot_path.recording`, and say why in the commit.\n{most}"
    )


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if not case.on_redis], ids=str)
async def test_an_open_stream_in_memory_takes_no_more_than_on_record(case: StreamCase) -> None:
    await check(case, "memory://")


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if case.on_redis], ids=str)
async def test_an_open_stream_on_redis_takes_no_more_than_on_record(case: StreamCase, redis: RedisServer) -> None:
    await check(case, redis.url)


def test_every_case_is_on_record() -> None:
    assert RECORDED.keys() == {str(case) for case in STREAM_CASES}


async def test_a_tenth_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = StreamCase(Kind.GENERATOR, on_redis=False)
    begin, kept = LiveStream.begin, list[str]()

    def begin_with_more(self: LiveStream) -> None:
        begin(self)
        kept.append(message_id_of("0" * round(RECORDED[str(case)].size / 8)))

    monkeypatch.setattr(LiveStream, "begin", begin_with_more)
    with pytest.raises(AssertionError, match="an open stream takes StreamMemory"):
        await check(case, "memory://")
