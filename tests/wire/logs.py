"""Payloads on their way through a stream store's log, in pieces."""

from __future__ import annotations

import random
from collections.abc import Sequence

from streamguard.stores.appends import Append
from streamguard.stores.records import Status
from streamguard.stores.store import StreamStore
from streamguard.values import START, Event, EventKind, Position, StreamRef

__all__ = ["logged", "read_back"]


async def logged(
    store: StreamStore, ref: StreamRef, events: Sequence[tuple[EventKind, bytes]], *, pieces: random.Random
) -> None:
    """Append events to a new stream's log, in appends of a random size."""
    meta = await store.meta(ref)
    assert meta is not None
    at = 0
    while at < len(events):
        some = events[at : at + pieces.randint(1, 7)]
        (reply,) = await store.append([Append(ref, meta.epoch, at + 1, some, False)])
        assert reply.status is Status.OK
        at += len(some)


async def read_back(store: StreamStore, ref: StreamRef, last_seq: int, *, max_bytes: Sequence[int]) -> list[Event]:
    """Read a log range by range, of each size of `max_bytes` in turn."""
    events: list[Event] = []
    at = START
    while len(events) < last_seq:
        found = await store.read(ref, at, max_bytes=max_bytes[len(events) % len(max_bytes)])
        assert found
        assert found[0].seq == len(events) + 1
        events += found
        at = Position(events[-1].epoch, len(events))
    return events
