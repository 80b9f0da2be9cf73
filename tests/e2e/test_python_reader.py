"""`streamguard.client` against two workers on one Redis, behind connections that break anywhere."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from uuid import uuid4

import httpx
import pytest

from streamguard import Outcome
from streamguard.client import (
    Backoff,
    EventStream,
    GaveUpError,
    NoStream,
    RefusedError,
    ResumeFailedError,
    StreamClient,
    StreamEvent,
    StreamEventKind,
)
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

from .calls import USER, expected_text, new_session, open_gate, status, trace
from .conftest import SHORT_LEASE

pytestmark = pytest.mark.anyio

PIECES = 10
PATHS = {"ui-message": "/api/chat", "plain": "/api/plain", "opaque": "/api/opaque"}
POSITIONS = 70
"""For each of the three protocols."""
QUICK = Backoff(0.005, 0.05)


def reader(url: str, **options: object) -> StreamClient:
    return StreamClient(url, headers=USER, **{"backoff": QUICK, "attempts": 30, **options})  # type: ignore[arg-type]


def text_of(protocol: str, events: Sequence[StreamEvent]) -> str:
    if protocol != "opaque":
        return "".join(event.text for event in events)
    blocks = [event.json() for event in events if event.kind is StreamEventKind.DATA]
    return "".join(str(block["delta"]) for block in blocks if isinstance(block, dict))


def check_whole(protocol: str, events: Sequence[StreamEvent], stream: EventStream) -> None:
    """Every event of the log once, in order, to the one end."""
    ids = [event.id for event in events]
    assert [int(str(event_id).rsplit(".", 1)[1]) for event_id in ids] == list(range(1, len(ids) + 1))
    assert text_of(protocol, events) == expected_text(PIECES)
    assert [event.kind for event in events].count(StreamEventKind.END) == 1
    assert events[-1].kind is StreamEventKind.END
    assert (stream.outcome, stream.cursor, stream.faults) == (Outcome.COMPLETED, ids[-1], [])


@pytest.mark.promise("I3")
@pytest.mark.parametrize("protocol", PATHS)
async def test_the_reader_is_cut_at_random_byte_positions(pair: tuple[Worker, Worker], protocol: str) -> None:
    """Seventy positions for each protocol, 210 in all; most answers are cut again on their way. Each connection goes to
    the other worker."""
    async with (
        reader(pair[0].url) as client,
        client.ask({"id": new_session(), "n": PIECES}, path=PATHS[protocol]) as whole,
    ):
        size = sum([len(event.data) + 60 async for event in whole])
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    cut = 0
    for position in range(POSITIONS):
        session = new_session()
        cuts = [dice.randint(1, size) for _ in range(dice.randint(1, 3))]
        ports = [worker.port for worker in (pair if position % 2 else reversed(pair))]
        body = {"id": session, "n": PIECES, "gap_ms": dice.choice([0, 2])}
        async with (
            CuttingProxy(ports, itertools.chain(cuts, itertools.repeat(None))) as proxy,
            reader(proxy.url) as client,
            client.ask(body, path=PATHS[protocol], idempotency_key=uuid4().hex) as stream,
        ):
            events = [event async for event in stream]
            check_whole(protocol, events, stream)
        assert proxy.cut >= 1, (seed, position)
        cut += proxy.cut
        asked = [line for worker in pair for line in trace(worker) if line == f"model {session}"]
        assert len(asked) == 1, (seed, position)
    assert cut > POSITIONS


async def test_a_worker_that_dies_is_told_as_an_interruption(
    worker: Callable[..., Worker], server: RedisServer
) -> None:
    first, other = worker(server.url, **SHORT_LEASE), worker(server.url, **SHORT_LEASE)
    session = new_session()
    async with (
        CuttingProxy([first.port, other.port, other.port], itertools.repeat(None)) as proxy,
        reader(proxy.url, attempts=100) as client,
        client.ask({"id": session, "n": PIECES, "gate": session, "gate_at": 4}) as stream,
    ):
        events = [await anext(stream) for _ in range(5)]
        first.kill()
        # The proxy leads every third connection to the dead worker.
        events += [event async for event in stream]
        assert stream.outcome is Outcome.INTERRUPTED
        assert [fault.code for fault in stream.faults] == ["interrupted"]
        assert "".join(event.text for event in events) == expected_text(4)[: len("".join(e.text for e in events))]


async def test_it_gives_up_when_the_server_is_gone_and_goes_on_when_it_is_back(
    pair: tuple[Worker, Worker], proxied_worker: FaultProxy
) -> None:
    session = new_session()
    async with reader(f"http://127.0.0.1:{proxied_worker.port}", attempts=4) as client:
        async with client.ask({"id": session, "n": PIECES, "gate": session, "gate_at": 4}) as stream:
            seen = [await anext(stream) for _ in range(4)]
            proxied_worker.refuse()
            with pytest.raises(GaveUpError) as gave_up:
                await read_into(seen, stream)
        assert gave_up.value.attempts == 5
        assert gave_up.value.session_id == session
        proxied_worker.forward()
        open_gate(pair[0], session)
        async with client.resume(session, after=gave_up.value.cursor) as rest:
            assert isinstance(rest, EventStream)
            check_whole("ui-message", seen + [event async for event in rest], rest)


async def read_into(events: list[StreamEvent], stream: EventStream) -> None:
    """Read to the end; what came before an error stays."""
    async for event in stream:
        events.append(event)  # noqa: PERF401 -- an error would take the others along


async def test_a_proxy_that_lets_no_event_through_is_given_up(pair: tuple[Worker, Worker]) -> None:
    session = new_session()
    cuts: Iterator[int | None] = itertools.repeat(60)  # in the middle of the headers
    async with CuttingProxy([worker.port for worker in pair], cuts) as proxy, reader(proxy.url, attempts=5) as client:
        with pytest.raises(GaveUpError) as gave_up:
            async with client.ask({"id": session}, idempotency_key=uuid4().hex):
                pass
        assert proxy.connections == 6
        assert (gave_up.value.attempts, gave_up.value.cursor) == (6, None)


async def test_silence_past_the_keep_alives_is_a_lost_connection(
    pair: tuple[Worker, Worker], proxied_worker: FaultProxy
) -> None:
    session = new_session()
    async with (
        reader(f"http://127.0.0.1:{proxied_worker.port}", silence_seconds=0.5) as client,
        client.ask({"id": session, "n": PIECES, "gate": session, "gate_at": 4}) as stream,
    ):
        seen = [await anext(stream) for _ in range(3)]
        proxied_worker.hang()

        async def rescue() -> None:
            await wait_until_async(lambda: proxied_worker.connections >= 2, description="it has reconnected")
            open_gate(pair[0], session)
            proxied_worker.forward()

        rescuing = asyncio.create_task(rescue())
        seen += [event async for event in stream]
        await rescuing
        check_whole("ui-message", seen, stream)
        assert stream.connections >= 2


async def test_leaving_or_being_cancelled_leaves_the_answer_running(pair: tuple[Worker, Worker]) -> None:
    session = new_session()
    async with reader(pair[0].url) as client:
        entered = asyncio.Event()

        async def read() -> None:
            async with client.ask({"id": session, "n": PIECES, "gate": session, "gate_at": 4}) as stream:
                await anext(stream)
                entered.set()
                async for _ in stream:
                    pass

        reading = asyncio.create_task(read())
        await entered.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        current = await client.status(session)
        assert current.active is not None
        async with client.resume(session) as stream:
            assert isinstance(stream, EventStream)
            assert stream.stream_id == current.active.stream_id
            open_gate(pair[0], session)
            check_whole("ui-message", [event async for event in stream], stream)


async def test_a_stop_names_the_answer_and_is_told(pair: tuple[Worker, Worker]) -> None:
    session = f"a/b c%2F{new_session()}"
    first, other = pair
    async with reader(first.url) as client, reader(other.url) as elsewhere:
        async with client.ask({"id": session, "gate": session, "gate_at": 2}) as stream:
            await anext(stream)
            assert await elsewhere.stop(session, stream_id="f" * 24) is None
            stopped = await elsewhere.stop(session, stream_id=stream.stream_id)
            assert stopped is not None
            assert (stopped.session_id, stopped.stream_id) == (session, stream.stream_id)
            async for _ in stream:
                pass
            assert stream.outcome is Outcome.STOPPED
        after = stream.cursor
        assert await client.stop(session) is None
        last = (await elsewhere.status(session)).last
        assert last is not None
        assert (last.outcome, last.cursor) == (Outcome.STOPPED, after)
        async with elsewhere.resume(session, after=after) as nothing:
            assert isinstance(nothing, NoStream)
            assert nothing.reason == "finished"
        await client.delete(session)
        with pytest.raises(ResumeFailedError) as gone:
            async with client.resume(session, after=after):
                pass
        assert (gone.value.status, gone.value.reason, gone.value.cursor) == (410, "stream_gone", after)


async def test_a_provider_that_fails_is_told_on_every_protocol(pair: tuple[Worker, Worker]) -> None:
    async with reader(pair[0].url) as client:
        for path in PATHS.values():
            async with client.ask({"id": new_session(), "crash_at": 3}, path=path) as stream:
                kinds = [event.kind async for event in stream]
            assert StreamEventKind.FAULT in kinds
            assert stream.outcome is Outcome.FAILED
            assert [fault.code for fault in stream.faults] == ["provider_error"]
        with pytest.raises(RefusedError) as refused:
            async with client.ask({"id": new_session(), "crash_at": 0}):
                pass
        assert (refused.value.status, refused.value.code) == (502, "provider_error")


async def test_no_refusal_of_the_server_makes_a_busy_loop(pair: tuple[Worker, Worker]) -> None:
    """The statuses that the server gives itself: 204, 401, 409, 410; each is asked for once."""
    requests: list[httpx.Request] = []

    async def count(request: httpx.Request) -> None:
        requests.append(request)

    session = new_session()
    async with httpx.AsyncClient(base_url=pair[0].url, event_hooks={"request": [count]}) as http:
        ann, nobody = StreamClient(http, headers=USER, backoff=QUICK), StreamClient(http, backoff=QUICK)
        async with ann.resume(session) as nothing:
            assert isinstance(nothing, NoStream)
            assert nothing.reason == "none"
        with pytest.raises(RefusedError, match="401"):
            async with nobody.resume(session):
                pass
        with pytest.raises(ResumeFailedError, match="410"):
            async with ann.resume(session, after=f"1.{'0' * 24}.7.3"):
                pass
        async with ann.ask({"id": session, "gate": session}):
            with pytest.raises(RefusedError, match="409"):
                async with ann.ask({"id": session}):
                    pass
        open_gate(pair[0], session)
    await wait_until_async(lambda: status(pair[0], session)["active"] is None, description="it has ended")
    assert [request.method for request in requests] == ["GET", "GET", "GET", "POST", "POST"]


@pytest.fixture
def proxied_worker(pair: tuple[Worker, Worker]) -> Iterator[FaultProxy]:
    """A proxy in front of the first worker."""
    with FaultProxy(pair[0].port) as proxy:
        yield proxy
