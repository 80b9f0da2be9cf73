"""`streamguard ps` counts the viewers that a stream has on all workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..e2e.calls import USER, new_session, open_gate, post
from ..e2e.conftest import environment
from ..harness.redis import RedisServer
from ..harness.sse import resume
from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .running import ran

pytestmark = pytest.mark.anyio

APP = "tests.apps.chat:application"


def viewers(server: RedisServer) -> dict[str, int]:
    """How many view each stream."""
    streams = ran("ps", server.url, "--json").json["streams"]
    return {stream["stream_id"]: stream["viewers"] for stream in streams}


def shown(server: RedisServer) -> dict[str, str]:
    """The same, as the table has it."""
    said = [row.split() for row in ran("ps", server.url).rows]
    at = next(n for n, row in enumerate(said) if row[:1] == ["STREAM"])
    titles, *rows, _ = said[at:]
    return {row[0]: row[titles.index("VIEWERS")] for row in rows}


async def test_viewers_of_all_workers_are_counted_while_they_are_there(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    env = environment(server.url, heartbeat_seconds=1.0)
    with Worker(APP, env=env) as writer, Worker(APP, env=env) as other:
        sessions = [new_session() for _ in range(2)]
        async with (
            post(writer, sessions[0], n=3, gate=sessions[0], gate_at=1) as one,
            post(writer, sessions[1], n=3, gate=sessions[1], gate_at=1) as two,
        ):
            for stream in (one, two):
                await stream.read_events(3)
            watched, alone = (stream.headers["x-stream-id"] for stream in (one, two))
            async with (
                resume(other.port, sessions[0], headers=USER) as first,
                resume(other.port, sessions[0], headers=USER) as second,
                resume(writer.port, sessions[0], headers=USER) as third,
            ):
                for viewer in (first, second, third):
                    await viewer.read_events(3)
                wait_until(lambda: viewers(server) == {watched: 4, alone: 1}, description="all count", timeout=40)
                wait_until(lambda: shown(server) == {watched: "4", alone: "1"}, description="the table too", timeout=40)
                other.kill()
            wait_until(lambda: viewers(server) == {watched: 1, alone: 1}, description="they are gone", timeout=40)
            for session in sessions:
                open_gate(writer, session)
            for stream in (one, two):
                await stream.read_rest()
        assert viewers(server) == {}
