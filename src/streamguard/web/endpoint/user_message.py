"""Reads the message that an endpoint gives to `run.save`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, cast

from pydantic import BaseModel

from ...decoding import read_json
from ...errors import MessageInvalidError
from ...messages import Message, Role
from ...saving.pending_write import SAVE
from ...values import MAX_ID_BYTES, is_id
from ...wire.values import MAX_DEPTH, Json, Replaced, ValueTooLargeError, encode_json, normal, valid_text

__all__ = ["MessageInput", "ReadMessage", "check_count", "derived_id", "read_message"]

MessageInput = Message | Mapping[str, object] | BaseModel | str
"""A `Message`; a UI message of AI SDK, as a mapping or a pydantic model; or a user's text."""

MAX_MESSAGES: Final = 1_000
"""How many messages one request may save: each is kept in memory until it has been written."""
MAX_PARTS: Final = 10_000
"""How many parts one message may have."""
_DIGITS: Final = 24


def derived_id(*names: str) -> str:
    """A message id made from names: `usr_` and 24 hex digits, the same for the same names."""
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return f"usr_{digest[:_DIGITS]}"


def check_count(messages: int) -> None:
    """Raises `MessageInvalidError` for more messages than one request may save: a history is not saved one by one."""
    if messages > MAX_MESSAGES:
        raise _invalid(f"one request brings at most {MAX_MESSAGES} messages")


class ReadMessage(NamedTuple):
    """A message as it is stored, and the values that were replaced in it."""

    message: Message
    size_bytes: int
    """The size of its content as JSON."""
    replaced: Sequence[Replaced]


def read_message(item: MessageInput, fallback_id: str) -> ReadMessage:
    """The message of `item`, under `fallback_id` if it has no id of its own, with normal JSON values.

    Raises:
        MessageInvalidError: the item is no message, or no store can hold its id.
    """
    if isinstance(item, str):
        text = valid_text(item)
        return ReadMessage(Message(fallback_id, Role.USER, ({"type": "text", "text": text},)), len(text.encode()), ())
    message = item if isinstance(item, Message) else _ui_message(item, fallback_id)
    for one in (message.message_id, message.stream_id, message.continues, message.replies_to):
        if one is not None and not is_id(one):
            raise _invalid(f"an id has 1 to {MAX_ID_BYTES} bytes and no control characters")
    try:
        encoded = encode_json(
            [message.parts, message.metadata], max_depth=MAX_DEPTH + 2
        )  # of each part, as in an answer
    except ValueTooLargeError:
        raise _invalid("it is larger than any message may be") from None
    parts, metadata = read_json(encoded.data)
    return ReadMessage(replace(message, parts=tuple(parts), metadata=metadata), len(encoded.data), encoded.replaced)


def _ui_message(item: object, fallback_id: str) -> Message:
    raw = _fields(item) if isinstance(item, BaseModel) else item
    if not isinstance(raw, Mapping):
        raise _invalid(f"a message is a Message, a UI message or a text, not {type(item).__name__}")
    message_id, parts, metadata = raw.get("id"), raw.get("parts"), raw.get("metadata")
    if message_id is None:
        message_id = fallback_id
    if not isinstance(message_id, str) or not message_id:
        raise _invalid("the id of a UI message is a string")
    if raw.get("role") not in list(Role):
        raise _invalid("the role of a UI message is user, assistant or system")
    if not isinstance(parts, (list, tuple)) or not all(
        isinstance(part, Mapping) and isinstance(part.get("type"), str) for part in parts
    ):
        raise _invalid("the parts of a UI message are objects with a type")
    if len(parts) > MAX_PARTS:
        raise _invalid(f"a message has at most {MAX_PARTS} parts")
    if metadata is not None and not isinstance(metadata, Mapping):
        metadata = {"value": metadata}
    return Message(
        message_id,
        Role(str(raw["role"])),
        tuple(cast("Mapping[str, Json]", part) for part in parts),
        metadata=cast("Mapping[str, Json] | None", metadata),
    )


def _fields(model: BaseModel) -> object:
    """A model without its unset fields, as JSON if it can be."""
    try:
        return model.model_dump(mode="json", by_alias=True, exclude_none=True, warnings=False)
    except Exception:  # noqa: BLE001 -- a model's own serializers may raise any error
        return normal(model).value


def _invalid(text: str) -> MessageInvalidError:
    return MessageInvalidError(f"{SAVE}: {text}", operation=SAVE)
