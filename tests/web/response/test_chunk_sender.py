"""Every send of a delivery is an ordinary call, from the one task that runs the delivery and in its one context.

Where `send` is the server's own, a lone event is sent at once, where it is shown; a send that waits goes on in the
task.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Sequence
from contextvars import ContextVar

import anyio
import pytest
from starlette.types import Message

from streamguard.runtime import ViewerCutError
from streamguard.runtime.viewing.feed import CHUNK_BYTES
from streamguard.values import EventKind
from streamguard.web.response.chunk_sender import FAIR_BYTES
from streamguard.wire.plain import PlainProtocol

from ...harness.waiting import wait_until_async
from .deliveries import WHO, Client, Window, delivering, hangs, waits

pytestmark = pytest.mark.anyio


async def test_everything_is_sent_by_one_task_in_one_context() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send) as task:
        WHO.set("the writer")
        window.say("one")
        await client.has("one")
        window.say("two", "three")
        await client.has("one", "two", "three")
        window.viewer.keep_alive()
        await wait_until_async(lambda: client.bodies[-1] == b": hb\n", description="the keep-alive arrived")
        window.end()
        await asyncio.wait_for(task, 20)
        assert b"streamguard.end" in client.bodies[-1]
        assert client.tasks == {task}
        assert set(client.names) == {"the viewer"}


async def test_what_became_visible_meanwhile_goes_out_in_one_send() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send):
        for n in range(100):
            window.say(f"event {n}")
        await client.has(*(f"event {n}" for n in range(100)))
        assert len(client.bodies) == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_send_carries_64_kib_at_most_or_a_piece_of_one_event(at_once: bool) -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=at_once):
        window.say(*("x" * 30_000 for _ in range(5)))
        window.say("y" * 2 * CHUNK_BYTES)
        await wait_until_async(lambda: len(client.texts()) == 6, description="all arrived")
        assert all(len(body) <= CHUNK_BYTES for body in client.bodies)
        assert sum(map(len, client.bodies)) > 4 * CHUNK_BYTES


async def test_after_a_large_chunk_others_have_a_turn() -> None:
    window, client = Window(), Client()
    order: list[str] = []

    async def send(message: Message) -> None:
        await client.send(message)
        if message["type"] == "http.response.body":
            order.append("sent")
            asyncio.get_running_loop().call_soon(order.append, "turn")

    async with delivering(window, send):
        window.say(*("x" * 30_000 for _ in range(6)))  # a send that never waits would give nobody a turn
        assert FAIR_BYTES < 30_000
        await wait_until_async(lambda: len(client.texts()) == 6, description="all arrived")
        assert order[:5] == ["sent", "turn", "sent", "turn", "sent"]


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_slow_send_keeps_the_order_and_a_watchdog_sees_it(at_once: bool) -> None:
    window, client = Window(), Client()
    gate = asyncio.Event()

    async def slow(message: Message) -> None:
        if b"one" in message.get("body", b""):
            await gate.wait()
        await client.send(message)

    async with delivering(window, slow, at_once=at_once) as task:
        window.say("one")
        window.say("two")
        await wait_until_async(lambda: hangs(window), description="it hangs")
        window.say("three")
        gate.set()
        await client.has("one", "two", "three")
        assert client.tasks == {task}
        assert not hangs(window)


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_a_send_makes_visible_is_sent_after_it(at_once: bool) -> None:
    window, client = Window(), Client()

    async def talkative(message: Message) -> None:
        if b"one" in message.get("body", b""):
            window.say("two")  # while this very viewer is being sent something
        await client.send(message)

    async with delivering(window, talkative, at_once=at_once):
        window.say("one")
        await client.has("one", "two")


@pytest.mark.parametrize("at_once", [False, True])
async def test_cancelling_reaches_a_send_that_waits_and_lets_it_clear_up(at_once: bool) -> None:
    window, client = Window(), Client()
    seen: list[str] = []

    async def stuck(message: Message) -> None:
        await client.send(message)
        if message["type"] == "http.response.body":
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                seen.append("cleared up")

    async with delivering(window, stuck, at_once=at_once) as task:
        window.say("one")
        await client.has("one")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert seen == ["cleared up"]


async def test_what_a_layer_keeps_around_a_waiting_send_is_its_own() -> None:
    """Context variables are reset where they were set, scopes left where they were entered, locks held meanwhile."""
    window, client = Window(), Client()
    span: ContextVar[str | None] = ContextVar("span", default=None)
    lock = anyio.Lock()

    async def layered(message: Message) -> None:
        token = span.set("sending")
        try:
            async with lock, asyncio.timeout(20):
                with anyio.fail_after(20):
                    await asyncio.sleep(0)
                    await client.send(message)
        finally:
            span.reset(token)

    async with delivering(window, layered) as task:
        for text in ("one", "two", "three"):
            window.say(text)
            await wait_until_async(lambda text=text: text in client.texts(), description="it arrived")  # type: ignore[misc]
        assert client.texts() == ["one", "two", "three"]
        window.end()
        await asyncio.wait_for(task, 20)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("waits_first", [False, True])
async def test_what_send_raises_is_raised_where_the_delivery_runs(waits_first: bool, at_once: bool) -> None:
    window = Window()

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            if waits_first:
                await asyncio.sleep(0)
            raise OSError("the client left")

    async with delivering(window, gone, at_once=at_once) as task:
        window.say("one")  # and not here
        with pytest.raises(OSError, match="the client left"):
            await asyncio.wait_for(asyncio.shield(task), 20)


class Unwritable(PlainProtocol):
    """Has no form for some events, by a mistake of its own."""

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        if payload == b"odd":
            raise ValueError("no form")
        return super().block(seq, kind, payload, id_prefix)

    def blocks(
        self, first_seq: int, kinds: Sequence[EventKind], payloads: Sequence[bytes], id_prefix: bytes | None
    ) -> list[bytes]:
        events = enumerate(zip(kinds, payloads, strict=True), first_seq)
        return [self.block(seq, kind, payload, id_prefix) for seq, (kind, payload) in events]


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_event_without_a_form_is_the_accident_of_its_delivery(at_once: bool) -> None:
    window, client = Window(Unwritable()), Client()
    others: list[str] = []
    async with delivering(window, client.send, at_once=at_once) as task:
        window.feed.listen(lambda *_: others.append("told"))
        window.say("one")
        await client.has("one")
        window.say("odd")  # raises nothing: the stream goes on, and its other viewers are told
        assert others == ["told", "told"]
        with pytest.raises(ValueError, match="no form"):
            await asyncio.wait_for(asyncio.shield(task), 20)


class GoneError(Exception):
    """What can be referred to weakly."""


@pytest.mark.parametrize("at_once", [False, True])
async def test_nothing_keeps_what_send_raised(at_once: bool) -> None:
    window = Window()
    kept: list[weakref.ref[GoneError]] = []

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            error = GoneError()
            kept.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error

    gc.disable()
    try:
        async with delivering(window, gone, at_once=at_once) as task:
            window.say("one")
            await asyncio.wait([task])
            assert isinstance(task.exception(), GoneError)
        del task
        await asyncio.sleep(0)
        assert kept[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_send_that_is_no_coroutine_will_do(at_once: bool) -> None:
    window, client = Window(), Client()

    def wrapped(message: Message) -> Awaitable[None]:
        return asyncio.ensure_future(client.send(message))

    async with delivering(window, wrapped, at_once=at_once):
        window.say("one")
        await client.has("one")


async def test_a_cut_viewer_is_told_where_the_delivery_runs() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send) as task:
        window.viewer.cut("slow")
        with pytest.raises(ViewerCutError, match="slow"):
            await asyncio.wait_for(asyncio.shield(task), 20)


async def test_a_lone_event_is_given_to_the_server_where_it_is_shown() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=True) as task:
        window.say("one")
        assert client.texts() == ["one"], "before the task had a turn"
        window.say("two")
        assert client.texts() == ["one", "two"]
        window.say("three", "four")
        await client.has("one", "two", "three", "four")
        await wait_until_async(lambda: waits(window), description="the viewer waits again")
        window.say("five")
        assert client.texts()[4:] == ["five"]
        window.end()
        await asyncio.wait_for(task, 20)
        assert b"streamguard.end" in client.bodies[-1]


async def test_nothing_is_sent_to_a_viewer_that_was_cut() -> None:
    """A response cuts its viewer before it cancels the task that sends."""
    for cancelled in (False, True):
        window, client = Window(), Client()
        async with delivering(window, client.send, at_once=True) as task:
            window.say("one")
            window.viewer.cut("left")
            if cancelled:
                task.cancel()
            window.say("two")
            await asyncio.wait([task])
            assert client.texts() == ["one"]
            with pytest.raises((ViewerCutError, asyncio.CancelledError)):
                task.result()


async def test_nothing_is_sent_once_a_cancelled_task_has_ended() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send, at_once=True) as task:
        window.say("one")
        task.cancel()
        await asyncio.wait([task])
        window.say("two")
        assert client.texts() == ["one"]


async def test_a_send_that_waits_twice_goes_on_in_the_task() -> None:
    window, client = Window(), Client()
    gates = [asyncio.Event(), asyncio.Event()]
    cleared: list[str] = []

    async def slow(message: Message) -> None:
        if message["type"] == "http.response.body":
            for gate in gates:
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    cleared.append("cleared up")
                    await asyncio.sleep(0)
                    raise
        await client.send(message)

    async with delivering(window, slow, at_once=True) as task:
        window.say("one")
        window.say("two")
        await wait_until_async(lambda: hangs(window), description="the watchdog sees it")
        gates[0].set()
        await asyncio.sleep(0)
        assert client.texts() == []
        gates[1].set()
        await client.has("one", "two")
        assert client.tasks == {task}
        gates[1].clear()
        await wait_until_async(lambda: waits(window), description="the viewer waits again")
        window.say("three")
        await wait_until_async(lambda: hangs(window), description="it hangs")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert cleared == ["cleared up"]
