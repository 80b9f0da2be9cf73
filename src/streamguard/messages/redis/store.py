"""`RedisMessageStore`: messages in Redis 6.2 or later, for chats that may be forgotten; one Lua script per step.

A session is one key, so its TTL, renewed in every write, is that of everything in it. The layout is described in
`docs/reference/messages.md`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeVar

from ...decoding import read_json
from ...durations import check_duration
from ...errors import (
    ConfigurationError,
    MessageCorruptError,
    MessageFormatError,
    MessageNotFoundError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from ...lua import Call, ScriptClient, check_script_client, read_scripts
from ...offloading import offloaded
from ...script_errors import ScriptErrors
from ...values import FORMAT_VERSION, SessionKey
from ...wire.large_json import LARGE
from ..branches import LAST_POSITION, request_of
from ..content import Clash, check_ids, check_limit, check_superseding, conflict, decode_content, encoded, read_status
from ..records import Appended, Message, MessageStatus, Opened, StoredMessage, Superseded
from ..store import MessageStore
from . import calls
from .calls import CALLS

__all__ = ["RedisMessageStore"]

R = TypeVar("R")

_SCRIPTS: Final = MappingProxyType(
    read_scripts(__package__, CALLS, {"@FORMAT_VERSION@": FORMAT_VERSION, "@LAST_POSITION@": LAST_POSITION})
)
"""Lua by script name."""

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
        ConfigurationError: `client` is no client, `ttl_seconds` is under a millisecond or over a hundred years, or the
            namespace has other characters.
    """

    may_forbid: bool = False

    def __init__(self, client: ScriptClient, *, ttl_seconds: float, namespace: str = "streamguard") -> None:
        check_duration("ttl_seconds", ttl_seconds)
        if ttl_seconds < 0.001:
            raise ConfigurationError("ttl_seconds is a millisecond at least")
        check_script_client("RedisMessageStore", client, namespace)
        self._client = client
        self._ttl_ms = int(ttl_seconds * 1000)
        self._namespace = namespace

    async def start(self) -> list[str]:
        return await self._client.start()

    async def open_session(self, key: SessionKey) -> Opened:
        check_ids("open_session", key)
        opened = await self._call(
            "open_session",
            calls.Open(session_key=self._key(key), ttl_ms=self._ttl_ms, owner=key.owner, session_id=key.session_id),
        )
        with _ERRORS.reading("open_session"):
            return Opened({b"created": True, b"present": False}[opened.answer], opened.branch)

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        content, digest = await encoded("append", message)
        answer = await self._call(
            "append",
            calls.Append(
                session_key=self._key(key),
                ttl_ms=self._ttl_ms,
                id=message.message_id,
                writer=_writer(message.stream_id),
                continues=_continued(message),
                digest=digest,
                status=message.status,
                content=content,
                answers=_named(message.replies_to),
                asked_branch=message.branch,
            ),
        )
        if answer == b"missing":
            raise MessageNotFoundError("append: there is no such session; open it first", operation="append")
        with _ERRORS.reading("append"):
            word = answer.decode()
            if word in frozenset(Appended):
                return Appended(word)
            clash = Clash(word)
        raise conflict(clash)

    async def supersede(
        self, key: SessionKey, *, by: str, start: str | None, after: str | None, message: Message | None = None
    ) -> Superseded:
        check_superseding(key, by, start, after, message)
        digest = None
        call = calls.Supersede(
            session_key=self._key(key),
            ttl_ms=self._ttl_ms,
            by=by,
            start=_named(start),
            after=_named(after),
            request=request_of(start, after, None, None),
        )
        if message is not None:
            content, digest = await encoded("supersede", message)
            call = replace(
                call,
                request=request_of(start, after, message, digest),
                named_id=_named(message.message_id),
                writer=_writer(message.stream_id),
                continues=_continued(message),
                digest=digest,
                status=message.status,
                content=content,
                answers=_named(message.replies_to),
            )
        reply = await self._call("supersede", call)
        if reply.answer == b"missing":
            raise MessageNotFoundError("supersede: there is no such session; open it first", operation="supersede")
        with _ERRORS.reading("supersede"):
            if reply.answer == b"superseded":
                appended = reply.appended.decode()
                return Superseded(reply.branch, reply.hidden, Appended(appended) if appended else None)
            clash = Clash(reply.answer.decode())
        raise conflict(clash, "supersede")

    async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
        check_ids("get", key, message_id)
        found = await self._call("get", calls.Get(session_key=self._key(key), id=message_id, branches=branches))
        if found.answer == b"missing":
            raise MessageNotFoundError("get: there is no such message", operation="get")
        with _ERRORS.reading("get"):
            return await _read(found)

    async def list(
        self, key: SessionKey, *, after: int = 0, limit: int = 100, branches: bool = False
    ) -> list[StoredMessage]:
        check_ids("list", key)
        check_limit(limit)
        listed = await self._call(
            "list", calls.List(session_key=self._key(key), after=max(after, 0), limit=limit, branches=branches)
        )
        records = listed.messages
        with _ERRORS.reading("list"):
            large = any(_is_large(record) for record in records) or len(records) > MANY
            return await offloaded(lambda: [_stored(record) for record in records], large=large)

    async def last(self, key: SessionKey) -> StoredMessage | None:
        check_ids("last", key)
        found = await self._call("last", calls.Last(session_key=self._key(key)))
        if found.answer == b"missing":
            return None
        with _ERRORS.reading("last"):
            return await _read(found)

    async def mark(self, key: SessionKey, message_id: str, status: MessageStatus) -> None:
        check_ids("mark", key, message_id)
        marking = calls.Mark(session_key=self._key(key), ttl_ms=self._ttl_ms, id=message_id, status=status)
        if await self._call("mark", marking) == b"missing":
            raise MessageNotFoundError("mark: there is no such message", operation="mark")

    async def delete_session(self, key: SessionKey) -> None:
        check_ids("delete_session", key)
        await self._call("delete_session", calls.Delete(session_key=self._key(key)))

    def _key(self, key: SessionKey) -> bytes:
        """The session's one key. Ids from outside never reach it: a digest stands for them, the cluster's hash tag."""
        name = json.dumps([key.owner, key.session_id]).encode()
        return f"{self._namespace}:{{c.{hashlib.blake2b(name, digest_size=16).hexdigest()}}}".encode()

    async def _call(self, operation: str, call: Call[R]) -> R:
        with _ERRORS.calling(operation):
            reply = await self._client.call(operation, _SCRIPTS[call.script], call.keys(), call.arguments())
        if reply in (b"newer", [b"newer"]):
            raise MessageFormatError(
                f"{operation}: this session was written by a later version of streamguard; upgrade this process",
                operation=operation,
            )
        with _ERRORS.reading(operation):
            return call.read(reply)


def _writer(stream_id: str | None) -> str:
    """How the scripts call the writer of a message."""
    return "-" if stream_id is None else f"+{stream_id}"


def _continued(message: Message) -> str:
    """How the scripts call the writer that a message continues, if any."""
    return "" if message.continues is None else _writer(message.continues)


def _named(message_id: str | None) -> str:
    """How the scripts tell an id from the lack of one."""
    return "" if message_id is None else f"+{message_id}"


async def _read(found: calls.MessageAnswer) -> StoredMessage:
    record = found.message
    if record is None:
        raise TypeError("no message")
    return await offloaded(lambda: _stored(record), large=_is_large(record))


def _is_large(record: calls.Record) -> bool:
    """Whether reading it takes a while."""
    return sum(len(field) for field in record if isinstance(field, bytes)) >= LARGE


def _stored(record: calls.Record) -> StoredMessage:
    """A message as its record says it."""
    stored_in = 0 if record.branch is None else int(record.branch)
    return StoredMessage(
        message=replace(decode_content(record.message_id.decode(), record.content), branch=stored_in),
        position=record.position,
        status=read_status(record.status.decode()),
        streams=tuple(writer[1:] for writer, _ in read_json(record.writers.decode()) if writer != "-"),
        created_at=int(record.created_ms) / 1000,
        updated_at=int(record.updated_ms) / 1000,
        superseded=None if record.superseded is None else int(record.superseded),
    )
