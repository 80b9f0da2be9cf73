"""What `streamguard doctor` looks at: one function per concern, each giving findings."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ..errors import StoreError
from ..stores.damage import Unreadable
from ..stores.partial import complete, lacking_roles
from ..stores.redis.server_facts import FULL, OLDEST, Clock, RedisInspector, ServerFacts
from ..stores.roles.inspection import Inspection
from ..stores.roles.stream_log import StreamLog
from ..unavailable import reason_of
from .exits import failure_of
from .output import duration, size
from .trial import TrialError, live_and_die

__all__ = [
    "Finding",
    "Verdict",
    "check_clock",
    "check_keys",
    "check_life",
    "check_outbox",
    "check_permissions",
    "check_records",
    "check_scripts",
    "check_server",
    "check_start",
    "check_streams",
    "check_writes",
    "unreachable",
]

CLOCK_SECONDS: Final = 1.0
"""Writers' clocks date streams, erasures and ages; leases are measured on the server's."""
LATE_SECONDS: Final = 60.0
"""How long after its lease a stream is ended at the latest where workers run: lease and sweep are 20 seconds."""
OVERDUE_SECONDS: Final = 300.0
COUNTED: Final = 1_000
NAMED: Final = 50
"""How many records that cannot be read are named for programs."""


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may not be what you want."""
    PROBLEM = "problem"
    """Streams are lost or not served."""
    SKIPPED = "skipped"
    """This account may not look, or was not asked to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    """Stable name."""
    verdict: Verdict
    detail: str
    values: Mapping[str, object] = field(default_factory=dict)
    """What was measured, for programs."""


def unreachable(error: StoreError) -> Finding:
    """It does not answer, or lets nobody in."""
    return Finding("connection", Verdict.PROBLEM, failure_of(error).message, {"reason": str(reason_of(error))})


def check_clock(clock: Clock) -> list[Finding]:
    """Whether it answers, and whose clock is right."""
    took, ahead = clock.round_trip_seconds, clock.ahead_seconds
    values = {"ahead_seconds": round(ahead, 4), "round_trip_seconds": round(took, 6)}
    off = abs(ahead) > CLOCK_SECONDS + took
    side = "ahead of" if ahead >= 0 else "behind"
    said = (
        f"its clock is {abs(ahead):.3f} s {side} this machine's"
        if abs(ahead) >= 0.001
        else "its clock agrees with this machine's"
    )
    return [
        Finding("connection", Verdict.OK, f"answers in {took * 1000:.1f} ms", {"round_trip_seconds": round(took, 6)}),
        Finding(
            "clock",
            Verdict.WARNING if off else Verdict.OK,
            f"{said}: ages are wrong by that, and deleting a session may miss what has just begun" if off else said,
            values,
        ),
    ]


def check_server(facts: ServerFacts, *, of_cluster: bool = False) -> list[Finding]:
    """Version, kind, memory and persistence."""
    return [_version(facts), _kind(facts, of_cluster=of_cluster), _eviction(facts), _memory(facts), _persistence(facts)]


def _version(facts: ServerFacts) -> Finding:
    if facts.version is None:
        return _hidden("version", "INFO")
    numbers = tuple(map(int, re.findall(r"\d+", facts.version)[:2]))
    old = numbers < OLDEST
    detail = f"Redis {facts.version}" + ("; streamguard needs 6.2 or later" if old else "")
    return Finding("version", Verdict.PROBLEM if old else Verdict.OK, detail, {"version": facts.version})


def _kind(facts: ServerFacts, *, of_cluster: bool) -> Finding:
    if facts.mode is None or facts.role is None:
        return _hidden("kind", "INFO")
    values = {"mode": facts.mode, "role": facts.role}
    if facts.role != "master":
        return Finding("kind", Verdict.PROBLEM, "a replica, which takes no writes: name the primary", values)
    if of_cluster and facts.mode == "cluster":
        return Finding("kind", Verdict.OK, "a master of a cluster", values)
    if facts.mode == "cluster":
        return Finding("kind", Verdict.PROBLEM, "a server of a cluster: name it as redis+cluster://", values)
    if facts.mode != "standalone":
        return Finding("kind", Verdict.PROBLEM, f"{facts.mode} mode, which is not supported", values)
    return Finding("kind", Verdict.OK, "a single primary", values)


def _eviction(facts: ServerFacts) -> Finding:
    if facts.eviction is None:
        return _hidden("eviction", "INFO")
    values = {"policy": facts.eviction}
    if facts.eviction == "noeviction":
        return Finding("eviction", Verdict.OK, "noeviction: a full server refuses writes, and deletes nothing", values)
    policy = facts.eviction
    return Finding(
        "eviction",
        Verdict.PROBLEM,
        f"{policy}: a full server deletes live streams; CONFIG SET maxmemory-policy noeviction",
        values,
    )


def _memory(facts: ServerFacts) -> Finding:
    used, limit = facts.used_bytes, facts.limit_bytes
    if used is None or limit is None:
        return _hidden("memory", "INFO")
    values = {"used_bytes": used, "limit_bytes": limit}
    if not limit:
        return Finding("memory", Verdict.OK, f"{size(used)} used, no limit", values)
    full = used > FULL * limit
    detail = f"{size(used)} of {size(limit)} used" + ("; when it is full, streams go on unlogged" if full else "")
    return Finding("memory", Verdict.WARNING if full else Verdict.OK, detail, values)


def _persistence(facts: ServerFacts) -> Finding:
    if facts.append_only is None:
        return _hidden("persistence", "INFO")
    values = {"append_only": facts.append_only, "fsync": facts.fsync, "snapshots": facts.snapshots}
    if facts.writing_failed:
        detail = "the server could not write its file last time; its log says why"
        return Finding("persistence", Verdict.PROBLEM, detail, values)
    if facts.append_only:
        fsync = "" if facts.fsync is None else f", synced {facts.fsync}"
        return Finding("persistence", Verdict.OK, f"append-only file{fsync}", values)
    if facts.snapshots is None:
        return Finding("persistence", Verdict.WARNING, "no append-only file: a crash loses recent streams", values)
    if facts.snapshots:
        detail = "snapshots only: a crash loses the streams since the last one"
        return Finding("persistence", Verdict.WARNING, detail, values)
    detail = "none: a restart loses every stream, and saves that are owed"
    return Finding("persistence", Verdict.WARNING, detail, values)


async def check_start(store: StreamLog) -> list[Finding]:
    """Whether a store of another package answers, and what it warns of."""
    warnings = await store.start()
    began = time.perf_counter()
    await store.ping()
    took = time.perf_counter() - began
    return [
        Finding("connection", Verdict.OK, f"answers in {took * 1000:.1f} ms", {"round_trip_seconds": round(took, 6)}),
        *(Finding("start", Verdict.WARNING, warning) for warning in warnings),
    ]


async def check_writes(survey: RedisInspector) -> Finding:
    """Whether it takes writes at all."""

    async def look() -> Finding:
        await survey.write()
        return Finding("writes", Verdict.OK, "a key was written")

    return await _looking("writes", look)


async def check_scripts(survey: RedisInspector) -> Finding:
    """Whether it takes our scripts."""

    async def look() -> Finding:
        count = await survey.load_scripts()
        return Finding("scripts", Verdict.OK, f"{count} scripts loaded", {"scripts": count})

    return await _looking("scripts", look)


async def check_permissions(survey: RedisInspector) -> Finding:
    """Whether this account may do everything, and what it lacks if not."""

    async def look() -> Finding:
        lacks = await survey.forbidden()
        if lacks:
            return Finding("permissions", Verdict.PROBLEM, f"this account lacks: {', '.join(lacks)}", {"lacks": lacks})
        return Finding("permissions", Verdict.OK, "this account may do all that streams need", {"lacks": []})

    return await _looking("permissions", look)


async def check_life(store: StreamLog) -> Finding:
    """Whether a stream can live and end there."""
    if lacks := lacking_roles(store):
        return _absent("trial", store, *lacks)
    try:
        took = await live_and_die(complete(store))
    except TrialError as exc:
        return Finding("trial", Verdict.PROBLEM, str(exc))
    except StoreError as exc:
        return Finding("trial", Verdict.PROBLEM, failure_of(exc).message)
    detail = f"a stream was written, heard of, stopped, ended and erased in {took * 1000:.0f} ms"
    return Finding("trial", Verdict.OK, detail, {"seconds": round(took, 4)})


async def check_keys(survey: RedisInspector, limit: int) -> Finding:
    """Whether every key expires."""
    try:
        found = await survey.sample(limit)
    except StoreError as exc:
        return Finding("ttls", Verdict.SKIPPED, failure_of(exc).message)
    values = {"keys": found.keys, "immortal": found.immortal, "complete": found.complete, "examples": found.examples}
    looked = f"all {found.keys} keys" if found.complete else f"{found.keys} keys of more"
    if found.immortal:
        names = ", ".join(found.examples[:3])
        detail = f"of {looked}, {found.immortal} would live for ever, for one: {names}"
        return Finding("ttls", Verdict.PROBLEM, detail, values)
    return Finding("ttls", Verdict.OK, f"looked at {looked}; each expires", values)


async def check_records(survey: RedisInspector, limit: int) -> Finding:
    """Whether everything stored can be read, and what cannot."""
    try:
        scan = await survey.records(limit)
    except StoreError as exc:
        return Finding("records", Verdict.SKIPPED, failure_of(exc).message)
    found = scan.named()
    values = {
        "looked": scan.looked,
        "complete": scan.complete,
        "unreadable": [
            {
                "record": one.record.value,
                "key": one.key,
                "session_id": one.session_id,
                "why": one.why,
                "advice": one.action,
            }
            for one in found[:NAMED]
        ],
    }
    looked = f"all {scan.looked} keys" if scan.complete else f"{scan.looked} keys of more"
    if not found:
        return Finding("records", Verdict.OK, f"read {looked}", values)
    damaged = any(one.why != "newer_format" for one in found)
    told = "; ".join(_said_of(one) for one in found[:3])
    more = "" if len(found) <= 3 else f"; and {len(found) - 3} more (--json names {NAMED} of them)"
    detail = f"of {looked}, {len(found)} cannot be read: {told}{more}"
    return Finding("records", Verdict.PROBLEM if damaged else Verdict.WARNING, detail, values)


def _said_of(one: Unreadable) -> str:
    session = "" if one.session_id is None else f", session {one.session_id}"
    return f"{one.record.replace('_', ' ')} {one.key}{session}, {one.why.replace('_', ' ')}: {one.action}"


async def check_streams(store: StreamLog) -> Finding:
    """Whether somebody ends what dead workers left."""
    if not isinstance(store, Inspection):
        return _absent("streams", store, "Inspection")

    async def look() -> Finding:
        found = await store.active_streams(limit=COUNTED + 1)
        late = [meta for meta in found if meta.lease_seconds < -LATE_SECONDS]
        values = {"active": len(found), "abandoned": len(late)}
        if late:
            longest = duration(-min(meta.lease_seconds for meta in late))
            detail = (
                f"{_count(len(late))} of {_count(len(found))} active streams have had no writer for up to {longest}: "
                "no worker runs that could end them"
            )
            return Finding("streams", Verdict.WARNING, detail, values)
        return Finding("streams", Verdict.OK, f"{_count(len(found))} active", values)

    return await _looking("streams", look)


async def check_outbox(store: StreamLog) -> Finding:
    """Whether saves that are owed are made."""
    if not isinstance(store, Inspection):
        return _absent("outbox", store, "Inspection")

    async def look() -> Finding:
        dead = await store.outbox_entries(dead=True, limit=COUNTED + 1)
        due = await store.outbox_entries(dead=False, limit=COUNTED + 1)
        overdue = [entry for entry in due if entry.due_seconds < -OVERDUE_SECONDS]
        values = {"dead": len(dead), "owed": len(due), "overdue": len(overdue)}
        letters = "dead letter" if len(dead) == 1 else "dead letters"
        counts = f"{_count(len(due))} owed, {_count(len(dead))} {letters}"
        if dead:
            return Finding("outbox", Verdict.WARNING, f"{counts}: see `streamguard outbox list URL --dead`", values)
        if overdue:
            detail = f"{counts}; {_count(len(overdue))} overdue: no worker runs that knows their endpoint"
            return Finding("outbox", Verdict.WARNING, detail, values)
        return Finding("outbox", Verdict.OK, counts, values)

    return await _looking("outbox", look)


def _count(number: int) -> str:
    return str(number) if number <= COUNTED else f"over {COUNTED}"


def _absent(check: str, store: StreamLog, *roles: str) -> Finding:
    lacks = ", ".join(roles)
    return Finding(check, Verdict.SKIPPED, f"{type(store).__name__} has no {lacks}", {"lacks": list(roles)})


def _hidden(check: str, command: str) -> Finding:
    return Finding(check, Verdict.SKIPPED, f"this account may not run {command}")


async def _looking(check: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except StoreError as exc:
        values = {"step": exc.operation, "reason": str(reason_of(exc))}
        return Finding(check, Verdict.PROBLEM, failure_of(exc).message, values)
