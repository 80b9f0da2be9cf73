"""Redis fails under running streams: the answer goes on, the client is told, and the log never lies."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from redis import Redis

from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, SseConnection, SseEvent, ui_text
from tests.harness.waiting import wait_until
from tests.harness.workers import Worker

from .calls import expected_text, get, new_session, open_gate, post, raw_post, status, trace
from .conftest import SHORT_PATIENCE
from .logs import log_of, parts_of

pytestmark = pytest.mark.anyio


def notices(events: list[SseEvent], code: str) -> list[dict[str, object]]:
    data = [part["data"] for part in parts_of(events, "data-streamguard-error")]
    return [fault for fault in data if fault["code"] == code]


def kinds(client: Redis, stream_id: str) -> bytes:
    """The kind letters of a log, after checking that its numbers are contiguous from 1."""
    entries = log_of(client, stream_id)
    assert [int(entry[0].partition(b"-")[2]) for entry in entries] == list(range(1, len(entries) + 1))
    return b"".join(next(iter(fields)) for _, fields in entries)


async def until_degraded(stream: SseConnection) -> list[SseEvent]:
    """Events up to the notice that the stream cannot be resumed."""
    events: list[SseEvent] = []
    while not notices(events, "not_resumable"):
        event = await stream.next_event()
        assert event is not None, "the stream ended without a notice"
        events.append(event)
    return events


@pytest.mark.promise("I1")
@pytest.mark.parametrize("kind", ["redis_server", "redis_6_2", "redis_valkey", "redis_account"])
async def test_lost_replies_leave_each_event_once(
    request: pytest.FixtureRequest, kind: str, proxied: Callable[..., FaultProxy], worker: Callable[..., Worker]
) -> None:
    server: RedisServer = request.getfixturevalue(kind)
    proxy = proxied(server)
    one = worker(server.url.replace(str(server.port), str(proxy.port)), command_seconds=1.0)
    for marker in (b'"start"', b"w3 ", b'"text-end"'):
        session = new_session()
        # The first event and the end go by a script, what is between them by plain commands.
        proxy.lose_reply(marker)
        async with post(one, session, n=8, gap_ms=5) as stream:
            events = await stream.read_rest()
            assert stream.ending is Ending.CLEAN
        assert ui_text(events) == expected_text(8)
        assert not notices(events, "not_resumable")
        stream_id = stream.headers["x-stream-id"]
        assert kinds(server.client(), stream_id) == b"d" * (len(events) - 2) + b"ct"
    assert proxy.replies_lost == 3


@pytest.mark.parametrize("fault", ["refusing", "hanging", "restarted_with_aof", "restarted_empty", "only_this_worker"])
async def test_redis_gone_in_mid_stream(
    fault: str,
    own_redis: Callable[..., RedisServer],
    proxied: Callable[..., FaultProxy],
    worker: Callable[..., Worker],
) -> None:
    server = own_redis(aof=fault == "restarted_with_aof")
    proxy = proxied(server)
    one = worker(proxy.redis_url(), **SHORT_PATIENCE)
    other = worker(server.url, **SHORT_PATIENCE)
    session = new_session()
    # The pause has the model still speaking when the log is given up: a last append and end that were sent already,
    # and only held up, would make the log whole after all.
    async with post(one, session, n=12, gate=session, gate_at=5, gap_ms=400) as stream:
        before = await stream.read_events(6)
        match fault:
            case "refusing" | "only_this_worker":
                proxy.refuse()
            case "hanging":
                proxy.hang()
            case "restarted_with_aof":
                server.kill()
            case _:
                server.restart(empty=True)
        open_gate(one, session)
        during = await until_degraded(stream)
        if fault == "restarted_empty":
            wait_until(lambda: get(one, session).status_code == 409, description="the lost log is declared")
        else:
            refused = get(one, session)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        events = before + during + await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert ui_text(events) == expected_text(12)
    (notice,) = notices(events, "not_resumable")
    assert notice["phase"] == "resume"
    assert events[-1].data == "[DONE]"
    named = [event.id for event in events if event.id]
    assert len(named) < len(events), "events that are not in the log carry no id"
    match fault:
        case "refusing" | "hanging" | "only_this_worker":
            proxy.forward()
        case "restarted_with_aof":
            server.start()
        case _:
            pass
    for asked in (one, other):
        later = wait_until(
            lambda asked=asked: answer if (answer := get(asked, session)).status_code == 409 else None,  # type: ignore[misc]
            description="resume is refused, not flattened into nothing",
            timeout=10,
        )
        assert later is not None
        fault_body = later.json()["error"]
        assert (fault_body["code"], fault_body["reason"]) == ("resume_failed", "not_registered")
    stream_id = stream.headers["x-stream-id"]
    client = server.client()
    wait_until(lambda: kinds_end(client, stream_id) == 1, description="the tombstone is written", timeout=10)
    last = status(other, session)["last"]
    assert (last["stream_id"], last["outcome"]) == (stream_id, "completed")
    assert raw_post(other, session, n=2).status_code == 200


def kinds_end(client: Redis, stream_id: str) -> int:
    """How many terminal records a log has; they must be last."""
    fields = b"".join(next(iter(fields)) for _, fields in log_of(client, stream_id))
    assert b"t" not in fields[:-1]
    return fields.count(b"t")


async def test_events_survive_a_short_restart_with_aof(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """Shorter than the append deadline, an outage is nobody's business."""
    server = own_redis(aof=True)
    one = worker(server.url, command_seconds=1.0)
    session = new_session()
    async with post(one, session, n=12, gate=session, gate_at=5) as stream:
        before = await stream.read_events(6)
        server.kill()
        open_gate(one, session)
        server.start()
        events = before + await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert ui_text(events) == expected_text(12)
    assert all(event.id for event in events)
    assert kinds(server.client(), stream.headers["x-stream-id"])[-2:] == b"ct"


async def test_redis_down_at_start(
    own_redis: Callable[..., RedisServer], proxied: Callable[..., FaultProxy], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    proxy = proxied(server)
    one = worker(proxy.redis_url(), command_seconds=1.0, registration_seconds=2.0, breaker_probe_seconds=600.0)
    proxy.hang()
    waited = []
    for _ in range(2):
        begun = time.monotonic()
        async with post(one, new_session(), n=3) as stream:
            waited.append(time.monotonic() - begun)
            events = await stream.read_rest()
        assert ui_text(events) == expected_text(3)
        assert len(notices(events, "not_resumable")) == 1
        assert not [event for event in events if event.id]
    # The first request spent the registration budget and opened the breaker; the second did not wait for it.
    assert 4.0 > waited[0] >= 2.0 > waited[1]
    session = new_session()
    strict = raw_post(one, session, path="/api/strict", n=3)
    assert (strict.status_code, strict.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(strict.headers["retry-after"]) > 0
    assert f"model {session}" not in trace(one)


async def test_redis_comes_back_under_degraded_streams(
    own_redis: Callable[..., RedisServer], proxied: Callable[..., FaultProxy], worker: Callable[..., Worker]
) -> None:
    """One terminal each, on streams that were registered and on one that never was, before or after it came back."""
    server = own_redis()
    proxy = proxied(server)
    one = worker(proxy.redis_url(), **SHORT_PATIENCE)
    registered, never = new_session(), new_session()
    async with post(one, registered, n=8, gate=registered, gate_at=3, again_at=5) as first:
        await first.read_events(5)
        proxy.refuse()
        open_gate(one, registered)
        await until_degraded(first)
        async with post(one, never, n=8, gate=f"{never}-again", gate_at=3) as second:
            unlogged = await second.read_events(6)
            assert not [event for event in unlogged if event.id]
            proxy.forward()
            for session in (registered, never):
                # Both still run; the store is told that their logs are lost.
                wait_until(
                    lambda session=session: get(one, session).status_code == 409,  # type: ignore[misc]
                    description="the lost log is declared",
                    timeout=10,
                )
                open_gate(one, f"{session}-again")
            for stream in (first, second):
                await stream.read_rest()
                assert stream.ending is Ending.CLEAN
    client = server.client()
    for stream in (first, second):
        stream_id = stream.headers["x-stream-id"]
        wait_until(lambda s=stream_id: kinds_end(client, s) == 1, description="the tombstone is written")  # type: ignore[misc]
    for session, stream in ((registered, first), (never, second)):
        last = status(one, session)["last"]
        assert (last["stream_id"], last["outcome"]) == (stream.headers["x-stream-id"], "completed")
        assert get(one, session).status_code == 409
        assert trace(one).count(f"completed {session}") == 1
