"""Upstreams that tell in their stream that they failed, and what they say that they consumed."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

import pytest

from streamguard.faults import FaultCode
from streamguard.messages import MemoryMessageStore, MessageStatus
from streamguard.observations import Signal
from streamguard.runtime import FirstItem, Resumed
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome

from .conftest import Stores
from .lines import Line
from .savers import saving_to, stored_in
from .stage import KEY, Model, closed, dying, expired, next_chunk, read, saying, working

pytestmark = pytest.mark.anyio


class Upstream(NamedTuple):
    protocol: str
    said: str
    """The text `Hi` from it."""
    error: str
    code: FaultCode
    consumed: str = ""
    """Where it tells that it consumed 3 tokens of input, and 4 of output."""


def block(data: object, event: str = "") -> str:
    return f"{f'event: {event}' + chr(10) if event else ''}data: {json.dumps(data)}\n\n"


def chunk(**fields: object) -> str:
    return block({"id": "c1", "object": "chat.completion.chunk", "choices": [], **fields})


UPSTREAMS: Final = {
    "openai": Upstream(
        "openai",
        chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}]),
        block({"error": {"message": "secret detail", "type": "server_error", "code": None}}),
        FaultCode.PROVIDER_ERROR,
        chunk(usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
    ),
    "openai, rate limited": Upstream(
        "openai",
        chunk(choices=[{"index": 0, "delta": {"content": "Hi"}}]),
        block({"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}),
        FaultCode.PROVIDER_RATE_LIMITED,
    ),
    "responses": Upstream(
        "openai",
        block(
            {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "m", "delta": "Hi"},
            "response.output_text.delta",
        ),
        block(
            {
                "type": "response.failed",
                "sequence_number": 2,
                "response": {"status": "failed", "error": {"code": "server_error", "message": "secret detail"}},
            },
            "response.failed",
        ),
        FaultCode.PROVIDER_ERROR,
    ),
    "anthropic": Upstream(
        "anthropic",
        block({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
        block({"type": "error", "error": {"type": "overloaded_error", "message": "secret detail"}}, "error"),
        FaultCode.PROVIDER_ERROR,
        block({"type": "message_start", "message": {"usage": {"input_tokens": 3, "output_tokens": 4}}}),
    ),
    "ui-message-raw": Upstream(
        "ui-message-raw",
        block({"type": "text-start", "id": "1"}) + block({"type": "text-delta", "id": "1", "delta": "Hi"}),
        block({"type": "error", "errorText": "secret detail"}),
        FaultCode.PROVIDER_ERROR,
    ),
}
every_upstream = pytest.mark.parametrize("upstream", UPSTREAMS.values(), ids=UPSTREAMS)


@pytest.mark.parametrize("raises", [False, True])
@every_upstream
async def test_a_stream_whose_upstream_says_that_it_failed_has_failed(
    stores: Stores, look: StreamStore, upstream: Upstream, raises: bool
) -> None:
    """Its client gets the upstream's own words, once; what was said is saved as a part; also if it breaks off then."""
    messages = MemoryMessageStore()
    async with working(stores(), bindings=saving_to(messages)) as one, working(stores()) as two:
        model = Model(upstream.said, upstream.error)
        stream = await one.start(model, one.request(protocol=upstream.protocol))
        viewer = one.runtime.view(stream, ids=False)
        assert await stream.first(5) is FirstItem.READY
        if raises:
            model.fail(ConnectionResetError())
        else:
            model.end()
        sent = b""
        while got := await next_chunk(viewer):
            sent += got
        viewer.close()
        assert sent.startswith(upstream.said.encode())
        assert sent.count(upstream.error.encode()) == 1
        assert b"streamguard_error" not in sent
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.fault and meta.seal.fault.code) == (Outcome.FAILED, upstream.code)
        assert one.faults() == [upstream.code]
        assert (one.signals(Signal.FAULT)[0].error is not None) is raises
        (stored,) = [entry.message for entry in await stored_in(messages)]
        assert stored.status is MessageStatus.PARTIAL
        assert "Hi" in json.dumps(stored.parts)
        resumed = await read(await two.resume())
        assert resumed.over
        assert json.loads(upstream.error.partition("data: ")[2]) in [
            json.loads(event.data) for event in resumed.events if event.data.startswith("{")
        ]


@every_upstream
async def test_one_that_begins_so_passes_that_on(stores: Stores, look: StreamStore, upstream: Upstream) -> None:
    """Its client reads the upstream's own error; it costs nothing."""
    async with working(stores()) as one, working(stores()) as two:
        stream = await one.start(saying(upstream.error), one.request(protocol=upstream.protocol))
        assert await stream.first(5) is FirstItem.READY
        reading = await one.watch(stream)
        assert json.loads(reading.events[-1].data) == json.loads(upstream.error.partition("data: ")[2])
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.seal.last_seq, meta.seal.silent) == (Outcome.FAILED, 0, True)
        assert isinstance(await two.runtime.sessions.resume(KEY, None), Resumed)


@pytest.mark.parametrize("end", ["completed", "failed", "stopped", "lost"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
async def test_what_an_upstream_consumed_is_charged_however_its_stream_ends(
    memory: MemoryStore, name: str, end: str
) -> None:
    upstream = UPSTREAMS[name]
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(memory) as two:
        model = Model(upstream.consumed, upstream.said)
        stream = await one.start(model, one.request(protocol=upstream.protocol))
        viewer = one.runtime.view(stream, ids=False)
        assert "Hi" in (await read(viewer, until=lambda reading: "Hi" in str(reading.events))).events[-1].data
        match end:
            case "completed":
                model.end()
            case "failed":
                model.fail(ConnectionResetError())
            case "stopped":
                await one.runtime.sessions.stop(KEY)
            case _:
                dead.down = True
                await expired(memory, stream.ref)
                await two.tell(saying("b"))
        meta = await closed(memory, stream.ref)
        assert meta.usage is not None
        assert {unit: meta.usage.amounts[unit] for unit in ("input_tokens", "output_tokens")} == {
            "input_tokens": 3,
            "output_tokens": 4,
        }
        viewer.close()
        dead.down = False
        await stream.ended()


async def test_a_protocol_without_keep_alives_sends_none(memory: MemoryStore) -> None:
    """Lines of JSON: nothing can be sent that says nothing."""
    async with working(memory) as worker:
        model = Model()
        stream = await worker.start(model, worker.request(protocol="ndjson"))
        viewer = worker.runtime.view(stream, ids=None)
        viewer.keep_alive()
        assert viewer.poll() is None
        model.say('{"a":1}\n')
        assert await next_chunk(viewer) == b'{"a":1}\n'
        model.end()
        await read(viewer)
