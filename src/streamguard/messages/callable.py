"""The simplest form of saving: a function of the host's, called with each message.

It is called at least once for each: again after an error or a doubt, also by another process, and possibly twice at
the same time. What it stores is one message if it upserts by session and message id, or skips an idempotency key it
has seen. The latter also keeps a late repetition from replacing what edited or continued the message since. It cannot
be read back from; for that, implement `MessageStore`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from typing import Final, Protocol

from ..contained import passes
from ..errors import (
    ConfigurationError,
    MessageFailedError,
    MessageStoreError,
    MessageTimeoutError,
    MessageUnavailableError,
)
from ..values import SessionKey
from .records import Message, Supersedes

__all__ = ["CallableSaver", "MessageToSave", "Save", "host_error"]

_OUTAGES: Final = frozenset(
    {
        "OperationalError",  # PEP 249
        "InterfaceError",
        "ConnectionError",  # redis
        "TimeoutError",
        "ConnectionFailure",  # pymongo
        "PostgresConnectionError",  # asyncpg
        "TransportError",  # httpx
        "ClientConnectionError",  # aiohttp
    }
)


@dataclass(frozen=True, slots=True)
class MessageToSave:
    """One message and where it belongs."""

    key: SessionKey
    message: Message
    supersedes: Supersedes | None = None
    """What the user replaced with it, by editing a question or asking for another answer: forget the message `start`,
    if you have it, and what comes after it, else what comes after `after`; with neither, everything of the session.
    Once for each `by`: a retry comes with the same. None: it replaces nothing."""

    @property
    def text(self) -> str:
        """The text parts put together: the message as a person reads it, without tools, reasoning or files."""
        texts = [part.get("text") for part in self.message.parts if part.get("type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))

    @property
    def idempotency_key(self) -> str:
        """64 hex digits that are the same whenever the same stream's version of the same message is saved again.

        A continued message has the same `message_id` and another key: it replaces what was saved under that id. So has
        an edited question.
        """
        name = [self.key.owner, self.key.session_id, self.message.message_id, self.message.stream_id]
        if self.supersedes is not None:
            name.append(self.supersedes.by)
        return hashlib.sha256(json.dumps(name).encode()).hexdigest()


class Save(Protocol):
    """Any `async def save(message)`.

    It returns once the message is committed. What it raises counts as a failure at this message, to be tried again
    `max_outbox_attempts` times, unless it is a `MessageStoreError` that says otherwise: `MessageInvalidError` for a
    message it will never take, `MessageForbiddenError` for a session of another user, `MessageConflictError` where
    other content stands already. That the database is away, so that no other message need be tried meanwhile, is what
    `MessageUnavailableError` says, and what an `OSError`, an `EOFError`, a `TimeoutError` and the `OperationalError`
    and `InterfaceError` of a database's driver (PEP 249) are taken for.
    """

    async def __call__(self, message: MessageToSave, /) -> None: ...


class CallableSaver:
    """Saves messages by calling a function."""

    def __init__(self, save: Save) -> None:
        """Raises `ConfigurationError` unless `save` is async and can be called with one message."""
        if not _is_async(save):
            raise ConfigurationError(
                "messages takes a message store or an async function, `async def save(message): …`; "
                "a function that is not async would stop every stream while it saves"
            )
        try:
            inspect.signature(save).bind(object())
        except (TypeError, ValueError):
            raise ConfigurationError(
                "the function given as messages is called with the message alone: `async def save(message): …`"
            ) from None
        self._save = save

    async def append(self, key: SessionKey, message: Message, *, supersedes: Supersedes | None = None) -> None:
        """Save a message; `supersedes` is what it replaces.

        Not retried here; after an error or a cancellation it may or may not be saved.

        Raises:
            MessageTimeoutError: the function raised a `TimeoutError`.
            MessageUnavailableError: it raised an error that says that its database is away.
            MessageFailedError: it raised anything else that is not a `MessageStoreError`; those come through.
        """
        try:
            await self._save(MessageToSave(key, message, supersedes))
        except MessageStoreError:
            raise
        except TimeoutError as exc:
            raise MessageTimeoutError("append: the save function did not finish in time", operation="append") from exc
        except BaseException as exc:  # a host's function may raise what it likes
            if passes(exc):
                raise
            raise host_error("append", "the save function failed", exc) from exc


def host_error(operation: str, what: str, exc: BaseException) -> MessageFailedError | MessageUnavailableError:
    """Tell whether an exception of a host's own code means that its database is away, or that it failed at this one
    message."""
    kind = MessageUnavailableError if _is_outage(exc) else MessageFailedError
    return kind(f"{operation}: {what} ({type(exc).__name__})", operation=operation)


def _is_outage(exc: BaseException) -> bool:
    """Whether an exception says that a peer cannot be reached, or is not well: by type, or by the names of
    the exceptions of drivers and HTTP clients, since no driver is a dependency of this package."""
    if isinstance(exc, OSError | EOFError | TimeoutError):
        return True
    return any(kind.__name__ in _OUTAGES for kind in type(exc).__mro__)


def _is_async(save: object) -> bool:
    return callable(save) and (inspect.iscoroutinefunction(save) or inspect.iscoroutinefunction(type(save).__call__))
