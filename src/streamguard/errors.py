"""Every exception streamguard raises.

```
StreamGuardError
├── ConfigurationError        wrong use, found when constructing or decorating
│   └── NotStartedError       a guard was used outside its lifespan
├── FaultError                a failure that has a structured `Fault`; web turns it into an answer
├── CursorInvalidError        a cursor that is not one of ours
├── LogBrokenError            a stream's log does not go on from where it was to be read
├── InvalidPartError          an item the stream's protocol cannot carry
│   └── EventTooLargeError    an event, or the held closing parts, over the byte limit
├── StreamLimitError          a stream over its duration, size or event count, or silent for too long
├── StoreError                the stream store could not do what was asked
│   ├── StoreUnavailableError it did not answer in time, or refused to
│   │   └── StoreForbiddenError   it answers, but its account may not do what streams need
│   └── StoreCorruptError     it answered with something this version cannot read
│       └── StoreFormatError  because a later version of streamguard wrote it
├── MessageStoreError         the message store could not do what was asked
│   ├── MessageNotFoundError      no such session or message for this owner
│   ├── MessageConflictError      the same message is stored with other content
│   │   └── MessageSupersededError    it belongs to an old branch of the conversation
│   ├── MessageForbiddenError     the session belongs to somebody else
│   ├── MessageInvalidError       the store cannot hold this message, now or ever
│   │   └── MessageCorruptError   what it holds is damaged
│   ├── MessageFailedError        it failed at this one message, and says nothing of others; asking again may help
│   │   └── MessageFormatError    because a later version of streamguard wrote what it holds
│   ├── MessageUnavailableError   the database refused or cannot be reached; asking again may help
│   └── MessageTimeoutError       no answer in time; it may or may not have happened
└── QuotaError                the quota could not be checked or settled
    ├── QuotaExceededError        it is used up: how a host's own quota service refuses
    ├── QuotaConflictError        the same stream has a reservation of other amounts
    ├── QuotaInvalidError         an amount, unit or id that can never be
    │   └── QuotaCorruptError     what is on record is damaged
    ├── QuotaUnavailableError     the service refused or cannot be reached; asking again may help
    └── QuotaTimeoutError         no answer in time; it may or may not have happened
```

`ConfigurationWarning` is a Python warning: of use that works, but hardly as it is meant.

None of them inherits `OSError` or `TimeoutError`: under ASGI 2.4 Starlette takes an `OSError` raised while
a body is streaming for a client that left, so the failure would vanish.
"""

from __future__ import annotations

from collections.abc import Sequence

from .faults import Fault

__all__ = [
    "ConfigurationError",
    "ConfigurationWarning",
    "CursorInvalidError",
    "EventTooLargeError",
    "FaultError",
    "InvalidPartError",
    "LogBrokenError",
    "MessageConflictError",
    "MessageCorruptError",
    "MessageFailedError",
    "MessageForbiddenError",
    "MessageFormatError",
    "MessageInvalidError",
    "MessageNotFoundError",
    "MessageStoreError",
    "MessageSupersededError",
    "MessageTimeoutError",
    "MessageUnavailableError",
    "NotStartedError",
    "QuotaConflictError",
    "QuotaCorruptError",
    "QuotaError",
    "QuotaExceededError",
    "QuotaInvalidError",
    "QuotaTimeoutError",
    "QuotaUnavailableError",
    "StoreCorruptError",
    "StoreError",
    "StoreForbiddenError",
    "StoreFormatError",
    "StoreUnavailableError",
    "StreamGuardError",
    "StreamLimitError",
]


class StreamGuardError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigurationError(StreamGuardError):
    """The guard, a decorator or a setting was used in a way that can never work; the text names the fix."""


class ConfigurationWarning(UserWarning):
    """The guard is installed in a way that leaves something open that is hardly meant so; the text names the fix.

    What shows only in a request is told to observers, `Signal.MISUSE`, as is this once the guard starts.
    """


class NotStartedError(ConfigurationError):
    """A guard was used before its lifespan began or after it ended."""


class FaultError(StreamGuardError):
    """A failure with its structured description.

    `fault` is the very object that is logged, sent to the client and counted.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code}: {fault.message}")
        self.fault = fault


class CursorInvalidError(StreamGuardError):
    """A cursor from outside is malformed or oversized. `cursor_bytes` is its length, never its text."""

    def __init__(self, message: str, *, cursor_bytes: int) -> None:
        super().__init__(message)
        self.cursor_bytes = cursor_bytes


class LogBrokenError(StreamGuardError):
    """The log of stream `stream_id` does not hold event `seq` of the epoch it was asked for, or does not go on from it.

    No `StoreError`: the store is well, but it lost events, or forgot old ones.
    """

    def __init__(self, stream_id: str, *, epoch: int, seq: int) -> None:
        super().__init__(f"the log of stream {stream_id} does not go on from event {seq} of epoch {epoch}")
        self.stream_id = stream_id
        self.epoch = epoch
        self.seq = seq


class InvalidPartError(StreamGuardError):
    """An endpoint yielded something its protocol cannot carry. `protocol` names it."""

    def __init__(self, message: str, *, protocol: str) -> None:
        super().__init__(message)
        self.protocol = protocol


class EventTooLargeError(InvalidPartError):
    """An event is larger than `max_event_bytes`; sizes are in bytes."""

    def __init__(self, *, protocol: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"an event of {size_bytes} bytes is over the limit of {limit_bytes} bytes (max_event_bytes)",
            protocol=protocol,
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class StreamLimitError(StreamGuardError):
    """A stream passed one of its limits. `limit` is the setting's name, `code` the fault it becomes."""

    def __init__(self, message: str, *, limit: str, code: str) -> None:
        super().__init__(message)
        self.limit = limit
        self.code = code


class StoreError(StreamGuardError):
    """The stream store failed. `operation` is the contract method that was called."""

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        self.operation = operation


class StoreUnavailableError(StoreError):
    """The store did not answer in time or refused the operation; what was asked may or may not have happened."""


class StoreForbiddenError(StoreUnavailableError):
    """The store answers, but the account may not do what streams need. `lacks` names that: commands, `keys`, or
    `channels`."""

    def __init__(self, message: str, *, operation: str, lacks: Sequence[str]) -> None:
        super().__init__(message, operation=operation)
        self.lacks: tuple[str, ...] = tuple(lacks)


class StoreCorruptError(StoreError):
    """The store holds a record this version cannot read (another format version, or damaged)."""


class StoreFormatError(StoreCorruptError):
    """A later version of streamguard wrote the record. Nothing was changed; a worker of that version can go on."""


class MessageStoreError(StreamGuardError):
    """The message store failed. `operation` is the contract method that was called.

    `retryable` says whether the same call may succeed later. The text never holds a message's content.
    """

    retryable = False

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        self.operation = operation


class MessageNotFoundError(MessageStoreError):
    """No such session, or no such message in it, for this owner."""


class MessageConflictError(MessageStoreError):
    """A message of that id is stored with other content, or is not what this one continues. What is stored stays."""


class MessageSupersededError(MessageConflictError):
    """It belongs to a part of the conversation that was superseded meanwhile: nothing is added to that any more."""


class MessageForbiddenError(MessageStoreError):
    """The session belongs to somebody else. Only a host's own store can tell; ours see a session that never was."""


class MessageInvalidError(MessageStoreError):
    """The store cannot hold this message (an id too long, text its encoding refuses); asking again never helps."""


class MessageCorruptError(MessageInvalidError):
    """What the store holds of this session or message is damaged. It can be deleted."""


class MessageFailedError(MessageStoreError):
    """Something failed at this one message, for a reason that nobody named: what a host's own `save` raises. Asking
    again may help, so it is tried again, a limited number of times; it says nothing of other messages."""

    retryable = True


class MessageFormatError(MessageFailedError):
    """A later version of streamguard wrote what the store holds. Nothing was changed; a worker of that version can go
    on."""


class MessageUnavailableError(MessageStoreError):
    """The database cannot be reached or refused (read-only, out of space, deadlock); asking again may help."""

    retryable = True


class MessageTimeoutError(MessageStoreError):
    """No answer in time. The step may or may not have happened; it is safe to ask again."""

    retryable = True


class QuotaError(StreamGuardError):
    """The quota failed. `operation` is the contract method that was called.

    `retryable` says whether the same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        self.operation = operation


class QuotaExceededError(QuotaError):
    """The quota is used up. A host's own service raises it to refuse; stores of ours answer `Refused`.

    `retry_after_seconds` says when asking again may help; None when that is not known.
    """

    def __init__(self, message: str, *, operation: str = "reserve", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, operation=operation)
        self.retry_after_seconds = retry_after_seconds


class QuotaConflictError(QuotaError):
    """The stream has a reservation of other amounts already. It stays as it is."""


class QuotaInvalidError(QuotaError):
    """An amount, a unit or an id that can never be; asking again never helps. No counter was changed."""


class QuotaCorruptError(QuotaInvalidError):
    """What is on record of this owner is damaged; it says nothing of other owners."""


class QuotaUnavailableError(QuotaError):
    """The service cannot be reached or refused; asking again may help."""

    retryable = True


class QuotaTimeoutError(QuotaError):
    """No answer in time. The step may or may not have happened; it is safe to ask again."""

    retryable = True
