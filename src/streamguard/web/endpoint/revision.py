"""Reads from a request of AI SDK whether the user edited a question, or asked for an answer again.

`DefaultChatTransport` of `ai` 5, 6 and 7 posts `{id, messages, trigger, messageId}`, after the client has cut its own
messages off (`packages/ai/src/ui/chat.ts`, `sendMessage` and `regenerate`):

- `regenerate({messageId})`: `trigger` is `regenerate-message`, `messages` ends before the answer that is to go;
  `messageId` is its id, or that of the question which `messages` then ends with, or absent (the last answer).
- `sendMessage({text, messageId})`: `trigger` is `submit-message`, `messages` ends with the edited question, whose id
  is `messageId`. `sendMessage()` without a text sends the last message like this, unedited: the message supersedes
  itself, and only the messages after it go.
- A new question has no `messageId`; results of tools and approvals have the id of the assistant's message.

Clients that send only one message put it into `message`; they do not send what is kept. A missing `trigger` is
`submit-message`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request

from ...decoding import DAMAGE
from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...messages import Role
from ...offloading import offloaded
from ...runtime import Revision
from ...values import is_id
from ...wire.large_json import LARGE, read_large_json

__all__ = ["revision_in", "revision_of"]

_REGENERATE: Final = b"regenerate-message"
_MESSAGE_ID: Final = b"messageId"


async def revision_of(request: Request) -> Revision | None:
    """What a request supersedes; None for nothing. Reads the body if it is JSON.

    Raises:
        FaultError: `request_invalid`: an id in it is invalid.
    """
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        return None
    try:
        body = await request.body()
    except RuntimeError:  # the body was consumed, and not kept
        return None
    if _REGENERATE not in body and _MESSAGE_ID not in body:
        return None
    return await offloaded(lambda: revision_in(body), large=len(body) >= LARGE)


def revision_in(body: bytes) -> Revision | None:
    """What a body supersedes.

    Raises:
        FaultError: `request_invalid`: an id in it is invalid.
    """
    try:
        given = read_large_json(body)
    except DAMAGE:  # the endpoint, or its framework, reports invalid JSON
        return None
    if not isinstance(given, Mapping):
        return None
    named, shown, single = given.get("messageId"), given.get("messages"), given.get("message")
    history = shown if isinstance(shown, Sequence) and not isinstance(shown, str) else None
    last = history[-1] if history else single
    match given.get("trigger"):
        case "regenerate-message":
            kept = _ids(history if history is not None else None if single is None else [single])
            start = None if named is None or (kept is not None and named in kept) else _checked(named)
            return Revision(start, kept)
        case "submit-message" | None if named is not None and _is_user(last, named):
            return Revision(_checked(named), None if history is None else _ids(history[:-1]))
    return None


def _is_user(message: object, message_id: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == Role.USER and message.get("id") == message_id


def _ids(messages: Sequence[object] | None) -> tuple[str, ...] | None:
    if messages is None:
        return None
    found = (message.get("id") for message in messages if isinstance(message, Mapping))
    return tuple(one for one in found if isinstance(one, str) and is_id(one))  # no store has messages under other ids


def _checked(given: object) -> str:
    if not isinstance(given, str) or not is_id(given):
        raise FaultError(Fault.of(FaultCode.REQUEST_INVALID, reason="message_id"))
    return given
