"""What an endpoint gives to `run.save`, as a message to store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final, cast

from pydantic import BaseModel

from ..errors import MessageInvalidError
from ..messages import Message, Role
from ..runtime.saving.faults import SAVE
from ..wire.folding import Json

__all__ = ["Incoming", "derived_id", "message_of"]

Incoming = Message | Mapping[str, object] | BaseModel | str
"""A `Message`; a UI message of AI SDK, as a mapping or a pydantic model; or a user's text."""

_DIGITS: Final = 24


def derived_id(*names: str) -> str:
    """A message id made of names: `usr_` and 24 hex digits, the same for the same names."""
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return f"usr_{digest[:_DIGITS]}"


def message_of(item: Incoming, fallback_id: str) -> Message:
    """The message that `item` is, under `fallback_id` if it has no id of its own.

    Raises:
        MessageInvalidError: it is none: a client sent nonsense.
    """
    if isinstance(item, Message):
        return item
    if isinstance(item, str):
        return Message(fallback_id, Role.USER, ({"type": "text", "text": item},))
    raw = item.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(item, BaseModel) else item
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
    if metadata is not None and not isinstance(metadata, Mapping):
        metadata = {"value": metadata}
    return Message(
        message_id,
        Role(str(raw["role"])),
        tuple(cast("Mapping[str, Json]", part) for part in parts),
        metadata=cast("Mapping[str, Json] | None", metadata),
    )


def _invalid(text: str) -> MessageInvalidError:
    return MessageInvalidError(f"{SAVE}: {text}", operation=SAVE)
