"""What a client is told of a save that did not come in time, or at all."""

from __future__ import annotations

from typing import Final

from ..errors import (
    MessageConflictError,
    MessageForbiddenError,
    MessageInvalidError,
    MessageStoreError,
    MessageSupersededError,
)
from ..faults import Fault, FaultCode, Severity
from ..values import Subject
from .pending_write import SAVE
from .save_result import SaveResult, SaveStatus, result_of_error
from .sealed_stream import SealedStream
from .user_messages import RefusedMessage, UserMessages

__all__ = ["fault_of_failed_save", "fault_of_refused_message", "fault_of_result", "fault_of_wait"]

RESEND: Final = "resend"
DOWNLOAD: Final = "download"
RETRY_AFTER_SECONDS: Final = 5
SUPERSEDED: Final = "superseded"
SUPERSEDED_MESSAGE: Final = "This part of the conversation was changed in the meantime."


def fault_of_wait(sealed: SealedStream, user_message_id: str | None, error: Exception | None) -> Fault:
    """The save is still under way; `error` is the last failure, when attempts at it failed."""
    if error is not None:
        return Fault.about(
            sealed,
            FaultCode.PERSISTENCE_FAILED,
            user_message_id=user_message_id,
            reason=result_of_error(error).reason,
            actions=(RESEND, DOWNLOAD),
        )
    return Fault.about(sealed, FaultCode.PERSISTENCE_PENDING, user_message_id=user_message_id)


def fault_of_result(sealed: SealedStream, user_message_id: str | None, result: SaveResult) -> Fault | None:
    """The save is over. None where there is nothing to tell."""
    match result.status:
        case SaveStatus.SAVED | SaveStatus.NOTHING | SaveStatus.ERASED:
            return None
        case SaveStatus.SUPERSEDED:
            return Fault.about(
                sealed,
                FaultCode.SAVE_CONFLICT,
                user_message_id=user_message_id,
                message=SUPERSEDED_MESSAGE,
                reason=SUPERSEDED,
            )
        case SaveStatus.CONFLICT if isinstance(result.error, MessageSupersededError):
            return Fault.about(
                sealed,
                FaultCode.SAVE_CONFLICT,
                user_message_id=user_message_id,
                message=SUPERSEDED_MESSAGE,
                reason=SUPERSEDED,
                actions=(DOWNLOAD,),
            )
        case SaveStatus.CONFLICT:
            return Fault.about(sealed, FaultCode.SAVE_CONFLICT, user_message_id=user_message_id, actions=(DOWNLOAD,))
        case SaveStatus.FAILED:
            return Fault.about(
                sealed,
                FaultCode.PERSISTENCE_FAILED,
                user_message_id=user_message_id,
                reason=result.reason,
                actions=(RESEND, DOWNLOAD),
            )
        case _:
            return Fault.about(
                sealed,
                FaultCode.PERSISTENCE_FAILED,
                user_message_id=user_message_id,
                retryable=False,
                reason=result.reason,
                actions=(DOWNLOAD,),
            )


def fault_of_refused_message(sealed: SealedStream, unsaved: RefusedMessage) -> Fault:
    """A message before the reply was refused for good, though the reply may be saved."""
    conflict = isinstance(unsaved.error, MessageConflictError)
    superseded = isinstance(unsaved.error, MessageSupersededError) or (conflict and unsaved.message is None)
    return Fault.of(
        FaultCode.SAVE_CONFLICT if conflict else FaultCode.PERSISTENCE_FAILED,
        retryable=False,
        message=SUPERSEDED_MESSAGE
        if superseded
        else "Another version of your message was saved before."
        if conflict
        else "Your message could not be saved.",
        reason=SUPERSEDED if superseded else "user_message",
        session_id=sealed.ref.key.session_id,
        stream_id=sealed.ref.stream_id,
        user_message_id=None if unsaved.message is None else unsaved.message.message_id,
        request_id=sealed.request_id,
    )


def fault_of_failed_save(
    subject: Subject, error: BaseException | None, user_messages: UserMessages | None
) -> Fault | None:
    """The fault of a stream whose endpoint failed with what an awaited `run.save` raised. None for any other error."""
    if not isinstance(error, MessageStoreError) or user_messages is None:
        return None
    if error.operation != SAVE and not user_messages.failed_with(error):  # the endpoint's own use of its database
        return None
    if isinstance(error, MessageForbiddenError):
        code, status, retry_after = FaultCode.NOT_FOUND, None, None
    elif isinstance(error, MessageInvalidError):
        code, status, retry_after = FaultCode.REQUEST_INVALID, None, None
    elif isinstance(error, MessageConflictError):
        code, status, retry_after = FaultCode.SAVE_CONFLICT, None, None
    else:
        code, status, retry_after = FaultCode.PERSISTENCE_FAILED, 503, RETRY_AFTER_SECONDS
    superseded = isinstance(error, MessageSupersededError)
    message = "Your message could not be saved." if code is FaultCode.PERSISTENCE_FAILED else None
    reason = None if code is FaultCode.NOT_FOUND else "user_message"
    return Fault.about(
        subject,
        code,
        severity=Severity.FATAL,
        status=status,
        retry_after_seconds=retry_after,
        message=SUPERSEDED_MESSAGE if superseded else message,
        reason=SUPERSEDED if superseded else reason,
        user_message_id=user_messages.last_user_id,
    )
