"""A stream's writer that appends one event at a time, as a running stream does."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import cast

import pytest
import redis

from streamguard.stores.appends import Append, AppendCache, AppendReply, AppendRequest
from streamguard.stores.records import NewStream, Status
from streamguard.stores.redis import RedisStore
from streamguard.stores.redis.append_gate import AppendGate
from streamguard.stores.redis.appends import Appends
from streamguard.testing._stream_store.steps import data, epoch_of, log, new_stream, try_register
from streamguard.values import SessionKey, StreamRef

__all__ = ["BUG", "Make", "PlainWriter", "numbers", "scripts_called", "without_comparing"]

Make = Callable[..., Awaitable[RedisStore]]
"""The fixture `make`: a store that is started, and closed after the test."""

BUG = pytest.mark.parametrize("bug", [False, True], ids=["", "and a bug that forgets it"])


class PlainWriter:
    """Of one stream, under one epoch."""

    def __init__(self, store: RedisStore, new: NewStream, *, within: float = 60.0, epoch: int = 1) -> None:
        self.store = store
        self.new = new
        self.within = within
        self.epoch = epoch
        self.last = 0
        """The last event that was acknowledged."""
        self._cache = AppendCache()

    @property
    def ref(self) -> StreamRef:
        return self.new.ref

    @classmethod
    async def begin(cls, store: RedisStore, key: SessionKey | None = None, *, within: float = 60.0) -> PlainWriter:
        """Register a stream and append three events: from then on nothing but plain XADDs is needed."""
        writer = cls(store, new_stream(key), within=within)
        await try_register(store, writer.new)
        for _ in range(3):
            assert (await writer.add()).status is Status.OK
        return writer

    def request(self, *payloads: bytes, seq: int | None = None) -> Append:
        """For the next event, or that number."""
        first_seq = self.last + 1 if seq is None else seq
        events = data(*(payloads or (b"event-%d" % first_seq,)))
        return Append(
            self.ref, epoch_of(self.ref, self.epoch), first_seq, events, False, self.within, cache=self._cache
        )

    async def add(self, *payloads: bytes, seq: int | None = None) -> AppendReply:
        """Append the next event, or that number."""
        asked = self.request(*payloads, seq=seq)
        (reply,) = await self.store.append([asked])
        if reply.status in (Status.OK, Status.DUPLICATE):
            self.last = asked.first_seq + len(asked.events) - 1
        return reply


def scripts_called(client: redis.Redis) -> int:
    """How many scripts the server has run since its statistics were reset."""
    calls: int = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
    return calls


async def numbers(writer: PlainWriter) -> list[int]:
    return [event.seq for event in await log(writer.store, writer.ref)]


def without_comparing(monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
    """Have an append believe that this of what is kept is as it should be."""
    pack = Appends._packed

    def careless(self: Appends, batch: Sequence[AppendRequest], gate: AppendGate) -> tuple[list[bytes], list[int]]:
        believing: list[AppendRequest] = []
        for item in batch:
            kept = item.cache.value
            if attribute == "within":
                believing.append(replace(cast("Append", item), within_seconds=math.inf))
                continue
            if kept is not None and kept.next_seq:
                setattr(kept, attribute, gate.generation if attribute == "checked" else item.first_seq)
            believing.append(item)
        return pack(self, believing, gate)

    monkeypatch.setattr(Appends, "_packed", careless)
