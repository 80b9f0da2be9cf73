"""Measures how fast one worker ends orphans, and whether it renews the leases of its live streams on time meanwhile.

    python -m benchmarks.reconciling [--orphans 10000] [--live 100]

There is no message store, because the cost of a save depends on the database. Redis and the worker share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import uvloop

from streamguard.reconcile.orphans import OrphanSweep
from streamguard.reconcile.results import Result
from streamguard.runtime import LiveStream, Runtime, StreamRequest
from streamguard.settings import Settings
from streamguard.stores.appends import Append, AppendReply
from streamguard.stores.records import NOTHING_CONSUMED, NewStream
from streamguard.stores.redis import RedisStore
from streamguard.stores.registrations import Registered
from streamguard.values import EventKind, SessionKey, StreamRef, Usage, new_message_id, new_stream_id
from streamguard.wire import protocol_named

from .processes import RedisProcess

__all__ = ["Figures", "main", "measure"]

LEAST_PER_SECOND: Final = 500.0
"""The mark: orphans per second."""
EVENTS: Final = 5
AT_ONCE: Final = 200
OWNERS: Final = 500

SETTINGS: Final = Settings(
    heartbeat_seconds=0.5,
    lease_seconds=2.0,
    command_seconds=10.0,
    registration_seconds=15.0,
    append_deadline_seconds=20.0,
    max_streams_per_owner=100_000,
)
"""Heartbeats are ten times as frequent as by default, so that a late one shows."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The result of a run."""

    orphans: int
    ended: int
    seconds: float
    live: int
    beats: int
    latest_beat_seconds: float
    """The longest time between two heartbeats."""
    live_lost: int
    """Live streams that were degraded or taken over; must be 0."""

    @property
    def per_second(self) -> float:
        return self.ended / self.seconds

    @property
    def good(self) -> bool:
        """Whether the mark was reached and no live stream was ever at risk."""
        return (
            self.ended == self.orphans
            and self.per_second >= LEAST_PER_SECOND
            and self.live_lost == 0
            and self.latest_beat_seconds < SETTINGS.lease_seconds / 2
        )


class _Timed(RedisStore):
    """Records when leases were renewed."""

    def __init__(self, url: str) -> None:
        super().__init__(url, command_seconds=SETTINGS.command_seconds)
        self.beats: list[float] = []

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        replies = await super().heartbeat(
            claims, lease_seconds=lease_seconds, ttl_seconds=ttl_seconds, consumed=consumed
        )
        self.beats.append(asyncio.get_running_loop().time())
        return replies


async def measure(url: str, *, orphans: int, live: int) -> Figures:
    """Create `orphans` in an empty Redis, run `live` streams, and sweep."""
    left = RedisStore(url, command_seconds=SETTINGS.command_seconds)
    await left.start()
    for start in range(0, orphans, AT_ONCE):
        await asyncio.gather(*(_orphan(left, n) for n in range(start, min(start + AT_ONCE, orphans))))
    await left.aclose()
    store = _Timed(url)
    over = asyncio.Event()

    async def model() -> AsyncIterator[object]:
        yield "a word"
        await over.wait()

    async with Runtime(store, SETTINGS) as runtime:
        streams = []
        for n in range(live):
            opened = await runtime.open(_request(SessionKey(f"live-{n % OWNERS}", f"chat-{n}")))
            assert isinstance(opened, LiveStream)
            runtime.launch(opened, model)
            streams.append(opened)
        loop = asyncio.get_running_loop()
        while len(store.beats) < 2:
            await asyncio.sleep(SETTINGS.heartbeat_seconds)
        begun = loop.time()
        treated = await OrphanSweep(runtime).run_once()
        ended = loop.time()
        beats = [begun, *(beat for beat in store.beats if begun < beat < ended), ended]
        figures = Figures(
            orphans=orphans,
            ended=sum(1 for one in treated if one.result is Result.DONE),
            seconds=ended - begun,
            live=live,
            beats=len(beats) - 2,
            latest_beat_seconds=max(late - early for early, late in pairwise(beats)),
            live_lost=sum(1 for stream in streams if stream.degraded or stream.superseded or stream.finished),
        )
        over.set()
    return figures


async def _orphan(store: RedisStore, n: int) -> None:
    ref = StreamRef(SessionKey(f"owner-{n % OWNERS}", f"chat-{n}"), new_stream_id())
    new = NewStream(ref, new_message_id(), "ui-message", "benchmarks:orphan", "")
    registered = await store.register(new, lease_seconds=0.001, ttl_seconds=3600.0, limit=None)
    assert isinstance(registered, Registered), "nobody else has this session"
    events = [(EventKind.DATA, b'{"type":"text-delta","id":"0","delta":"the quick brown fox"}')] * EVENTS
    await store.append([Append(ref, registered.meta.epoch, 1, events, refresh=False)])


def _request(key: SessionKey) -> StreamRequest:
    return StreamRequest(
        key=key,
        protocol=protocol_named("ui-message"),
        binding="benchmarks:live",
        message_id=new_message_id(),
        fingerprint="",
        on_conflict="reject",
        on_store_failure="continue",
        request_id="benchmark",
        first_item_seconds=None,
        stall_seconds=None,
        max_stream_seconds=None,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run, and print a line. Returns 0, or 1 if the mark was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconciling", description=__doc__)
    parser.add_argument("--orphans", type=int, default=10_000)
    parser.add_argument("--live", type=int, default=100)
    options = parser.parse_args(arguments)
    with RedisProcess() as redis:
        figures = uvloop.run(measure(redis.url, orphans=options.orphans, live=options.live))
    print(
        f"{figures.ended} of {figures.orphans} orphans in {figures.seconds:.1f} s: {figures.per_second:.0f} per second "
        f"(at least {LEAST_PER_SECOND:.0f}); meanwhile {figures.beats} heartbeats of {figures.live} live streams, due "
        f"every {SETTINGS.heartbeat_seconds} s, the longest after {figures.latest_beat_seconds:.2f} s; "
        f"{figures.live_lost} live streams lost"
    )
    return 0 if figures.good else 1


if __name__ == "__main__":
    sys.exit(main())
