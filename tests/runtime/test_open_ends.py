"""What an answer that ends early leaves open is ended in its log and in the saved message, whoever ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from streamguard.messages import Message, Role
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream
from streamguard.runtime.ending import open_parts as open_ends_module
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome
from streamguard.wire.closed_calls import CALL_CLOSED

from ..harness.waiting import wait_until_async
from .conftest import Stores, look, memory, stores
from .lines import Line
from .savers import Messages, folded, saving_to, stored_in
from .stage import (
    KEY,
    Model,
    Reading,
    Worker,
    closed,
    declared_lost,
    dying,
    expired,
    log_of,
    payloads,
    quick,
    read,
    saying,
    working,
)

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

UI = "ui-message"
START = {"type": "tool-input-start", "toolCallId": "c1", "toolName": "shell"}
DELTA = {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"cmd": "sl'}
WHOLE = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "shell", "input": {"cmd": "ls"}}
ASKED = {"type": "tool-approval-request", "toolCallId": "c1", "approvalId": "a1"}
CLOSING: dict[str, object] = {"type": "tool-output-error", "toolCallId": "c1", "errorText": CALL_CLOSED}
THOUGHT = ({"type": "reasoning-start", "id": "r"}, {"type": "reasoning-delta", "id": "r", "delta": "Hm"})

PLACES = {
    "in an input": (START, DELTA),
    "in a tool": ("Let me look.", WHOLE),
    "in an approval": (WHOLE, ASKED),
    "in a reasoning, in a tool": (WHOLE, *THOUGHT),
}


def sent(reading: Reading) -> list[dict[str, object]]:
    """The parts that a client was sent."""
    return [json.loads(event.data) for event in reading.events if event.data.startswith("{")]


async def parts_in(messages: Messages) -> list[dict[str, object]]:
    """The parts of the reply, the last message that is stored."""
    return [dict(part) for part in (await stored_in(messages))[-1].message.parts]


def open_ones(parts: list[dict[str, object]]) -> list[object]:
    """The states of what has no end."""
    ended = {"output-available", "output-error", "output-denied", "done", None}
    return [part.get("state") for part in parts if part.get("state") not in ended]


async def spoken(worker: Worker, *items: object, message_id: str = "m1") -> tuple[LiveStream, Model]:
    """A stream that has said these, and goes on."""
    model = Model(*items)
    stream = await worker.start(model, worker.request(protocol=UI, message_id=message_id))
    await wait_until_async(lambda: stream.activity.items == len(items), description="it was said")
    return stream, model


async def stop(worker: Worker, _: Model) -> None:
    await worker.runtime.sessions.stop(KEY)


async def fail(_: Worker, model: Model) -> None:
    model.fail(RuntimeError("the tool broke"))


async def drain(worker: Worker, _: Model) -> None:
    await worker.runtime.drain()


@pytest.mark.parametrize("end", [stop, fail, drain])
@pytest.mark.parametrize("place", PLACES)
async def test_its_own_worker_ends_what_is_open(
    stores: Stores, look: StreamStore, place: str, end: Callable[[Worker, Model], object]
) -> None:
    messages = Messages()
    async with working(stores(), bindings=saving_to(messages)) as worker:
        stream, model = await spoken(worker, *PLACES[place])
        reading = asyncio.create_task(worker.watch(stream))
        await end(worker, model)  # type: ignore[misc]
        seen = sent(await reading)
        await worker.idle()
        assert open_ones(await parts_in(messages)) == []
        assert await parts_in(messages) == list(await folded(look, stream))
        assert CLOSING in seen
        assert seen.index(CLOSING) < len(seen) - 1  # the abort or error is last
        assert seen[-1]["type"] in ("abort", "error")


@pytest.mark.parametrize("items", [(WHOLE,), (WHOLE, ASKED), (START, DELTA)])
async def test_a_completed_reply_waits_for_its_client(memory: MemoryStore, items: tuple[object, ...]) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        reading = await worker.tell(saying(*items), worker.request(protocol=UI))
        assert all(part["type"] != "tool-output-error" for part in sent(reading))
        assert open_ones(await parts_in(messages)) != []


# -- orphans ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def mute(look: StreamStore, messages: Messages) -> AsyncIterator[tuple[Worker, Line]]:
    """A worker that a test has fall silent."""
    line = Line(look)
    async with working(line, dying(), clean=False, bindings=saving_to(messages)) as worker:
        yield worker, line
        line.down = False


async def orphaned(worker: Worker, line: Line, look: StreamStore, *items: object) -> LiveStream:
    stream, _ = await spoken(worker, *items)
    await wait_until_async(lambda: stream.acked == stream.feed.emitted, description="it is logged")
    line.down = True
    await expired(look, stream.ref)
    return stream


async def by_sweep(worker: Worker) -> None:
    assert await OrphanSweep(worker.runtime).sweep() == 1


async def by_question(worker: Worker) -> None:
    await worker.tell(saying("next"), worker.request(protocol=UI))


async def by_stop(worker: Worker) -> None:
    await worker.runtime.sessions.stop(KEY)


@pytest.mark.parametrize("how", [by_sweep, by_question, by_stop])
@pytest.mark.parametrize("place", PLACES)
async def test_another_worker_ends_what_is_open(
    stores: Stores, look: StreamStore, place: str, how: Callable[[Worker], object]
) -> None:
    messages = Messages()
    async with (
        mute(look, messages) as (dead, line),
        working(stores(), quick(lease_seconds=5.0), bindings=saving_to(messages)) as healthy,
    ):
        stream = await orphaned(dead, line, look, *PLACES[place])
        reading = asyncio.create_task(read(await healthy.resume()))
        await how(healthy)  # type: ignore[misc]
        meta = await closed(look, stream.ref)
        seen = await reading
        assert seen.ids == list(range(1, meta.last_seq + 1))
        assert CLOSING in sent(seen)
        stored = {one.message.message_id: one.message for one in await stored_in(messages)}["m1"]
        assert open_ones([dict(part) for part in stored.parts]) == []
        assert stored.parts == await folded(look, stream)


async def test_a_worker_that_dies_at_it_leaves_nothing_to_be_done_twice(look: StreamStore, stores: Stores) -> None:
    messages = Messages()
    async with mute(look, messages) as (dead, line), mute(look, messages) as (second, its_line):
        stream = await orphaned(dead, line, look, WHOLE, *THOUGHT)
        its_line.broken = {"seal"}
        with pytest.raises(Exception, match="the line is cut"):
            await OrphanSweep(second.runtime).sweep()
        its_line.down = True
        assert (await log_of(look, stream.ref))[-1][1] is EventKind.DATA  # the ends are logged, and it is open
        await expired(look, stream.ref)
        async with working(stores(), bindings=saving_to(messages)) as healthy:
            await by_sweep(healthy)
            await closed(look, stream.ref)
        logged = [json.loads(data) for data in payloads(await log_of(look, stream.ref))]
        assert logged.count(CLOSING) == 1
        assert await parts_in(messages) == list(await folded(look, stream))


async def test_many_open_calls_are_found_and_ended_in_bounded_steps(
    memory: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_ends_module, "READ_BYTES", 4_096)
    monkeypatch.setattr(open_ends_module, "APPEND_EVENTS", 100)
    messages, line = Messages(), Line(memory)
    calls = [{**WHOLE, "toolCallId": f"c{number}"} for number in range(1_050)]
    async with mute(memory, messages) as (dead, its_line):
        stream = await orphaned(dead, its_line, memory, *calls)
        size = sum(len(data) for _, _, data in await log_of(memory, stream.ref))
        async with working(line, bindings=saving_to(messages)) as healthy:
            await by_sweep(healthy)
        batches = [append.events for batch in line.batches for append in batch if append.ref == stream.ref]
        assert [len(batch) for batch in batches] == [100] * 10 + [50]
        assert line.calls["read"] >= size // 4_096
        assert {part["state"] for part in await parts_in(messages)} == {"output-error"}


async def test_the_lease_is_kept_while_a_long_log_is_read(memory: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_ends_module, "READ_BYTES", 64)
    monkeypatch.setattr(open_ends_module, "LEASE_PARTS", 1e9)  # as if each slice took a good part of it
    messages, line = Messages(), Line(memory)
    async with mute(memory, messages) as (dead, its_line):
        stream = await orphaned(dead, its_line, memory, WHOLE, *["word "] * 20)
        async with working(line, quick()) as healthy:
            await by_sweep(healthy)
            await closed(memory, stream.ref)
            assert line.calls["heartbeat"] > 5


# -- without a log ----------------------------------------------------------------------------------------------------


async def test_a_stream_that_lost_its_log_ends_what_is_open(memory: MemoryStore) -> None:
    messages, line = Messages(), Line(memory)
    async with working(line, bindings=saving_to(messages)) as worker:
        stream, model = await spoken(worker, "a")
        line.broken = {"append"}
        model.say(WHOLE)
        await wait_until_async(lambda: stream.degraded, description="it lost its log")
        reading = asyncio.create_task(worker.watch(stream))
        await stop(worker, model)
        assert CLOSING in sent(await reading)
        await worker.idle()
        assert open_ones(await parts_in(messages)) == []


async def test_a_natural_end_that_its_log_overrules_ends_what_is_open(memory: MemoryStore) -> None:
    """Its closing parts are dropped: it is no completed reply, in which a call may wait."""
    messages, line = Messages(), Line(memory)
    async with working(line, bindings=saving_to(messages)) as worker:
        model = Model("a")
        request = worker.request(protocol=UI, on_store_failure="fail")
        stream = await worker.start(model, request)
        await wait_until_async(lambda: stream.acked, description="it has begun")
        line.broken = {"append"}
        reading = asyncio.create_task(worker.watch(stream))
        model.say(WHOLE)
        model.end()
        seen = sent(await reading)
        assert (CLOSING in seen, seen[-1]["type"]) == (True, "error")
        await worker.idle()
        assert open_ones(await parts_in(messages)) == []


async def test_an_orphan_that_lost_its_log_is_saved_with_its_ends(memory: MemoryStore) -> None:
    messages = Messages()
    async with mute(memory, messages) as (dead, line):
        stream, model = await spoken(dead, WHOLE)
        await wait_until_async(lambda: stream.acked == 2, description="it is logged")
        line.broken = {"append"}
        model.say("said, not logged")
        await declared_lost(memory, stream.ref)
        line.down = True
        await expired(memory, stream.ref)
        async with working(memory, bindings=saving_to(messages)) as healthy:
            await by_sweep(healthy)
            assert (await parts_in(messages))[0]["errorText"] == CALL_CLOSED
        (last,) = [kind for _, kind, _ in await log_of(memory, stream.ref)][2:]
        assert last is EventKind.TERMINAL


# -- continued messages -----------------------------------------------------------------------------------------------

WAITING = {**WHOLE, "toolCallId": "c2", "toolName": "where"}


def answered(*parts: dict[str, object]) -> Message:
    """The message as its client sends it back."""
    return Message("m1", Role.ASSISTANT, parts)  # type: ignore[arg-type]


APPROVED = answered(
    {
        "type": "tool-shell",
        "toolCallId": "c1",
        "state": "approval-responded",
        "input": {"cmd": "ls"},
        "approval": {"id": "a1", "approved": True},
    },
    {"type": "tool-where", "toolCallId": "c2", "state": "input-available", "input": {}},
)


async def continuing(worker: Worker, *items: object) -> tuple[LiveStream, Model]:
    """A stream that continues a message after its client approved one call of two."""
    await worker.tell(saying(WHOLE, ASKED, WAITING), worker.request(protocol=UI, message_id="m1"))
    model = Model()
    stream = await worker.start(model, worker.request(protocol=UI, message_id="m1"))
    assert stream.user_messages is not None
    await stream.user_messages.add(APPROVED).attempted()
    model.say(*items)
    await wait_until_async(lambda: stream.activity.items == len(items), description="it was said")
    return stream, model


async def test_an_approved_call_is_ended_with_the_stream_that_was_to_run_it(stores: Stores) -> None:
    """What an earlier, completed stream left to the client goes on waiting for it."""
    messages = Messages()
    async with working(stores(), bindings=saving_to(messages)) as worker:
        stream, model = await continuing(worker)
        reading = asyncio.create_task(worker.watch(stream))
        await stop(worker, model)
        assert CLOSING in sent(await reading)
        await worker.idle()
        states = {part["toolCallId"]: part["state"] for part in await parts_in(messages)}
        assert states == {"c1": "output-error", "c2": "input-available"}


async def test_an_approved_call_is_ended_by_whoever_takes_its_stream_over(stores: Stores, look: StreamStore) -> None:
    messages = Messages()
    async with (
        mute(look, messages) as (dead, line),
        working(stores(), quick(lease_seconds=5.0), bindings=saving_to(messages)) as healthy,
    ):
        stream, _ = await continuing(dead, "I am at it.")
        await wait_until_async(lambda: stream.acked == stream.feed.emitted, description="it is logged")
        line.down = True
        await expired(look, stream.ref)
        reading = asyncio.create_task(read(await healthy.resume()))
        await by_sweep(healthy)
        assert CLOSING in sent(await reading)
        states = {part.get("toolCallId"): part["state"] for part in await parts_in(messages)}
        assert states == {"c1": "output-error", "c2": "input-available", None: "done"}


async def test_an_approved_call_that_was_carried_out_stays_so(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        done = {"type": "tool-output-available", "toolCallId": "c1", "output": "gone"}
        stream, model = await continuing(worker, done)
        await stop(worker, model)
        await stream.ended()
        await worker.idle()
        assert (await parts_in(messages))[0]["output"] == "gone"


async def test_a_claim_that_a_call_waits_does_not_undo_its_result(memory: MemoryStore) -> None:
    """A second tab has the message as it was before the result, and sends that back."""
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        done = {"type": "tool-output-available", "toolCallId": "c1", "output": "gone"}
        await worker.tell(saying(WHOLE, done), worker.request(protocol=UI, message_id="m1"))
        model = Model()
        stream = await worker.start(model, worker.request(protocol=UI, message_id="m1"))
        assert stream.user_messages is not None
        await stream.user_messages.add(APPROVED).attempted()
        await stop(worker, model)
        await stream.ended()
        await worker.idle()
        assert (await parts_in(messages))[0]["output"] == "gone"


async def test_a_late_result_replaces_our_error(memory: MemoryStore) -> None:
    """The client ran the tool, and had not heard that the answer was over."""
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        stream, model = await spoken(worker, WHOLE)
        await stop(worker, model)
        await stream.ended()
        await worker.idle()
        assert (await parts_in(messages))[0]["errorText"] == CALL_CLOSED
        late = answered({"type": "tool-shell", "toolCallId": "c1", "state": "output-available", "output": ["a", "b"]})
        after = Model("Two files.")
        stream = await worker.start(after, worker.request(protocol=UI, message_id="m1"))
        assert stream.user_messages is not None
        await stream.user_messages.add(late).attempted()
        after.end()
        await worker.watch(stream)
        call, text = await parts_in(messages)
        assert (call["state"], call["output"], "errorText" in call) == ("output-available", ["a", "b"], False)
        assert text["text"] == "Two files."
        assert (await stored_in(messages))[-1].message.outcome is Outcome.COMPLETED
