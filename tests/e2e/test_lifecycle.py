"""Slow viewers, shutdown, leaks, silence and threads, in real worker processes."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest
from anyio import create_task_group, to_thread

from tests.harness.redis import RedisServer
from tests.harness.sse import Ending, EventReader, SseEvent, resume, ui_text
from tests.harness.waiting import wait_until, wait_until_async
from tests.harness.workers import Worker

from .calls import USER, expected_text, get, new_session, open_gate, post, raw_post, status, trace
from .logs import codes, terminals

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def probe(worker: Worker) -> dict[str, int]:
    counts: dict[str, int] = httpx.get(f"{worker.url}/_probe", timeout=10.0, trust_env=False).json()
    return counts


def health(worker: Worker) -> dict[str, object]:
    body: dict[str, object] = httpx.get(f"{worker.url}/api/chat/health/streaming", timeout=10.0, trust_env=False).json()
    return body


async def test_a_viewer_that_never_reads_a_large_stream_is_dropped(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    one = worker(server.url, max_stream_bytes=200 * MIB)
    other = worker(server.url)
    session, size, n = new_session(), 65_536, 1_100
    script = json.dumps({"id": session, "n": n, "size": size, "gate": session}).encode()
    before = probe(one)["rss_bytes"]
    with socket.create_connection(("127.0.0.1", one.port)) as stuck:
        head = f"POST /api/chat HTTP/1.1\r\nHost: x\r\nX-User: ann\r\nContent-Length: {len(script)}\r\n"
        stuck.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + script)
        await wait_until_async(lambda: status(one, session)["active"], description="the stream is open")
        heights: list[int] = []

        def follow(watched: Worker, taken: list[bytes]) -> None:
            """Read a whole response as bytes, in a thread: parsing this much would be slower than the server."""
            request = f"GET /api/chat/{session}/stream HTTP/1.1\r\nHost: x\r\nX-User: ann\r\n\r\n"
            with socket.create_connection(("127.0.0.1", watched.port), timeout=30) as connection:
                connection.sendall(request.encode())
                while data := connection.recv(1 << 20):
                    taken.append(data)
                    if len(taken) % 200 == 0 and watched is one:
                        heights.append(probe(one)["rss_bytes"])
                    if data.endswith(b"\r\n0\r\n\r\n"):
                        return

        local: list[bytes] = []
        remote: list[bytes] = []
        async with create_task_group() as readers:
            readers.start_soon(to_thread.run_sync, follow, one, local)
            readers.start_soon(to_thread.run_sync, follow, other, remote)
            await wait_until_async(lambda: local and remote, description="both viewers are attached")
            open_gate(one, session)
        for taken in (local, remote):
            whole = b"".join(taken)
            assert whole.endswith(b"0\r\n\r\n")
            assert whole.count(b'"text-delta"') == n
            assert whole.count(b"xxxxxxxx") == sum((size - len(f"w{number} ")) // 8 for number in range(n))
        growth = max(heights) - before
        assert growth < 48 * MIB, f"grew by {growth / MIB:.0f} MiB for a stream of {n * size / MIB:.0f}"
        await wait_until_async(
            lambda: health(one)["viewers"] == 0, description="the stuck viewer was dropped", timeout=20
        )
        received = b""
        stuck.settimeout(10)
        while data := _receive(stuck):
            received = (received + data)[-64:]
        assert not received.endswith(b"0\r\n\r\n"), "a dropped viewer must not see a clean end"
    assert status(other, session)["last"]["outcome"] == "completed"


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("base_http_middleware", [False, True], ids=["plain", "under-BaseHTTPMiddleware"])
@pytest.mark.parametrize(
    ("server_kind", "graceful_seconds"),
    [("uvicorn", None), ("uvicorn", 1), ("hypercorn", None)],
    ids=["uvicorn", "uvicorn-graceful-1", "hypercorn"],
)
async def test_shutdown_ends_streams_with_a_terminal(
    server_kind: str,
    graceful_seconds: int | None,
    base_http_middleware: bool,
    own_redis: Callable[..., RedisServer],
    worker: Callable[..., Worker],
) -> None:
    server = own_redis()
    env = {"CHAT_BASE_HTTP_MIDDLEWARE": "1"} if base_http_middleware else {}
    going = worker(server.url, env=env, server=server_kind, graceful_seconds=graceful_seconds)
    other = worker(server.url)
    hanging, ending = new_session(), new_session()
    async with (
        post(going, hanging, n=10, gate=hanging, gate_at=5) as stream,
        post(going, ending, n=40, gap_ms=10) as short,
    ):
        seen = await stream.read_events(7)
        await short.read_events(3)
        going.terminate()
        rest = await stream.read_rest()
        finished = list(short.events) + await short.read_rest()
        # Whoever has the terminal may end cleanly; whoever has not must not.
        for view, events in ((stream, seen + rest), (short, finished)):
            done = bool(events) and events[-1].data == "[DONE]"
            assert done or view.ending is not Ending.CLEAN
        cursor = stream.cursor
    exit_code = await _exit(going)
    assert exit_code in (0, -15), going.log()
    (terminal,) = terminals(server, stream.headers["x-stream-id"])
    assert terminal["outcome"] == "interrupted"
    fault = terminal["fault"]
    assert isinstance(fault, dict)
    assert (fault["phase"], fault["retryable"]) == ("shutdown", True)
    tail = get(other, hanging, cursor)
    events = seen + rest + (_events(tail) if tail.status_code == 200 else [])
    assert [_number(event) for event in events] == list(range(1, len(events) + 1))
    assert events[-1].data == "[DONE]"
    assert codes(events) == ["shutting_down"]
    if graceful_seconds is None and server_kind == "uvicorn":
        assert ui_text(finished) == expected_text(40), "a stream that ends within the drain ends by itself"
    again = get(other, ending, short.cursor)
    whole = finished + (_events(again) if again.status_code == 200 else [])
    assert whole[-1].data == "[DONE]"
    assert [_number(event) for event in whole] == list(range(1, len(whole) + 1))


async def _exit(worker: Worker) -> int:
    await wait_until_async(lambda: not worker.alive, description="the worker has ended", timeout=20)
    return worker.wait_exit(1)


def _events(answer: httpx.Response) -> list[SseEvent]:
    return EventReader().feed(answer.content)


def _number(event: SseEvent) -> int:
    assert event.id is not None
    return int(event.id.rsplit(".", 1)[1])


async def test_connecting_and_dropping_leaves_nothing_behind(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    server = own_redis()
    one = worker(server.url)
    client = server.client()
    await _warmed_up(one, server)
    await _settled(one)
    before, connections = probe(one), len(client.client_list())
    for _ in range(1_000):
        await _connect_and_drop(one)
    await _settled(one)
    after = probe(one)
    await wait_until_async(
        lambda: probe(one)["tasks"] <= before["tasks"] and probe(one)["open_files"] <= before["open_files"],
        description=f"tasks and files are back from {after} to {before}",
    )
    assert probe(one)["threads"] <= before["threads"]
    assert len(client.client_list()) <= connections
    assert not server.keys_without_ttl()


async def _connect_and_drop(worker: Worker) -> None:
    """Two connections, dropped with their streams under way: one POST and one resume."""
    session = new_session()
    async with post(worker, session, n=3, gap_ms=1) as stream:
        await stream.read_events(1)
        async with resume(worker.port, session, headers=USER) as again:
            assert again.status == 200


async def _warmed_up(worker: Worker, server: RedisServer) -> None:
    """Until it has the four connections that it opens when needed, and keeps."""
    session = new_session()
    async with post(worker, session, n=2, gate=session, gate_at=1) as lasting:
        while worker.connections_to(server.port) < 4:
            async with create_task_group() as at_once:
                for _ in range(20):
                    at_once.start_soon(_connect_and_drop, worker)
        open_gate(worker, session)
        await lasting.read_rest()


async def _settled(worker: Worker) -> None:
    await wait_until_async(
        lambda: health(worker)["streams"] == 0 and health(worker)["viewers"] == 0, description="all streams have ended"
    )


async def test_a_silent_model_keeps_its_log(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    """Heartbeats renew it: nothing is appended for several times the TTL."""
    server = own_redis()
    one = worker(server.url, lease_seconds=0.75, live_ttl_seconds=3.0)
    client = server.client()
    session = new_session()
    async with post(one, session, n=10, gate=session, gate_at=5) as stream:
        seen = await stream.read_events(7)
        log = next(
            key for key in client.scan_iter(f"*{stream.headers['x-stream-id']}*") if client.type(key) == b"stream"
        )
        long = time.monotonic() + 6.0
        wait_until(lambda: time.monotonic() > long, description="twice the TTL has passed", timeout=10)
        assert client.exists(log)
        open_gate(one, session)
        events = seen + await stream.read_rest()
    assert ui_text(events) == expected_text(10)
    assert all(event.id for event in events)


async def test_a_sync_generator_completes_without_its_client(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker]
) -> None:
    one = worker(own_redis().url)
    for _ in range(3):
        raw_post(one, new_session(), path="/api/threaded", n=2)
    threads = probe(one)["threads"]
    session = new_session()
    async with post(one, session, path="/api/threaded", n=200) as stream:
        await stream.read_events(1)
    await wait_until_async(lambda: f"finally {session}" in trace(one), description="the generator was closed")
    assert f"completed {session}" in trace(one)
    answer = get(one, session)
    assert ui_text(_events(answer)) == expected_text(200)
    await wait_until_async(lambda: probe(one)["threads"] <= threads, description="its thread is gone")
