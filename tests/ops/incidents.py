"""What goes wrong in a guarded shop, minute by minute, and the alerts that have to fire for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streamguard.stores import NewStream
from streamguard.values import SessionKey, StreamRef, new_message_id, new_stream_id

from .shop import DAILY, Shop

__all__ = ["BEFORE", "INCIDENTS", "Incident", "nothing", "worker_away"]

BEFORE: Final = 6
"""Ordinary minutes before an incident."""

Play = Callable[[Shop, int], Awaitable[None]]


@dataclass(frozen=True)
class Incident:
    """A fault that lasts some minutes."""

    play: Play
    """Begins each of its minutes, counted from 1."""
    minutes: int
    fires: frozenset[str] = field(default_factory=frozenset)
    """The alerts that are for it. Each fires once."""
    besides: frozenset[str] = field(default_factory=frozenset)
    """Alerts that fire as a consequence, each once. No other does."""
    healthy_after: int = 10
    """Minutes until all of its alerts have ended, except for those of slow burns."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the application, where the default ones are not meant."""


async def store_slow_to_register(shop: Shop, _: int) -> None:
    shop.chat.store.delay(0.05, "register")


async def store_slow_to_append(shop: Shop, _: int) -> None:
    shop.chat.store.delay(0.05, "append")


async def store_away(shop: Shop, _: int) -> None:
    shop.chat.store.fail()


async def store_loses_a_log(shop: Shop, minute: int) -> None:
    """For some seconds only, in the middle of an answer."""
    if minute == 1:
        _, answer = await shop.ask(wait=True)
        await answer.read(2)
        shop.chat.store.fail("append")
        shop.go_on()
        await answer.rest()
        shop.heal()


async def database_down(shop: Shop, _: int) -> None:
    shop.messages.faults.fail()
    for _ in range(4):
        await shop.read()


async def one_row_locked(shop: Shop, minute: int) -> None:
    if minute == 1:
        shop.database.delays.add("locked")
        await shop.read("locked")


async def reply_refused(shop: Shop, minute: int) -> None:
    if minute == 1:
        shop.database.refuses.add("refused")
        await shop.read("refused")


async def saved_differently(shop: Shop, minute: int) -> None:
    if minute == 1:
        shop.database.conflicts.add("other")
        await shop.read("other")


async def cursors_ahead(shop: Shop, _: int) -> None:
    """A Redis that came back without the last second: clients have seen what its log has not."""
    session, answer = await shop.ask(wait=True)
    await answer.read(2)
    for _ in range(2):
        refused = await shop.chat.resume(session, after=f"1.{answer.stream_id}.1.70000")
        await refused.whole()
    shop.go_on()
    await answer.rest()


async def clients_come_back(shop: Shop, _: int) -> None:
    """A proxy in front of the shop cuts every connection, again and again."""
    visitors = [shop.chat.visitor({"x-user": f"visitor{n}"}) for n in range(8)]
    for visitor in visitors:
        answer = await visitor.post({}, path=f"/api/chat?id={shop.session()}&wait=1")
        assert answer.session_id is not None
        for _ in range(12):
            await answer.read(1)
            answer.drop()
            answer = await visitor.resume(answer.session_id or "")
        answer.drop()
    shop.go_on()


async def provider_down(shop: Shop, _: int) -> None:
    shop.provider_fails = True


async def endpoint_blocks(shop: Shop, _: int) -> None:
    """All the time: a visitor comes as soon as the last one has gone."""
    shop.blocks_seconds = 1.5

    async def others() -> None:
        while shop.left_seconds > 6.0:
            await shop.read()
            await asyncio.sleep(0.5)

    shop.beside(others())


async def quota_away(shop: Shop, _: int) -> None:
    shop.quotas.away = True


async def sink_raises(shop: Shop, _: int) -> None:
    shop.sink_fails = True


async def reconciler_hangs(shop: Shop, _: int) -> None:
    shop.chat.store.hold("expired_leases")


async def stream_of_a_later_version(shop: Shop, minute: int) -> None:
    """Deployed and taken back, it left a stream that this version cannot end."""
    if minute == 1:
        ref = StreamRef(SessionKey("ann", "later"), new_stream_id())
        new = NewStream(ref, new_message_id(), "ui-message-99", "chat", "")
        await shop.store.register(new, lease_seconds=1.0, ttl_seconds=300.0, limit=None)


async def streams_taken(shop: Shop, _: int) -> None:
    """Another worker thinks that this one is dead."""
    for _ in range(3):
        session, answer = await shop.ask(wait=True)
        await answer.read(2)
        assert answer.stream_id is not None
        ref = StreamRef(SessionKey("ann", session), answer.stream_id)
        await shop.store.take_over(ref, lease_seconds=5.0, force=True)
        shop.go_on()
        answer.drop()


async def reservations_left(shop: Shop, minute: int) -> None:
    """A worker died between reserving and beginning, and the quota's index does not answer those that look for it."""
    shop.quotas.hangs = True
    if minute == 1:
        await shop.quotas.reserve(StreamRef(SessionKey("ann", "dead"), new_stream_id()), {"requests": 1}, [DAILY])


async def worker_away(shop: Shop, _: int) -> None:
    """Played by the recording: nobody answers the scrape."""


async def long_drain(shop: Shop, minute: int) -> None:
    """A deployment that waits for an answer which takes minutes. Visitors are sent to the worker all the same."""
    if minute == 1:
        _, answer = await shop.ask(wait=True)
        await answer.read(2)
        shop.beside_minutes(shop.guard.drain())
    if minute == 6:
        shop.go_on()
    if minute == 7:
        await shop.deploy()


async def nothing(shop: Shop, minute: int) -> None:
    """Ordinary days: deployments every ten minutes."""
    if minute % 10 == 0:
        await shop.deploy()


def _fires(*names: str) -> frozenset[str]:
    return frozenset(f"Streamguard{name}" for name in names)


INCIDENTS: Final = {
    "registration slow": Incident(
        store_slow_to_register, 10, _fires("StreamStartBurnsFast", "StreamStartBurnsSlow"), healthy_after=40
    ),
    "appends slow": Incident(store_slow_to_append, 10, _fires("AppendBurnsFast", "AppendBurnsSlow"), healthy_after=40),
    "stream store away": Incident(
        store_away,
        8,
        _fires("BreakerOpen", "AcceptedNotDurable"),
        _fires("ReconcilerSilent", "ResumeBurnsFast", "ResumeBurnsSlow"),
        healthy_after=40,
    ),
    "log lost": Incident(store_loses_a_log, 3, _fires("AcceptedNotDurable")),
    "database down": Incident(
        database_down,
        8,
        _fires("PersistenceBurnsFast", "PersistenceBurnsSlow", "PendingSaveOld", "OutboxBacklog", "BreakerOpen"),
        healthy_after=40,
    ),
    "row locked": Incident(one_row_locked, 6, _fires("PendingSaveOld")),
    "reply refused": Incident(reply_refused, 6, _fires("DeadLetters"), _fires("AcceptedNotDurable")),
    "saved differently": Incident(saved_differently, 3, _fires("InvariantViolated"), _fires("AcceptedNotDurable")),
    "cursors ahead": Incident(cursors_ahead, 10, _fires("ResumeBurnsFast", "ResumeBurnsSlow"), healthy_after=40),
    "clients come back": Incident(clients_come_back, 7, _fires("ReconnectStorm")),
    "provider down": Incident(provider_down, 8, _fires("ProviderFailing")),
    "endpoint blocks": Incident(
        endpoint_blocks, 10, _fires("LoopLag"), _fires("AppendBurnsFast", "AppendBurnsSlow"), healthy_after=40
    ),
    "sink raises": Incident(sink_raises, 3, _fires("SinkFailing")),
    "reconciler hangs": Incident(reconciler_hangs, 6, _fires("ReconcilerSilent")),
    "stream of a later version": Incident(
        stream_of_a_later_version, 8, _fires("StreamsStuck", "TerminalBurnsSlow"), healthy_after=25
    ),
    "streams taken": Incident(streams_taken, 4, _fires("FencedSpike")),
    "quota away": Incident(quota_away, 10, _fires("StreamStartBurnsFast", "StreamStartBurnsSlow"), healthy_after=40),
    "reservations left": Incident(reservations_left, 15, _fires("ReservationsStuck")),
    "worker away": Incident(worker_away, 15, _fires("MetricsAbsent", "TargetDown")),
    "long drain": Incident(long_drain, 8, settings={"drain_seconds": 600.0}),
    "nothing": Incident(nothing, 30),
}
"""Every alert of the kit fires for one of them."""
