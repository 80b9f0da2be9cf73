"""What the outbox keeps of a save beyond the stream's own record: JSON, versioned.

The reply is not in it: it is folded from the log again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from ...messages import Message, Role

__all__ = ["WITH_SETTLEMENT", "NewerPayloadError", "read_payload", "write_payload"]

VERSION: Final = 1
WITH_SETTLEMENT: Final = 2
"""The version of a payload that owes the settlement of a quota too, and perhaps no save: `before` is null then."""


class NewerPayloadError(Exception):
    """A later version of streamguard wrote the payload."""


def write_payload(before: Sequence[Message]) -> bytes:
    """The payload: messages still to be written before the reply, in order. They come from a client's request and have
    neither stream nor outcome."""
    messages = [
        {
            "id": message.message_id,
            "role": message.role,
            "parts": [dict(part) for part in message.parts],
            **({} if message.metadata is None else {"metadata": dict(message.metadata)}),
        }
        for message in before
    ]
    return json.dumps({"v": VERSION, "before": messages}, separators=(",", ":")).encode()


def read_payload(payload: bytes) -> tuple[Message, ...]:
    """The messages of a payload; none where no save is owed.

    Raises:
        NewerPayloadError: another version has to read it.
        ValueError: it is damaged.
    """
    try:
        raw = json.loads(payload)
        if raw["v"] not in (VERSION, WITH_SETTLEMENT):
            raise NewerPayloadError
        return tuple(
            Message(
                message_id=found["id"],
                role=Role(found["role"]),
                parts=tuple(found["parts"]),
                metadata=found.get("metadata"),
            )
            for found in (raw["before"] if raw["before"] is not None or raw["v"] == VERSION else ())
        )
    except (KeyError, TypeError) as exc:
        raise ValueError("this is no outbox payload") from exc
