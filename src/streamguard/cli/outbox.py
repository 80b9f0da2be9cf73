"""`streamguard outbox`: saves that are owed, and those that were given up (dead letters)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import typer

from ..errors import StoreCorruptError
from ..settings import Settings
from ..stores.records import OutboxEntry, Status
from ..stores.roles.inspection import Inspection
from ..stores.roles.outbox import Outbox
from ..stores.roles.stream_log import StreamLog
from ..telemetry.audit import AuditAction
from ..values import Persisted, StreamRef
from .audit import Audit, OperatorTrail, audited
from .entries import all_dead, checked_stream_id, listed
from .exits import CommandError, ExitCode
from .options import (
    DEFAULT_NAMESPACE,
    DEFAULT_TIMEOUT,
    AsJson,
    Limit,
    Namespace,
    Owners,
    Place,
    Timeout,
    Url,
    Yes,
    place_of,
    run,
)
from .output import Output, duration, size, table
from .shapes import entry_shape, message_shapes, owes_save, owner_of, stream_shape, superseding_shape

__all__ = ["app", "discard", "list_entries", "replay", "show_entry"]

app: Final[typer.Typer] = typer.Typer(
    help="Saves that are owed, and those that were given up (dead letters).",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="The stream's id.", show_default=False)]
Streams = Annotated[list[str] | None, typer.Argument(metavar="STREAM", help="Streams' ids.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="Every dead letter.")]

_COLUMNS: Final = ("STREAM", "OWNER", "SESSION", "KIND", "ATTEMPTS", "DUE", "LAST REASON", "SIZE")
_RIGHT: Final = ("ATTEMPTS", "DUE", "SIZE")


@app.command("list")
def list_entries(
    url: Url,
    namespace: Namespace = DEFAULT_NAMESPACE,
    dead: Annotated[
        bool | None, typer.Option("--dead/--due", help="Only dead letters, or only what is still tried.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Go on where a listing ended.", show_default=False)
    ] = None,
    limit: Limit = 200,
    owners: Owners = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """List what is owed: dead letters first, those that expire soonest at the top, then what is due, or was, longest.

    The status is 1 if there are dead letters among them: they wait for an operator. The store is asked for a page at a
    time; the last line says how many more there are, and how to see them.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with place.opened() as store:
            found = await listed(_listings(place, store), dead=dead, after=after, limit=limit)
        shown = found.entries
        if output.as_json:
            shapes = [entry_shape(entry, owners=owners) for entry in shown]
            more = {"more": found.next is not None, "left": found.left, "next": found.next}
            output.value({"store": place.name, "namespace": namespace, "entries": shapes, **more})
        else:
            if shown:
                output.show(table(_COLUMNS, [_row(entry, owners=owners) for entry in shown], right=_RIGHT))
            buried = sum(entry.dead for entry in shown)
            count = f"{buried} dead, {len(shown) - buried} due or waiting"
            rest = "" if found.next is None else f"; {found.left} more: --after {found.next}, or a higher --limit"
            output.line(count + rest)
        return ExitCode.PROBLEMS if any(entry.dead for entry in shown) else ExitCode.OK

    run(output, work)


def _row(entry: OutboxEntry, *, owners: bool) -> Sequence[str]:
    return (
        entry.ref.stream_id,
        owner_of(entry.ref.key.owner, clear=owners),
        entry.ref.key.session_id,
        "dead" if entry.dead else "due",
        str(entry.attempts),
        "-" if entry.dead else duration(entry.due_seconds),
        entry.reason or "-",
        size(len(entry.payload)),
    )


@app.command("show")
def show_entry(
    url: Url,
    stream: Stream,
    namespace: Namespace = DEFAULT_NAMESPACE,
    owners: Owners = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Show what one stream owes: the entry, the stream's record, the messages to be saved before its reply.

    What was said is not shown.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        stream_id = checked_stream_id(stream)
        async with place.opened() as store:
            entry = await _listings(place, store).outbox_entry(stream_id)
            if entry is None:
                raise CommandError(ExitCode.NOT_FOUND, "not_found", f"nothing is owed for stream {stream_id}")
            try:
                meta = await store.meta(entry.ref)
            except StoreCorruptError:  # that is why it is a dead letter
                meta = None
        messages, supersedes = message_shapes(entry), superseding_shape(entry)
        if output.as_json:
            output.value(
                {
                    "store": place.name,
                    "entry": entry_shape(entry, owners=owners),
                    "stream": None if meta is None else stream_shape(meta, owners=owners),
                    "messages": messages,
                    "supersedes": supersedes,
                }
            )
            return ExitCode.OK
        pairs = {
            "stream": entry.ref.stream_id,
            "owner": owner_of(entry.ref.key.owner, clear=owners),
            "session": entry.ref.key.session_id,
            "kind": "a dead letter" if entry.dead else f"due in {duration(entry.due_seconds)}",
            "attempts": str(entry.attempts),
            "reason": entry.reason or "-",
        }
        if meta is not None:
            pairs["message"] = meta.message_id
            pairs["endpoint"] = f"{meta.binding} ({meta.protocol})"
            pairs["outcome"] = "-" if meta.seal is None else meta.seal.outcome
            pairs["saved"] = meta.persisted
        pairs["payload"] = size(len(entry.payload))
        if messages is None:
            pairs["before"] = "cannot be read by this version"
        elif messages:
            pairs["before"] = ", ".join(f"{message['role']} message {message['id']}" for message in messages)
        if supersedes is not None:
            pairs["replaces"] = f"the history from message {supersedes['start'] or '(the last answer)'} on"
        output.pairs(pairs)
        return ExitCode.OK

    run(output, work)


@app.command()
def replay(
    url: Url,
    streams: Streams = None,
    every: Every = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    audit: Audit = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: AsJson = False,
) -> None:
    """Have dead letters tried again: they are due at once, with no attempts behind them.

    A worker that knows the endpoint tries them, or `streamguard reconcile`. What is still tried is left as it is.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with audited(audit, AuditAction.REQUEUE) as trail, place.opened() as store:
            outbox = _outbox(place, store)
            found, missing = await _named(_listings(place, store), streams or [], every=every)
            revived: list[str] = []
            for owed in found:
                try:
                    kept = await outbox.requeue(owed.ref, saves=owed.saves) is Status.OK
                except StoreCorruptError:  # nobody can try it; it can be discarded
                    kept = False
                (revived if kept else missing).append(owed.ref.stream_id)
                _note(trail, AuditAction.REQUEUE, owed, "replayed" if kept else "not_found")
        return _told(output, "replayed", revived, missing)

    run(output, work)


@app.command()
def discard(
    url: Url,
    streams: Streams = None,
    every: Every = False,
    keep: Annotated[float, typer.Option(help="Seconds the stream can still be replayed.", min=0.001)] = (
        Settings().finished_ttl_seconds
    ),
    namespace: Namespace = DEFAULT_NAMESPACE,
    audit: Audit = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give up saves for good: the streams are on record as not saved, and what was to be saved is deleted.

    Their text can be downloaded until the streams expire.
    """
    output = Output(as_json=as_json)

    async def work() -> ExitCode:
        place = place_of(url, namespace, timeout)
        async with audited(audit, AuditAction.DISCARD) as trail, place.opened() as store:
            outbox = _outbox(place, store)
            found, missing = await _named(_listings(place, store), streams or [], every=every)
            if found and not yes:
                _confirm(output, len(found))
            gone: list[str] = []
            for owed in found:
                status = await outbox.complete(owed.ref, persisted=Persisted.NO, retention_seconds=keep)
                done = status is Status.OK
                (gone if done else missing).append(owed.ref.stream_id)
                _note(trail, AuditAction.DISCARD, owed, "discarded" if done else "not_found")
        return _told(output, "discarded", gone, missing)

    run(output, work)


class _Owed(NamedTuple):
    """What a command needs of an entry: there may be very many, and payloads are large."""

    ref: StreamRef
    saves: bool
    reason: str | None

    @classmethod
    def of(cls, entry: OutboxEntry) -> _Owed:
        return cls(entry.ref, owes_save(entry), entry.reason)


def _note(trail: OperatorTrail, action: AuditAction, owed: _Owed, outcome: str) -> None:
    ref = owed.ref
    trail.note(action, key=ref.key, stream_id=ref.stream_id, outcome=outcome, reason=owed.reason)


def _listings(place: Place, store: StreamLog) -> Inspection:
    """Raises `CommandError` if the store lists nothing."""
    if not isinstance(store, Inspection):
        raise place.cannot(store, "list what is owed", "Inspection")
    return store


def _outbox(place: Place, store: StreamLog) -> Outbox:
    """Raises `CommandError` if the store has no outbox."""
    if not isinstance(store, Outbox):
        raise place.cannot(store, "keep what is owed", "Outbox")
    return store


async def _named(listings: Inspection, streams: Sequence[str], *, every: bool) -> tuple[list[_Owed], list[str]]:
    """The entries that the arguments name, and the ids of those that are not there."""
    if every == bool(streams):
        raise CommandError(ExitCode.USAGE, "usage", "name streams, or give --all for every dead letter")
    if every:
        return [_Owed.of(entry) async for entry in all_dead(listings)], []
    found, missing = [], []
    for stream_id in dict.fromkeys(map(checked_stream_id, streams)):
        entry = await listings.outbox_entry(stream_id)
        if entry is None:
            missing.append(stream_id)
        else:
            found.append(_Owed.of(entry))
    return found, missing


def _confirm(output: Output, number: int) -> None:
    what = "the save of 1 stream" if number == 1 else f"the saves of {number} streams"
    if output.as_json:
        raise CommandError(ExitCode.USAGE, "usage", f"to discard {what}, give --yes")
    if not typer.confirm(f"Discard {what}? This cannot be undone."):
        raise CommandError(ExitCode.PROBLEMS, "declined", "nothing was discarded")


def _told(output: Output, what: str, done: Sequence[str], missing: Sequence[str]) -> ExitCode:
    if output.as_json:
        output.value({what: list(done), "not_found": list(missing)})
    else:
        for stream_id in done:
            output.line(f"{stream_id} {what}")
        for stream_id in missing:
            output.line(f"{stream_id} nothing is owed")
        output.line(f"{len(done)} {what}" + (f", {len(missing)} not found" if missing else ""))
    return ExitCode.NOT_FOUND if missing else ExitCode.OK
