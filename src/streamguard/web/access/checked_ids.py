"""Ids of sessions and messages that come from outside: checked, or made where there is none."""

from __future__ import annotations

from uuid import UUID

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...random_ids import random_hex
from ...values import is_id, message_id_of

__all__ = ["checked_message_id", "checked_session_id"]


def checked_session_id(value: object) -> str:
    """A session id from outside as text; a fresh one (`ses_` and 24 hex digits) for None.

    Raises:
        FaultError: `session_invalid`, unless it is 1 to 256 bytes of UTF-8 without control characters, and neither
            `.` nor `..`, which URLs swallow.
    """
    if value is None:
        return f"ses_{random_hex()}"
    text = str(value) if isinstance(value, (UUID, int)) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not is_id(text) or text in (".", ".."):
        raise FaultError(Fault.of(FaultCode.SESSION_INVALID))
    return str(text)


def checked_message_id(value: object, stream_id: str) -> str:
    """A host's message id as text; for None, that of the stream which begins the message.

    Raises:
        FaultError: `request_invalid`, under the same rules as for a session's.
    """
    if value is None:
        return message_id_of(stream_id)
    text = str(value) if isinstance(value, UUID) else value
    if not isinstance(text, str) or not is_id(text):
        raise FaultError(Fault.of(FaultCode.REQUEST_INVALID, reason="message_id"))
    return str(text)
