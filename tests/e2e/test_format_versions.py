"""A rolling deployment: two releases share a Redis. Neither changes what it cannot read, and each says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest

from streamguard.values import FORMAT_VERSION
from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, resume, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, new_session, open_gate, post, raw_post, status, trace
from .conftest import APP, SHORT_LEASE, environment
from .logs import codes, terminals

pytestmark = pytest.mark.anyio

LATER_APP = "tests.apps.tomorrow:application"
LATER_FORMAT = {"CHAT_FORMAT_VERSION": str(FORMAT_VERSION + 1)}
RUNNING = (b"d", b"w", b"n", b"p")
"""What a running stream's own worker changes by itself: lease, watchers, events; and whether a stop was asked for."""


@pytest.fixture(scope="module")
def present(shared_redis: RedisServer) -> Iterator[Worker]:
    """A worker of this release."""
    with Worker(APP, env=environment(shared_redis.url)) as worker:
        yield worker


@pytest.fixture(scope="module")
def later(shared_redis: RedisServer) -> Iterator[Worker]:
    """One of the next release, whose records this one cannot read."""
    with Worker(LATER_APP, env={**environment(shared_redis.url), **LATER_FORMAT}) as worker:
        yield worker


@pytest.fixture(scope="module")
def newer(shared_redis: RedisServer) -> Iterator[Worker]:
    """One of a newer release of the same format, which knows one protocol more."""
    with Worker(LATER_APP, env=environment(shared_redis.url)) as worker:
        yield worker


def refused(answer: httpx.Response, reason: str) -> None:
    """The answer is a 503 that tells the client to come back: another worker may well answer."""
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert (error["code"], error["reason"], error["retryable"]) == ("store_unavailable", reason, True)
    assert int(answer.headers["retry-after"]) >= 1


def call(worker: Worker, method: str, path: str, *, timeout: float = 20.0) -> httpx.Response:
    return httpx.request(method, f"{worker.url}/api/chat/{path}", headers=USER, timeout=timeout, trust_env=False)


def everything(server: RedisServer, stream_id: str) -> dict[bytes, object]:
    """All that Redis holds of a stream's session, but for what the stream's own worker keeps changing."""
    client = server.client()
    (meta,) = (key for key in client.scan_iter(match=f"*:m:{stream_id}", count=1000))
    found: dict[bytes, object] = {}
    for key in client.scan_iter(match=meta.rpartition(b":m:")[0] + b":*", count=1000):
        match client.type(key):
            case b"hash":
                fields = client.hgetall(key)
                found[key] = {name: value for name, value in fields.items() if name not in RUNNING}
            case b"zset":
                found[key] = client.zrange(key, 0, -1)
            case b"stream":
                found[key] = client.xrange(key)
    return found


def in_lease_index(server: RedisServer, stream_id: str) -> bool:
    client = server.client()
    (meta,) = (key for key in client.scan_iter(match=f"*:m:{stream_id}", count=1000))
    identity = client.hget(meta, "id")
    shards = list(client.scan_iter(match="*lease*", count=1000))
    assert identity is not None
    return any(client.zcard(shard) for shard in shards)


@pytest.mark.parametrize("path", ["/api/chat", "/api/strict", "/api/replace", "/api/join"])
async def test_a_post_to_a_session_a_later_version_answers_in(
    path: str, present: Worker, later: Worker, shared_redis: RedisServer
) -> None:
    session = new_session()
    script: dict[str, object] = {"n": 6, "gate": session, "gate_at": 2}
    async with post(later, session, path=path, **script) as stream:  # type: ignore[arg-type]
        seen = await stream.read_events(4)
        before = everything(shared_redis, stream.headers["x-stream-id"])
        refused(raw_post(present, session, path=path, **script), "newer_format")  # type: ignore[arg-type]
        assert everything(shared_redis, stream.headers["x-stream-id"]) == before
        assert f"model {session}" not in trace(present)
        open_gate(later, session)
        assert ui_text(seen + await stream.read_rest()) == expected_text(6)
        assert stream.ending is Ending.CLEAN
    refused(raw_post(present, session, path=path, n=1), "newer_format")
    assert raw_post(later, session, path=path, n=1).status_code == 200


async def test_no_route_of_this_version_touches_a_later_versions_stream(
    present: Worker, later: Worker, shared_redis: RedisServer
) -> None:
    session = new_session()
    async with post(later, session, n=6, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(4)
        stream_id = stream.headers["x-stream-id"]
        before = everything(shared_redis, stream_id)
        for cursor in (None, seen[-1].id):
            refused(get(present, session, cursor), "newer_format")
        told = get(present, session, query="?errors=stream")
        assert (told.status_code, told.text.startswith("retry: ")) == (200, True)
        assert '"reason":"newer_format"' in told.text
        refused(call(present, "POST", f"{session}/stop"), "newer_format")
        refused(call(present, "GET", session), "newer_format")
        refused(call(present, "GET", f"{session}/streams/{stream_id}/raw"), "newer_format")
        refused(call(present, "DELETE", session), "newer_format")
        assert everything(shared_redis, stream_id) == before
        assert call(present, "GET", "health/ready").status_code == 200
        open_gate(later, session)
        assert ui_text(seen + await stream.read_rest()) == expected_text(6)
    before = everything(shared_redis, stream_id)
    for cursor in (None, seen[-1].id):
        refused(get(present, session, cursor), "newer_format")
    refused(call(present, "DELETE", session), "newer_format")
    assert call(present, "POST", f"{session}/stop").status_code == 503
    assert everything(shared_redis, stream_id) == before
    assert get(later, session).status_code == 200
    assert call(later, "DELETE", session).status_code == 204


async def test_a_later_version_reads_stops_and_continues_what_this_one_began(present: Worker, later: Worker) -> None:
    session = new_session()
    async with post(present, session, n=10, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(4)
        conflict = raw_post(later, session, n=1)
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict_active")
        assert status(later, session)["active"]["stream_id"] == stream.headers["x-stream-id"]
        async with resume(later.port, session, seen[1].id, headers=USER) as remote:
            assert await remote.read_events(2) == seen[2:]
            assert call(later, "POST", f"{session}/stop").status_code == 202
            rest = await stream.read_rest()
            assert await remote.read_rest() == rest
            assert remote.ending is stream.ending is Ending.CLEAN
    assert status(later, session)["last"]["outcome"] == "stopped"
    assert get(later, session, seen[-1].id).status_code == 200
    assert raw_post(later, session, n=2).status_code == 200
    # From here on the session is the later version's, and this one says so. The stream a cursor names is still its own.
    refused(get(present, session), "newer_format")
    assert get(present, session, seen[-1].id).status_code == 200
    refused(raw_post(present, session, n=2), "newer_format")
    assert call(later, "DELETE", session).status_code == 204
    assert raw_post(present, session, n=2).status_code == 200


async def test_a_later_version_replaces_what_this_one_writes(present: Worker, later: Worker) -> None:
    session = new_session()
    async with post(present, session, n=10, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(4)
        answer = raw_post(later, session, path="/api/replace", n=3)
        assert answer.status_code == 200
        rest = await stream.read_rest()
        assert stream.ending is Ending.CLEAN
        assert '"abort"' in rest[-2].data
    assert f"completed {session}" not in trace(present)
    assert len(seen) == 4


async def test_no_sweep_of_this_version_ends_a_later_versions_orphan(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """Though it lies in the index before one that this version ends; nor does a client asking for it hold up sweeps."""
    server = own_redis()
    present = worker(server.url, **SHORT_LEASE)
    later = worker(server.url, app=LATER_APP, env=LATER_FORMAT, **SHORT_LEASE)
    dying = worker(server.url, **SHORT_LEASE)
    theirs, ours = new_session(), new_session()
    async with post(later, theirs, n=10, gate=theirs, gate_at=5) as stream:
        seen = await stream.read_events(7)
        their_id = stream.headers["x-stream-id"]
        later.kill()
    async with post(dying, ours, n=10, gate=ours, gate_at=5) as stream:
        await stream.read_events(7)
        our_id = stream.headers["x-stream-id"]
        dying.kill()
    before = everything(server, their_id)

    async def asking() -> None:
        while not terminals(server, our_id):
            refused(await asyncio.to_thread(get, present, theirs), "newer_format")

    await asyncio.wait_for(asking(), 40)
    refused(raw_post(present, theirs, n=1), "newer_format")
    assert everything(server, their_id) == before
    assert in_lease_index(server, their_id), "whoever can end it finds it"
    later.start()
    await wait_until_async(lambda: terminals(server, their_id), description="the later version ended its orphan")
    (terminal,) = terminals(server, their_id)
    assert terminal["outcome"] == "interrupted"
    async with resume(later.port, theirs, seen[-1].id, headers=USER) as rest:
        assert codes(await rest.read_rest()) == ["interrupted"]


async def test_a_later_versions_sweep_ends_this_versions_orphan(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    present = worker(server.url, **SHORT_LEASE)
    session = new_session()
    async with post(present, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(7)
        stream_id = stream.headers["x-stream-id"]
        present.kill()
    worker(server.url, app=LATER_APP, env=LATER_FORMAT, **SHORT_LEASE)
    wait_until(lambda: terminals(server, stream_id), description="the later version ended it")
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "interrupted"
    present.start()  # a stream that a later version ended is still one of this format
    async with resume(present.port, session, seen[-1].id, headers=USER) as rest:
        assert codes(await rest.read_rest()) == ["interrupted"]
        assert rest.ending is Ending.CLEAN


async def test_a_stream_of_a_protocol_this_version_does_not_know(
    present: Worker, newer: Worker, shared_redis: RedisServer
) -> None:
    """Its record can be read, so it can be stopped and waited for; its events cannot be sent."""
    session = new_session()
    async with post(newer, session, path="/api/tomorrow", n=10, gate=session, gate_at=2) as stream:
        seen = await stream.read_events(2)
        stream_id = stream.headers["x-stream-id"]
        for cursor in (None, seen[-1].id):
            refused(get(present, session, cursor), "unknown_protocol")
        refused(call(present, "GET", f"{session}/streams/{stream_id}/raw"), "unknown_protocol")
        assert status(present, session)["active"]["stream_id"] == stream_id
        conflict = raw_post(present, session, n=1)
        assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "conflict_active")
        assert call(present, "POST", f"{session}/stop").status_code == 202
        await stream.read_rest()
        assert stream.ending is Ending.CLEAN
    (terminal,) = terminals(shared_redis, stream_id)
    assert terminal["outcome"] == "stopped"
    for cursor in (None, seen[-1].id):
        refused(get(present, session, cursor), "unknown_protocol")
    assert get(newer, session, seen[-1].id).status_code == 200
    assert raw_post(present, session, n=1).status_code == 200
    assert call(present, "DELETE", session).status_code == 204


async def test_an_orphan_of_an_unknown_protocol_is_left_to_whoever_knows_it(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    present = worker(server.url, **SHORT_LEASE)
    newer = worker(server.url, app=LATER_APP, **SHORT_LEASE)
    session = new_session()
    async with post(newer, session, path="/api/tomorrow", n=10, gate=session, gate_at=2) as stream:
        await stream.read_events(2)
        stream_id = stream.headers["x-stream-id"]
        newer.kill()

    def lease_ran_out() -> bool:
        answer = raw_post(present, session, n=1)
        if answer.status_code == 503:
            refused(answer, "unknown_protocol")
            return True
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict_active")
        return False

    wait_until(lease_ran_out, description="the dead worker's lease ran out")
    before = everything(server, stream_id)
    refused(raw_post(present, session, path="/api/replace", n=1), "unknown_protocol")
    refused(call(present, "DELETE", session), "unknown_protocol")
    refused(call(present, "POST", f"{session}/stop"), "unknown_protocol")
    assert everything(server, stream_id) == before
    newer.start()
    wait_until(lambda: terminals(server, stream_id), description="the newer release ended its orphan")
    (terminal,) = terminals(server, stream_id)
    assert terminal["outcome"] == "stopped", "the stop that was asked for is kept"
    assert raw_post(present, session, n=1).status_code == 200
