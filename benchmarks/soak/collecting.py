"""Reads the stores of a soak: records and logs from Redis, messages from SQLite, and the quota's ledgers."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from .history import Entry, Log, Reserved, Saved, Standing

__all__ = ["lacking", "ledger_in", "logs_of", "saved_in", "unsettled"]

_BATCH: Final = 500
_FIELDS: Final = ("mi", "id", "pr", "s", "e", "x", "g", "gl", "u", "y", "q", "j", "jd")


def logs_of(client: redis.Redis, keys: Iterable[bytes] | None = None) -> list[Log]:
    """Record and log of every stream, or of the streams whose records have the given keys."""
    found: list[Log] = []
    wanted = _meta_keys(client) if keys is None else list(keys)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        pipe = client.pipeline(transaction=False)
        for key in batch:
            pipe.hmget(key, _FIELDS)
            pipe.xrange(_log_key(key))
        replies = pipe.execute()
        for key, record, entries in zip(batch, replies[::2], replies[1::2], strict=True):
            if record[_FIELDS.index("s")] is not None:
                found.append(_log(key, dict(zip(_FIELDS, record, strict=True)), entries))
    return found


def lacking(old: redis.Redis, new: redis.Redis) -> tuple[tuple[Log, ...], tuple[str, ...]]:
    """The streams of which `new` lacks something that `old` has, and the ids of those that `new` does not know."""
    keys = _meta_keys(old)
    differing: list[bytes] = []
    gone: list[str] = []
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        for key, before, after in zip(batch, _digests(old, batch), _digests(new, batch), strict=True):
            if before != after:
                differing.append(key)
                if after[0] is None:
                    gone.append(_stream_id(key))
    return tuple(logs_of(old, differing)), tuple(gone)


def _digests(client: redis.Redis, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Values that differ between two states of a stream."""
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.hmget(key, "s", "e", "n", "y", "x")
        pipe.xlen(_log_key(key))
    replies = pipe.execute()
    return [(*record, length) for record, length in zip(replies[::2], replies[1::2], strict=True)]


def _meta_keys(client: redis.Redis) -> list[bytes]:
    return sorted({key for key in client.scan_iter("*}:m:*", count=1_000) if key.count(b":") == 3})


def _log_key(meta_key: bytes) -> bytes:
    return meta_key.replace(b"}:m:", b"}:l:")


def _stream_id(meta_key: bytes) -> str:
    return meta_key.rpartition(b":")[2].decode()


def _log(key: bytes, record: dict[str, bytes | None], entries: list[tuple[bytes, dict[bytes, bytes]]]) -> Log:
    def text(name: str) -> str:
        return (record[name] or b"").decode()

    seal = json.loads(record["g"] or b"{}")
    usage = json.loads(record["u"] or b"{}")
    identity = json.loads(record["id"] or b"{}")
    return Log(
        stream_id=_stream_id(key),
        message_id=text("mi"),
        owner=identity.get("owner", ""),
        session=identity.get("session", ""),
        protocol=text("pr"),
        state=text("s"),
        epoch=int(text("e") or 0),
        lost=text("x") == "1",
        outcome=seal.get("outcome"),
        sealed_seq=int(text("gl") or 0),
        usage=usage.get("tokens"),
        persisted=text("y"),
        quota=text("q"),
        owes=record["j"] is not None,
        dead=record["jd"] is not None,
        entries=tuple(
            Entry(entry_id.decode(), kind.decode(), data.decode())
            for entry_id, fields in entries
            for kind, data in fields.items()
        ),
    )


def unsettled(client: redis.Redis, ledger: redis.Redis) -> list[str]:
    """Unfinished work: streams that are not closed, outbox entries, and reservations that are held."""
    found: list[str] = []
    keys = _meta_keys(client)
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        pipe = client.pipeline(transaction=False)
        for key in batch:
            pipe.hmget(key, "s", "j", "jd")
        for key, (state, owes, dead) in zip(batch, pipe.execute(), strict=True):
            if state in (b"o", b"s"):
                found.append(f"stream {_stream_id(key)} is not closed")
            elif owes is not None and dead is None:
                found.append(f"stream {_stream_id(key)} owes")
    return found + [f"reservation {key.decode()}" for key in _held(ledger)]


def _held(ledger: redis.Redis) -> list[bytes]:
    """The keys of the ledgers' sorted sets of held reservations."""
    return [key for key in ledger.scan_iter("*", count=1_000, _type="zset") if key.endswith(b"}:o")]


def saved_in(database: Path) -> list[Saved]:
    """All messages in the database."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10.0) as connection:
        rows = connection.execute(
            "SELECT owner, session_id, message_id, role, status, content FROM streamguard_messages"
        ).fetchall()
    connection.close()
    return [
        Saved(owner, session, message_id, role, status, _text_of(json.loads(content)), _streams_of(json.loads(content)))
        for owner, session, message_id, role, status, content in rows
    ]


def _text_of(content: dict[str, Any]) -> str:
    found = []
    for part in content["parts"]:
        if part["type"] == "text":
            found.append(part["text"])
        elif part["type"] == "data-streamguard-sse":
            found.append(part["data"])
    return "".join(found)


def _streams_of(content: dict[str, Any]) -> tuple[str, ...]:
    return tuple(content.get("streams") or ())


def ledger_in(client: redis.Redis, limit: int, counter: str) -> tuple[list[Reserved], list[Standing]]:
    """Every reservation, and every owner's counters under `limit`. `counter` is that limit's field in a ledger."""
    reserved: list[Reserved] = []
    standings: list[Standing] = []
    for key in sorted(client.scan_iter("*}:l", count=1_000)):
        owner, count = client.hmget(key, "ow", counter)
        if owner is None:
            continue
        name = str(owner, "utf-8") if isinstance(owner, bytes) else owner
        _, used, held, _ = map(int, json.loads(count or b"[0,0,0,0]"))
        standings.append(Standing(name, limit, used, held))
        for field, record in client.hgetall(key[:-1] + b"r").items():
            _, stream_id = json.loads(field)
            state, _, _, amounts, _ = json.loads(record)
            unit = next((amount for amount in amounts if amount[0] == "tokens"), ("tokens", "0", "0"))
            charged = int(unit[2]) if state == "committed" else 0
            reserved.append(Reserved(stream_id, name, state, int(unit[1]), charged))
    return reserved, standings
