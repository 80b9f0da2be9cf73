"""What dead, frozen and cut-off workers leave behind is ended once, by whoever is there; what lives is left alone
(I4, I5, I6, I10, I11)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from streamguard import Settings, StreamGuard
from streamguard.reconcile.results import Report
from tests.cli.running import ran
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, SseEvent, resume, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, new_session, open_gate, post, raw_post, status, trace
from .conftest import FAST, SHORT_LEASE, SHORT_PATIENCE
from .logs import codes, log_of, terminals
from .stalls import HOWS, stalled
from .test_redis_faults import until_degraded
from .test_saving import APP, SAVING, Place, check_row, owed, place, settled

__all__ = ["place"]

pytestmark = pytest.mark.anyio

SLACK_SECONDS = 4.0
"""For a machine that does other things too."""


async def nobody(connection: HTTPConnection) -> str | None:
    return None


async def one_round(server: RedisServer, *, dry_run: bool = False) -> Report:
    """A round by a process that serves nothing, and knows no endpoint."""
    settings = Settings.model_validate({**FAST, **SHORT_LEASE})
    guard = StreamGuard(server.url, authenticate=nobody, settings=settings)
    return await guard.reconcile(dry_run=dry_run, patience=False)


def health(worker: Worker, route: str = "streaming") -> dict[str, Any]:
    body: dict[str, Any] = httpx.get(f"{worker.url}/api/chat/health/{route}", timeout=10.0, trust_env=False).json()
    return body


@pytest.mark.promise("I10", "I11")
async def test_a_killed_workers_stream_is_ended_once_for_all(
    place: Place, own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """Two workers race for it, with viewers on both."""
    server = own_redis()
    dying, one, two = (worker(server.url, app=APP, env=place.env, **SAVING) for _ in range(3))
    session = new_session()
    async with post(dying, session, n=10, gate=session, gate_at=5, question=asked("q1")) as stream:
        seen = await stream.read_events(7)
        stream_id = stream.headers["x-stream-id"]
        async with (
            resume(one.port, session, headers=USER) as first,
            resume(two.port, session, headers=USER) as second,
        ):
            for viewer in (first, second):
                assert await viewer.read_events(7) == seen
            killed = time.monotonic()
            dying.kill()
            rests = [await viewer.read_rest() for viewer in (first, second)]
            took = time.monotonic() - killed
            assert [viewer.ending for viewer in (first, second)] == [Ending.CLEAN, Ending.CLEAN]
    # The sweep, a look at everything included, and the save.
    assert took <= SHORT_LEASE["lease_seconds"] + 6 * 0.3 + SAVING["save_visible_seconds"] + SLACK_SECONDS
    assert rests[0] == rests[1]
    assert codes(rests[0]) == ["interrupted"]
    assert rests[0][-1].data == "[DONE]"
    assert status(one, session)["active"] is None
    answer = raw_post(two, session, n=2)
    assert answer.status_code == 200
    (terminal,) = terminals(server, stream_id)
    assert (terminal["outcome"], terminal["persisted"]) == ("interrupted", "yes")
    (row,) = [row for row in place.replies(session) if row["stream_id"] == stream_id]
    assert row["outcome"] == "interrupted"
    text = "".join(part.get("text", "") for part in row["parts"])
    assert text == ui_text(seen)
    assert owed(server) == []
    log = log_of(server.client(), stream_id)
    rows = place.replies(session)
    for dry_run in (True, False):
        assert (await one_round(server, dry_run=dry_run)).found == 0
    assert (log_of(server.client(), stream_id), place.replies(session)) == (log, rows)


def asked(message_id: str) -> dict[str, object]:
    return {"id": message_id, "role": "user", "parts": [{"type": "text", "text": "why?"}]}


async def test_a_live_stream_older_than_every_threshold(
    place: Place, own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    lively = {**SAVING, "lease_seconds": 1.0, "live_ttl_seconds": 4.0, "outbox_retention_seconds": 4.0}
    one, _ = (worker(server.url, app=APP, env=place.env, **lively) for _ in range(2))
    session = new_session()
    async with post(one, session, n=8, gate=session, gate_at=4) as stream:
        await stream.read_events(6)
        stream_id, message_id = stream.headers["x-stream-id"], stream.headers["x-message-id"]
        old = time.monotonic() + 6.0
        await wait_until_async(lambda: time.monotonic() > old, description="it is older than lease, TTL and sweeps")
        assert (await one_round(server)).found == 0
        open_gate(one, session)
        events = await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert codes(events) == []
    wait_until(lambda: settled(place, server, one, session, stream_id), description="it is saved")
    assert check_row(place, server, session, stream_id, message_id)["outcome"] == "completed"


@pytest.mark.parametrize("how", HOWS)
async def test_a_frozen_worker_neither_adds_nor_saves(
    how: str, place: Place, own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """It finds itself fenced, and its viewers reach the one terminal, the other worker's."""
    server = own_redis()
    frozen, other = (worker(server.url, app=APP, env=place.env, **SAVING) for _ in range(2))
    session = new_session()
    # Its many pieces, with pauses, have the model still speaking when its worker hears that it was fenced.
    async with post(frozen, session, n=100, gate=session, gate_at=5, gap_ms=200) as local:
        seen = await local.read_events(7)
        stream_id, message_id = local.headers["x-stream-id"], local.headers["x-message-id"]
        async with resume(other.port, session, headers=USER) as remote, stalled(frozen, how, place.file.parent):
            watched = await remote.read_rest()
            assert remote.ending is Ending.CLEAN
        open_gate(frozen, session)
        rest = await local.read_rest()
        assert local.ending is Ending.CLEAN
        assert seen + rest == watched
    wait_until(lambda: f"finally {session}" in trace(frozen), description="the fenced model was ended")
    wait_until(lambda: settled(place, server, other, session, stream_id), description="it is saved")
    assert check_row(place, server, session, stream_id, message_id)["outcome"] == "interrupted"
    told = trace(frozen)
    assert f"saving {session}" not in told
    assert f"completed {session}" not in told


async def test_redis_restarted_empty_in_mid_operation(
    place: Place, own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """A stream runs, and a save is owed. Everything has an end that was said; nothing crashes over and over."""
    server = own_redis()
    one, other = (worker(server.url, app=APP, env=place.env, **SAVING, **SHORT_PATIENCE) for _ in range(2))
    owing, running = new_session(), new_session()
    place.breaks("fail")
    async with post(one, owing, n=3) as stream:
        assert codes(await stream.read_rest()) == ["persistence_failed"]
    place.mended("fail")
    async with post(one, running, n=8, gate=running, gate_at=4) as stream:
        seen = await stream.read_events(6)
        server.restart(empty=True)
        open_gate(one, running)
        during = await until_degraded(stream)
        events = seen + during + await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert ui_text(events) == expected_text(8)
    assert events[-1].data == "[DONE]"
    await wait_until_async(lambda: place.replies(running), description="what the writer said is saved")
    for one_of_them in (one, other):
        wait_until(lambda w=one_of_them: health(w, "ready")["status"] == "ready", description="it is ready")  # type: ignore[misc]
        session = new_session()
        async with post(one_of_them, session, n=3) as stream:
            again = await stream.read_rest()
            assert stream.ending is Ending.CLEAN
        assert (ui_text(again), codes(again)) == (expected_text(3), [])
        assert not [reason for reason in health(one_of_them)["reasons"] if reason.startswith("task_restarted")]
    gone = status(other, owing)
    assert (gone["active"], gone["last"]) == (None, None)


async def test_a_session_whose_save_always_fails(
    place: Place, own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """It becomes a dead letter, the others do not wait for it, and a replay settles it."""
    server = own_redis()
    few = {**SAVING, "max_outbox_attempts": 3, "save_visible_seconds": 0.3, "save_total_seconds": 0.5}
    one = worker(server.url, app=APP, env=place.env, **few)
    poisoned, others = new_session(), [new_session() for _ in range(3)]
    place.breaks(f"fail-{poisoned}")
    streams = {}
    for session in (poisoned, *others):
        async with post(one, session, n=3) as stream:
            await stream.read_rest()
            streams[session] = stream.headers["x-stream-id"]
    for session in others:
        wait_until(lambda s=session: place.replies(s), description="the others are saved")  # type: ignore[misc]

    def dead() -> list[str]:
        listed = ran("outbox", "list", server.url, "--dead", "--json").json
        return [entry["stream_id"] for entry in listed["entries"]]

    assert wait_until(dead, description="it is a dead letter", timeout=40) == [streams[poisoned]]
    assert place.replies(poisoned) == []
    place.mended(f"fail-{poisoned}")
    assert ran("outbox", "replay", server.url, streams[poisoned]).code == 0
    wait_until(lambda: settled(place, server, one, poisoned, streams[poisoned]), description="it is settled")
    assert dead() == []


@pytest.mark.parametrize("whose", ["everybody's", "one worker's"])
async def test_redis_away_for_longer_than_a_lease(
    whose: str,
    place: Place,
    own_redis: Callable[..., RedisServer],
    proxied: Callable[..., FaultProxy],
    worker: Callable[..., Worker],
) -> None:
    """Streams that live through it end once, as their writer or, for one that was cut off, the worker that took it
    over says; what a worker left that died meanwhile is ended once too."""
    server = own_redis()
    proxies = [proxied(server) for _ in range(3)]
    one, dying, other = (
        worker(proxy.redis_url(), app=APP, env=place.env, **SAVING, **SHORT_PATIENCE) for proxy in proxies
    )
    away = proxies if whose == "everybody's" else proxies[:1]
    lived, left = new_session(), new_session()
    async with post(one, lived, n=9, gate=lived, gate_at=3, again_at=6) as stream:
        seen = await stream.read_events(5)
        lived_id = stream.headers["x-stream-id"]
        async with post(dying, left, n=9, gate=left, gate_at=3) as orphan:
            await orphan.read_events(5)
            left_id = orphan.headers["x-stream-id"]
            for proxy in away:
                proxy.refuse()
            dying.kill()
        open_gate(one, lived)
        seen += await until_degraded(stream)
        over = time.monotonic() + 2 * SHORT_LEASE["lease_seconds"]
        await wait_until_async(lambda: time.monotonic() > over, description="two leases are over")
        assert health(one)["status"] == "degraded"
        for proxy in away:
            proxy.forward()
        wait_until(lambda: health(one, "ready")["status"] == "ready", description="it is back")
        open_gate(one, f"{lived}-again")
        events: list[SseEvent] = seen + await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    assert ui_text(events) == expected_text(9)
    for session, stream_id in ((lived, lived_id), (left, left_id)):
        wait_until(
            lambda s=stream_id: terminals(server, s),  # type: ignore[misc]
            description="it has its terminal",
            timeout=30,
        )
        (terminal,) = terminals(server, stream_id)
        expected = "completed" if session == lived and whose == "everybody's" else "interrupted"
        assert terminal["outcome"] == expected, whose
        await wait_until_async(lambda s=session: place.replies(s), description="it is saved")  # type: ignore[misc]
        assert len(place.replies(session)) == 1
    logs = [log_of(server.client(), stream_id) for stream_id in (lived_id, left_id)]
    assert (await one_round(server)).found == 0
    assert [log_of(server.client(), stream_id) for stream_id in (lived_id, left_id)] == logs
    # A completed answer is kept, and whoever asks has it from there; how one was interrupted is shown.
    assert get(other, lived).status_code == (204 if whose == "everybody's" else 200)
