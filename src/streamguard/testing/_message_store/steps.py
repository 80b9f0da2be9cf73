"""The steps the message store suite's clauses are written in."""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import anyio

from ...errors import MessageConflictError, MessageInvalidError, MessageStoreError
from ...messages.records import Message, Role, StoredMessage, Superseded
from ...messages.store import MessageStore
from ...values import Outcome, SessionKey, new_message_id, new_stream_id
from ...wire.folding import Json

P = ParamSpec("P")
T = TypeVar("T")

RACERS = 8
"""How many do the same thing at once."""

WAIT_SECONDS = 5.0
"""How long a step may take after which a store counts as stuck."""

_TRIES = 50
_PAUSE_SECONDS = 0.02


def fresh_key(owner: str | None = None) -> SessionKey:
    """A session nobody used: suites may share one store."""
    return SessionKey(owner or f"owner-{secrets.token_hex(8)}", f"session-{secrets.token_hex(8)}")


def text_part(text: str) -> dict[str, Json]:
    return {"type": "text", "text": text}


def asked(text: str = "Why?", *, message_id: str | None = None, branch: int | None = None) -> Message:
    """A user's message."""
    return Message(message_id or new_message_id(), Role.USER, (text_part(text),), branch=branch)


def replied(
    text: str = "Because.",
    *,
    message_id: str | None = None,
    stream_id: str | None = None,
    continues: str | None = None,
    outcome: Outcome = Outcome.COMPLETED,
    metadata: Mapping[str, Json] | None = None,
    usage: Mapping[str, int] | None = None,
    replies_to: str | None = None,
    branch: int | None = None,
) -> Message:
    """A stream's reply."""
    return Message(
        message_id=message_id or new_message_id(),
        role=Role.ASSISTANT,
        parts=(text_part(text),),
        metadata=metadata,
        stream_id=stream_id or new_stream_id(),
        continues=continues,
        outcome=outcome,
        usage=usage or {},
        replies_to=replies_to,
        branch=branch,
    )


def continued(
    message: Message, text: str, *, outcome: Outcome = Outcome.COMPLETED, branch: int | None = None
) -> Message:
    """What another stream makes of `message`."""
    return replied(text, message_id=message.message_id, continues=message.stream_id, outcome=outcome, branch=branch)


async def opened(store: MessageStore, owner: str | None = None) -> SessionKey:
    key = fresh_key(owner)
    assert (await store.open_session(key)).created
    return key


async def put(store: MessageStore, key: SessionKey, *messages: Message) -> None:
    """Append messages, one after the other."""
    for message in messages:
        await store.append(key, message)


async def everything(store: MessageStore, key: SessionKey) -> list[StoredMessage]:
    return await store.list(key, limit=1000)


async def all_branches(store: MessageStore, key: SessionKey) -> list[StoredMessage]:
    """What old branches hold, too."""
    return await store.list(key, limit=1000, branches=True)


async def superseded(
    store: MessageStore,
    key: SessionKey,
    start: str | None,
    after: str | None = None,
    message: Message | None = None,
    *,
    by: str | None = None,
) -> Superseded:
    """Supersede from `start` on, or past `after`, as a stream of its own."""
    return await store.supersede(key, by=by or new_stream_id(), start=start, after=after, message=message)


async def conflicts(store: MessageStore, key: SessionKey, message: Message) -> bool:
    try:
        await store.append(key, message)
    except MessageConflictError:
        return True
    return False


def facts(message: Message) -> str:
    """Everything of a message by which two can be compared: 1, 1.0 and true differ, the order of keys does not."""
    return json.dumps(
        [
            message.message_id,
            message.role.value,
            [dict(part) for part in message.parts],
            None if message.metadata is None else dict(message.metadata),
            message.stream_id,
            None if message.outcome is None else message.outcome.value,
            dict(message.usage),
            message.replies_to,
        ],
        sort_keys=True,
        ensure_ascii=False,  # or two halves of a pair would look like the whole
    )


def texts(found: Sequence[StoredMessage]) -> list[Json]:
    return [part.get("text") for stored in found for part in stored.message.parts]


def places(found: Sequence[StoredMessage]) -> list[int]:
    return [stored.position for stored in found]


async def comes_back(store: MessageStore, key: SessionKey, message: Message) -> None:
    """Append a message and find it as it was, both ways."""
    await put(store, key, message)
    assert facts((await store.get(key, message.message_id)).message) == facts(message)
    (last,) = [stored for stored in await everything(store, key) if stored.message.message_id == message.message_id]
    assert facts(last.message) == facts(message)


async def comes_back_or_is_refused(store: MessageStore, key: SessionKey, message: Message) -> None:
    """As `comes_back`, unless the store says that it cannot hold the message; then nothing of it is there."""
    try:
        await store.append(key, message)
    except MessageInvalidError:
        assert message.message_id not in [stored.message.message_id for stored in await everything(store, key)]
        return
    assert facts((await store.get(key, message.message_id)).message) == facts(message)


async def insistently(call: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer to a call, made again while the store says that asking again may help: races may end in deadlocks."""
    for _ in range(_TRIES):
        try:
            return await call(*args, **kwargs)
        except MessageStoreError as exc:
            if not exc.retryable:
                raise
            await anyio.sleep(_PAUSE_SECONDS)
    return await call(*args, **kwargs)
