"""`RedisMessageStore`: messages in Redis 6.2 or later, for chats that may be forgotten; one Lua script per step.

A session is one key, so its TTL, renewed in every write, is that of everything in it. The layout is described in
`docs/reference/messages.md`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from types import MappingProxyType
from typing import Final, Protocol

from ..errors import (
    ConfigurationError,
    MessageInvalidError,
    MessageNotFoundError,
    MessageTimeoutError,
    MessageUnavailableError,
    StoreCorruptError,
    StoreError,
)
from ..model import FORMAT_VERSION, SessionKey
from .base import Appended, Message, MessageStatus, MessageStore, StoredMessage
from .content import Clash, check_ids, check_limit, conflict, decode_content, encode_content

__all__ = ["RedisMessageStore", "ScriptClient"]

_LONGEST_SECONDS: Final = 3_153_600_000.0
"""A hundred years: what is meant to stay does not belong here."""


def _read() -> dict[str, str]:
    directory = resources.files(__package__) / "lua"
    sources = {
        file.name.removesuffix(".lua"): file.read_text("utf-8").replace("@FORMAT_VERSION@", str(FORMAT_VERSION))
        for file in directory.iterdir()
        if file.name.endswith(".lua")
    }
    prelude = sources.pop("prelude")
    return {name: prelude + source for name, source in sources.items()}


_SCRIPTS: Final = MappingProxyType(_read())
"""Lua by step. Read while importing: a store may be made on an event loop, which must not block."""


class ScriptClient(Protocol):
    """What the store needs of Redis: `streamguard.stores.RedisClient` has it."""

    async def start(self) -> list[str]:
        """Connect; warnings for the operator. Does not raise for an unreachable server."""
        ...

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        """What the Lua text `script` answers: bytes, int, None, or a list of such.

        Raises:
            StoreError: it could not be run, or no answer came; its cause is a `TimeoutError` if none came in time.
        """
        ...


class RedisMessageStore(MessageStore):
    """Keeps messages in Redis for a while, shared by every process that uses the same server and namespace.

    Args:
        client: Where to: `RedisClient("redis://…")` from `streamguard.stores`. Whoever made it closes it.
        ttl_seconds: How long a session lives after the last write to it, in seconds.
        namespace: What every key begins with; letters, digits, `_` and `-`.

    Raises:
        ConfigurationError: `ttl_seconds` is under a millisecond or over a hundred years.
    """

    def __init__(self, client: ScriptClient, *, ttl_seconds: float, namespace: str = "streamguard") -> None:
        if not 0.001 <= ttl_seconds <= _LONGEST_SECONDS:
            raise ConfigurationError("ttl_seconds is a positive number of seconds, of a hundred years at most")
        self._client = client
        self._ttl_ms = int(ttl_seconds * 1000)
        self._namespace = namespace

    async def start(self) -> list[str]:
        return await self._client.start()

    async def open_session(self, key: SessionKey) -> bool:
        check_ids("open_session", key)
        reply = await self._call("open_session", "open", key, self._ttl_ms, key.owner, key.session_id)
        with _undamaged("open_session"):
            return {b"created": True, b"present": False}[_bytes(reply)]

    async def append(self, key: SessionKey, message: Message) -> Appended:
        check_ids("append", key, message.message_id, message.stream_id, message.continues, message.replies_to)
        content, digest = encode_content("append", message)
        reply = await self._call(
            "append",
            "append",
            key,
            self._ttl_ms,
            message.message_id,
            _writer(message.stream_id),
            "" if message.continues is None else _writer(message.continues),
            digest,
            message.status,
            content,
        )
        if reply == b"missing":
            raise MessageNotFoundError("append: there is no such session; open it first", operation="append")
        with _undamaged("append"):
            word = _bytes(reply).decode()
            if word in frozenset(Appended):
                return Appended(word)
            clash = Clash(word)
        raise conflict(clash)

    async def get(self, key: SessionKey, message_id: str) -> StoredMessage:
        check_ids("get", key, message_id)
        reply = await self._call("get", "get", key, message_id)
        if reply == [b"missing"]:
            raise MessageNotFoundError("get: there is no such message", operation="get")
        with _undamaged("get"):
            _, *record = _items(reply)
            return _stored(record)

    async def list(self, key: SessionKey, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        check_ids("list", key)
        check_limit(limit)
        reply = await self._call("list", "list", key, max(after, 0), limit)
        with _undamaged("list"):
            _, *records = _items(reply)
            return [_stored(_items(record)) for record in records]

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
        with _mapped_errors(operation):
            reply = await self._client.call(operation, _SCRIPTS[script], (self._key(key),), args)
        if reply in (b"newer", [b"newer"]):
            raise MessageUnavailableError(
                f"{operation}: this session was written by a later version of streamguard; upgrade this process",
                operation=operation,
            )
        return reply


@contextmanager
def _mapped_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except StoreCorruptError as exc:
        raise MessageInvalidError(str(exc), operation=operation) from exc
    except StoreError as exc:
        error = MessageTimeoutError if isinstance(exc.__cause__, TimeoutError) else MessageUnavailableError
        raise error(str(exc), operation=operation) from exc


def _writer(stream_id: str | None) -> str:
    """How the scripts call who wrote a message."""
    return "-" if stream_id is None else f"+{stream_id}"


@contextmanager
def _undamaged(operation: str) -> Iterator[None]:
    """Around the reading of a reply."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as exc:
        raise MessageInvalidError(f"{operation}: what Redis holds there is damaged", operation=operation) from exc


def _items(reply: object) -> list[object]:
    if not isinstance(reply, list):
        raise TypeError("not a list")
    return reply


def _bytes(reply: object) -> bytes:
    if not isinstance(reply, bytes):
        raise TypeError("not bytes")
    return reply


def _stored(record: Sequence[object]) -> StoredMessage:
    """A message as `record` in prelude.lua gives it: a position, which may be a number, and bytes."""
    position, *fields = record
    message_id, content, writers, status, created_ms, updated_ms = (_bytes(one).decode() for one in fields)
    return StoredMessage(
        message=decode_content(message_id, content.encode()),
        position=position if isinstance(position, int) else int(_bytes(position)),
        status=MessageStatus(status),
        streams=tuple(writer[1:] for writer, _ in json.loads(writers) if writer != "-"),
        created_at=int(created_ms) / 1000,
        updated_at=int(updated_ms) / 1000,
    )
