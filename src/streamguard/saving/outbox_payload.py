"""What the outbox keeps of a save beyond the stream's own record: JSON, versioned.

The reply is not in it: it is folded from the log again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..compact_json import compact_json
from ..decoding import decoding, read_json
from ..messages import Message, Role
from .supersession import Supersession

__all__ = ["WITH_SETTLEMENT", "NewerPayloadError", "OutboxSave", "read_payload", "write_payload"]

VERSION: Final = 1
WITH_SETTLEMENT: Final = 2
"""The version of a payload that owes the settlement of a quota too, and perhaps no save:
`user_messages` is null then."""


class NewerPayloadError(Exception):
    """A later version of streamguard wrote the payload."""


class OutboxSave(NamedTuple):
    """What a payload says of a save."""

    user_messages: tuple[Message, ...]
    """Still to be written before the reply; none where no save is owed."""
    replies_to: str | None
    saves: bool
    """Whether a save is owed."""
    branch: int | None = None
    """The session's branch when its stream began, if that is known."""
    supersession: Supersession | None = None
    """What is still to be superseded."""
    superseding_id: str | None = None
    """The id of the message that is stored in the same step; None where there is none."""

    def writes(self) -> list[tuple[Message | None, Supersession | None]]:
        """What is still to be written before the reply, in order: messages, supersessions, or both in one step."""
        writes: list[tuple[Message | None, Supersession | None]] = [
            (message, self.supersession if message.message_id == self.superseding_id else None)
            for message in self.user_messages
        ]
        if self.supersession is not None and all(supersession is None for _, supersession in writes):
            writes.insert(0, (None, self.supersession))
        return writes


def write_payload(
    user_messages: Sequence[Message],
    replies_to: str | None = None,
    *,
    branch: int | None = None,
    supersession: Supersession | None = None,
    superseding_id: str | None = None,
) -> bytes:
    """The payload: messages still to be written before the reply, in order, and the id of the one it answers, which may
    be written already. They come from a client's request and have neither stream nor outcome. The others: see
    `OutboxSave`."""
    messages = [
        {
            "id": message.message_id,
            "role": message.role,
            "parts": [dict(part) for part in message.parts],
            **({} if message.metadata is None else {"metadata": dict(message.metadata)}),
            **({} if message.replies_to is None else {"replies_to": message.replies_to}),
        }
        for message in user_messages
    ]
    body: dict[str, object] = {"v": VERSION, "user_messages": messages}
    if replies_to is not None:
        body["replies_to"] = replies_to
    if branch is not None:
        body["branch"] = branch
    if supersession is not None:
        body["supersedes"] = {**supersession.as_dict(), "with": superseding_id}
    return compact_json(body)


def read_payload(payload: bytes) -> OutboxSave:
    """What `write_payload` wrote, with a settlement or without.

    Raises:
        NewerPayloadError: another version has to read it.
        ValueError: it is damaged.
    """
    with decoding(lambda: ValueError("this is no outbox payload")):
        raw = read_json(payload)
        version = raw["v"]
        if type(version) is not int:
            raise TypeError("a version is a number")
        if version not in (VERSION, WITH_SETTLEMENT):
            raise NewerPayloadError
        saves = raw["user_messages"] is not None or version == VERSION
        user_messages = tuple(
            Message(
                message_id=found["id"],
                role=Role(found["role"]),
                parts=tuple(found["parts"]),
                metadata=found.get("metadata"),
                replies_to=found.get("replies_to"),
            )
            for found in (raw["user_messages"] if saves else ())
        )
        branch, supersedes = raw.get("branch"), raw.get("supersedes")
        if branch is not None and type(branch) is not int:
            raise TypeError("a branch is a number")
        return OutboxSave(
            user_messages,
            raw.get("replies_to"),
            saves,
            branch,
            None if supersedes is None else Supersession.from_dict(supersedes),
            None if supersedes is None else supersedes["with"],
        )
