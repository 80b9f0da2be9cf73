"""Questions whose reply never came to be: their sessions say so, until they are asked again."""

from __future__ import annotations

import pytest

from streamguard.messages import Message, MessageStatus, Role
from streamguard.reconcile.orphans import OrphanSweep
from streamguard.runtime import LiveStream
from streamguard.saving.pending_write import PendingWrite
from streamguard.stores.memory import MemoryStore
from streamguard.values import Persisted

from ..harness.waiting import wait_until_async
from ..runtime.conftest import memory
from ..runtime.lines import Line
from ..runtime.savers import Messages, meta_of, saving_to, stored_in
from ..runtime.stage import Model, closed, dying, expired, quick, saying, working

pytestmark = pytest.mark.anyio

__all__ = ["memory"]


def asked(stream: LiveStream, message_id: str = "u1") -> PendingWrite:
    """A question that is to be kept before the stream's first word."""
    assert stream.user_messages is not None
    return stream.user_messages.add(Message(message_id, Role.USER, ({"type": "text", "text": "why?"},)))


async def statuses(messages: Messages) -> list[tuple[str, MessageStatus]]:
    return [(stored.message.message_id, stored.status) for stored in await stored_in(messages)]


async def test_the_worker_died_before_the_first_word(memory: MemoryStore) -> None:
    messages = Messages()
    line = Line(memory)
    bindings = saving_to(messages)
    async with (
        working(line, dying(), clean=False, bindings=bindings) as worker,
        working(memory, bindings=bindings) as healthy,
    ):
        stream = await worker.start(Model())
        await asked(stream).attempted()
        line.down = True
        await expired(memory, stream.ref)
        assert await OrphanSweep(healthy.runtime).sweep() == 1
        assert (await closed(memory, stream.ref)).persisted is Persisted.NOT_ASKED
        assert await statuses(messages) == [("u1", MessageStatus.UNANSWERED)]
        before = await stored_in(messages)
        assert await OrphanSweep(healthy.runtime).sweep() == 0
        assert await stored_in(messages) == before
        line.down = False


async def test_a_question_that_is_asked_again_and_answered(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model()
        stream = await worker.start(model)
        asked(stream)
        model.fail(RuntimeError("no"))
        await stream.ended()
        assert await statuses(messages) == [("u1", MessageStatus.UNANSWERED)]
        model = Model("a")
        stream = await worker.start(model)
        asked(stream)
        model.end()
        await worker.watch(stream)
        assert await statuses(messages) == [
            ("u1", MessageStatus.COMPLETE),
            (stream.message_id, MessageStatus.COMPLETE),
        ]


async def test_an_answered_question_is_left_as_it_is(memory: MemoryStore) -> None:
    """Of a session that does not end with a question, or is empty, nothing is changed."""
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        for items in ((), ("a",), ()):
            model = Model(*items)
            stream = await worker.start(model)
            if items:
                model.end()
            else:
                model.fail(RuntimeError("no"))
            await stream.ended()
        assert [status for _, status in await statuses(messages)] == [MessageStatus.COMPLETE]
        assert messages.calls["mark"] == 0


async def test_a_question_that_a_later_stream_is_answering(memory: MemoryStore) -> None:
    messages = Messages()
    settings = quick(save_visible_seconds=0.05)
    async with working(memory, settings, bindings=saving_to(messages)) as worker:
        messages.hold("last")
        model = Model()
        first = await worker.start(model)
        await asked(first).attempted()
        model.fail(RuntimeError("no"))
        await wait_until_async(lambda: messages.waiting["last"], description="its end looks at the messages")
        await first.ended()
        second = await worker.start(saying("a"))
        messages.let_go("last")
        await worker.watch(second)
        await wait_until_async(lambda: not worker.runtime.saving.under_way, description="both are done")
        assert await statuses(messages) == [("u1", MessageStatus.COMPLETE), (second.message_id, MessageStatus.COMPLETE)]


async def test_the_last_of_many_messages(memory: MemoryStore) -> None:
    messages = Messages()
    async with working(memory, bindings=saving_to(messages)) as worker:
        model = Model()
        stream = await worker.start(model)
        for n in range(100):
            await asked(stream, f"u{n}").attempted()
        model.fail(RuntimeError("no"))
        await stream.ended()
        found = await statuses(messages)
        assert found[-1] == ("u99", MessageStatus.UNANSWERED)
        assert {status for _, status in found[:-1]} == {MessageStatus.COMPLETE}
        assert (await meta_of(memory, stream.ref)).persisted is Persisted.NOT_ASKED
