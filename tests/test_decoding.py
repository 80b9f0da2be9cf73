"""Damaged bytes: whatever they are, each reader has its one error for them, and `json.loads` is called in one place."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

import streamguard
from streamguard.charging.outbox_payload import read_settlement
from streamguard.decoding import DAMAGE, decoding, read_json
from streamguard.errors import MessageCorruptError, StoreCorruptError
from streamguard.faults import Fault
from streamguard.messages.sql.rows import decode_writers
from streamguard.runtime.viewing.log_events import is_tombstone
from streamguard.saving.outbox_payload import read_payload
from streamguard.stores.records import Terminal
from streamguard.stores.redis.codec import (
    STATUSES,
    append_reply,
    decode_events,
    decode_meta,
    decode_seal,
    decode_text,
)
from streamguard.stores.redis.keys import decode_member
from streamguard.stores.redis.record_fields import META_FIELDS
from streamguard.stores.redis.request_claims import decode_claim
from streamguard.values import SessionKey, StreamRef

from .harness.sources import modules_with

REF = StreamRef(SessionKey("o", "s"), "0" * 24)
SOURCES = Path(streamguard.__file__).parent
ELSEWHERE = {
    "decoding.py": "the one place",
    "wire/partial_json.py": "reads what a model streams, piece by piece",
}

JUNK = [
    b"",
    b"[",
    b"null",
    b"5",
    b"[]",
    b"[[]]",
    b"{}",
    b'"text"',
    b"\xff\xfe",
    b"1e999",
    b"9" * 5000,
    b"[" * 200_000,
    b'{"outcome":' + b"[" * 200_000,
    b'{"outcome":["completed"]}',
    b'{"v":1e999}',
    b'{"v":1,"user_messages":5}',
    b'{"v":2,"before":null,"settle":[]}',
]


def _read_event(junk: bytes) -> object:
    return decode_events(REF, [[b"1-0", [b"d", junk]], [junk, junk]], "read")


def _read_record(junk: bytes) -> object:
    return decode_meta(REF, [*([junk] * len(META_FIELDS)), 1, 1], "meta")


READERS: list[tuple[Callable[[bytes], object], type[Exception]]] = [
    (Fault.from_json, ValueError),
    (Terminal.from_json, ValueError),
    (read_payload, ValueError),
    (read_settlement, ValueError),
    (decode_member, StoreCorruptError),
    (lambda junk: decode_claim(junk, "o", "k"), StoreCorruptError),
    (lambda junk: decode_seal(REF, [junk, b"1", b"", b""], "meta"), StoreCorruptError),
    (lambda junk: decode_seal(REF, [b'{"outcome":"completed"}', b"1", junk or b"?", b""], "meta"), StoreCorruptError),
    (_read_record, StoreCorruptError),
    (_read_event, StoreCorruptError),
    (lambda junk: decode_writers("get", {"format_version": 1, "writers": junk}), MessageCorruptError),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:24]))
@pytest.mark.parametrize(("read", "expected"), READERS)
def test_every_reader_has_one_error_for_junk(
    read: Callable[[bytes], object], expected: type[Exception], junk: bytes
) -> None:
    with contextlib.suppress(expected):
        read(junk)


def test_a_text_that_is_no_utf_8_is_an_unexpected_answer() -> None:
    with pytest.raises(StoreCorruptError):
        decode_text(b"\xff")


@pytest.mark.parametrize("reply", [[99, 0, 0], [b"0", 0, 0], [0], [], b"OK", None, [len(STATUSES), 0, 0]])
def test_an_answer_to_an_append_that_is_none_concerns_its_stream(reply: object) -> None:
    assert append_reply(reply, "append").status == "corrupt"  # type: ignore[arg-type] # that is what is tested


def test_a_terminal_record_that_cannot_be_read_is_no_clean_end() -> None:
    assert is_tombstone(b"[" * 200_000)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16", "utf-32-be", "utf-8-sig"])
def test_json_in_another_encoding_is_damaged(encoding: str) -> None:
    """Nothing of ours writes it: zero bytes between the others are damage, and not to be guessed at."""
    with pytest.raises(ValueError):
        read_json('{"v":1}'.encode(encoding))


def test_json_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested"):
        read_json(b"[" * 200_000)


def test_errors_of_ours_pass_as_they_are() -> None:
    with pytest.raises(StoreCorruptError), decoding(lambda: ValueError("another")):
        raise StoreCorruptError("no", operation="read")
    assert not any(issubclass(StoreCorruptError, kind) for kind in DAMAGE)


def test_stored_json_is_read_in_one_place() -> None:
    callers = set()
    for path, module in modules_with({"loads"}, SOURCES):
        name = path.relative_to(SOURCES).as_posix()
        if name.startswith(("testing/", "cli/")):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.Attribute) and node.attr == "loads":
                callers.add(name)
    assert callers == set(ELSEWHERE), "read stored JSON through streamguard.decoding"
