"""What a message store is asked to supersede, found from what a request says of its conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import MessageConflictError
from ..messages import Message, Role
from .attempts import Attempts
from .revision import Revision
from .session_writer import SessionWriter

__all__ = ["SupersedeRequest", "Supersession", "supersede_request_of"]

LOOKED_AT: Final = 20
"""How many of the messages that stay are looked for, the last first, where none of them is stored."""
FOLLOWING: Final = 100
"""How many messages are looked at for the first one that does not stay."""


@dataclass(frozen=True, slots=True)
class SupersedeRequest:
    """What a message store is asked: see `MessageStore.supersede`."""

    start: str | None
    after: str | None
    with_message: bool
    """Whether the write's message is stored in the same step. False for one that stays visible: it is appended."""


@dataclass(slots=True, eq=False)
class Supersession:
    """One superseding, for which the message store is asked in the same way each time."""

    revision: Revision
    request: SupersedeRequest | None = None
    """None before the message store has been looked at."""

    def as_dict(self) -> dict[str, object]:
        """For an outbox payload: of the messages that stay, only those that may be looked for."""
        kept, request = self.revision.kept, self.request
        return {
            "start": self.revision.start,
            "kept": None if kept is None else kept[-LOOKED_AT:],
            "asked": None if request is None else [request.start, request.after, request.with_message],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> Supersession:
        """What `as_dict` gave. Raises what `streamguard.decoding.DAMAGE` names."""
        start, kept, asked = raw["start"], raw["kept"], raw["asked"]
        revision = Revision(_text(start), None if kept is None else tuple(map(str, _list(kept))))
        if asked is None:
            return cls(revision)
        first, after, with_message = _list(asked)
        return cls(revision, SupersedeRequest(_text(first), _text(after), with_message is True))


async def supersede_request_of(
    writer: SessionWriter, revision: Revision, message: Message | None, attempts: Attempts
) -> SupersedeRequest:
    """What to ask the message store for, given what it has.

    Raises:
        MessageConflictError: a question is to be answered again that has other content by now: the client's page is
            not what is stored any more.
        MessageStoreError: see `Attempts`.
    """
    start, kept = revision.start, revision.kept
    carried = message is not None and message.message_id == start
    if message is not None:
        stored = await writer.get(message.message_id, attempts)
        same = stored is not None and stored.message.digest() == message.digest()
        if same and carried:  # asked again, as it was
            return SupersedeRequest(None, message.message_id, with_message=False)
        if stored is not None and not same and not carried:
            raise MessageConflictError("supersede: the question is stored with other content", operation="supersede")
    if writer.messages is None or kept == ():
        return SupersedeRequest(start, None if not kept else kept[-1], carried)
    if kept is None:
        return await _of_the_end(writer, start, attempts, carried=carried)
    after = kept[-1]
    if await writer.get(after, attempts) is None and (start is None or await writer.get(start, attempts) is None):
        start = await _first_to_go(writer, kept, attempts) or start
    return SupersedeRequest(start, after, carried)


async def _of_the_end(
    writer: SessionWriter, start: str | None, attempts: Attempts, *, carried: bool
) -> SupersedeRequest:
    """What to ask for where it is not said what stays: without a start, the last answer goes."""
    last = await writer.last(attempts)
    if last is None:
        return SupersedeRequest(start, None, carried)
    if start is None and last.message.role is Role.ASSISTANT:
        return SupersedeRequest(last.message.message_id, last.message.replies_to, carried)
    return SupersedeRequest(start, last.message.message_id, carried)


async def _first_to_go(writer: SessionWriter, kept: tuple[str, ...], attempts: Attempts) -> str | None:
    """The first stored message that does not stay, for a host that keeps users' messages elsewhere: the last message
    that stays is not stored."""
    for message_id in reversed(kept[-LOOKED_AT:-1]):
        found = await writer.get(message_id, attempts)
        if found is not None:
            following = await writer.list_after(found.position, FOLLOWING, attempts)
            return next((one.message.message_id for one in following if one.message.message_id not in kept), None)
    return None


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("an id is a text")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("these are no items")
    return value
