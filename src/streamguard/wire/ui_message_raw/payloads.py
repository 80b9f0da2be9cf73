"""Payloads of a stream whose clients with ids get more than clients without.

A payload is the upstream's block. One that begins with NUL has a line before the block, and differs by client:

    NUL <message id> LF <block>    a `start` part without a message id: clients with ids get this one in it
    NUL NUL LF <block>             a block of ours: clients without ids do not get it

A block that itself begins with NUL, which no upstream sends on purpose, is logged with an empty message id.
"""

from __future__ import annotations

import json
import re
from typing import Final

__all__ = ["ids_only", "shown", "upstream_block", "with_message_id", "without_mark"]

_MARK: Final = b"\0"
_OURS: Final = b"\0\0\n"
_BEGINS_OBJECT: Final = re.compile(rb"(?:\A|[\r\n]|\xef\xbb\xbf)data:[ \t]*\{")


def upstream_block(raw: bytes) -> bytes:
    """The payload of an upstream's block."""
    return _MARK + b"\n" + raw if raw.startswith(_MARK) else raw


def with_message_id(raw: bytes, message_id: str) -> bytes:
    """The payload of an upstream's `start` part that names no message."""
    return b"%b%b\n%b" % (_MARK, message_id.encode(), raw)


def ids_only(block: bytes) -> bytes:
    """The payload of a block for clients with ids."""
    return _OURS + block


def without_mark(payload: bytes) -> bytes:
    """The block of a payload, as the upstream sent it."""
    return payload.partition(b"\n")[2] if payload.startswith(_MARK) else payload


def shown(payload: bytes, *, ids: bool) -> bytes:
    """The block that a client gets before an id is put into it; empty when it gets none."""
    if not payload.startswith(_MARK):
        return payload
    mark, _, block = payload.partition(b"\n")
    if mark == b"\0\0":
        return block if ids else b""
    message_id = mark[1:]
    begin = _BEGINS_OBJECT.search(block) if ids and message_id else None
    if begin is None:
        return block
    named = b'"messageId":%b,' % json.dumps(message_id.decode("utf-8", "replace")).encode()
    return block[: begin.end()] + named + block[begin.end() :]
