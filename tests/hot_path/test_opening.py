"""Opening and ending a stream costs no more calls and commands than are on record in `streams.json`.

After a change that has to make more of them: `python -m tests.hot_path.recording`, and say in the commit why.
"""

from __future__ import annotations

import json

import pytest

from streamguard.runtime.producing.stream import LiveStream
from tests.harness.redis import RedisServer

from .counting import Kind
from .growth import check
from .opening import StreamCosts
from .recording import STREAM_CASES, STREAM_RECORD, StreamCase, of_streams

pytestmark = [pytest.mark.anyio, pytest.mark.long]

RECORDED = {name: StreamCosts(**costs) for name, costs in json.loads(STREAM_RECORD.read_text()).items()}


async def check_costs(case: StreamCase, url: str) -> None:
    await check(case, url, RECORDED[str(case)], of_streams)


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if not case.on_redis], ids=str)
async def test_a_stream_in_memory_costs_no_more_than_on_record(case: StreamCase) -> None:
    await check_costs(case, "memory://")


@pytest.mark.parametrize("case", [case for case in STREAM_CASES if case.on_redis], ids=str)
async def test_a_stream_on_redis_costs_no_more_than_on_record(case: StreamCase, redis: RedisServer) -> None:
    await check_costs(case, redis.url)


def test_every_case_is_on_record() -> None:
    assert RECORDED.keys() == {str(case) for case in STREAM_CASES}


async def test_a_tenth_more_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    case = StreamCase(Kind.GENERATOR, on_redis=False)
    recorded = RECORDED[str(case)]
    begin = LiveStream.begin

    def begin_slowly(self: LiveStream) -> None:
        for _ in range(round(recorded.python / 5)):
            _ = self.degraded
        begin(self)

    monkeypatch.setattr(LiveStream, "begin", begin_slowly)
    with pytest.raises(AssertionError, match="found StreamCosts"):
        await check_costs(case, "memory://")
