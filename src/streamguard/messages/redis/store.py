"""`RedisMessageStore`: messages in Redis 6.2 or later, for chats that may be forgotten; one Lua script per step.

A session is one key, so its TTL, renewed in every write, is that of everything in it. The layout is described in
`docs/reference/messages.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ...decoding import read_json
from ...errors import (
    ConfigurationError,
    MessageCorruptError,
    MessageFormatError,
    MessageNotFoundError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from ...lua import ScriptClient, ScriptErrors, as_bytes, as_int, as_items, read_scripts
from ...offloading import offloaded
from ...values import FORMAT_VERSION, SessionKey
from ...wire.large_json import LARGE
from ..base import Appended, Message, MessageStatus, MessageStore, Opened, StoredMessage, Superseded
from ..branches import LAST_POSITION, request_of
from ..content import Clash, check_ids, check_limit, check_superseding, conflict, decode_content, encoded, read_status

__all__ = ["RedisMessageStore"]

_LONGEST_SECONDS: Final = 3_153_600_000.0
"""A hundred years: what is meant to stay does not belong here."""

_SCRIPTS: Final = MappingProxyType(
    read_scripts(__package__, {"@FORMAT_VERSION@": FORMAT_VERSION, "@LAST_POSITION@": LAST_POSITION})
)
"""Lua by step."""

MANY: Final = 100
"""So many messages may take a while however small they are."""

_ERRORS: Final = ScriptErrors(MessageCorruptError, MessageTimeoutError, MessageUnavailableError)


class RedisMessageStore(MessageStore):
    """Keeps messages in Redis for a while, shared by every process that uses the same server and namespace.

    Args:
        client: Where to: `RedisClient("redis://…")` from `streamguard.stores`. Whoever made it closes it.
        ttl_seconds: How long a session lives after the last write to it, in seconds.
        namespace: What every key begins with; letters, digits, `_` and `-`.

    Raises:
        ConfigurationError: `ttl_seconds` is under a millisecond or over a hundred years.
    """

    may_forbid: bool = False

    def __init__(self, client: ScriptClient, *, ttl_seconds: float, namespace: str = "streamguard") -> None:
        if not 0.001 <= ttl_seconds <= _LONGEST_SECONDS:
            raise ConfigurationError("ttl_seconds is a positive number of seconds, of a hundred years at most")
        self._client = client
        self._ttl_ms = int(ttl_seconds * 1000)
        self._namespace = namespace

    async def start(self) -> list[str]:
        return await self._client.start()

    async def open_session(self, key: SessionKey) -> Opened:
        check_ids("open_session", key)
        reply = await self._call("open_session", "open", key, self._ttl_ms, key.owner, key.session_id)
        with _ERRORS.reading("open_session"):
            word, branch = as_items(reply)
            return Opened({b"created": True, b"present": False}[as_bytes(word)], as_int(branch))

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        content, digest = await encoded("append", message)
        reply = await self._call(
            "append",
            "append",
            key,
            self._ttl_ms,
            message.message_id,
            *_fields(message, content, digest),
            "" if message.branch is None else message.branch,
        )
        if reply == b"missing":
            raise MessageNotFoundError("append: there is no such session; open it first", operation="append")
        with _ERRORS.reading("append"):
            word = as_bytes(reply).decode()
            if word in frozenset(Appended):
                return Appended(word)
            clash = Clash(word)
        raise conflict(clash)

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        check_superseding(key, by, start, after, message)
        fields: list[str | bytes] = [""]
        digest = None
        if message is not None:
            content, digest = await encoded("supersede", message)
            fields = [_named(message.message_id), *_fields(message, content, digest)]
        request = request_of(start, after, message, digest)
        reply = await self._call(
            "supersede", "supersede", key, self._ttl_ms, by, _named(start), _named(after), request, *fields
        )
        if reply == [b"missing"]:
            raise MessageNotFoundError("supersede: there is no such session; open it first", operation="supersede")
        with _ERRORS.reading("supersede"):
            word, *answer = as_items(reply)
            if word == b"superseded":
                branch, hidden, appended = answer
                said = as_bytes(appended).decode()
                return Superseded(as_int(branch), as_int(hidden), Appended(said) if said else None)
            clash = Clash(as_bytes(word).decode())
        raise conflict(clash, "supersede")

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key, message_id)
        reply = await self._call("get", "get", key, message_id, "1" if branches else "")
        if reply == [b"missing"]:
            raise MessageNotFoundError("get: there is no such message", operation="get")
        with _ERRORS.reading("get"):
            _, *record = as_items(reply)
            return await offloaded(lambda: _stored(record), large=_is_large(record))

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        check_ids("list", key)
        check_limit(limit)
        reply = await self._call("list", "list", key, max(after, 0), limit, int(branches))
        with _ERRORS.reading("list"):
            _, *records = as_items(reply)
            large = any(_is_large(as_items(record)) for record in records) or len(records) > MANY
            return await offloaded(lambda: [_stored(as_items(record)) for record in records], large=large)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        check_ids("last", key)
        reply = await self._call("last", "last", key)
        with _ERRORS.reading("last"):
            word, *record = as_items(reply)
            if word == b"missing":
                return None
            return await offloaded(lambda: _stored(record), large=_is_large(record))

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        if await self._call("mark", "mark", key, self._ttl_ms, message_id, status) == b"missing":
            raise MessageNotFoundError("mark: there is no such message", operation="mark")

    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        await self._call("delete_session", "delete", key)

    def _key(self, key: SessionKey) -> bytes:
        """The session's one key. Ids from outside never reach it: a digest stands for them, the cluster's hash tag."""
        name = json.dumps([key.owner, key.session_id]).encode()
        return f"{self._namespace}:{{c.{hashlib.blake2b(name, digest_size=16).hexdigest()}}}".encode()

    async def _call(self, operation: str, script: str, key: SessionKey, *args: str | bytes | int) -> object:
        with _ERRORS.calling(operation):
            reply = await self._client.call(operation, _SCRIPTS[script], (self._key(key),), args)
        if reply in (b"newer", [b"newer"]):
            raise MessageFormatError(
                f"{operation}: this session was written by a later version of streamguard; upgrade this process",
                operation=operation,
            )
        return reply


def _writer(stream_id: str | None) -> str:
    """How the scripts call who wrote a message."""
    return "-" if stream_id is None else f"+{stream_id}"


def _named(message_id: str | None) -> str:
    """How the scripts tell an id from the lack of one."""
    return "" if message_id is None else f"+{message_id}"


def _fields(message: Message, content: bytes, digest: str) -> tuple[str | bytes, ...]:
    """What the scripts are given of a message besides its id."""
    continues = "" if message.continues is None else _writer(message.continues)
    return _writer(message.stream_id), continues, digest, message.status, content, _named(message.replies_to)


def _is_large(record: Sequence[object]) -> bool:
    """Whether reading it takes a while."""
    return sum(len(one) for one in record if isinstance(one, bytes)) >= LARGE


def _stored(record: Sequence[object]) -> StoredMessage:
    """A message as `record` in prelude.lua gives it: a position, which may be a number, and bytes."""
    position, *fields, branch, superseded = record
    name, content, *others = (as_bytes(one) for one in fields)
    writers, status, created_ms, updated_ms = (one.decode() for one in others)
    stored_in = 0 if branch is None else int(as_bytes(branch))
    return StoredMessage(
        message=replace(decode_content(name.decode(), content), branch=stored_in),
        position=position if isinstance(position, int) else int(as_bytes(position)),
        status=read_status(status),
        streams=tuple(writer[1:] for writer, _ in read_json(writers) if writer != "-"),
        created_at=int(created_ms) / 1000,
        updated_at=int(updated_ms) / 1000,
        superseded=None if superseded is None else int(as_bytes(superseded)),
    )
