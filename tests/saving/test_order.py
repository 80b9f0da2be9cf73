"""What comes before a reply: the user's messages, and the earlier parts of a message that is continued (I6)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamguard.errors import (
    MessageUnavailableError,
)
from streamguard.messages import Message, MessageToSave, Role, StoredMessage
from streamguard.reconcile.outbox import OutboxWorker
from streamguard.runtime import Bindings, LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.values import Persisted

from ..runtime.conftest import Stores, look, memory, stores
from ..runtime.savers import Messages, data_parts, eventually, meta_of, saving_to, stored_in
from ..runtime.stage import KEY, Model, Reading, Worker, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["look", "memory", "stores"]

UI = "ui-message"


def said_by_user(text: str, message_id: str = "u1") -> Message:
    return Message(message_id, Role.USER, ({"type": "text", "text": text},))


async def test_users_messages_come_before_the_reply_in_order(memory: MemoryStore) -> None:
    messages = Messages()
    messages.failures["append"] = 1
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert stream.user_messages is not None
        stream.user_messages.add(said_by_user("one", "u1"))
        stream.user_messages.add(said_by_user("two", "u2"))
        model.end()
        reading = await worker.watch(stream)
        assert reading.notices == []
        assert [stored.message.message_id for stored in await stored_in(messages)] == ["u1", "u2", stream.message_id]


async def test_a_users_message_that_failed_is_written_with_the_reply(memory: MemoryStore) -> None:
    messages = Messages()
    messages.down = True
    settings = quick(save_total_seconds=0.3, save_visible_seconds=1.0, outbox_retry_seconds=0.05)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert stream.user_messages is not None
        entry = stream.user_messages.add(said_by_user("one"))
        await entry.attempted()
        assert isinstance(entry.failure(), MessageUnavailableError)
        model.end()
        reading = await worker.watch(stream)
        (fault,) = reading.named("streamguard.notice")
        assert (fault["user_message_id"], fault["message_id"]) == ("u1", stream.message_id)
        messages.down = False

        async def saved() -> bool:
            await OutboxWorker(worker.runtime).sweep()
            return (await meta_of(memory, stream.ref)).persisted is Persisted.YES

        await eventually(saved, "both are saved")
        assert [stored.message.message_id for stored in await stored_in(messages)] == ["u1", stream.message_id]


def replies(stored: Sequence[StoredMessage]) -> dict[str, str | None]:
    """What each message answers."""
    return {one.message.message_id: one.message.replies_to for one in stored}


async def test_a_reply_names_the_last_question_of_its_stream(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert stream.user_messages is not None
        for number in (1, 2):
            stream.user_messages.add(said_by_user("?", f"u{number}"))
        model.end()
        await worker.watch(stream)
        nothing_asked = await worker.start(saying("b"))
        await worker.watch(nothing_asked)
        assert replies(await stored_in(messages)) == {
            "u1": None,
            "u2": None,
            stream.message_id: "u2",
            nothing_asked.message_id: None,
        }


@pytest.mark.parametrize("question_is_saved", [True, False])
async def test_a_reply_that_is_owed_names_its_question_too(memory: MemoryStore, *, question_is_saved: bool) -> None:
    """Whoever saves it has only the outbox to know it from, and the user may have gone on."""
    messages, settings = Messages(), quick(save_total_seconds=0.3, outbox_retry_seconds=0.01)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        model = Model("a")
        first = await worker.start(model)
        assert first.user_messages is not None
        messages.down = not question_is_saved
        await first.user_messages.add(said_by_user("one?", "u1")).attempted()
        messages.down = True
        model.end()
        await worker.watch(first)
        messages.down = False
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("b")
        second = await worker.start(model)
        assert second.user_messages is not None
        await second.user_messages.add(said_by_user("two?", "u2")).attempted()
        model.end()
        await worker.watch(second)

        async def saved() -> bool:
            await OutboxWorker(worker.runtime).sweep()
            return (await meta_of(memory, first.ref)).persisted is Persisted.YES

        await eventually(saved, "the first reply is saved")
        answered = replies(await stored_in(messages))
        assert list(answered)[-1] == first.message_id
        assert answered == {"u1": None, "u2": None, first.message_id: "u1", second.message_id: "u2"}


async def test_a_question_that_no_store_can_hold_is_not_named(memory: MemoryStore) -> None:
    """Its id is what cannot be stored: named in it, the reply could not be either."""
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert stream.user_messages is not None
        await stream.user_messages.add(said_by_user("?", "u" * 257)).attempted()
        model.end()
        reading = await worker.watch(stream)
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        assert replies(await stored_in(messages)) == {stream.message_id: None}


async def test_a_continued_reply_goes_on_answering_its_question(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        for text, asked in (("one", "u1"), ("two", None), ("three", "u1")):
            model = Model(text)
            stream = await worker.start(model, worker.request(protocol=UI, message_id="m1"))
            assert stream.user_messages is not None
            if asked is not None:
                stream.user_messages.add(said_by_user("?", asked))
            model.end()
            await worker.watch(stream)
            assert replies(await stored_in(messages)) == {"u1": None, "m1": "u1"}


async def test_a_refused_users_message_does_not_cost_the_reply(memory: MemoryStore) -> None:
    messages = Messages()
    await messages.inner.open_session(KEY)
    await messages.inner.append(KEY, said_by_user("something else"))
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        assert stream.user_messages is not None
        stream.user_messages.add(said_by_user("one"))
        model.end()
        reading = await worker.watch(stream)
        (fault,) = reading.named("streamguard.notice")
        assert (fault["code"], fault["reason"], fault["user_message_id"]) == ("save_conflict", "user_message", "u1")
        assert reading.named("streamguard.end")[0]["persisted"] == "yes"
        assert replies(await stored_in(messages)) == {"u1": None, stream.message_id: "u1"}


TOOL = {"type": "tool-input-available", "toolCallId": "c1", "toolName": "where", "input": {}}


async def texts_in(messages: Messages) -> list[object]:
    """The texts of the parts of the one reply that is there."""
    (stored,) = await stored_in(messages)
    return [part.get("text") for part in stored.message.parts]


async def continued(worker: Worker, *items: object, message_id: str = "m1") -> tuple[LiveStream, Reading]:
    stream = await worker.start(saying(*items), worker.request(protocol=UI, message_id=message_id))
    return stream, await worker.watch(stream)


async def test_a_continued_message_is_one_message(stores: Stores) -> None:
    messages = Messages()
    async with working(stores(), bindings=saving_to(messages)) as worker:
        first, _ = await continued(worker, "one", TOOL)
        second, _ = await continued(worker, {"type": "start-step"}, "two")
        (stored,) = await stored_in(messages)
        assert stored.streams == (first.ref.stream_id, second.ref.stream_id)
        assert [part["type"] for part in stored.message.parts] == ["text", "tool-where", "step-start", "text"]
        assert [part.get("text") for part in stored.message.parts] == ["one", None, None, "two"]


async def test_results_of_tools_in_the_browser_get_into_the_message(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await continued(worker, "one", TOOL)
        answered = Message(
            "m1",
            Role.ASSISTANT,
            (
                {"type": "text", "text": "words the model never said"},
                {"type": "tool-where", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "here"},
            ),
        )
        for _ in range(2):  # the second is a retry
            model = Model("two")
            stream = await worker.start(model, worker.request(protocol=UI, message_id="m1"))
            assert stream.user_messages is not None
            entry = stream.user_messages.add(answered)
            await entry.attempted()
            assert entry.committed
            model.end()
            await worker.watch(stream)
        (stored,) = await stored_in(messages)
        texts = [part.get("text") for part in stored.message.parts]
        assert texts == ["one", None, "two", "two"]
        assert stored.message.parts[1]["output"] == "here"
        assert stored.message.parts[1]["state"] == "output-available"


async def test_a_continuation_waits_for_what_it_continues(memory: MemoryStore) -> None:
    messages = Messages()
    messages.down = True
    settings = quick(save_total_seconds=0.3, outbox_retry_seconds=0.02)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        first, _ = await continued(worker, "one")
        messages.down = False
        second, reading = await continued(worker, "two")
        assert [part["data"]["reason"] for part in data_parts(reading, "data-streamguard-error")] == [  # type: ignore[index]
            "waits_for_previous"
        ]

        async def saved() -> bool:
            await OutboxWorker(worker.runtime).sweep()
            return (await meta_of(memory, second.ref)).persisted is Persisted.YES

        await eventually(saved, "both parts are saved")
        (stored,) = await stored_in(messages)
        assert stored.streams == (first.ref.stream_id, second.ref.stream_id)
        assert [part.get("text") for part in stored.message.parts] == ["one", "two"]


@pytest.mark.parametrize("has_a_beginning", [False, True])
async def test_a_save_that_was_given_up_is_in_what_went_on_and_only_once(
    memory: MemoryStore, *, has_a_beginning: bool
) -> None:
    """What continues the message folds it in; an operator who has it tried again does not get it in twice."""
    messages = Messages()
    settings = quick(
        save_total_seconds=0.3, outbox_retry_seconds=0.01, max_outbox_attempts=1, breaker_probe_seconds=0.01
    )
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        outbox = OutboxWorker(worker.runtime)

        async def comes_to(stream: LiveStream, persisted: Persisted) -> None:
            async def asked() -> bool:
                await outbox.sweep()
                return (await meta_of(memory, stream.ref)).persisted is persisted

            await eventually(asked, f"its save comes to {persisted}")

        if has_a_beginning:
            await continued(worker, "zero")
        messages.down = True
        given_up, _ = await continued(worker, "one", TOOL)
        await comes_to(given_up, Persisted.NO)
        messages.down = False
        later, _ = await continued(worker, "two")
        await comes_to(later, Persisted.YES)
        wanted = [*(["zero"] if has_a_beginning else []), "one", None, "two"]
        for _ in range(2):
            (stored,) = await stored_in(messages)
            assert stored.streams[-1] == later.ref.stream_id
            assert [part.get("text") for part in stored.message.parts] == wanted
            await memory.requeue(given_up.ref)
            await comes_to(given_up, Persisted.YES)


async def test_a_function_is_given_the_whole_continued_message(memory: MemoryStore) -> None:
    given: list[tuple[str, str]] = []

    async def save(message: MessageToSave) -> None:
        given.append((message.message.message_id, message.text))

    bindings = Bindings(save)
    bindings.register("chat")
    async with working(memory, bindings=bindings) as worker:
        await continued(worker, "one ")
        await continued(worker, "two")
        assert given == [("m1", "one "), ("m1", "one two")]


async def test_a_conversation_older_than_its_log_is_continued(memory: MemoryStore) -> None:
    """No stream remembers the message any more; the message store does."""
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await continued(worker, "one")
    async with working(MemoryStore(), bindings=saving_to(messages)) as worker:
        await continued(worker, "two")
        assert await texts_in(messages) == ["one", "two"]


async def test_a_message_to_a_session_that_was_erased_is_not_saved(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await memory.erase(KEY, mark_seconds=60)
        assert stream.user_messages is not None
        entry = stream.user_messages.add(said_by_user("one"))
        await entry.attempted()
        assert isinstance(entry.failure(), MessageUnavailableError)
        assert await stored_in(messages) == []
        model.end()
        await stream.ended()
        assert await stored_in(messages) == []


async def test_parts_that_were_never_saved_are_folded_in(memory: MemoryStore) -> None:
    """Its endpoint did not save then, and does now."""
    messages = Messages()
    before = Bindings(messages)
    before.register("chat", False)
    async with working(memory, bindings=before) as worker:
        await continued(worker, "one")
    async with working(memory, bindings=saving_to(messages)) as worker:
        await continued(worker, "two")
        assert await texts_in(messages) == ["one", "two"]


async def test_what_was_deleted_stays_deleted(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        await continued(worker, "one")
        await messages.inner.delete_session(KEY)
        await continued(worker, "two")
        assert await texts_in(messages) == ["two"]
