"""A client that loses its connection anywhere and comes back to the other worker has exactly what was said (I1-I3)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, SseConnection, SseEvent, resume, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, expected_text, new_session, open_gate, post, status

pytestmark = pytest.mark.anyio

PIECES = 10
CONNECTIONS = 5
"""All that a worker has: for commits, for calls (2), for what the reconciler reads, for hearing of news."""
PATHS = {"ui-message": "/api/chat", "plain": "/api/plain"}


def text_of(protocol: str, events: Sequence[SseEvent]) -> str:
    if protocol == "ui-message":
        return ui_text(events)
    return "".join(event.data for event in events if event.event in ("", "message"))


def names_an_end(protocol: str, event: SseEvent) -> bool:
    return event.data == "[DONE]" if protocol == "ui-message" else event.event == "streamguard.end"


def number_of(event: SseEvent) -> int:
    assert event.id is not None
    return int(event.id.rsplit(".", 1)[1])


def check_whole(protocol: str, events: Sequence[SseEvent]) -> None:
    """The client's view is the log: every number once, in order, to the one terminal."""
    assert [number_of(event) for event in events] == list(range(1, len(events) + 1))
    assert text_of(protocol, events) == expected_text(PIECES)
    assert [names_an_end(protocol, event) for event in events].count(True) == 1
    assert names_an_end(protocol, events[-1])


async def wait_finished(worker: Worker, session: str) -> None:
    await wait_until_async(lambda: status(worker, session)["active"] is None, description=f"{session} has ended")


async def rest_of(worker: Worker, session: str, seen: Sequence[SseEvent]) -> list[SseEvent]:
    async with resume(worker.port, session, seen[-1].id if seen else None, headers=USER) as again:
        if again.status == 204:
            return []
        assert again.status == 200
        rest = await again.read_rest()
        assert again.ending is Ending.CLEAN
        return rest


async def length_of(worker: Worker, protocol: str) -> tuple[int, int]:
    """Events and bytes of an uninterrupted run."""
    async with post(worker, new_session(), path=PATHS[protocol], n=PIECES) as stream:
        events = await stream.read_rest()
        check_whole(protocol, events)
        return len(events), len(stream.body)


@pytest.mark.promise("I3")
@pytest.mark.parametrize("protocol", PATHS)
async def test_cut_at_every_event_boundary_while_the_producer_runs(pair: tuple[Worker, Worker], protocol: str) -> None:
    count, _ = await length_of(pair[0], protocol)
    # The model waits half way; whoever was cut before that resumes while it waits, the others while it ends.
    for boundary in range(1, count + 1):
        first, other = pair if boundary % 2 else reversed(pair)
        session = new_session()
        gate_at = min(boundary, PIECES - 1)
        async with post(first, session, path=PATHS[protocol], n=PIECES, gate=session, gate_at=gate_at) as stream:
            if boundary > gate_at:
                open_gate(first, session)
            seen = await stream.read_events(boundary)
        if boundary > gate_at:
            check_whole(protocol, seen + await rest_of(other, session, seen))
            continue
        async with resume(other.port, session, seen[-1].id, headers=USER) as again:
            open_gate(first, session)
            check_whole(protocol, seen + await again.read_rest())


@pytest.mark.promise("I3")
@pytest.mark.parametrize("protocol", PATHS)
async def test_cut_at_every_event_boundary_after_the_producer(pair: tuple[Worker, Worker], protocol: str) -> None:
    count, _ = await length_of(pair[0], protocol)
    for boundary in range(1, count + 1):
        first, other = pair if boundary % 2 else reversed(pair)
        session = new_session()
        async with post(first, session, path=PATHS[protocol], n=PIECES) as stream:
            seen = await stream.read_events(boundary)
        await wait_finished(first, session)
        check_whole(protocol, seen + await rest_of(other, session, seen))


@pytest.mark.promise("I3")
@pytest.mark.parametrize("phase", ["running", "after"])
@pytest.mark.parametrize("protocol", PATHS)
async def test_cut_at_random_byte_positions(pair: tuple[Worker, Worker], protocol: str, phase: str) -> None:
    """Two hundred positions over the four cases, each cut several times on its way, each time moving worker."""
    _, size = await length_of(pair[0], protocol)
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for _ in range(50):
        session = new_session()
        first, other = pair if dice.random() < 0.5 else reversed(pair)
        workers = [first, other]
        async with post(
            first, session, path=PATHS[protocol], n=PIECES, gap_ms=2 if phase == "running" else 0
        ) as stream:
            events, ended = await some_of(stream, dice.randint(1, size))
        if phase == "after":
            await wait_finished(first, session)
        while not ended:
            workers.reverse()
            async with resume(workers[0].port, session, events[-1].id if events else None, headers=USER) as again:
                if again.status == 204:
                    break
                assert again.status == 200, (seed, again.status)
                more, ended = await some_of(again, dice.randint(1, size))
            events += more
        check_whole(protocol, events)


async def some_of(stream: SseConnection, count: int) -> tuple[list[SseEvent], bool]:
    """The whole events within the next `count` bytes, and whether the body ended."""
    await stream.read_bytes(count)
    return list(stream.events), stream.ending is Ending.CLEAN


def listening(redis: RedisServer) -> set[int]:
    """The ports of the clients that are subscribed to anything."""
    clients = redis.client().client_list()
    return {int(one["addr"].rpartition(":")[2]) for one in clients if int(one["sub"]) + int(one["psub"]) > 0}


async def test_remote_viewers_cost_two_connections_at_most(
    pair: tuple[Worker, Worker], shared_redis: RedisServer
) -> None:
    first, other = pair
    sessions = [new_session() for _ in range(10)]
    streams = [post(first, session, n=4, gate=session, gate_at=2) for session in sessions]
    opened = [await stream.__aenter__() for stream in streams]
    for one in opened:
        await one.read_events(3)
    views = [resume(other.port, session, headers=USER) for session in sessions for _ in range(5)]
    viewing = [await view.__aenter__() for view in views]
    for one in viewing:
        await one.read_events(3)
    for worker in pair:
        ports = worker.ports_to(shared_redis.port)
        assert len(ports) <= CONNECTIONS
        assert len(ports & listening(shared_redis)) <= 2
    for session in sessions:
        open_gate(first, session)
    for one in viewing:
        await one.read_rest()
        assert one.ending is Ending.CLEAN
    for context in (*views, *streams):
        await context.__aexit__(None, None, None)
    wait_until(lambda: status(first, sessions[0])["active"] is None, description="the last stream has ended")
