"""What a stream's log in Redis and a viewer's events tell."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis

from tests.harness.redis import RedisServer
from tests.harness.redis_fixtures import RedisOfKind
from tests.harness.sse import SseConnection, SseEvent
from tests.harness.waiting import wait_until_async

__all__ = ["codes", "consumed", "entries_of", "log_of", "parts_of", "terminals"]


def parts_of(events: list[SseEvent], kind: str) -> list[dict[str, Any]]:
    """The parts of a type among events of the ui-message protocol."""
    parts = [json.loads(event.data) for event in events if event.data.startswith("{")]
    return [part for part in parts if part["type"] == kind]


def codes(events: list[SseEvent]) -> list[str]:
    """The codes of the faults among them."""
    return [part["data"]["code"] for part in parts_of(events, "data-streamguard-error")]


def log_of(client: Redis, stream_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a stream's log."""
    for key in client.scan_iter(f"*{stream_id}*", count=1000):
        if client.type(key) == b"stream":
            entries: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange(key)  # type: ignore[assignment]
            return entries
    return []


async def consumed(server: RedisServer, stream: SseConnection, tokens: int) -> None:
    """Wait until a heartbeat has told what a reply consumed so far."""
    client, stream_id = server.client(), stream.headers["x-stream-id"]

    def is_told() -> bool:
        records = [key for key in client.scan_iter(f"*{stream_id}*", count=1000) if client.type(key) == b"hash"]
        return any(client.hget(key, "u") == b'{"tokens":%d}' % tokens for key in records)

    await wait_until_async(is_told, description=f"a heartbeat told of {tokens} tokens", timeout=20)


def entries_of(server: RedisOfKind, stream_id: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a stream's log, wherever it is."""
    return [entry for client in server.clients(0) for entry in log_of(client, stream_id)]


def terminals(server: RedisOfKind, stream_id: str) -> list[dict[str, Any]]:
    """The terminal records of a log; nothing may follow one."""
    fields = [entry for _, entry in entries_of(server, stream_id)]
    found = [json.loads(entry[b"t"]) for entry in fields if b"t" in entry]
    assert not found or b"t" in fields[-1]
    return found
