"""A stream's identity: what its record is told when the stream begins and keeps unchanged, as JSON in one field.

One field, since each further one costs Redis 2,500 instructions to write and some to pass over in each later script.
Of its parts, no script reads any.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ...compact_json import compact_json
from ...decoding import read_json, read_text
from ...values import SessionKey
from ..records import NewStream
from .record_fields import RECORD_FIELDS

__all__ = ["Identity", "read_identity", "stored_identity", "variable_fields"]

_TEXTS: Final = ("owner", "session", "binding", "fingerprint", "request_id", "trace")


class Identity(NamedTuple):
    """What the field `id` says."""

    key: SessionKey
    binding: str
    fingerprint: str
    request_id: str | None
    trace: str | None
    abandon_after_seconds: float | None


def stored_identity(new: NewStream) -> bytes:
    """The field `id`: a JSON object, without what is not known."""
    key = new.ref.key
    parts: dict[str, str | int] = {"owner": key.owner, "session": key.session_id, "binding": new.binding}
    if new.fingerprint:
        parts["fingerprint"] = new.fingerprint
    if new.request_id is not None:
        parts["request_id"] = new.request_id
    if new.trace is not None:
        parts["trace"] = new.trace
    if new.abandon_after_seconds is not None:
        parts["abandon_ms"] = round(new.abandon_after_seconds * 1000)
    return compact_json(parts)


def read_identity(field: object) -> Identity:
    """What `stored_identity` wrote.

    Raises:
        TypeError, ValueError, KeyError: it is something else.
    """
    parts = read_json(read_text(field))
    if type(parts) is not dict:
        raise TypeError("an identity is an object")
    abandon_ms = parts.get("abandon_ms")
    texts = [parts[name] for name in _TEXTS if name in parts]  # a later version may know of more
    if type(abandon_ms) not in (int, type(None)) or not all(type(text) is str for text in texts):
        raise TypeError("an identity has parts of other types")
    return Identity(
        SessionKey(parts["owner"], parts["session"]),
        parts["binding"],
        parts.get("fingerprint", ""),
        parts.get("request_id"),
        parts.get("trace"),
        None if abandon_ms is None else abandon_ms / 1000,
    )


def variable_fields(new: NewStream) -> list[str]:
    """Those fields of a new record that may change, as name and value pairs, where something is known of them."""
    named: list[str] = []
    if new.client_version:
        named += (RECORD_FIELDS["client_version"], new.client_version)
    if new.worker:
        named += (RECORD_FIELDS["worker"], new.worker)
    return named
