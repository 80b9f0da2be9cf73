"""Writers of lone and of several events, in schedules drawn at random: replies and requests are lost, connections cut,
streams taken over, sealed, lost, stopped and watched while events are on their way, and the server falls back to what
it had saved.

`STREAMGUARD_EXAMPLES` is how many schedules to try, `STREAMGUARD_SEED` begins with one that failed.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from random import Random

import pytest

from streamguard.errors import StoreUnavailableError
from streamguard.stores.appends import AppendReply
from streamguard.stores.records import Status
from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.steps import (
    Hints,
    a_seal,
    epoch_of,
    log,
    losing,
    meta,
    new_stream,
    take,
    try_register,
)
from streamguard.values import Event

from ...harness.proxy import FaultProxy
from ...harness.redis import RedisServer
from .plain_writer import PlainWriter

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = int(os.environ.get("STREAMGUARD_EXAMPLES", "60"))
SEED = int(os.environ.get("STREAMGUARD_SEED", secrets.randbelow(1 << 32)))
STEPS = 40
STREAMS = 4
OVER = frozenset({Status.FENCED, Status.SEALED, Status.LOST, Status.GONE})


class Stream:
    """One stream, its writer, and what must be true of its log."""

    def __init__(self, writer: PlainWriter) -> None:
        self.writer = writer
        self.over = False
        """Its writer was told that it may write no more."""
        self.most: int | None = None
        """How many of its writer's events there may be, once somebody decided."""
        self.answer: Status | None = None
        """What it was decided that its writer is told."""
        self.seen = 0

    def check(self, events: list[Event], *, fell_back: bool) -> None:
        own = [event for event in events if event.epoch == epoch_of(self.writer.ref, self.writer.epoch)]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        for event in own:
            assert event.data == b"event-%d" % event.seq, "an event changed"
        if not fell_back:
            assert len(own) >= self.writer.last, "an acknowledged event is missing"
            assert len(own) >= self.seen, "an event vanished"
        if self.most is not None:
            assert len(own) <= self.most, "an event was added after the decision"
        self.seen = len(own)


class Schedule:
    def __init__(self, seed: int, store: RedisStore, elsewhere: RedisStore, proxy: FaultProxy) -> None:
        self.random = Random(seed)
        self.store = store
        self.elsewhere = elsewhere
        self.proxy = proxy
        self.streams: list[Stream] = []

    async def begin(self) -> None:
        for _ in range(STREAMS):
            writer = PlainWriter(self.store, new_stream())
            await try_register(self.elsewhere, writer.new)
            self.streams.append(Stream(writer))

    async def append(self) -> None:
        """Of some of the streams, one event or several; a writer repeats what it has no answer for."""
        asked = [stream for stream in self.streams if not stream.over and self.random.random() < 0.7]
        requests = []
        for stream in asked:
            first = stream.writer.last + 1
            count = self.random.choice([1, 1, 1, 1, 2, 5])
            requests.append(stream.writer.request(*(b"event-%d" % seq for seq in range(first, first + count))))
        try:
            replies = await self.store.append(requests)
        except StoreUnavailableError:
            return
        for stream, request, reply in zip(asked, requests, replies, strict=True):
            self.take(stream, request.first_seq + len(request.events) - 1, reply)

    def take(self, stream: Stream, last: int, reply: AppendReply) -> None:
        if reply.status in (Status.OK, Status.DUPLICATE):
            assert stream.most is None or last <= stream.most, "an event was acknowledged after the decision"
            stream.writer.last = last
        elif reply.status is Status.GAP:
            stream.writer.last = reply.last_seq
        else:
            assert reply.status in OVER, reply
            assert reply.status is stream.answer, f"{reply.status}, not {stream.answer}"
            stream.over = True

    async def decide(self) -> None:
        """Something that the writer has to learn."""
        stream = self.random.choice(self.streams)
        writer = stream.writer
        match self.random.choice(["stop", "watch", "watch", "take", "seal", "lose"]):
            case "stop":
                await self.elsewhere.request_stop(writer.ref)
            case "watch":
                async with self.elsewhere.subscribe(writer.ref, Hints()):
                    pass
            case _ if stream.most is not None:
                pass
            case "take":
                taken = await take(self.elsewhere, writer.ref, force=True)
                assert taken.meta is not None
                stream.most, stream.answer = taken.meta.last_seq, Status.FENCED
            case "seal":
                last = (await meta(self.elsewhere, writer.ref)).last_seq
                status, _ = await self.elsewhere.seal(writer.ref, epoch_of(writer.ref), a_seal(last))
                if status is Status.OK:
                    stream.most, stream.answer = last, Status.SEALED
            case "lose":
                lost = await self.elsewhere.declare_lost(losing(writer.new))
                assert lost.status is Status.OK
                stream.most, stream.answer = lost.last_seq, Status.LOST

    async def fault(self) -> None:
        match self.random.choice(["reply", "request", "cut"]):
            case "reply":
                self.proxy.lose_reply(b"event-")
            case "request":
                self.proxy.lose_request(b"event-")
            case "cut":
                self.proxy.cut()

    async def decide_while_events_are_on_their_way(self) -> None:
        self.proxy.hang()
        appending = asyncio.ensure_future(self.append())
        for _ in range(self.random.choice([0, 1, 5])):
            await asyncio.sleep(0)
        for _ in range(self.random.choice([1, 2])):
            await self.decide()
        self.proxy.forward()
        await appending

    async def check(self, *, fell_back: bool = False) -> None:
        for stream in self.streams:
            events, record = await log(self.elsewhere, stream.writer.ref), await meta(self.elsewhere, stream.writer.ref)
            assert record.last_seq == len(events), "a hole"  # a log is read up to it
            stream.check(events, fell_back=fell_back)

    async def run(self, *, steps: int = STEPS) -> None:
        for _ in range(steps):
            await self.random.choices(
                [self.append, self.decide, self.fault, self.decide_while_events_are_on_their_way], [12, 1, 2, 1]
            )[0]()
            await self.check()


@pytest.mark.promise("I1", "I2", "I4", "I5")
async def test_no_schedule_loses_adds_or_reorders_an_event(
    proxy: FaultProxy, redis_url: str, redis_database: int
) -> None:
    print(f"STREAMGUARD_SEED={SEED} STREAMGUARD_EXAMPLES={EXAMPLES}")
    store = RedisStore(proxy.redis_url(redis_database), command_seconds=10)
    elsewhere = RedisStore(redis_url, command_seconds=10)
    for example in range(EXAMPLES):
        schedule = Schedule(SEED + example, store, elsewhere, proxy)
        await schedule.begin()
        try:
            await schedule.run()
        except AssertionError as exc:
            raise AssertionError(f"STREAMGUARD_SEED={SEED + example}: {exc}") from exc
    await store.aclose()
    await elsewhere.aclose()


async def test_after_a_fall_back_every_writer_goes_on_without_a_hole(own_redis: Callable[..., RedisServer]) -> None:
    """The server loses what came after its last snapshot; no stream was decided about meanwhile."""
    print(f"STREAMGUARD_SEED={SEED}")
    server = own_redis()
    with FaultProxy(server.port) as proxy:
        store = RedisStore(proxy.redis_url(), command_seconds=10)
        elsewhere = RedisStore(server.url, command_seconds=10)
        for example in range(max(EXAMPLES // 10, 3)):
            schedule = Schedule(SEED + example, store, elsewhere, proxy)
            await schedule.begin()
            for _ in range(3):
                for _ in range(schedule.random.randrange(6)):
                    await schedule.append()
                server.client().save()
                for _ in range(schedule.random.randrange(1, 8)):
                    await schedule.random.choices([schedule.append, schedule.fault], [4, 1])[0]()
                server.restart()
                for _ in range(5):  # the first call of each connection may find that it was closed
                    for stream in schedule.streams:
                        await asyncio.gather(elsewhere.meta(stream.writer.ref), return_exceptions=True)
                    await schedule.append()
                await schedule.check(fell_back=True)
        await store.aclose()
        await elsewhere.aclose()
