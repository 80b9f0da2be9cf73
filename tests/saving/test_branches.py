"""Requests that supersede: what was said from there on becomes an old branch, whenever it is saved and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from streamguard.errors import MessageConflictError, MessageSupersededError
from streamguard.faults import FaultCode
from streamguard.messages import Message, MessageStore, MessageToSave, Role, Supersedes
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.runtime import Bindings, LiveStream, Revision
from streamguard.runtime.producing.phases import Output
from streamguard.saving.pending_write import PendingWrite
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, Persisted, SessionKey
from streamguard.wire.folding import Json

from ..harness.waiting import wait_until_async
from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.lines import Line
from ..runtime.savers import Messages, data_parts, eventually, meta_of, saving_to
from ..runtime.stage import KEY, Model, Worker, closed, dying, expired, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

PATIENT = quick(save_total_seconds=0.2, save_visible_seconds=0.1, outbox_retry_seconds=0.05)


def question(message_id: str, text: str) -> Message:
    return Message(message_id, Role.USER, ({"type": "text", "text": text},))


async def asked(
    worker: Worker,
    reply_id: str,
    message: Message | None = None,
    *,
    revision: Revision | None = None,
    supersede: bool = False,
    model: Model | None = None,
) -> tuple[LiveStream, PendingWrite | None]:
    """A stream whose endpoint has given `message` to `run.save`; it says its reply's id, or what `model` says."""
    request = replace(worker.request(protocol="ui-message", message_id=reply_id), revision=revision)
    stream = await worker.open(request)
    assert stream.user_messages is not None
    entry = None if message is None else stream.user_messages.add(message, supersede=supersede)
    if entry is not None:
        await entry.attempted()
    worker.runtime.launch(stream, model or saying(f"says {reply_id}"))
    return stream, entry


async def told(worker: Worker, reply_id: str, message: Message | None = None, **how: object) -> list[tuple[str, str]]:
    """The same, read to its end: code and reason of its faults."""
    stream, _ = await asked(worker, reply_id, message, **how)  # type: ignore[arg-type]
    return faults_of(data_parts(await worker.watch(stream), "data-streamguard-error"))


def faults_of(parts: Sequence[dict[str, object]]) -> list[tuple[str, str]]:
    faults = [part["data"] for part in parts]
    return [(str(fault["code"]), str(fault.get("reason"))) for fault in faults if isinstance(fault, dict)]


async def shown(messages: MessageStore, *, branches: bool = False) -> list[tuple[str, str]]:
    """Ids and texts, as a page shows them, or with old branches."""
    inner = messages.inner if isinstance(messages, Messages) else messages
    stored = await inner.list(KEY, limit=1000, branches=branches)
    return [
        (one.message.message_id, "".join(str(part.get("text", "")) for part in one.message.parts)) for one in stored
    ]


async def swept(worker: Worker, store: StreamStore, stream: LiveStream, persisted: Persisted = Persisted.YES) -> None:
    """Have the outbox save what a stream owes."""

    async def saved() -> bool:
        await OutboxWorker(worker.runtime).sweep()
        return (await meta_of(store, stream.ref)).persisted is persisted

    await eventually(saved, "what was owed is saved")


async def recovered(worker: Worker, messages: Messages) -> None:
    """The database is back, after the worker had given it up, and the worker asks it again."""
    await worker.runtime.idle()  # a save that still retries would be made as soon as the database is back
    messages.down = False

    async def saves() -> bool:
        stream = await worker.start(saying("a"), worker.request(SessionKey("ana", "another")))
        await stream.ended()
        return not worker.runtime.saving.paused

    await eventually(saves, "the database is asked again")


# -- what goes -------------------------------------------------------------------------------------------------------


async def test_an_edit_and_an_answer_that_is_written_again(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        assert await told(worker, "a1", question("q1", "one")) == []
        assert await told(worker, "a2", question("q2", "two")) == []
        assert await told(worker, "a2b", question("q2", "two!"), revision=Revision("q2", ("q1", "a1"))) == []
        assert await shown(messages) == [("q1", "one"), ("a1", "says a1"), ("q2", "two!"), ("a2b", "says a2b")]
        again = Revision("a2b", ("q1", "a1", "q2"))
        assert await told(worker, "a2c", question("q2", "two!"), revision=again) == []
        assert await shown(messages) == [("q1", "one"), ("a1", "says a1"), ("q2", "two!"), ("a2c", "says a2c")]
        assert await told(worker, "a1b", question("q1", "one"), revision=Revision(None, ("q1",))) == []
        assert await shown(messages) == [("q1", "one"), ("a1b", "says a1b")]
        assert len(await shown(messages, branches=True)) == 8  # each version once


async def test_an_endpoint_may_say_so_itself(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await told(worker, "a1", question("q1", "one"))
        await told(worker, "a2", question("q2", "two"))
        assert await told(worker, "a1b", question("q1", "one!"), supersede=True) == []
        assert await shown(messages) == [("q1", "one!"), ("a1b", "says a1b")]
        assert await told(worker, "a1c", question("q1", "one!"), supersede=True) == []  # as it is
        assert await shown(messages) == [("q1", "one!"), ("a1c", "says a1c")]


async def test_a_late_retry_of_the_old_text_supersedes_nothing(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await told(worker, "a1", question("q1", "one"))
        await told(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ()))
        stream, entry = await asked(worker, "a1c", question("q1", "one"))
        reading = await worker.watch(stream)
        assert entry is not None
        assert isinstance(entry.failure(), MessageConflictError)
        assert faults_of(data_parts(reading, "data-streamguard-error")) == [("save_conflict", "user_message")]
        assert await shown(messages) == [("q1", "one!"), ("a1b", "says a1b"), ("a1c", "says a1c")]


async def test_an_endpoint_that_saves_no_questions(memory: MemoryStore) -> None:
    """What goes is found by what stays, once the endpoint begins to answer; one that refuses changes nothing."""
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await told(worker, "a1")
        await told(worker, "a2")
        refusing = Model()
        refusing.fail(ValueError("no"))
        stream, _ = await asked(worker, "a2b", revision=Revision(None, ("q1", "a1", "q2")), model=refusing)
        await stream.ended()
        assert await shown(messages) == [("a1", "says a1"), ("a2", "says a2")]
        assert await told(worker, "a2c", revision=Revision(None, ("q1", "a1", "q2"))) == []
        assert await shown(messages) == [("a1", "says a1"), ("a2c", "says a2c")]
        assert await told(worker, "a1b", revision=Revision("q1", ())) == []
        assert await shown(messages) == [("a1b", "says a1b")]


async def test_a_superseding_that_is_refused_is_told(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await told(worker, "a1")
        messages.errors["supersede"] = MessageConflictError("no", operation="supersede")
        assert await told(worker, "a1b", revision=Revision("a1", ())) == [("save_conflict", "superseded")]
        assert await shown(messages) == [("a1", "says a1"), ("a1b", "says a1b")]


# -- what runs -------------------------------------------------------------------------------------------------------


async def test_what_runs_is_stopped_first_and_its_usage_stands(stores: Stores, look: StreamStore) -> None:
    messages = Messages()
    # A worker that is late loses the stream to the one that asks, which does not know what it consumed.
    async with working(stores(), quick(replace_wait_seconds=20), bindings=saving_to(messages)) as worker:
        model = Model("half ")
        stream, _ = await asked(worker, "a1", question("q1", "one"), model=model)
        stream.usage(tokens=5)
        await wait_until_async(lambda: stream.output is Output.ITEMS, description="it has begun")
        assert await told(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ())) == []
        meta = await closed(look, stream.ref)
        assert meta.seal is not None
        assert (meta.seal.outcome, meta.persisted) == (Outcome.STOPPED, Persisted.YES)
        assert meta.seal.usage is not None
        assert dict(meta.seal.usage.amounts) == {"tokens": 5}
        assert await shown(messages) == [("q1", "one!"), ("a1b", "says a1b")]
        assert ("a1", "half ") in await shown(messages, branches=True)


async def test_an_answer_that_the_client_keeps_is_not_stopped(memory: MemoryStore) -> None:
    async with working(memory, bindings=saving_to(Messages())) as worker:
        model = Model("half ")
        stream, _ = await asked(worker, "a1", question("q1", "one"), model=model)
        revision = Revision("a2", ("q1", "a1", "q2"))
        request = replace(worker.request(protocol="ui-message"), revision=revision)
        with pytest.raises(Exception, match="already") as refused:
            await worker.runtime.open(request)
        assert getattr(refused.value, "fault").code is FaultCode.CONFLICT_ACTIVE  # noqa: B009 -- of any class
        model.end()
        await worker.watch(stream)


async def test_a_save_under_way_lands_in_the_old_branch(memory: MemoryStore) -> None:
    """Its viewers are told: what they read is not what the page will show."""
    messages = Messages()
    async with working(memory, quick(save_visible_seconds=5.0), bindings=saving_to(messages)) as worker:
        stream, _ = await asked(worker, "a1", question("q1", "one"), model=(model := Model("old")))
        await wait_until_async(lambda: stream.output is Output.ITEMS, description="it has begun")
        messages.hold("append")
        model.end()
        await wait_until_async(lambda: messages.waiting["append"], description="its save is under way")
        later, _ = await asked_without_waiting(worker, "a1b", Revision("a1", ("q1",)))
        await wait_until_async(lambda: messages.calls["supersede"], description="it is superseded")
        messages.let_go("append")
        reading = await worker.watch(stream)
        assert faults_of(data_parts(reading, "data-streamguard-error")) == [("save_conflict", "superseded")]
        assert data_parts(reading, "data-streamguard-persisted") == []
        await worker.watch(later)
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.YES
        assert await shown(messages) == [("q1", "one"), ("a1b", "says a1b")]
        assert ("a1", "old") in await shown(messages, branches=True)


async def asked_without_waiting(worker: Worker, reply_id: str, revision: Revision) -> tuple[LiveStream, None]:
    request = replace(worker.request(protocol="ui-message", message_id=reply_id), revision=revision)
    stream = await worker.open(request)
    worker.runtime.launch(stream, saying(f"says {reply_id}"))
    return stream, None


# -- what is owed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_the_start", [False, True])
async def test_an_owed_save_lands_in_the_old_branch(stores: Stores, look: StreamStore, *, from_the_start: bool) -> None:
    """Also where the database was away all the time, so that nobody knows in which branch its stream began."""
    messages = Messages()
    async with working(stores(), PATIENT, bindings=saving_to(messages)) as worker:
        await told(worker, "a0", question("q0", "zero"))
        messages.down = from_the_start
        stream, _ = await asked(worker, "a1", question("q1", "one"), model=(model := Model("old")))
        await wait_until_async(lambda: stream.output is Output.ITEMS, description="it has begun")
        messages.down = True
        model.end()
        await worker.watch(stream)
        await recovered(worker, messages)
        kept = ("q0", "a0", "q1")
        assert await told(worker, "a1b", question("q1", "one"), revision=Revision("a1", kept)) == []
        await swept(worker, look, stream)
        assert await shown(messages) == [("q0", "zero"), ("a0", "says a0"), ("q1", "one"), ("a1b", "says a1b")]
        assert ("a1", "old") in await shown(messages, branches=True)


async def test_an_owed_save_of_what_stays_is_shown(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, PATIENT, bindings=saving_to(messages)) as worker:
        messages.down = True
        first, _ = await asked(worker, "a1", question("q1", "one"))
        await worker.watch(first)
        await recovered(worker, messages)
        await told(worker, "a2", question("q2", "two"))
        edited = question("q2", "two!")
        assert await told(worker, "a2b", edited, revision=Revision("q2", ("q1", "a1"))) == []
        await swept(worker, memory, first)
        assert sorted(await shown(messages)) == [("a1", "says a1"), ("a2b", "says a2b"), ("q1", "one"), ("q2", "two!")]


@pytest.mark.long
async def test_the_save_of_a_dead_worker_lands_in_the_old_branch(stores: Stores, look: StreamStore) -> None:
    """The next worker ends its stream for the very request that supersedes it."""
    messages, line, dead = Messages(), Messages(), Line(look)
    line.inner = messages.inner
    async with working(dead, dying(), clean=False, bindings=saving_to(line)) as one:
        stream, _ = await asked(one, "a1", question("q1", "one"), model=Model("old"))
        await wait_until_async(lambda: stream.acked >= 3, description="it is logged")
        dead.down = line.down = True
        await expired(look, stream.ref)
        async with working(stores(), bindings=saving_to(messages)) as worker:
            messages.hold("append")  # the orphan's save comes after the superseding
            later, _ = await asked_without_waiting(worker, "a1b", Revision("a1", ("q1",)))
            await wait_until_async(lambda: messages.calls["supersede"], description="it is superseded")
            messages.let_go("append")
            await worker.watch(later)
            await closed(look, stream.ref)
            assert await shown(messages) == [("q1", "one"), ("a1b", "says a1b")]
            assert ("a1", "old") in await shown(messages, branches=True)


async def test_a_superseding_that_is_owed_happens_once(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, PATIENT, bindings=saving_to(messages)) as worker:
        await told(worker, "a1", question("q1", "one"))
        messages.down = True
        stream, _ = await asked(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ()))
        await worker.watch(stream)
        messages.down = False
        await swept(worker, memory, stream)
        assert await shown(messages) == [("q1", "one!"), ("a1b", "says a1b")]
        assert len(await shown(messages, branches=True)) == 4


async def test_a_superseding_whose_reply_was_lost_happens_once(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await told(worker, "a1", question("q1", "one"))
        messages.lost["supersede"] = 2
        assert await told(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ())) == []
        assert await shown(messages) == [("q1", "one!"), ("a1b", "says a1b")]
        assert len(await shown(messages, branches=True)) == 4


async def test_a_superseding_that_comes_too_late_takes_nothing_away(memory: MemoryStore) -> None:
    """The conversation has gone on: nothing that was said since may vanish."""
    messages = Messages()
    async with working(memory, PATIENT, bindings=saving_to(messages)) as worker:
        await told(worker, "a1", question("q1", "one"))
        messages.down = True
        stream, _ = await asked(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ()))
        await worker.watch(stream)
        await recovered(worker, messages)
        await told(worker, "a2", question("q2", "two"))
        await swept(worker, memory, stream)
        assert sorted(one for one, _ in await shown(messages)) == ["a1", "a1b", "a2", "q1", "q2"]


# -- results and functions -------------------------------------------------------------------------------------------


async def test_results_for_a_superseded_message_are_refused(memory: MemoryStore) -> None:
    messages = Messages()
    call = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "where", "input": {}}
    async with working(memory, bindings=saving_to(messages)) as worker:
        stream, _ = await asked(worker, "a1", question("q1", "one"), model=saying(call))
        await worker.watch(stream)
        await told(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ()))
        part: dict[str, Json] = {
            "type": "tool-where",
            "toolCallId": "c1",
            "state": "output-available",
            "input": {},
            "output": "home",
        }
        later, entry = await asked(worker, "a1", Message("a1", Role.ASSISTANT, (part,)))
        reading = await worker.watch(later)
        assert entry is not None
        assert isinstance(entry.failure(), MessageSupersededError)
        assert faults_of(data_parts(reading, "data-streamguard-error")) == [("save_conflict", "superseded")]
        assert (await meta_of(memory, later.ref)).persisted is Persisted.NO
        assert await shown(messages) == [("q1", "one!"), ("a1b", "says a1b")]


async def test_a_function_is_told_what_is_superseded(memory: MemoryStore) -> None:
    saved: list[MessageToSave] = []

    async def save(message: MessageToSave) -> None:
        saved.append(message)

    bindings = Bindings(save)
    bindings.register("chat")
    async with working(memory, bindings=bindings) as worker:
        await told(worker, "a1", question("q1", "one"))
        edit, _ = await asked(worker, "a1b", question("q1", "one!"), revision=Revision("q1", ("q0",)))
        await worker.watch(edit)
        again, _ = await asked(worker, "a1c", revision=Revision("a1b", ("q0", "q1")))
        await worker.watch(again)
        assert [(one.message.message_id, one.supersedes) for one in saved] == [
            ("q1", None),
            ("a1", None),
            ("q1", Supersedes(edit.ref.stream_id, "q1", "q0")),
            ("a1b", None),
            ("a1c", Supersedes(again.ref.stream_id, "a1b", "q1")),
        ]
        assert len({one.idempotency_key for one in saved}) == 5


async def test_a_function_is_told_by_whoever_saves_what_is_owed(memory: MemoryStore) -> None:
    saved: list[MessageToSave] = []
    down = True

    async def save(message: MessageToSave) -> None:
        if down:
            raise OSError("away")
        saved.append(message)

    bindings = Bindings(save)
    bindings.register("chat")
    async with working(memory, PATIENT, bindings=bindings) as worker:
        stream, _ = await asked(worker, "a1b", revision=Revision("a1", ("q1",)))
        await worker.watch(stream)
        down = False
        await swept(worker, memory, stream)
        assert [(one.message.message_id, one.supersedes) for one in saved] == [
            ("a1b", Supersedes(stream.ref.stream_id, "a1", "q1"))
        ]
