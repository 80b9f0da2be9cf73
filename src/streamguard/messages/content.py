"""What all our message stores refuse, and how a message becomes bytes.

What is stored is JSON in UTF-8, so a text that has no UTF-8 (half a surrogate pair) and a number that is not JSON
(NaN, the infinities) are refused; everything else comes back exactly, NUL included.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import partial
from typing import Final, NotRequired, TypedDict, cast

from ..errors import MessageConflictError, MessageInvalidError, MessageSupersededError
from ..offloading import offloaded
from ..values import MAX_ID_BYTES, MAX_OWNER_BYTES, Outcome, SessionKey
from ..wire.folding import Json
from ..wire.large_json import is_large, json_pieces, read_large_json
from .records import Message, MessageStatus, Role

__all__ = [
    "MAX_PAGE",
    "Clash",
    "check_ids",
    "check_limit",
    "check_superseding",
    "conflict",
    "decode_content",
    "encode_content",
    "encoded",
    "read_status",
]

MAX_PAGE: Final = 1000
"""The most messages `list` gives at once."""


class Clash(StrEnum):
    """Why a message is a conflict."""

    ABSENT = "absent"
    DIFFERS = "differs"
    TAKEN = "taken"
    SUPERSEDED = "gone"
    REPLACED = "replaced"
    ANOTHER = "another"


_CLASHES: Final = {
    Clash.ABSENT: "the message it continues is not there",
    Clash.DIFFERS: "the same stream has stored it with other content",
    Clash.TAKEN: "it is stored already, and not as what this one continues",
    Clash.SUPERSEDED: "the message it continues was superseded before",
    Clash.REPLACED: "what it replaces is part of an old branch already",
    Clash.ANOTHER: "the same stream has superseded something else",
}


class _Content(TypedDict):
    """A message without its id."""

    role: str
    parts: list[Mapping[str, Json]]
    metadata: Mapping[str, Json] | None
    stream_id: str | None
    continues: str | None
    outcome: str | None
    usage: Mapping[str, int]
    replies_to: NotRequired[str]


def check_ids(operation: str, key: SessionKey, *ids: str | None) -> None:
    """Refuse ids no store has to hold; None is no id.

    Raises:
        MessageInvalidError: the owner is over `MAX_OWNER_BYTES`, an id over `MAX_ID_BYTES`, or one has no UTF-8.
    """
    for index, text in enumerate((key.owner, key.session_id, *ids)):
        if text is None:
            continue
        limit = MAX_ID_BYTES if index else MAX_OWNER_BYTES
        try:
            size = len(text.encode())
        except UnicodeEncodeError as exc:
            raise MessageInvalidError(f"{operation}: an id holds half a surrogate pair", operation=operation) from exc
        if size > limit:
            raise MessageInvalidError(f"{operation}: an id has {size} bytes; the limit is {limit}", operation=operation)


def check_superseding(key: SessionKey, by: str, start: str | None, after: str | None, message: Message | None) -> None:
    """`check_ids` of all that `supersede` is given."""
    ids = () if message is None else (message.message_id, message.stream_id, message.continues, message.replies_to)
    check_ids("supersede", key, by, start, after, *ids)


def conflict(clash: Clash, operation: str = "append") -> MessageConflictError:
    """The error for what `append` or `supersede` refuses."""
    kind = MessageSupersededError if clash in (Clash.SUPERSEDED, Clash.REPLACED) else MessageConflictError
    return kind(f"{operation}: {_CLASHES[clash]}", operation=operation)


def check_limit(limit: int) -> None:
    """Refuse a page size that `list` does not allow. Raises `ValueError`: it is a mistake of the caller's."""
    if not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"list: limit is 1 to {MAX_PAGE}, not {limit}")


async def encoded(operation: str, message: Message) -> tuple[bytes, str]:
    """`encode_content`, of a large message in a thread."""
    large = is_large(message.parts) or is_large(message.metadata)
    return await offloaded(partial(encode_content, operation, message), large=large)


def encode_content(operation: str, message: Message) -> tuple[bytes, str]:
    """What is stored of a message besides its id, and its digest.

    Raises:
        MessageInvalidError: it is not JSON, is nested too deeply to be written, or holds half a surrogate pair.
    """
    content: _Content = {
        "role": message.role,
        "parts": list(message.parts),
        "metadata": message.metadata,
        "stream_id": message.stream_id,
        "continues": message.continues,
        "outcome": message.outcome,
        "usage": message.usage,
    }
    if message.replies_to is not None:
        content["replies_to"] = message.replies_to
    try:
        return b"".join([piece.encode() for piece in json_pieces(content)]), message.digest()
    except (TypeError, ValueError, RecursionError) as exc:
        # The cause goes no further: a UnicodeEncodeError carries the whole text it could not encode.
        raise MessageInvalidError(
            f"{operation}: the message cannot be written as JSON in UTF-8 ({type(exc).__name__})", operation=operation
        ) from None


def decode_content(message_id: str, content: bytes) -> Message:
    """The message that `encode_content` wrote. A role that a later version added reads as `SYSTEM`, which no page shows
    as anybody's words, and such an outcome as `INTERRUPTED`.

    Raises:
        what `streamguard.decoding.DAMAGE` names: it is damaged.
    """
    found = cast("_Content", read_large_json(content))
    return Message(
        message_id=message_id,
        role=Role(found["role"]) if found["role"] in frozenset(Role) else Role.SYSTEM,
        parts=tuple(found["parts"]),
        metadata=found["metadata"],
        stream_id=found["stream_id"],
        continues=found["continues"],
        outcome=_read_outcome(found["outcome"]),
        usage=found["usage"],
        replies_to=found.get("replies_to"),
    )


def read_status(stored: str) -> MessageStatus:
    """A stored status. One that a later version added reads as `PARTIAL`: it may not be whole."""
    return MessageStatus(stored) if stored in frozenset(MessageStatus) else MessageStatus.PARTIAL


def _read_outcome(stored: str | None) -> Outcome | None:
    if stored is None:
        return None
    return Outcome(stored) if stored in frozenset(Outcome) else Outcome.INTERRUPTED
