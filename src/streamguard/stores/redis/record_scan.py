"""Reads the keys of a namespace one by one, for operators, to name those that cannot be read. Changes nothing.

Every key says by its name what it should hold (see `keys`), so the key is read at once: one of another type answers
with an error. Large keys are read in part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from ...decoding import DAMAGE, read_json, read_text
from ...errors import StoreCorruptError, StoreFormatError
from ...values import FORMAT_VERSION, SessionKey, StreamRef
from ..damage import RecordKind, Unreadable
from .codec import decode_events, decode_meta
from .driver import Command, CommandError, Reply
from .errors import checked, concerns_record
from .identities import read_identity
from .keys import Keys, decode_member, key_text
from .record_fields import META_FIELDS, RECORD_FIELDS

__all__ = ["RecordScan", "scan_records"]

_ENTRIES: Final = 200
"""How many entries of an index, a log or a ledger are read, at most."""
_BATCH: Final = 200
_DAMAGED: Final = "damaged"
_DELETE_IT: Final = "delete the session, or let it expire"
_LEFT_ALONE: Final = "a worker of the later version reads it"
_KEY: Final = re.compile(rb"[^:]+:\{([^}]*)\}(.*)", re.DOTALL)

Read = Callable[[list[Command]], Awaitable[list[Reply]]]


@dataclass(slots=True)
class RecordScan:
    """What was found."""

    looked: int = 0
    """How many keys were read."""
    complete: bool = False
    """Whether these are all keys of the namespace."""
    unreadable: list[Unreadable] = field(default_factory=list)
    sessions: dict[str, SessionKey] = field(default_factory=dict)
    """By the hash tag that their keys share."""

    def named(self) -> list[Unreadable]:
        """What cannot be read, with its session where another key of it says which that is."""
        found = []
        for one in self.unreadable:
            match = _KEY.match(one.key.encode())
            session = None if match is None else self.sessions.get(match[1].decode("utf-8", "replace"))
            found.append(one if session is None else replace(one, session_id=session.session_id))
        return found


async def scan_records(keys: Keys, names: Iterable[bytes], read: Read, scan: RecordScan) -> None:
    """Read the keys `names`, and note in `scan` what cannot be read. `read` gives replies with errors among them.

    Raises:
        StoreUnavailableError: the server refused, for a reason that is not a key's.
    """
    waiting = list(names)
    for start in range(0, len(waiting), _BATCH):
        some = [(name, reader) for name in waiting[start : start + _BATCH] if (reader := _reader_of(name)) is not None]
        commands = [command for name, reader in some for command in reader.commands(name)]
        replies = await read(commands)
        checked("records", [one for one in replies if not (isinstance(one, CommandError) and concerns_record(one))])
        at = 0
        for name, reader in some:
            count = len(reader.commands(name))
            _note(scan, keys, name, reader, replies[at : at + count])
            at += count
            scan.looked += 1


@dataclass(frozen=True, slots=True)
class _Reader:
    record: RecordKind
    commands: Callable[[bytes], list[Command]]
    read: Callable[[RecordScan, Keys, bytes, list[Reply]], None]
    advice: str = _DELETE_IT


def _note(scan: RecordScan, keys: Keys, name: bytes, reader: _Reader, replies: list[Reply]) -> None:
    why = None
    if any(isinstance(reply, CommandError) for reply in replies):
        why = "wrong_type"
    else:
        try:
            reader.read(scan, keys, name, replies)
        except StoreFormatError:
            why = "newer_format"
        except (StoreCorruptError, *DAMAGE):
            why = _DAMAGED
    if why is not None:
        advice = _LEFT_ALONE if why == "newer_format" else reader.advice
        scan.unreadable.append(Unreadable(reader.record, key_text(name), why, advice))


# -- readers ----------------------------------------------------------------------------------------------------------


def _version(stored: Reply) -> None:
    if int(read_text(stored)) > FORMAT_VERSION:
        raise StoreFormatError("a later version wrote it", operation="records")


def _members(scan: RecordScan, keys: Keys, name: bytes, replies: list[Reply]) -> None:
    """The entries of an index; each that names no stream is reported by itself."""
    (found,) = replies
    record = RecordKind.LEASE_INDEX if b":{lease." in name else RecordKind.OUTBOX
    for member in found if isinstance(found, list) else ():
        entry = member if isinstance(member, bytes) else b""
        try:
            ref = decode_member(entry)
        except StoreCorruptError:
            key = f"{key_text(name)} {key_text(entry[:64])}"
            scan.unreadable.append(Unreadable(record, key, _DAMAGED, "nothing: the next worker removes it"))
            continue
        match = _KEY.match(keys.session(ref.key).session)
        if match is not None:
            scan.sessions[match[1].decode()] = ref.key


def _session(_scan: RecordScan, _keys: Keys, _name: bytes, replies: list[Reply]) -> None:
    match replies:
        case [[version, ordinal]]:
            _version(version)
            if ordinal is not None:
                int(read_text(ordinal))
        case _:
            raise TypeError("not a session")


def _record(scan: RecordScan, _keys: Keys, name: bytes, replies: list[Reply]) -> None:
    match replies:
        case [list() as fields, identity, int() as logged, [bytes() as seconds, _]]:
            stream_id = name.rpartition(b":m:")[2].decode("utf-8", "replace")
            key = read_identity(identity).key
            match = _KEY.match(name)
            if match is not None:
                scan.sessions[match[1].decode()] = key
            now_ms = int(seconds) * 1000
            meta = decode_meta(StreamRef(key, stream_id), [*fields, logged, now_ms], "records")
        case _:
            raise TypeError("not a record")
    if meta is not None and meta.last_seq > 0 and logged == 0 and not meta.lost:
        log = key_text(name).replace(":m:", ":l:")
        scan.unreadable.append(Unreadable(RecordKind.LOG, log, "missing", _DELETE_IT))


def _log(_scan: RecordScan, _keys: Keys, _name: bytes, replies: list[Reply]) -> None:
    ref = StreamRef(SessionKey("", ""), "")
    for reply in replies:
        decode_events(ref, reply, "records")


def _mark(_scan: RecordScan, _keys: Keys, _name: bytes, replies: list[Reply]) -> None:
    (stored,) = replies
    if stored is not None and not math.isfinite(float(read_text(stored))):
        raise ValueError("not a time")


def _claim(_scan: RecordScan, _keys: Keys, _name: bytes, replies: list[Reply]) -> None:
    (stored,) = replies
    if stored is not None:
        version, *parts = read_json(read_text(stored))
        if int(version) > FORMAT_VERSION:
            raise StoreFormatError("a later version wrote it", operation="records")
        if len(parts) != 4 or not all(isinstance(part, str) for part in parts):
            raise TypeError("not a claim")


def _hash_of_json(names: tuple[bytes, ...]) -> Callable[[RecordScan, Keys, bytes, list[Reply]], None]:
    """A hash that has a version, perhaps, and JSON in the fields whose names begin so (all, with none given)."""

    def read(_scan: RecordScan, _keys: Keys, _name: bytes, replies: list[Reply]) -> None:
        match replies:
            case [version, [_, list() as pairs]]:
                if version is not None:
                    _version(version)
                for name, value in zip(pairs[::2], pairs[1::2], strict=True):
                    if isinstance(name, bytes) and isinstance(value, bytes) and name.startswith(names or b""):
                        read_json(value)
            case _:
                raise TypeError("not a hash")

    return read


def _any(_scan: RecordScan, _keys: Keys, _name: bytes, _replies: list[Reply]) -> None:
    """Nothing is read but the type of the key."""


def _one(*words: str | bytes | int) -> Callable[[bytes], list[Command]]:
    command, *rest = words
    return lambda name: [Command.on(name, command, *rest)]


_BEGUN_ANEW: Final = "nothing: it is begun anew when it is used next"
_INDEX: Final = _one("ZRANGE", 0, _ENTRIES - 1)
_LEDGER_ADVICE: Final = "delete the key: this owner's usage begins at nothing"

_FIXED: Final = {
    b"workers": _Reader(RecordKind.WORKERS, _one("ZCARD"), _any, _BEGUN_ANEW),
    b"viewers": _Reader(RecordKind.VIEWERS, _one("ZCARD"), _any, _BEGUN_ANEW),
}
_BY_TAG: Final = {
    b"lease.": _Reader(RecordKind.LEASE_INDEX, _INDEX, _members, _BEGUN_ANEW),
    b"outbox.": _Reader(RecordKind.OUTBOX, _INDEX, _members, _BEGUN_ANEW),
    b"quota.": _Reader(RecordKind.RESERVATIONS, _one("ZCARD"), _any, _BEGUN_ANEW),
    b"o.": _Reader(RecordKind.OWNER_SLOTS, _one("ZCARD"), _any, _BEGUN_ANEW),
    b"r.": _Reader(RecordKind.CLAIM, _one("GET"), _claim, "delete the key, or let it expire"),
    b"c.": _Reader(
        RecordKind.MESSAGES,
        lambda name: [Command.on(name, "HGET", "v"), Command.on(name, "HSCAN", 0, "COUNT", _ENTRIES)],
        _hash_of_json((b"b:", b"w:")),
    ),
}
_LEDGER: Final = {
    b":l": _Reader(
        RecordKind.LEDGER,
        lambda name: [Command.on(name, "HGET", "v"), Command.on(name, "HSCAN", 0, "COUNT", _ENTRIES)],
        _hash_of_json((b"w:",)),
        _LEDGER_ADVICE,
    ),
    b":r": _Reader(
        RecordKind.LEDGER,
        lambda name: [Command.on(name, "HGET", "v"), Command.on(name, "HSCAN", 0, "COUNT", _ENTRIES)],
        _hash_of_json(()),
        _LEDGER_ADVICE,
    ),
    b":o": _Reader(RecordKind.LEDGER, _one("ZCARD"), _any, _LEDGER_ADVICE),
    b":d": _Reader(RecordKind.LEDGER, _one("ZCARD"), _any, _LEDGER_ADVICE),
}
_SESSION: Final = {
    b":s": _Reader(RecordKind.SESSION, _one("HMGET", "v", "ordinal"), _session),
    b":i": _Reader(RecordKind.STREAMS, _one("ZCARD"), _any),
    b":x": _Reader(RecordKind.ERASURE, _one("GET"), _mark),
}
_STREAM_RECORD: Final = _Reader(
    RecordKind.STREAM,
    lambda name: [
        Command.on(name, "HMGET", *META_FIELDS.values()),
        Command.on(name, "HGET", RECORD_FIELDS["identity"]),
        Command.on(name.replace(b":m:", b":l:"), "EXISTS"),
        Command.of("TIME"),
    ],
    _record,
)
_STREAM_LOG: Final = _Reader(RecordKind.LOG, _one("XRANGE", "-", "+", "COUNT", _ENTRIES), _log)
_WATCH_NOTE: Final = _Reader(RecordKind.WATCH_NOTE, _one("GET"), _any, _BEGUN_ANEW)


def _reader_of(name: bytes) -> _Reader | None:
    """What a key should hold, by its name; None for a key that is not ours, or whose value does not matter."""
    match = _KEY.fullmatch(name)
    if match is None:
        return None
    tag, rest = match[1], match[2]
    if not rest:
        begins = next((reader for begin, reader in _BY_TAG.items() if tag.startswith(begin)), None)
        return begins or _FIXED.get(tag)
    if tag.startswith(b"q."):
        return _LEDGER.get(rest)
    if rest.startswith(b":m:"):
        if rest.endswith(b":r"):  # it has no value to read
            return None
        return _WATCH_NOTE if rest.endswith(b":w") else _STREAM_RECORD
    return _STREAM_LOG if rest.startswith(b":l:") else _SESSION.get(rest)
