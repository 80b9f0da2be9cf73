"""Streams whose first item decides what they speak: what viewers, the record and other workers know of it, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from streamguard.faults import REGISTRY, Fault, FaultCode
from streamguard.messages import MemoryMessageStore
from streamguard.runtime import FirstItem, LiveStream, Nothing, StreamRequest
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import StreamMeta
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome
from streamguard.wire import protocol_named

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .savers import saving_to, stored_in
from .stage import (
    KEY,
    Model,
    Reading,
    Worker,
    closed,
    dying,
    expired,
    log_of,
    payloads,
    read,
    saying,
    terminals,
    working,
)

pytestmark = pytest.mark.anyio


def undecided(worker: Worker, **options: str) -> StreamRequest:
    return worker.request(protocol="auto", message_id="asked", **options)  # type: ignore[arg-type] # texts are all it takes here


async def deciding(
    worker: Worker,
    model: Model,
    protocol: str = "plain",
    message_id: str | None = None,
    request: StreamRequest | None = None,
) -> LiveStream:
    """A stream that `model` speaks in, and whose first item decides this."""
    stream = await worker.open(request or undecided(worker))

    async def items() -> AsyncIterator[object]:
        async for number, item in _numbered(model()):
            if number == 0:
                stream.speak(protocol_named(protocol), message_id)
            yield item

    worker.runtime.launch(stream, items)
    return stream


async def _numbered(items: AsyncIterator[object]) -> AsyncIterator[tuple[int, object]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


async def meta_of(store: StreamStore, stream: LiveStream) -> StreamMeta:
    meta = await store.meta(stream.ref)
    assert meta is not None
    return meta


async def waiting_viewers(one: Worker, two: Worker, stream: LiveStream) -> list[asyncio.Task[Reading]]:
    """Viewers that came before the first item: the stream's own, one that resumes here, and one elsewhere."""
    found = [one.runtime.view(stream, ids=None)]
    for worker in (one, two):
        viewer = await worker.resume()
        assert viewer.poll() is None
        viewer.keep_alive()
        found.append(viewer)
    reads = [asyncio.create_task(read(viewer)) for viewer in found]
    await asyncio.sleep(0)
    return reads


@pytest.mark.promise("I2", "I3")
@pytest.mark.parametrize(("protocol", "item", "text"), [("plain", "a", "a"), ("opaque", "data: a\n\n", "a")])
async def test_who_waits_gets_the_first_event_in_the_protocol_it_decides(
    stores: Stores, look: StreamStore, protocol: str, item: str, text: str
) -> None:
    async with working(stores()) as one, working(stores()) as two:
        model = Model()
        stream = await deciding(one, model, protocol)
        readings = await waiting_viewers(one, two, stream)
        assert (await meta_of(look, stream)).protocol == "auto"
        model.say(item)
        assert await stream.first(5) is FirstItem.READY
        assert (await meta_of(look, stream)).protocol == protocol
        late = asyncio.create_task(read(await two.resume()))
        model.end()
        own, here, elsewhere, later = [*await asyncio.gather(*readings), await late]
        assert [reading.text for reading in (own, here, elsewhere, later)] == [text] * 4
        assert own.ids == ([1, 2] if protocol == "plain" else []), "as the protocol's blocks carry ids by themselves"
        assert here.ids == elsewhere.ids == later.ids == ([1, 2] if protocol == "plain" else [1])
        assert (here.keep_alives, elsewhere.keep_alives) == (1, 1)
        meta = await closed(look, stream.ref)
        assert (meta.protocol, meta.message_id) == (protocol, "asked")


async def test_a_follower_waits_for_the_decision(memory: MemoryStore) -> None:
    """What has said nothing yet is read once, and then when a hint comes: not over and over."""
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        await deciding(one, model := Model())
        reading = asyncio.create_task(read(await two.resume()))
        line.hold("read")
        await wait_until_async(lambda: line.waiting["read"], description="the follower reads the log")
        line.let_go("read")
        line.hold("read")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not line.waiting["read"]
        line.let_go("read")
        model.say("a")
        model.end()
        assert (await reading).text == "a"


@pytest.mark.promise("I3")
async def test_an_event_is_never_read_without_its_protocol(memory: MemoryStore) -> None:
    """The record knows it from the very moment at which the log has the first event."""
    line = Line(memory)
    async with working(line) as worker:
        line.hold("append", after=True)
        model = Model("a", "b")
        stream = await deciding(worker, model, message_id="named")
        await wait_until_async(
            lambda: line.waiting["append"], description="the append is carried out, and not answered"
        )
        meta = await meta_of(memory, stream)
        assert (meta.last_seq, meta.protocol, meta.message_id) == (1, "plain", "named")
        line.let_go("append")
        model.end()
        await stream.ended()
        assert [append.decided is not None and append.first_seq == 1 for (append,) in line.batches[:1]] == [True]
        (terminal,) = terminals(await log_of(memory, stream.ref))
        assert terminal.message_id == "named"


async def test_a_first_append_whose_reply_was_lost_is_repeated(memory: MemoryStore) -> None:
    line = Line(memory)
    async with working(line) as worker:
        line.lost["append"] = 1
        stream = await deciding(worker, saying("a"), message_id="named")
        reading = await worker.watch(stream)
        assert (reading.text, reading.outcome) == ("a", "completed")
        meta = await closed(memory, stream.ref)
        assert (meta.protocol, meta.message_id) == ("plain", "named")


async def test_it_is_decided_once(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await deciding(worker, model := Model("a"))
        await stream.first(5)
        for name in ("opaque", "auto"):
            with pytest.raises(RuntimeError, match=f"a stream of protocol plain cannot be given {name}"):
                stream.speak(protocol_named(name))
        model.end()
        await stream.ended()
        registered = await worker.open(worker.request())
        with pytest.raises(RuntimeError, match="plain cannot be given plain"):
            registered.speak(protocol_named("plain"))
        await worker.runtime.reject(registered, ValueError())


async def test_an_item_before_the_decision_is_a_defect(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await worker.start(saying("a"), undecided(worker))
        assert await stream.first(5) is FirstItem.FAILED
        assert "call `LiveStream.speak`" in str(stream.first_answer.error)
        await stream.ended()


# -- streams that end without an event --------------------------------------------------------------------------------


async def test_one_that_fails_before_its_first_event_stays_undecided(stores: Stores, look: StreamStore) -> None:
    """Also if it failed right after the decision: nobody was told of that."""
    async with working(stores()) as one, working(stores()) as two:
        for decided in (False, True):
            model = Model()
            stream = await one.open(undecided(one))

            async def items(
                stream: LiveStream = stream, model: Model = model, decided: bool = decided
            ) -> AsyncIterator[object]:
                async for item in model():
                    if decided:
                        stream.speak(protocol_named("ui-message"), "named")
                        raise ConnectionResetError
                    yield item

            one.runtime.launch(stream, items)
            readings = await waiting_viewers(one, two, stream)
            if decided:
                model.say("a")
            else:
                model.fail(ConnectionResetError())
            assert await stream.first(5) is FirstItem.FAILED
            for reading in await asyncio.gather(*readings):
                assert reading.over
                (error,) = reading.named("error")
                assert error == {
                    "type": "error",
                    "errorText": (text := REGISTRY[FaultCode.PROVIDER_ABORTED].message),
                    "error": {"type": "streamguard_error", "code": "provider_aborted", "message": text},
                }
            meta = await closed(look, stream.ref)
            assert (meta.protocol, meta.message_id) == ("auto", "asked")
            assert isinstance(await two.runtime.sessions.resume(KEY, None), Nothing)


async def test_one_without_any_item_completes(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as one, working(stores()) as two:
        stream = await one.start(model := Model(), undecided(one))
        readings = await waiting_viewers(one, two, stream)
        model.end()
        for reading in await asyncio.gather(*readings):
            assert (reading.over, reading.events) == (True, [])
        assert [one.outcome for one in terminals(await log_of(look, stream.ref))] == [Outcome.COMPLETED]


async def test_one_whose_only_part_closes_it_passes_that_on(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        stream = await deciding(worker, saying("data: [DONE]\n\n"), "opaque")
        assert [event.data for event in (await worker.watch(stream)).events] == ["[DONE]"]
        assert (await closed(memory, stream.ref)).protocol == "auto"


async def test_one_that_is_stopped_meanwhile(stores: Stores, look: StreamStore) -> None:
    async with working(stores()) as one, working(stores()) as two:
        stream = await one.start(Model(), undecided(one))
        readings = await waiting_viewers(one, two, stream)
        await two.runtime.sessions.stop(KEY)
        for reading in await asyncio.gather(*readings):
            assert [error["error"]["code"] for error in reading.named("error")] == ["stopped"]  # type: ignore[index] # JSON
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is Outcome.STOPPED


async def test_headers_may_go_out_before_the_decision(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model()
        stream = await deciding(worker, model, "ui-message")
        assert await stream.first(0.01) is FirstItem.LATE
        viewer = worker.runtime.view(stream, ids=None)
        assert (viewer.poll(), viewer.ids) == (None, False)
        model.say("a")
        model.end()
        reading = await read(viewer)
        assert reading.events[0].data == '{"type":"start","messageId":"asked"}'
        assert all(event.id is not None for event in reading.events)


async def test_notices_wait_for_the_decision(memory: MemoryStore) -> None:
    async with working(memory) as worker:
        model = Model()
        stream = await deciding(worker, model, "ui-message")
        for reason in ("one", "two"):
            assert stream.notices.tell(Fault.about(stream, FaultCode.QUOTA_PENDING, reason=reason))
        assert stream.feed.emitted == 0
        model.say("a")
        model.end()
        await stream.ended()
        kinds = [kind for _, kind, _ in await log_of(memory, stream.ref)][:4]
        assert kinds == [EventKind.DATA, EventKind.NOTICE, EventKind.NOTICE, EventKind.DATA]


# -- without a log ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["register", "append"])
async def test_one_without_a_log(memory: MemoryStore, broken: str) -> None:
    """Its viewers here get all of it, and what is known of it afterwards says what it decided."""
    line = Line(memory)
    line.broken = {broken}
    async with working(line) as worker:
        model = Model()
        stream = await deciding(worker, model, message_id="named")
        reading = asyncio.create_task(read(worker.runtime.view(stream, ids=None)))
        model.say("a")
        await wait_until_async(lambda: stream.degraded, description="it lost its log")
        model.say("b")
        model.end()
        got = await reading
        assert (got.text, got.ids, got.outcome) == ("ab", [], "completed")
        assert got.notices == [("not_resumable", "registration" if broken == "register" else "append_deadline")]
        line.broken = set()
        meta = await closed(memory, stream.ref)
        assert (meta.lost, meta.protocol, meta.message_id) == (True, "plain", "named")


# -- another worker ends it -------------------------------------------------------------------------------------------


async def end_elsewhere(store: StreamStore, two: Worker, dead: Line, stream: LiveStream) -> StreamMeta:
    dead.down = True
    await expired(store, stream.ref)
    new = await two.start(saying("b"))
    assert (await two.watch(new)).text == "b"
    return await closed(store, stream.ref)


@pytest.mark.promise("I10")
@pytest.mark.parametrize("broken", [{"append"}, set[str]()])
async def test_its_worker_dies_around_the_first_append(stores: Stores, look: StreamStore, broken: set[str]) -> None:
    """Before it, nothing was said, and the record is undecided; after it, its end has the form that was decided."""
    dead = Line(look)
    messages = MemoryMessageStore()
    async with (
        working(dead, dying(), clean=False, bindings=saving_to(messages)) as one,
        working(stores(), bindings=saving_to(messages)) as two,
    ):
        model = Model()
        stream = await deciding(one, model, "ui-message", "named")
        remote = asyncio.create_task(read(await two.resume()))
        if broken:
            dead.down = True
            model.say("a")
            await wait_until_async(lambda: stream.feed.emitted > 0, description="it wants to say something")
        else:
            model.say("a")
            assert await stream.first(5) is FirstItem.READY
        meta = await end_elsewhere(look, two, dead, stream)
        reading = await remote
        assert reading.over
        stored = {one.message.message_id: one.message for one in await stored_in(messages)}
        dead.down = False
        model.end()  # it may go on without a log for its viewers here, and save what they saw
        await wait_until_async(lambda: stream.finished, description="the old writer noticed")
        if broken:
            assert (meta.protocol, meta.message_id) == ("auto", "asked")
            assert [error["error"]["code"] for error in reading.named("error")] == ["interrupted"]  # type: ignore[index] # JSON
            assert "named" not in stored
        else:
            assert (meta.protocol, meta.message_id) == ("ui-message", "named")
            assert [event.data[:15] for event in reading.events][:1] == ['{"type":"start"']
            assert '{"type":"error"' in {event.data[:15] for event in reading.events}
            assert stored["named"].parts[0]["text"] == "a"


@pytest.mark.parametrize(("protocol", "reason"), [(None, "stream_gone"), ("of-tomorrow", "unknown_protocol")])
async def test_a_follower_that_cannot_learn_the_protocol_shows_nothing(
    memory: MemoryStore, protocol: str | None, reason: str
) -> None:
    """The record is gone when it asks, or a later version wrote it."""
    line = Line(memory)
    async with working(memory) as one, working(line) as two:
        model = Model()
        stream = await deciding(one, model)
        viewer = await two.resume()
        reading = asyncio.create_task(read(viewer))
        await wait_until_async(lambda: line.calls["subscribe"] == 1, description="it is followed")
        line.hold("meta")
        model.say("a")
        await wait_until_async(lambda: line.waiting["meta"], description="it asks for the protocol")
        found = None if protocol is None else replace(await meta_of(memory, stream), protocol=protocol)
        line.answers["meta"] = [found]
        line.let_go("meta")
        got = await reading
        assert (got.over, got.text) == (False, "")
        assert viewer.feed is not None
        assert viewer.feed.end_fault is not None
        assert viewer.feed.end_fault.reason == reason
        model.end()
        await stream.ended()


@pytest.mark.parametrize(("message_id", "ended"), [(None, True), ("named", False)])
async def test_it_ends_the_calls_that_its_client_answered(
    memory: MemoryStore, message_id: str | None, ended: bool
) -> None:
    """Those of the message that it continues, if that is still the one once its first item has decided."""
    async with working(memory) as worker:
        model = Model()
        stream = await deciding(worker, model, "ui-message", message_id)
        stream.speaking.answered([{"type": "tool-search", "toolCallId": "c1", "state": "approval-responded"}])
        model.say("a")
        model.fail(ValueError())
        await stream.ended()
        said = payloads(await log_of(memory, stream.ref))
        assert any(b'"toolCallId":"c1"' in payload for payload in said) is ended
