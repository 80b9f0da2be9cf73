"""What never changes of a stream, in one field of its record."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from streamguard.stores.redis.identities import Identity, read_identity, stored_identity
from streamguard.testing._stream_store.steps import new_stream
from streamguard.values import SessionKey, StreamRef

NEW = replace(
    new_stream(),
    ref=StreamRef(SessionKey("ann \udc80", 'a "session"'), "1" * 24),
    binding="chat",
    fingerprint="f1",
    request_id="r1",
    trace="t1",
    abandon_after_seconds=1.5,
)
WHOLE = {"owner": "ann", "session": "s", "binding": "chat"}


def test_it_is_read_as_it_was_written() -> None:
    assert read_identity(stored_identity(NEW)) == Identity(NEW.ref.key, "chat", "f1", "r1", "t1", 1.5)
    least = replace(NEW, fingerprint="", request_id=None, trace=None, abandon_after_seconds=None)
    assert read_identity(stored_identity(least)) == Identity(NEW.ref.key, "chat", "", None, None, None)


def test_parts_that_a_later_version_may_write_are_passed_over() -> None:
    """Fields of a record are, too: while two versions share a Redis, the older one ends the streams of the newer."""
    field = json.dumps({**WHOLE, "later": 1, "much": {"later": [None]}}).encode()
    assert read_identity(field).key == SessionKey("ann", "s")


@pytest.mark.parametrize(
    "field",
    [
        None,
        b"",
        b"[]",
        b"\xff",
        b"{}",
        *(json.dumps({**WHOLE, name: 1}).encode() for name in (*WHOLE, "fingerprint", "request_id", "trace")),
        *(json.dumps({**WHOLE, "abandon_ms": wrong}).encode() for wrong in ("1", True, 1.5)),
    ],
)
def test_anything_else_is_damage(field: bytes | None) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        read_identity(field)
