"""Upstreams that are passed on byte for byte: what they tell of their failure and usage reaches the record."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.runtime import FirstItem
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome
from streamguard.wire import EventParser

from ..harness.waiting import wait_until_async
from ..wire.transcripts import TRANSCRIPTS, Transcript, transcript
from .conftest import Stores
from .lines import Line
from .stage import Model, closed, dying, expired, next_chunk, read, saying, working

pytestmark = pytest.mark.anyio

FAILED = [one for one in TRANSCRIPTS if one.failure]


@pytest.mark.parametrize("one", FAILED, ids=lambda one: one.name)
async def test_an_upstream_that_tells_of_its_failure_fails_in_its_own_words(
    stores: Stores, look: StreamStore, one: Transcript
) -> None:
    async with working(stores()) as worker:
        stream = await worker.start(saying(one.body), worker.request(protocol=one.protocol_name))
        got = await read(worker.view(stream, ids=False))
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.fault and meta.seal.fault.code) == (Outcome.FAILED, one.failure)
        assert (meta.seal.usage.amounts if meta.seal.usage else {}) == one.usage
        resumed = await read(await worker.resume())
    upstream = [event.data for event in EventParser().feed(one.body)]
    for reading in (got, resumed):
        assert reading.over
        said = [event.data for event in reading.events if "streamguard" not in event.data]
        assert [data for data in said if "text-end" not in data or data in upstream] == [
            data.replace('{"type":"start"}', said[0]) for data in upstream
        ]


async def test_an_error_in_place_of_the_first_event_is_streamed_too(stores: Stores, look: StreamStore) -> None:
    """The client called an endpoint that answered it so; it is not told otherwise."""
    body = b'data: {"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}\n\n'
    async with working(stores()) as worker:
        stream = await worker.start(saying(body), worker.request(protocol="openai"))
        assert await stream.first(5) is FirstItem.READY
        got = await read(worker.view(stream, ids=False))
        meta = await closed(look, stream.ref)
    assert [event.data for event in got.events] == [body.decode().removeprefix("data: ").strip()]
    assert meta.seal is not None
    assert (meta.seal.outcome, meta.seal.fault and meta.seal.fault.code) == (Outcome.FAILED, "provider_rate_limited")


async def test_a_stream_that_is_stopped_costs_what_it_told_so_far(stores: Stores, look: StreamStore) -> None:
    one = transcript("anthropic-text")
    async with working(stores()) as worker:
        stream = await worker.start(Model(one.body[:700]), worker.request(protocol="anthropic"))
        await stream.first(5)
        stream.stop()
        meta = await closed(look, stream.ref)
    assert meta.seal is not None
    assert meta.seal.usage is not None
    assert meta.seal.usage.amounts["input_tokens"] == 325


@pytest.mark.promise("I10")
async def test_a_stream_whose_writer_died_costs_what_it_told_so_far(memory: MemoryStore) -> None:
    one = transcript("anthropic-text")
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as old, working(memory) as new:
        stream = await old.start(Model(one.body[:700]), old.request(protocol="anthropic"))
        await stream.first(5)
        dead.down = True
        await expired(memory, stream.ref)
        await new.tell(saying("next"))
        meta = await closed(memory, stream.ref)
        dead.down = False
        await wait_until_async(lambda: stream.finished, description="the old writer noticed")
    assert meta.seal is not None
    assert meta.seal.usage is not None
    assert (meta.seal.outcome, meta.seal.usage.amounts["input_tokens"]) == (Outcome.INTERRUPTED, 325)


async def test_what_the_endpoint_tells_of_usage_wins(stores: Stores, look: StreamStore) -> None:
    one = transcript("openai-chat-text")
    async with working(stores()) as worker:
        stream = await worker.start(saying(one.body), worker.request(protocol="openai"))
        stream.usage(output_tokens=7)
        meta = await closed(look, stream.ref)
    assert meta.seal is not None
    assert meta.seal.usage is not None
    assert dict(meta.seal.usage.amounts) == {"output_tokens": 7}


async def test_lines_of_json_get_no_keep_alives(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model(b'{"n":1}\n')
        stream = await worker.start(model, worker.request(protocol="ndjson"))
        viewer = worker.view(stream)
        assert await next_chunk(viewer) == b'{"n":1}\n'
        viewer.keep_alive()
        assert viewer.poll() is None
        rest = asyncio.create_task(next_chunk(viewer))
        model.say(b'{"n":2}\n')
        assert await rest == b'{"n":2}\n'
        model.fail(ConnectionError("reset"))
        assert b'"provider_aborted"' in await next_chunk(viewer)
        viewer.close()
