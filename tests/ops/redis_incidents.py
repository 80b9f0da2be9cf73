"""Incidents of a real Redis, in seconds of a real clock: each scrape, 0.3 s after the last, is a minute of Prometheus'
time.

Latencies are left out: a busy machine would make minutes of them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from streamguard.quota import RedisQuotaStore
from streamguard.stores import RedisClient
from streamguard.stores.redis import RedisStore

from ..harness.redis import RedisServer
from .rules import RECORDED_METRICS
from .shop import DAILY, OWNER, Shop

__all__ = ["BEFORE", "REDIS_INCIDENTS", "RedisIncident", "recorded_on_redis"]

SETTINGS: Final = {
    "lease_seconds": 2.0,
    "heartbeat_seconds": 0.5,
    "sweep_seconds": 0.05,
    "outbox_seconds": 0.1,
    "breaker_probe_seconds": 0.1,
    "registration_seconds": 2.0,
    "append_deadline_seconds": 1.0,
    "drain_seconds": 1.0,
}
"""A fault is noticed soon; and nobody is given up for what a busy machine does."""
MINUTE_SECONDS: Final = 0.3
BEFORE: Final = 10
Play = Callable[[Shop, RedisServer, str], Awaitable[None]]


def _alerts(*names: str) -> frozenset[str]:
    return frozenset(f"Streamguard{name}" for name in names)


LATENCIES: Final = frozenset(
    f"streamguard_{name}"
    for name in (
        "admission_seconds",
        "append_seconds",
        "event_loop_lag_seconds",
        "reconciler_last_success_timestamp_seconds",
    )
)


@dataclass(frozen=True)
class RedisIncident:
    """What happens to a Redis at the beginning, and at the end, of some minutes."""

    begins: Play
    ends: Play
    minutes: int
    fires: frozenset[str]
    may: frozenset[str] = frozenset()
    """These may fire beside, as a consequence that takes longer or shorter."""


async def stopped(shop: Shop, server: RedisServer, _: str) -> None:
    """In the middle of an answer."""
    _, answer = await shop.ask(wait=True)
    await answer.read(2)
    server.stop()
    shop.go_on()


async def started(_: Shop, server: RedisServer, __: str) -> None:
    server.start()


async def record_damaged(_: Shop, server: RedisServer, namespace: str) -> None:
    """Somebody else writes to the keys: what the outbox names is no stream."""
    key = f"{namespace}:{{outbox.3}}"
    server.client().zadd(key, {"nonsense": 1})
    server.client().pexpire(key, 600_000)


async def counters_changed(_: Shop, server: RedisServer, namespace: str) -> None:
    """Somebody corrects usage by hand."""
    client = server.client()
    for key in client.keys(f"{namespace}:*"):
        if client.type(key) == b"hash":
            for field, value in client.hgetall(key).items():
                if field[:11] == b"w:requests:":
                    number, used, *others = json.loads(value)
                    client.hset(key, field, json.dumps([number, str(int(used) + 5), *others]))


async def repaired(shop: Shop, _: RedisServer, __: str) -> None:
    assert shop.shared_quotas is not None
    await shop.shared_quotas.audit(OWNER, [DAILY], repair=True)


async def nothing(_: Shop, __: RedisServer, ___: str) -> None:
    """It stays as it is."""


REDIS_INCIDENTS: Final = {
    "Redis stopped": RedisIncident(
        stopped,
        started,
        16,
        _alerts("BreakerOpen", "AcceptedNotDurable"),
        _alerts("ResumeBurnsFast", "ResumeBurnsSlow", "StreamStartBurnsFast", "StreamStartBurnsSlow"),
    ),
    "record damaged": RedisIncident(record_damaged, nothing, 3, _alerts("InvariantViolated")),
    "counters changed": RedisIncident(counters_changed, repaired, 14, _alerts("QuotaDrift")),
    "Redis well": RedisIncident(nothing, nothing, 6, frozenset()),
}


async def recorded_on_redis(server: RedisServer) -> dict[str, dict[str, Any]]:
    """Play them all, each in a namespace of its own."""
    recorded = {}
    for n, (name, incident) in enumerate(REDIS_INCIDENTS.items()):
        namespace = f"shop{n}"
        store = RedisStore(server.url, namespace=namespace, command_seconds=1.0)
        async with RedisClient(server.url, command_seconds=1.0) as client:
            quotas = RedisQuotaStore(client, namespace=namespace)
            shop = Shop(RECORDED_METRICS - LATENCIES, store, quotas, minute_seconds=MINUTE_SECONDS, **SETTINGS)
            await shop.start()
            for minute in range(BEFORE + incident.minutes + 13):
                if minute == BEFORE:
                    await incident.begins(shop, server, namespace)
                if minute == BEFORE + incident.minutes:
                    await incident.ends(shop, server, namespace)
                await shop.visits()
                await shop.until_scraped()
            await shop.end()
        recorded[name] = {"series": shop.recording.series(), "minutes": shop.recording.minutes}
    return recorded
