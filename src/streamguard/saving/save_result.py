"""What came of an attempt at saving, and what an error makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..errors import (
    MessageConflictError,
    MessageCorruptError,
    MessageFailedError,
    MessageForbiddenError,
    MessageFormatError,
    MessageNotFoundError,
    MessageStoreError,
    MessageSupersededError,
    MessageTimeoutError,
    MessageUnavailableError,
    StoreCorruptError,
    StoreFormatError,
)
from .folding import LogUnreadableError
from .save_breaker import SavingPausedError
from .session_writer import ErasedError
from .user_messages import RefusedMessage

__all__ = ["PreviousUnsavedError", "SaveResult", "SaveStatus", "result_of_error"]


class SaveStatus(Enum):
    """What came of an attempt at saving."""

    SAVED = "saved"
    NOTHING = "nothing"
    """There was nothing to save."""
    FAILED = "failed"
    """Another attempt may succeed."""
    REFUSED = "refused"
    """Its store will not take it as it is; an operator has to look."""
    CONFLICT = "conflict"
    """Other content is stored for this stream; that stands."""
    SUPERSEDED = "superseded"
    """It is stored, in an old branch: a later request has changed the conversation."""
    FORBIDDEN = "forbidden"
    """The session belongs to another owner."""
    ERASED = "erased"
    """The session was erased."""


@dataclass(frozen=True, slots=True)
class SaveResult:
    """What came of an attempt at saving, and why."""

    status: SaveStatus
    reason: str | None = None
    """A short code."""
    error: BaseException | None = None
    refused: tuple[RefusedMessage, ...] = ()
    """Messages before the reply that their store refused for good."""


class PreviousUnsavedError(MessageUnavailableError):
    """An earlier part of the same message must be saved first."""


def result_of_error(error: Exception, refused: tuple[RefusedMessage, ...] = ()) -> SaveResult:
    """The result of an attempt that ended with an error."""
    status, reason = _status_of(error)
    return SaveResult(status, reason, error, refused)


def _status_of(error: Exception) -> tuple[SaveStatus, str]:
    match error:
        case ErasedError():
            return SaveStatus.ERASED, "erased"
        case MessageSupersededError():
            return SaveStatus.CONFLICT, "superseded"
        case MessageConflictError():
            return SaveStatus.CONFLICT, "conflict"
        case MessageForbiddenError():
            return SaveStatus.FORBIDDEN, "forbidden"
        case StoreFormatError():
            return SaveStatus.FAILED, "newer_format"
        case LogUnreadableError() | StoreCorruptError():
            return SaveStatus.REFUSED, "log_unreadable"
        case PreviousUnsavedError():
            return SaveStatus.FAILED, "waits_for_previous"
        case SavingPausedError():
            return SaveStatus.FAILED, "paused"
        case MessageTimeoutError():
            return SaveStatus.FAILED, "timeout"
        case MessageFormatError():
            return SaveStatus.FAILED, "newer_format"
        case MessageFailedError():
            return SaveStatus.FAILED, "failed"
        case MessageStoreError() if error.retryable:
            return SaveStatus.FAILED, "unavailable"
        case MessageNotFoundError():
            return SaveStatus.REFUSED, "not_found"
        case MessageCorruptError():
            return SaveStatus.REFUSED, "record_unreadable"
        case MessageStoreError():
            return SaveStatus.REFUSED, "invalid"
        case _:
            return SaveStatus.FAILED, "store_unavailable"
