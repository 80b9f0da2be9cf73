"""`streamguard ps`, `show` and `stop` beside a real worker with real streams, and on streams without one."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from streamguard.stores.records import Seal
from streamguard.stores.redis import RedisStore
from streamguard.telemetry.safety import short_hash
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import begin, end, epoch_of, losing, new_stream, put, seal, tombstone
from streamguard.values import Outcome, SessionKey, Usage

from ..e2e.calls import new_session, open_gate, post
from ..e2e.conftest import environment
from ..harness.redis import RedisServer
from ..harness.sse import SseConnection
from ..harness.waiting import wait_until, wait_until_async
from ..harness.workers import Worker
from ..stores.leases import SHORT_SECONDS, overdue
from .running import begun, ran

pytestmark = pytest.mark.anyio

HOSTILE = SessionKey("bob", "[red]x[/red]\x1b]0;pwn\x07\u202e")


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def worker(shared_redis: RedisServer) -> Iterator[Worker]:
    with Worker("tests.apps.chat:application", env=environment(shared_redis.url)) as worker:
        yield worker


@pytest.fixture
async def waiting(worker: Worker) -> AsyncIterator[Callable[[], Any]]:
    """Begins a stream that waits at its gate after three pieces; at the end every gate is opened."""
    async with AsyncExitStack() as stack:

        async def begin_one() -> tuple[str, SseConnection]:
            session = new_session()
            stream = await stack.enter_async_context(post(worker, session, n=5, gate=session, gate_at=3))
            stack.callback(open_gate, worker, session)
            await stream.read_events(5)
            return session, stream

        yield begin_one


# -- ps ---------------------------------------------------------------------------------------------------------------


async def test_streams_that_run_are_listed(shared_redis: RedisServer, waiting: Callable[[], Any]) -> None:
    first, one = await waiting()
    second, _ = await waiting()
    done = ran("ps", shared_redis.url)
    assert done.code == 0
    rows = [row for row in done.rows if first in row or second in row]
    assert [row.split()[2] for row in rows] == [first, second], "oldest first"
    stream_id, owner, _, _, events, rate, lease, _, state, stop = rows[0].split()
    assert (stream_id, owner) == (one.headers["x-stream-id"], short_hash("ann"))
    assert (events, state, stop) == ("5", "open", "-")
    assert rate.endswith("/s")
    assert 0 < float(lease.rstrip("s")) <= 15
    assert done.rows[-1].startswith("2 active streams at redis://127.0.0.1:")
    assert "ann" not in done.out


async def test_the_object_says_more(shared_redis: RedisServer, waiting: Callable[[], Any]) -> None:
    session, one = await waiting()
    shape = ran("ps", shared_redis.url, "--json", "--owners").json
    (stream,) = [found for found in shape["streams"] if found["session_id"] == session]
    assert stream["stream_id"] == one.headers["x-stream-id"]
    assert stream["message_id"] == one.headers["x-message-id"]
    assert (stream["owner"], stream["owner_hash"]) == ("ann", short_hash("ann"))
    assert (stream["binding"], stream["protocol"]) == ("tests.apps.chat:chat", "ui-message")
    assert (stream["state"], stream["outcome"], stream["events"], stream["ordinal"]) == ("open", None, 5, 1)
    assert stream["epoch"] > 10**15
    assert (stream["closed_seconds"], stream["stop_requested"], stream["log_lost"]) == (None, False, False)
    assert stream["lease_seconds"] > 0
    assert "owner" not in ran("ps", shared_redis.url, "--json").json["streams"][0]


async def test_streams_without_a_writer_come_with_what_they_are(store: RedisStore, redis_url: str) -> None:
    orphan = await begin(store, HOSTILE, lease=SHORT_SECONDS)
    await store.request_stop(orphan)
    assert await overdue(store) == [orphan]
    sealed = await begin(store)
    await put(store, sealed, 1, b"a")
    await seal(store, sealed, 1)
    lost = new_stream()
    await store.declare_lost(losing(lost))
    await end(store, await begin(store))
    done = ran("ps", redis_url)
    at = next(n for n, row in enumerate(done.rows) if row.startswith("STREAM "))
    rows = {row.split()[0]: row for row in done.rows[at + 1 : -1]}
    assert set(rows) == {orphan.stream_id, sealed.stream_id, lost.ref.stream_id}
    assert rows[orphan.stream_id].endswith("asked")
    assert " -" in rows[orphan.stream_id]
    assert "[red]x[/red]\\x1b]0;pwn\\x07\\u202e" in rows[orphan.stream_id]
    assert "\x1b" not in done.out
    assert "sealed" in rows[sealed.stream_id]
    assert "open, log lost" in rows[lost.ref.stream_id]


async def test_a_listing_is_bounded(store: RedisStore, redis_url: str) -> None:
    for _ in range(4):
        await begin(store)
    shape = ran("ps", redis_url, "--limit", "3", "--json").json
    assert (len(shape["streams"]), shape["more"]) == (3, True)
    assert ran("ps", redis_url, "--limit", "3").rows[-1].endswith("there are more (--limit)")
    shape = ran("ps", redis_url, "--limit", "4", "--json").json
    assert (len(shape["streams"]), shape["more"]) == (4, False)


async def test_another_namespace_is_another_place(store: RedisStore, redis_url: str) -> None:
    await begin(store)
    assert ran("ps", redis_url, "--namespace", "other").rows[-1].startswith("no active streams")
    assert ran("ps", redis_url).rows[-1].startswith("1 active stream at")


async def test_watching_goes_on_until_it_is_interrupted(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store)
    await put(store, ref, 1, b"a")
    watching = begun("ps", redis_url, "--watch", "--interval", "0.1", "--json")
    assert watching.stdout is not None
    looks = [json.loads(watching.stdout.readline())]
    await put(store, ref, 2, *[b"x"] * 50)
    while looks[-1]["streams"][0]["events"] < 51:
        looks.append(json.loads(watching.stdout.readline()))
    # 50 events since the last look, a tenth of a second or so before.
    assert looks[-1]["streams"][0]["events_per_second"] > 5
    looks.append(json.loads(watching.stdout.readline()))
    assert looks[-1]["streams"][0]["events_per_second"] == 0.0
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (0, "")


async def test_watching_survives_an_outage(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    watching = begun("ps", server.url, "--watch", "--interval", "0.1", "--timeout", "0.5", "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["streams"] == []
    server.stop()
    while "error" not in (shape := json.loads(watching.stdout.readline())):
        pass
    assert shape["error"]["code"] == "store_unreachable"
    server.start()
    while "streams" not in json.loads(watching.stdout.readline()):
        pass
    watching.send_signal(signal.SIGTERM)
    watching.communicate(timeout=20)
    assert watching.returncode == 0


def read_terminal(terminal: int, until: bytes, *, seconds: float = 20.0) -> bytes:
    seen = b""
    deadline = time.monotonic() + seconds
    while until not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"not within {seconds} s: {until!r}; the terminal shows {seen[-2000:]!r}"
        seen += os.read(terminal, 65_536)
    return seen


async def test_a_terminal_gets_a_live_table(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url)
    await begin(store, HOSTILE)
    await store.aclose()
    ours, theirs = pty.openpty()
    arguments = ["ps", server.url, "--watch", "--interval", "0.1", "--timeout", "0.5"]
    watching = subprocess.Popen(
        [sys.executable, "-m", "streamguard.cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "30"},
    )
    os.close(theirs)
    try:
        shown = await asyncio.to_thread(read_terminal, ours, b"1 active stream at")
        assert b"\x1b]0;pwn" not in shown
        server.stop()
        await asyncio.to_thread(read_terminal, ours, b"Redis could not be used")
        watching.send_signal(signal.SIGINT)
        wait_until(lambda: select.select([ours], [], [], 0)[0] or watching.poll() is not None, description="it ends")
        await asyncio.to_thread(watching.wait, 20)
        assert watching.returncode == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)


# -- show -------------------------------------------------------------------------------------------------------------


async def test_a_session_is_shown(shared_redis: RedisServer, worker: Worker, waiting: Callable[[], Any]) -> None:
    session, one = await waiting()
    done = ran("show", shared_redis.url, session, "--owner", "ann")
    assert done.code == 0
    shown = dict(row.split(maxsplit=1) for row in done.rows)
    assert shown["stream"] == one.headers["x-stream-id"]
    assert (shown["endpoint"], shown["state"], shown["events"]) == ("tests.apps.chat:chat (ui-message)", "open", "5")
    open_gate(worker, session)
    await one.read_rest()
    shape = ran("show", shared_redis.url, session, "--owner", "ann", "--json").json
    (stream,) = shape["streams"]
    assert (stream["state"], stream["outcome"], stream["persisted"]) == ("closed", "completed", "not_asked")
    assert (shape["active_id"], shape["last_id"]) == (None, stream["stream_id"])
    assert (shape["owed"], shape["more"]) == ([], False)
    assert stream["lease_seconds"] is None
    assert stream["closed_seconds"] >= 0


async def test_a_sessions_streams_come_latest_first_with_what_is_owed(store: RedisStore, redis_url: str) -> None:
    debt = await enqueued(store, due=3600.0)
    key = debt.key
    lost = new_stream(key)
    await store.declare_lost(losing(lost, terminal=tombstone()))
    running = await begin(store, key)
    await store.request_stop(running)
    arguments = ("show", redis_url, key.session_id, "--owner", key.owner)
    shape = ran(*arguments, "--json").json
    assert [one["stream_id"] for one in shape["streams"]] == [running.stream_id, debt.stream_id, lost.ref.stream_id]
    (entry,) = shape["owed"]
    assert (entry["stream_id"], entry["dead"], entry["attempts"]) == (debt.stream_id, False, 0)
    assert 3000 < entry["due_seconds"] <= 3600
    done = ran(*arguments)
    blocks = [block.splitlines() for block in done.out.split("\n\n")]
    assert [block[0].split()[1] for block in blocks] == [one["stream_id"] for one in shape["streams"]]
    assert re.search(r"^lease +[0-9]\S*s, a stop was asked for$", done.out, re.M)
    assert "owed      a save, due in " in done.out
    assert "of which the log has lost some" in done.out
    await store.dead_letter(debt, reason="too_often", ttl_seconds=60)
    assert "a save, given up after 1 attempt, last: too_often (" in ran(*arguments).out
    shape = ran(*arguments, "--limit", "1", "--json").json
    assert (len(shape["streams"]), shape["more"]) == (1, True)
    assert ran(*arguments, "--limit", "1").rows[-1] == "there are more (--limit)"


async def test_how_a_stream_ended_is_shown(shared_redis: RedisServer, worker: Worker) -> None:
    session = new_session()
    async with post(worker, session, n=5, crash_at=2) as stream:
        await stream.read_rest()
    done = ran("show", shared_redis.url, session, "--owner", "ann")
    assert "fault     provider_error" in done.out
    assert "secret words" not in done.out
    shape = ran("show", shared_redis.url, session, "--owner", "ann", "--json").json
    assert shape["streams"][0]["outcome"] == "failed"
    assert shape["streams"][0]["fault"]["code"] == "provider_error"
    assert "secret words" not in json.dumps(shape)


async def test_usage_is_shown(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store)
    await store.seal(ref, epoch_of(ref), Seal(Outcome.COMPLETED, 0, usage=Usage({"tokens": 17})))
    arguments = ("show", redis_url, ref.key.session_id, "--owner", ref.key.owner)
    assert "usage     17 tokens" in ran(*arguments).out
    assert ran(*arguments, "--json").json["streams"][0]["usage"] == {"tokens": 17}


async def test_a_reply_that_was_superseded_is_told_of(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store)
    await end(store, ref)
    arguments = ("show", redis_url, ref.key.session_id, "--owner", ref.key.owner)
    assert ran(*arguments, "--json").json["streams"][0]["reply_superseded"] is False
    await store.update_meta(ref, revised=True)
    assert re.search(r"^saved +pending, superseded by a later request$", ran(*arguments).out, re.M)
    assert ran(*arguments, "--json").json["streams"][0]["reply_superseded"] is True


async def test_an_unknown_session_is_not_found(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store)
    for session, owner in (("\x1b[31mnever", ref.key.owner), (ref.key.session_id, "eve")):
        for command in ("show", "stop"):
            done = ran(command, redis_url, session, "--owner", owner)
            assert (done.code, done.out) == (4, "")
            assert "\x1b" not in done.err
            done = ran(command, redis_url, session, "--owner", owner, "--json")
            assert (done.code, done.json["error"]["code"]) == (4, "not_found")


# -- stop -------------------------------------------------------------------------------------------------------------


async def test_a_stream_is_stopped_from_outside(shared_redis: RedisServer, waiting: Callable[[], Any]) -> None:
    session, one = await waiting()
    done = await asyncio.to_thread(ran, "stop", shared_redis.url, session, "--owner", "ann", "--wait", "20", "--json")
    assert done.code == 0
    stream_id = one.headers["x-stream-id"]
    assert done.json == {"session_id": session, "stream_id": stream_id, "result": "ended", "outcome": "stopped"}
    *_, aborted, done_mark = await one.read_rest()
    assert (json.loads(aborted.data)["type"], done_mark.data) == ("abort", "[DONE]")
    again = ran("stop", shared_redis.url, session, "--owner", "ann")
    assert (again.code, again.out) == (0, "there is no stream to stop\n")


async def test_a_stop_that_takes_its_time_is_told(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store)
    arguments = ("stop", redis_url, ref.key.session_id, "--owner", ref.key.owner)
    done = ran(*arguments, "--wait", "0.1", "--json")
    assert (done.code, done.json["result"], done.json["outcome"]) == (1, "requested", None)
    assert "has not ended the stream yet" in ran(*arguments, "--wait", "0").out
    meta = await store.meta(ref)
    assert meta is not None
    assert meta.stop_requested


async def test_a_stop_of_an_orphan_is_kept_for_who_ends_it(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store, lease=SHORT_SECONDS)
    assert await overdue(store) == [ref]
    arguments = ("stop", redis_url, ref.key.session_id, "--owner", ref.key.owner, "--wait", "0")
    done = ran(*arguments)
    assert done.code == 1
    assert "another ends it when it comes by" in done.out
    assert ran(*arguments, "--json").json["result"] == "expired"


async def test_a_stream_that_is_erased_meanwhile_has_ended(store: RedisStore, redis_url: str) -> None:
    ref = await begin(store)
    stopping = begun("stop", redis_url, ref.key.session_id, "--owner", ref.key.owner, "--wait", "20")

    async def asked() -> bool:
        meta = await store.meta(ref)
        return meta is not None and meta.stop_requested

    is_asked: Callable[[], Awaitable[bool] | bool] = asked
    await wait_until_async(is_asked, description="the stop arrives")
    await store.erase(ref.key, mark_seconds=60)
    out, _ = await asyncio.to_thread(stopping.communicate, timeout=20)
    assert (stopping.returncode, out) == (0, f"stream {ref.stream_id} has ended: erased\n")
