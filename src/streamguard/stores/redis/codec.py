"""What the Redis store writes, as bytes, and back: records, seals, held parts, hints, log entries.

Pure: no connection here. `docs/reference/redis.md` describes the same fields for operators.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final, cast

from ...compact_json import compact_json
from ...decoding import DAMAGE, decoding, read_json, read_text
from ...errors import StoreCorruptError, StoreFormatError
from ...faults import Fault
from ...lua import read_reply
from ...values import FORMAT_VERSION, Event, EventKind, Persisted, QuotaState, StreamRef, StreamState, Usage
from ..appends import AppendReply
from ..records import (
    Erasure,
    Seal,
    Status,
    StreamMeta,
    Terminal,
    read_outcome,
    read_persisted,
    read_quota_state,
)
from .driver import CommandError, Reply
from .errors import concerns_record, refusal_of
from .identities import read_identity
from .record_fields import META_FIELDS, RECORD_FIELDS
from .session_calls import ErasedAnswer
from .stream_calls import WriteAnswer

__all__ = [
    "STATUSES",
    "append_reply",
    "decode_erasure",
    "decode_events",
    "decode_meta",
    "decode_seal",
    "decode_text",
    "flatten",
    "mutable_fields",
    "newer_format",
    "pack_held",
    "seal_json",
    "server_ms",
    "snapshot_ms",
    "status_of",
    "tombstone_json",
    "usage_json",
]

STATUSES: Final = (
    Status.OK,
    Status.DUPLICATE,
    Status.FENCED,
    Status.GAP,
    Status.SEALED,
    Status.GONE,
    Status.LEASED,
    Status.NOT_SEALED,
    Status.LOST,
    Status.LATE,
)
"""By the numbers of `lua/include/status.lua`; one past them stands for a record of a later format."""

_LARGEST: Final = 2**53
"""Beyond it a Lua number is not exact: no script of ours writes one."""
_STATES: Final = {b"o": StreamState.OPEN, b"s": StreamState.SEALED, b"c": StreamState.CLOSED}
_KINDS: Final = {kind.encode(): kind for kind in EventKind}
_LENGTH: Final = struct.Struct(">I")


def decode_text(reply: object) -> str:
    """A text in a script's reply.

    Raises:
        StoreCorruptError: it is something else.
    """
    with decoding(lambda: StoreCorruptError("Redis gave an unexpected answer to a script", operation="script")):
        return read_text(reply)


def _number(value: object) -> int:
    if isinstance(value, int):
        return value
    number = int(read_text(value))
    if abs(number) > _LARGEST:
        raise OverflowError("a number is too large")
    return number


def status_of(number: int, ref: StreamRef | None, operation: str) -> Status:
    """The status that a script answered about a stream or (None) a session.

    Raises:
        StoreFormatError: a later version wrote what it is about.
        StoreCorruptError: it is none.
    """
    if number == len(STATUSES):
        raise newer_format(ref, operation)
    if not 0 <= number < len(STATUSES):
        raise StoreCorruptError(f"{operation}: Redis gave an unexpected answer", operation=operation)
    return STATUSES[number]


def append_reply(reply: Reply, operation: str) -> AppendReply:
    """The reply of a script that writes to a stream. In the usual case it is the last event's number alone."""
    if isinstance(reply, int):
        return AppendReply(Status.OK, reply, False)
    match reply:
        case [0, int() as last_seq, int() as stop]:
            return AppendReply(Status.OK, last_seq, stop == 1)
    if isinstance(reply, CommandError) and not concerns_record(reply):
        refusal = refusal_of(operation, reply)
        refusal.__cause__ = reply
        return AppendReply(Status.REFUSED, 0, False, refusal)
    try:
        answer: WriteAnswer = read_reply(WriteAnswer, reply)
        return AppendReply(STATUSES[answer.status], answer.last_seq, answer.stop == 1)
    except DAMAGE:  # an error that this stream's record caused, a later format, or fields that are no numbers
        return AppendReply(Status.CORRUPT, 0, False)


def server_ms(reply: Reply) -> int | None:
    """The server's time in the answer of a script that writes to a stream: Unix time in milliseconds; None if it does
    not say."""
    match reply:
        case [_, _, _, int() as at_ms]:
            return at_ms
        case _:
            return None


def decode_meta(ref: StreamRef, snapshot: object, operation: str) -> StreamMeta | None:
    """The record in a script's snapshot of `ref`; None for no record.

    Raises:
        StoreCorruptError: a later version wrote it, or it is damaged.
    """
    if snapshot is None:
        return None
    with decoding(lambda: _damaged(ref, "record", operation)):
        if not isinstance(snapshot, list):
            raise TypeError("not a snapshot")
        *values, length, now = snapshot
        f = dict(zip(META_FIELDS, values, strict=True))
        version = _number(f["version"])
        if version > FORMAT_VERSION:
            raise newer_format(ref, operation)
        last, at, epoch, began = _number(f["last_seq"]), _number(now), _number(f["epoch"]), _number(f["began_us"])
        taken = f["last_writer"] is not None
        identity = read_identity(f["identity"])
        return StreamMeta(
            ref=ref,
            message_id=read_text(f["message_id"]),
            protocol=read_text(f["protocol"]),
            binding=identity.binding,
            fingerprint=identity.fingerprint,
            ordinal=_number(f["ordinal"]),
            epoch=epoch,
            state=_STATES[read_text(f["state"]).encode()],
            last_seq=last,
            last_epoch=_number(f["last_writer"]) if taken and 0 < last <= _number(f["taken_seq"]) else epoch,
            first_seq=last - _number(length) + 1,
            lease_seconds=(_number(f["lease_until"]) - at) / 1000,
            stop_requested=f["stop"] == b"1",
            taken=taken,
            lost=f["lost"] == b"1",
            seal=None
            if f["seal"] is None
            else decode_seal(ref, (f["seal"], f["seal_seq"], f["usage"], f["held"]), operation),
            usage=_usage(f["usage"]),
            persisted=Persisted.NOT_ASKED if f["persisted"] is None else read_persisted(read_text(f["persisted"])),
            quota=QuotaState.NONE if f["quota"] is None else read_quota_state(read_text(f["quota"])),
            revised=f["revised"] == b"1",
            created_at=began / 1_000_000,
            age_seconds=max(0.0, at / 1_000 - began / 1_000_000),
            closed_seconds=None if f["closed_ms"] is None else (at - _number(f["closed_ms"])) / 1000,
            abandon_after_seconds=identity.abandon_after_seconds,
            viewed_seconds=None if f["viewed_ms"] is None else (at - _number(f["viewed_ms"])) / 1000,
            format_version=version,
            client_version="" if f["client_version"] is None else read_text(f["client_version"]),
            request_id=identity.request_id,
            trace=identity.trace,
            worker="" if f["worker"] is None else read_text(f["worker"]),
        )


def snapshot_ms(snapshot: object) -> int | None:
    """The server's time when it took a snapshot, if this is one: Unix time in milliseconds."""
    match snapshot:
        case [*_, int() as at_ms]:
            return at_ms
        case _:
            return None


def decode_erasure(answer: ErasedAnswer | None) -> Erasure | None:
    """A session's erasure mark; None for none.

    Raises:
        StoreCorruptError: it is damaged.
    """
    if answer is None:
        return None
    with decoding(lambda: StoreCorruptError("erasure: a stored mark cannot be read", operation="erasure")):
        mark, now = _number(answer.erased_us), _number(answer.at_us)
    return Erasure(mark / 1_000_000, (now - mark) / 1_000_000)


def newer_format(ref: StreamRef | None, operation: str) -> StoreFormatError:
    """The error for a record a later version wrote, a stream's or (None) a session's; nothing was changed."""
    what = "this session" if ref is None else f"stream {ref.stream_id}"
    return StoreFormatError(
        f"{operation}: {what} was written by a later version of streamguard; upgrade this process",
        operation=operation,
    )


def _damaged(ref: StreamRef, what: str, operation: str) -> StoreCorruptError:
    return StoreCorruptError(f"the stored {what} of stream {ref.stream_id} cannot be read", operation=operation)


# -- seals ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _plain_seal_json(outcome: str) -> bytes:
    """A seal that says nothing but the outcome, as nearly all do: so there are few."""
    return compact_json({"outcome": outcome})


def _seal_json(outcome: str, fault: Fault | None, *, silent: bool = False) -> bytes:
    if fault is None and not silent:
        return _plain_seal_json(outcome)
    body: dict[str, object] = {"outcome": outcome}
    if silent:
        body["silent"] = True
    if fault is not None:
        body["fault"] = fault.as_dict()
    return compact_json(body)


def seal_json(seal: Seal) -> bytes:
    """The field `g`: outcome, fault, and whether nothing was said."""
    return _seal_json(seal.original or seal.outcome, seal.fault, silent=seal.silent)


def tombstone_json(terminal: Terminal) -> bytes:
    """The field `g` of a lost stream, whose terminal record decides how it ended."""
    return _seal_json(terminal.original or terminal.outcome, terminal.fault)


def usage_json(usage: Usage | None) -> bytes:
    """The field `u`; empty when nothing is known."""
    return b"" if usage is None else compact_json(dict(usage.amounts))


def _usage(field: object) -> Usage | None:
    if not isinstance(field, bytes) or not field:
        return None
    amounts = read_json(field)
    if not isinstance(amounts, dict) or any(type(amount) is not int for amount in amounts.values()):
        raise TypeError("amounts are numbers by unit")
    return Usage(amounts)


def pack_held(parts: Iterable[bytes]) -> bytes:
    """The field `h`: each part after its length, four bytes big-endian."""
    return b"".join([_LENGTH.pack(len(part)) + part for part in parts])


def _unpack_held(packed: bytes) -> tuple[bytes, ...]:
    parts, at = [], 0
    while at < len(packed):
        (size,) = _LENGTH.unpack_from(packed, at)
        at += 4
        if at + size > len(packed):
            raise ValueError("held parts are cut off")
        parts.append(packed[at : at + size])
        at += size
    return tuple(parts)


def decode_seal(ref: StreamRef, fields: Sequence[object], operation: str) -> Seal:
    """The seal in the fields `g`, `gl`, `u` and `h`.

    Raises:
        StoreCorruptError: they are damaged.
    """
    with decoding(lambda: _damaged(ref, "seal", operation)):
        seal, last_seq, usage, held = fields
        body = read_json(read_text(seal))
        outcome, original = read_outcome(body["outcome"])
        return Seal(
            outcome=outcome,
            last_seq=_number(last_seq),
            fault=Fault.from_dict(body["fault"]) if "fault" in body else None,
            usage=_usage(usage),
            held=_unpack_held(held) if isinstance(held, bytes) else (),
            original=original,
            silent=body.get("silent") is True,
        )


# -- events -----------------------------------------------------------------------------------------------------------


def mutable_fields(persisted: Persisted | None, quota: QuotaState | None, *, revised: bool = False) -> list[str]:
    """The fields of a record that may change after the end, as name and value pairs."""
    named = {
        **({} if persisted is None else {"persisted": str(persisted)}),
        **({} if quota is None else {"quota": str(quota)}),
        **({"revised": "1"} if revised else {}),
    }
    return [piece for name, value in named.items() for piece in (RECORD_FIELDS[name], value)]


def flatten(events: Iterable[tuple[EventKind, bytes]]) -> list[str | bytes]:
    """Events as script arguments: kind and payload in turn."""
    return [piece for event in events for piece in event]


def decode_events(ref: StreamRef, reply: Reply, operation: str) -> list[Event]:
    """The events in an `XRANGE` reply.

    Raises:
        StoreCorruptError: an entry is not one of ours.
    """
    if not isinstance(reply, list):
        raise _damaged(ref, "log", operation)
    if not reply:
        return []
    entries = cast("list[tuple[bytes, tuple[bytes, bytes]]]", reply)  # what XRANGE gives; checked below
    with decoding(lambda: _damaged(ref, "log", operation)):
        entry_ids, fields = zip(*entries, strict=True)
        names, payloads = zip(*fields, strict=True)
        kinds = [_KINDS[name] for name in names]
        epoch, _, first = entry_ids[0].partition(b"-")
        seqs: Sequence[int] = range(int(first), int(first) + len(entries))
        epochs: Iterable[int] = repeat(int(epoch))
        # Hot path: nearly always one epoch wrote them all, without a gap. Comparing the ids with those that are due
        # then costs less than reading each.
        if entry_ids != tuple([b"%b-%d" % (epoch, seq) for seq in seqs]):
            pairs = [entry_id.partition(b"-") for entry_id in entry_ids]
            seqs, epochs = [int(seq) for _, _, seq in pairs], [int(epoch) for epoch, _, _ in pairs]
        return list(map(Event, seqs, kinds, payloads, epochs))
