"""`streamguard show` and `streamguard stop`: one session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import typer

from ..stores.records import Hint, OutboxEntry, StreamMeta
from ..stores.registrations import StopReply
from ..stores.roles.inspection import Inspection
from ..stores.roles.stream_log import StreamLog
from ..stores.roles.stream_registry import StreamRegistry
from ..telemetry.audit import AuditAction
from ..values import Persisted, QuotaState, SessionKey, StreamRef, StreamState
from .audit import Audit, audited
from .exits import CommandError, ExitCode
from .options import (
    DEFAULT_NAMESPACE,
    DEFAULT_TIMEOUT,
    AsJson,
    Limit,
    Namespace,
    Owner,
    Timeout,
    Url,
    place_of,
    run,
)
from .output import Output, amounts, count, duration, size
from .shapes import entry_shape, stream_shape

__all__ = ["show", "stop"]

Session = Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.", show_default=False)]

POLL_SECONDS: Final = 1.0
"""How long a lost hint may go unnoticed."""


def show(
    url: Url,
    session: Session,
    owner: Owner,
    namespace: Namespace = DEFAULT_NAMESPACE,
    limit: Limit = 20,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show a session: its streams, latest first, how they ended, and what is owed for them.

    What was said is not shown.
    """
    output = Output(as_json=as_json)
    key = SessionKey(owner, session)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with place.opened() as store:
            if not isinstance(store, StreamRegistry):
                raise place.cannot(store, "list a session's streams", "StreamRegistry")
            listings = store if isinstance(store, Inspection) else None
            record = await store.session(key)
            found = await store.session_streams(key, limit=limit + 1)
            if record.last_id is None and not found:
                raise _unknown(key)
            streams = found[:limit]
            owed = [entry for meta in streams if (entry := await _owed_for(listings, meta)) is not None]
        if output.as_json:
            output.value(
                {
                    "store": place.name,
                    "session_id": session,
                    "active_id": record.active_id,
                    "last_id": record.last_id,
                    "streams": [stream_shape(meta, owners=False) for meta in streams],
                    "owed": [entry_shape(entry, owners=False) for entry in owed],
                    "more": len(found) > limit,
                }
            )
        else:
            _print(output, streams, {entry.ref: entry for entry in owed}, more=len(found) > limit)
        return ExitCode.OK

    run(output, work)


async def _owed_for(listings: Inspection | None, meta: StreamMeta) -> OutboxEntry | None:
    """What a stream owes, where its record leaves it possible."""
    if listings is None or meta.state is not StreamState.CLOSED:
        return None
    if meta.persisted not in (Persisted.PENDING, Persisted.NO) and meta.quota is not QuotaState.PENDING:
        return None
    return await listings.outbox_entry(meta.ref.stream_id, key=meta.ref.key)


def _print(output: Output, streams: Sequence[StreamMeta], owed: Mapping[StreamRef, OutboxEntry], *, more: bool) -> None:
    for number, meta in enumerate(streams):
        if number:
            output.line()
        pairs = {
            "stream": meta.ref.stream_id,
            "message": meta.message_id,
            "endpoint": f"{meta.binding} ({meta.protocol})",
            "number": f"{meta.ordinal} of its session, epoch {meta.epoch}",
            "began": f"{duration(meta.age_seconds)} ago",
            "state": _state(meta),
            "events": f"{meta.last_seq}" + (", of which the log has lost some" if meta.lost else ""),
        }
        if meta.state is not StreamState.CLOSED:
            pairs["lease"] = duration(meta.lease_seconds) + (", a stop was asked for" if meta.stop_requested else "")
        if meta.seal is not None and meta.seal.fault is not None:
            fault = meta.seal.fault
            pairs["fault"] = f"{fault.code}" + (f" ({fault.reason})" if fault.reason else "")
        if meta.seal is not None and meta.seal.usage is not None:
            pairs["usage"] = amounts(meta.seal.usage.amounts)
        pairs["saved"] = f"{meta.persisted}, superseded by a later request" if meta.revised else meta.persisted
        if meta.quota is not QuotaState.NONE:
            pairs["quota"] = meta.quota
        if meta.ref in owed:
            pairs["owed"] = _debt(owed[meta.ref])
        output.pairs(pairs)
    if more:
        output.line()
        output.line("there are more (--limit)")


def _state(meta: StreamMeta) -> str:
    if meta.seal is None:
        return meta.state
    since = "" if meta.closed_seconds is None else f" {duration(meta.closed_seconds)} ago"
    return f"{meta.state}{since}, {meta.seal.outcome}"


def _debt(entry: OutboxEntry) -> str:
    when = "given up" if entry.dead else f"due in {duration(entry.due_seconds)}"
    why = f", last: {entry.reason}" if entry.reason else ""
    return f"a save, {when} after {count(entry.attempts, 'attempt')}{why} ({size(len(entry.payload))})"


def _unknown(key: SessionKey) -> CommandError:
    return CommandError(
        ExitCode.NOT_FOUND, "not_found", f"this owner has no session {key.session_id[:64]}, or it has expired"
    )


# -- stop -------------------------------------------------------------------------------------------------------------


def stop(
    url: Url,
    session: Session,
    owner: Owner,
    namespace: Namespace = DEFAULT_NAMESPACE,
    wait: Annotated[float, typer.Option(help="Seconds to wait until the stream has ended.", min=0.0)] = 5.0,
    audit: Audit = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Stop a session's stream, as its user could, whichever worker writes it."""
    output = Output(as_json=as_json)
    key = SessionKey(owner, session)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with audited(audit, AuditAction.STOP, key=key) as trail, place.opened() as store:
            record = await store.session(key)
            meta = record.active
            if record.last_id is None:
                raise _unknown(key)
            result, ended = "nothing_running", None
            if meta is not None and meta.state is StreamState.OPEN:
                if not isinstance(store, StreamRegistry):
                    raise place.cannot(store, "stop a stream", "StreamRegistry")
                result, ended = await _stop(store, store, meta.ref, wait)
            stream_id, message_id = (None, None) if meta is None else (meta.ref.stream_id, meta.message_id)
            trail.note(AuditAction.STOP, key=key, stream_id=stream_id, message_id=message_id, outcome=result)
        _told(output, session, stream_id, result, ended)
        return ExitCode.PROBLEMS if result in ("requested", "expired") else ExitCode.OK

    run(output, work)


async def _stop(registry: StreamRegistry, log: StreamLog, ref: StreamRef, wait: float) -> tuple[str, StreamMeta | None]:
    """Ask for the stop, and wait for the stream's seal."""
    changed = asyncio.Event()

    def on_hint(_: Hint) -> None:
        changed.set()

    async with log.subscribe(ref, on_hint, data=False):
        reply = await registry.request_stop(ref)
        if reply is StopReply.ENDED:
            return "nothing_running", await log.meta(ref)
        deadline = time.monotonic() + wait
        while True:
            changed.clear()
            meta = await log.meta(ref)
            if meta is None or meta.seal is not None:
                return "ended", meta
            left = deadline - time.monotonic()
            if left <= 0:
                return ("expired" if meta.lease_seconds <= 0 else "requested"), meta
            try:
                async with asyncio.timeout(min(left, POLL_SECONDS)):
                    await changed.wait()
            except TimeoutError:
                continue


_RESULTS: Final = {
    "nothing_running": "there is no stream to stop",
    "requested": "the stop is on record, but its worker has not ended the stream yet",
    "expired": "the stop is on record; the stream's worker is gone, and another ends it when it comes by",
}


def _told(output: Output, session: str, stream_id: str | None, result: str, meta: StreamMeta | None) -> None:
    outcome = None if meta is None or meta.seal is None else meta.seal.outcome
    if output.as_json:
        output.value({"session_id": session, "stream_id": stream_id, "result": result, "outcome": outcome})
    elif result == "ended":
        output.line(f"stream {stream_id} has ended: {outcome or 'erased'}")
    else:
        output.line(_RESULTS[result])
