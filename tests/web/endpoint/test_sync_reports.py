"""What a sync generator reports in its `finally` counts, however its stream ends, and its thread always comes back."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Run, Settings, StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import MemoryMessageStore
from streamguard.observations import Signal
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.testing import GuardedApp
from streamguard.values import SessionKey
from streamguard.web.endpoint.threaded_iterator import ThreadedIterator
from tests.harness.waiting import wait_until_async

from ..serving import USER, user_of

pytestmark = pytest.mark.anyio

QUOTA = Quota(limit=100_000, per="day", unit="tokens")
ESTIMATE = 1_000


class Body(BaseModel):
    id: str


class Rig:
    """An application with one sync endpoint, whose `finally` the test may hold."""

    def __init__(self) -> None:
        self.quota = MemoryQuotaStore()
        self.messages = MemoryMessageStore()
        self.go = threading.Event()
        """Set: whatever the endpoint waits for may go on."""
        self.reached = threading.Event()
        self.outcomes: list[object] = []
        """What `run.save(…).result()` in the `finally` came to."""
        self.chat: GuardedApp
        self.guard: StreamGuard

    @asynccontextmanager
    async def running(self, items: Callable[[Rig], Iterator[object]], **settings: Any) -> AsyncIterator[GuardedApp]:
        given: dict[str, Any] = {"drain_seconds": 0.2, "max_sync_streams": 1, **settings}
        self.guard = guard = StreamGuard(
            authenticate=user_of, messages=self.messages, quota=self.quota, settings=Settings.model_validate(given)
        )
        app = FastAPI(lifespan=guard.lifespan)

        @app.post("/api/chat")
        @guard.stream(session="body.id", quota=QUOTA, estimate=ESTIMATE)
        def chat(body: Body, run: Run) -> Iterator[object]:
            try:
                yield from items(self)
            finally:
                self.report(run)

        guard.install(app, "/api/chat")
        async with GuardedApp(app, guard, headers=USER, wait_seconds=20) as chat_app:
            yield chat_app

    def report(self, run: Run) -> None:
        run.usage(tokens=3)
        run.usage(tokens=4)
        run.notice("internal", message="tidying up")
        try:
            run.save("what the tool found").result()
        except Exception as exc:  # noqa: BLE001 -- the test looks at it
            self.outcomes.append(exc)
        else:
            self.outcomes.append("saved")

    async def used(self) -> int:
        return (await self.quota.status("ann", [QUOTA])).standings[0].used

    async def said(self, session: str) -> list[str]:
        stored = await self.messages.list(SessionKey("ann", session))
        return [str(one.message.parts[0]["text"]) for one in stored if one.message.role == "user"]


def endless(rig: Rig) -> Iterator[object]:
    while True:
        yield "word "


def silent(rig: Rig) -> Iterator[object]:
    yield "word"
    rig.go.wait(20)


def three_words(rig: Rig) -> Iterator[object]:
    yield from ("one ", "two ", "three")


def broken(rig: Rig) -> Iterator[object]:
    yield "word"
    raise LookupError


def deaf(rig: Rig) -> Iterator[object]:
    """Goes on after it was told to close: Python gives up on it."""
    while True:
        try:
            yield "word "
        except GeneratorExit:
            yield "another"


def blocking(rig: Rig) -> Iterator[object]:
    """Hangs in its own clean-up until the test lets it go."""
    try:
        while True:
            yield "word "
    finally:
        rig.reached.set()
        rig.go.wait(60)


async def _counted(rig: Rig, session: str) -> None:
    await rig.chat.idle()
    assert rig.outcomes == ["saved"]
    assert await rig.used() == 7
    assert await rig.said(session) == ["what the tool found"]


async def _place_is_back(rig: Rig) -> None:
    """The only place there is (`max_sync_streams`)."""
    await wait_until_async(lambda: not _threads(), description="the generator's thread has ended")
    rig.go.set()
    answer = await rig.chat.post({"id": "next"})
    assert answer.status == 200
    answer.drop()
    await rig.chat.stop("next")


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamguard-sync-stream"]


async def test_of_a_stopped_stream() -> None:
    rig = Rig()
    async with rig.running(endless) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        await answer.read(5)
        await rig.chat.stop("s")
        end = await rig.chat.ended(answer)
        assert end.fields["outcome"] == "stopped"
        await answer.rest()
        assert "tidying up" in [fault.message for fault in answer.faults]
        await _counted(rig, "s")
        await _place_is_back(rig)


@pytest.mark.parametrize(
    ("items", "settings", "outcome"),
    [
        (three_words, {}, "completed"),
        (broken, {}, "failed"),
        (silent, {"stall_seconds": 0.2, "first_item_seconds": 5.0}, "failed"),
        (endless, {"max_stream_events": 500}, "failed"),
        (endless, {"max_stream_seconds": 0.3}, "failed"),
    ],
    ids=["natural end", "failure", "stall", "limit", "too long"],
)
@pytest.mark.long
async def test_of_a_stream_that_ends_otherwise(
    items: Callable[[Rig], Iterator[object]], settings: dict[str, Any], outcome: str
) -> None:
    rig = Rig()
    async with rig.running(items, **settings) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        if items is silent:
            await answer.read(3)
            # It comes back while its stream waits for it, as a call with a timeout of its own does.
            (stream,) = rig.guard._running().streams.of_session(SessionKey("ann", "s"))
            await wait_until_async(lambda: stream.early_end is not None, description="its stream is cancelled")
            rig.go.set()
        await answer.rest()
        end = await rig.chat.ended(answer)
        assert end.fields["outcome"] == outcome
        await _counted(rig, "s")
        await _place_is_back(rig)


async def test_of_a_stream_that_the_shutdown_ends() -> None:
    rig = Rig()
    async with rig.running(endless) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        await answer.read(5)
    assert rig.outcomes == ["saved"]
    assert await rig.used() == 7
    assert await rig.said("s") == ["what the tool found"]


async def test_a_generator_that_ignores_being_closed_gives_its_place_back() -> None:
    rig = Rig()
    async with rig.running(deaf) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        await answer.read(5)
        await rig.chat.stop("s")
        assert (await rig.chat.ended(answer)).fields["outcome"] == "stopped"
        await rig.chat.idle()
        await _place_is_back(rig)


@pytest.mark.long
async def test_one_that_blocks_is_given_up_with_a_warning_and_its_thread_comes_back() -> None:
    rig = Rig()
    async with rig.running(blocking) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        await answer.read(5)
        await rig.chat.stop("s")
        assert (await rig.chat.ended(answer)).fields["outcome"] == "stopped"
        (given_up,) = await rig.chat.seen(Signal.ENDPOINT_ABANDONED)
        assert given_up.ref is not None
        assert await rig.used() == ESTIMATE, "nobody knows what it consumed"
        assert (await rig.chat.post({"id": "t"})).status == 503, "its place is taken as long as it blocks"
        rig.go.set()
        await _place_is_back(rig)
        assert len(rig.outcomes) >= 1, "what waits for a save waits no longer"


@pytest.mark.long
async def test_one_that_blocks_past_the_end_of_the_runtime_is_refused_by_name() -> None:
    rig = Rig()
    async with rig.running(blocking) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        await answer.read(5)
    assert rig.reached.is_set()
    assert rig.outcomes == []
    rig.go.set()
    await wait_until_async(lambda: not _threads(), description="the generator's thread has ended")
    (error,) = rig.outcomes
    assert isinstance(error, MessageUnavailableError)
    assert error.operation == "save"


async def test_a_thread_that_posts_faster_than_the_loop_takes_waits() -> None:
    """Memory is bounded by what the loop is behind, not by what the generator says."""
    peak: list[int] = []

    def chatty(_: Rig) -> Iterator[object]:
        yield "word"

    class Chatty(Rig):
        def report(self, run: Run) -> None:
            for _ in range(5_000):
                run.notice("internal", message="x" * 100)
                iterator = ThreadedIterator.of_this_thread()
                assert iterator is not None
                peak.append(len(iterator._buffer))

    rig = Chatty()
    async with rig.running(chatty, max_stream_events=100) as rig.chat:
        answer = await rig.chat.post({"id": "s"})
        await answer.rest()
        end = await rig.chat.ended(answer)
        assert end.fields["outcome"] == "completed"
        assert end.fields["notices_dropped"] == 4_990
        assert len(answer.faults) == 10
        assert max(peak) <= 65
