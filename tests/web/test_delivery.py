"""What a waiting viewer is sent comes from whoever makes it visible, yet as if its own task had sent it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio
import pytest
from starlette.types import Message

from streamguard.model import EventKind, Outcome, Persisted, QuotaState, SessionKey, StreamRef, new_stream_id
from streamguard.runtime import Viewer, ViewerCutError
from streamguard.runtime.feed import Feed
from streamguard.stores.base import Terminal
from streamguard.stores.memory import MemoryStore
from streamguard.web.delivery import FAIR_BYTES, Delivery
from streamguard.wire import protocol_named

from ..harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
WHO: ContextVar[str] = ContextVar("who", default="nobody")

Sending = Callable[[Message], Awaitable[None]]


class Window:
    """A feed, and a viewer of it."""

    def __init__(self) -> None:
        protocol = protocol_named("plain")
        ref = StreamRef(SessionKey("ana", "chat-1"), new_stream_id())
        self.feed = Feed(protocol, ref.stream_id, start=0, limit_bytes=1_000_000)
        self.viewer = Viewer(
            store=MemoryStore(),
            ref=ref,
            protocol=protocol,
            feed=self.feed,
            position=0,
            ids=True,
            now=asyncio.get_running_loop().time(),
            patience_seconds=1.0,
            on_close=lambda _: None,
        )
        self.delivery: Delivery | None = None

    def say(self, *texts: str) -> None:
        """Make these visible together."""
        for text in texts:
            self.feed.push(EventKind.DATA, text.encode())
        self.feed.show(self.feed.emitted)

    def end(self) -> None:
        terminal = Terminal(Outcome.COMPLETED, Persisted.NOT_ASKED, QuotaState.NONE, "msg")
        self.feed.push(EventKind.TERMINAL, terminal.to_json())
        self.feed.show(self.feed.emitted)
        self.feed.end(complete=True)


class Client:
    """Keeps the bodies it was sent, and who sent them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.tasks: list[asyncio.Task[object] | None] = []
        self.names: list[str] = []

    async def send(self, message: Message) -> None:
        self.tasks.append(asyncio.current_task())
        self.names.append(WHO.get())
        if message["type"] == "http.response.body":
            self.bodies.append(message["body"])

    def texts(self) -> list[str]:
        """The data lines, in the order sent."""
        lines = b"".join(self.bodies).decode().splitlines()
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


@asynccontextmanager
async def delivering(window: Window, send: Sending) -> AsyncIterator[asyncio.Task[None]]:
    """A delivery that has sent its start and waits for the first event."""

    async def run() -> None:
        WHO.set("the viewer")
        window.delivery = Delivery(window.viewer, send)
        await window.delivery.run(START)

    task = asyncio.create_task(run())
    await wait_until_async(lambda: waits(window), description="the viewer waits")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        window.viewer.close()


def waits(window: Window) -> bool:
    needed = None if window.delivery is None else window.delivery._needed
    return needed is not None and not needed.done()


def hangs(window: Window) -> bool:
    return window.viewer.sending_since is not None


async def test_an_event_is_sent_at_once_as_the_viewers_task_would() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send) as task:
        WHO.set("the writer")
        window.say("one")
        assert client.texts() == ["one"]  # nobody had to wait for the loop
        window.say("two", "three")
        assert client.texts() == ["one", "two", "three"]
        assert asyncio.current_task() is not task
        assert set(client.tasks) == {task}
        assert set(client.names) == {"the viewer"}
        window.end()
        await asyncio.wait_for(task, 5)
        assert b"streamguard.end" in client.bodies[-1]


async def test_a_send_that_waits_is_finished_by_the_viewers_task_and_keeps_the_order() -> None:
    window, client = Window(), Client()
    gate = asyncio.Event()

    async def slow(message: Message) -> None:
        if b"one" in message.get("body", b""):
            await gate.wait()
        await client.send(message)

    async with delivering(window, slow) as task:
        window.say("one")
        window.say("two")
        assert hangs(window)  # and a watchdog sees it
        await asyncio.sleep(0)
        assert client.texts() == []
        gate.set()
        await wait_until_async(lambda: waits(window), description="all is sent")
        assert client.texts() == ["one", "two"]
        assert set(client.tasks) == {task}
        assert not hangs(window)
        window.say("three")
        assert client.texts() == ["one", "two", "three"]  # and at once again


async def test_a_send_that_only_gives_others_a_turn_is_finished_too() -> None:
    window, client = Window(), Client()

    async def polite(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await client.send(message)

    async with delivering(window, polite) as task:
        window.say("one")
        assert client.texts() == []
        await wait_until_async(lambda: waits(window), description="all is sent")
        assert client.texts() == ["one"]
        assert set(client.tasks) == {task}


async def test_what_a_send_makes_visible_is_sent_after_it() -> None:
    window, client = Window(), Client()

    async def talkative(message: Message) -> None:
        if b"one" in message.get("body", b""):
            window.say("two")  # while this very viewer is being sent something
        await client.send(message)

    async with delivering(window, talkative):
        window.say("one")
        await wait_until_async(lambda: len(client.texts()) == 2, description="both are sent")
        assert client.texts() == ["one", "two"]


@pytest.mark.parametrize("taken_over", [True, False], ids=["in the rest", "before the task took it over"])
async def test_cancelling_reaches_a_send_that_waits_and_lets_it_clear_up(taken_over: bool) -> None:
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

    async with delivering(window, stuck) as task:
        window.say("one")
        if taken_over:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert seen == ["cleared up"]


async def test_a_timeout_inside_a_send_ends_that_send_and_not_the_task_that_began_it() -> None:
    window, client = Window(), Client()

    async def bounded(message: Message) -> None:
        if message["type"] == "http.response.body":
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        await client.send(message)

    async with delivering(window, bounded) as task:
        window.say("one")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 5)
        here = asyncio.current_task()
        assert here is not None
        assert here.cancelling() == 0


async def test_a_layer_with_scopes_of_its_own_may_begin_and_end_them() -> None:
    window, client = Window(), Client()
    to_the_client, from_the_app = anyio.create_memory_object_stream[Message](0)

    async def relay() -> None:
        async with from_the_app:
            async for message in from_the_app:
                await client.send(message)

    async def layered(message: Message) -> None:
        if message["type"] == "http.response.start":  # at once, so that later ones are tried at once too
            return
        with anyio.CancelScope():
            await to_the_client.send(message)

    relaying = asyncio.create_task(relay())
    async with delivering(window, layered):
        for text in ("one", "two", "three"):
            window.say(text)
        await wait_until_async(lambda: len(client.texts()) == 3, description="all came through the layer")
        assert client.texts() == ["one", "two", "three"]
    to_the_client.close()
    await asyncio.wait_for(relaying, 5)


async def test_what_send_raises_is_raised_where_the_delivery_runs() -> None:
    window = Window()

    async def gone(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client left")

    async with delivering(window, gone) as task:
        window.say("one")  # and not here
        with pytest.raises(OSError, match="the client left"):
            await asyncio.wait_for(asyncio.shield(task), 5)


async def test_a_send_that_is_cancelled_by_its_own_layer_cancels_the_delivery_alone() -> None:
    window = Window()

    async def cancelled(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise asyncio.CancelledError

    async with delivering(window, cancelled) as task:
        window.say("one")  # whoever says it goes on
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()


async def test_a_cut_viewer_is_told_where_the_delivery_runs() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send) as task:
        window.viewer.cut("slow")
        with pytest.raises(ViewerCutError, match="slow"):
            await asyncio.wait_for(asyncio.shield(task), 5)


async def test_a_keep_alive_is_sent_at_once_too() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send):
        window.viewer.keep_alive()
        assert client.bodies == [b": hb\n"]
        window.say("one")
        assert client.texts() == ["one"]


async def test_a_large_chunk_is_left_to_the_viewers_task() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send) as task:
        window.say("x" * FAIR_BYTES)
        assert client.bodies == []  # who made it visible has others to serve
        await wait_until_async(lambda: waits(window), description="it is sent")
        assert len(client.bodies) == 1
        assert set(client.tasks) == {task}


@pytest.mark.parametrize("waits_first", [True, False], ids=["whose first send waits", "that is no coroutine"])
async def test_a_layer_is_left_to_the_task(waits_first: bool) -> None:
    window, client = Window(), Client()

    async def waiting(message: Message) -> None:
        await asyncio.sleep(0)
        await client.send(message)

    def wrapped(message: Message) -> Awaitable[None]:
        return asyncio.ensure_future(client.send(message))

    async with delivering(window, waiting if waits_first else wrapped):
        window.say("one")
        assert client.texts() == []
        await wait_until_async(lambda: client.texts() == ["one"], description="the task sent it")
        window.say("two")
        await wait_until_async(lambda: client.texts() == ["one", "two"], description="and the next")


async def test_a_send_that_stops_being_a_coroutine_is_awaited_all_the_same() -> None:
    window, client = Window(), Client()

    def changing(message: Message) -> Awaitable[None]:
        sending = client.send(message)
        return sending if message["type"] == "http.response.start" else asyncio.ensure_future(sending)

    async with delivering(window, changing):
        window.say("one")
        await wait_until_async(lambda: client.texts() == ["one"], description="it is sent")
        window.say("two")
        await wait_until_async(lambda: client.texts() == ["one", "two"], description="and the next")


async def test_a_delivery_that_was_cancelled_while_it_waited_is_not_woken() -> None:
    window, client = Window(), Client()
    async with delivering(window, client.send) as task:
        task.cancel()
        await asyncio.wait([task])
        window.say("one")
        assert client.texts() == []
