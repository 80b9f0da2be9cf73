"""Every exception streamguard raises.

```
StreamGuardError
├── ConfigurationError        wrong use, found when constructing or decorating
│   └── NotStartedError       a guard was used outside its lifespan
├── FaultError                a failure that has a structured `Fault`; web turns it into a response
│   └── StreamCutError        an answer was ended before its body or its endpoint did
├── AlreadyStartedError       the idempotency key's answer exists: it was not begun again
├── CursorInvalidError        a cursor that is not one of ours
├── LogBrokenError            a stream's log cannot be read from the position that was asked for
├── InvalidPartError          an item that the stream's protocol cannot carry
│   └── EventTooLargeError    an event, or the held closing parts, over the byte limit
├── ReportedFailureError      a stream that an endpoint returned reports that it failed
├── StreamLimitError          a stream over its duration, size or event count, or silent for too long
├── StoreError                the stream store could not do what was asked
│   ├── StoreUnavailableError it did not answer in time, or it refused
│   │   ├── StoreForbiddenError   it answers, but its account may not do what streams need
│   │   └── NoMasterError         Sentinel names no Redis that can be used
│   └── StoreCorruptError     it answered with something this version cannot read
│       └── StoreFormatError  because a later version of streamguard wrote it
├── MessageStoreError         the message store could not do what was asked
│   ├── MessageNotFoundError      no such session or message for this owner
│   ├── MessageConflictError      the same message is stored with other content
│   │   └── MessageSupersededError    it belongs to an old branch of the conversation
│   ├── MessageForbiddenError     the session belongs to somebody else
│   ├── MessageInvalidError       the store cannot hold this message, now or ever
│   │   └── MessageCorruptError   what it holds is damaged
│   ├── MessageFailedError        this one message failed; other messages may not; asking again may help
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

`ConfigurationWarning` is a Python warning: the use works, but probably not as intended.

None of them inherits `OSError` or `TimeoutError`: under ASGI 2.4 Starlette treats an `OSError` raised while
a body is streaming as a client that left, so the failure would vanish.
"""

from __future__ import annotations

from collections.abc import Sequence

from .faults import Fault
from .unavailable import Unavailable, UnavailableReason
from .values import Outcome, Persisted, short_hash

__all__ = [
    "AlreadyStartedError",
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
    "NoMasterError",
    "NotStartedError",
    "QuotaConflictError",
    "QuotaCorruptError",
    "QuotaError",
    "QuotaExceededError",
    "QuotaInvalidError",
    "QuotaTimeoutError",
    "QuotaUnavailableError",
    "ReportedFailureError",
    "StoreCorruptError",
    "StoreError",
    "StoreForbiddenError",
    "StoreFormatError",
    "StoreUnavailableError",
    "StreamCutError",
    "StreamGuardError",
    "StreamLimitError",
]


class StreamGuardError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigurationError(StreamGuardError):
    """The guard, a decorator or a setting was used in a way that cannot work. The text names the fix."""


class ConfigurationWarning(UserWarning):
    """The guard is installed in a way that works, but probably not as intended. The text names the fix.

    Observers receive the same warning as `Signal.MISUSE` when the guard starts, and each misuse that only a request
    shows.
    """


class NotStartedError(ConfigurationError):
    """A guard was used before its lifespan began or after it ended."""


class FaultError(StreamGuardError):
    """A failure with its structured description.

    `fault` is the same object that is logged, sent to the client and counted. The text, which may end up wherever the
    host's exceptions do, has the session's hash: a client may have chosen its id.
    """

    def __init__(self, fault: Fault) -> None:
        session = None if fault.session_id is None else short_hash(fault.session_id)
        ids = {"reason": fault.reason, "session_hash": session, "stream_id": fault.stream_id}
        known = ", ".join(f"{name} {value}" for name, value in ids.items() if value is not None)
        super().__init__(f"{fault.code}: {fault.message}{f' ({known})' if known else ''}")
        self.fault = fault


class StreamCutError(FaultError):
    """An answer was ended by something other than its body or its endpoint: a limit, the drain, a store that is away,
    another worker, or an item that its protocol cannot carry, which is its `__cause__`.

    The `async with` of `guard.start` raises it. FastAPI's dependencies that yield see it where they yield, for a stop
    too. `outcome` is how the stream ended, `failed` or `interrupted`, in a dependency also `stopped`; `fault` is what
    its viewers are told.
    """

    def __init__(self, fault: Fault, outcome: Outcome) -> None:
        super().__init__(fault)
        self.outcome = outcome


class AlreadyStartedError(StreamGuardError):
    """`guard.start` was given the idempotency key of an answer that exists, so nothing was begun.

    The ids are that answer's. `outcome` is how it ended, None while it runs; `persisted` says whether it was saved.
    """

    def __init__(
        self, *, session_id: str, stream_id: str, message_id: str, outcome: Outcome | None, persisted: Persisted
    ) -> None:
        state = "is running" if outcome is None else f"ended as {outcome}"
        super().__init__(f"this idempotency key has an answer already: stream {stream_id}, which {state}")
        self.session_id = session_id
        self.stream_id = stream_id
        self.message_id = message_id
        self.outcome = outcome
        self.persisted = persisted


class CursorInvalidError(StreamGuardError):
    """A cursor from outside is malformed or oversized. `cursor_bytes` is its length, never its text."""

    def __init__(self, message: str, *, cursor_bytes: int) -> None:
        super().__init__(message)
        self.cursor_bytes = cursor_bytes


class LogBrokenError(StreamGuardError):
    """The log of stream `stream_id` does not hold event `seq` of `epoch`, or the events after it.

    It is not a `StoreError`: the store works, but it lost events or dropped old ones.
    """

    def __init__(self, stream_id: str, *, epoch: int, seq: int) -> None:
        super().__init__(f"the log of stream {stream_id} does not go on from event {seq} of epoch {epoch}")
        self.stream_id = stream_id
        self.epoch = epoch
        self.seq = seq


class InvalidPartError(StreamGuardError):
    """An endpoint yielded something that its protocol, `protocol`, cannot carry."""

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


class ReportedFailureError(StreamGuardError):
    """A stream that an endpoint returned reports in itself that it failed.

    The exception's text is what it says, for operators alone: it may be the provider's, or hold contents.
    """


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


class StoreUnavailableError(StoreError, Unavailable):
    """The store did not answer in time, or refused the operation. The operation may or may not have happened.

    `reason` says why; logs and Sentry have it as `error_reason`.
    """

    def __init__(self, message: str, *, operation: str, reason: UnavailableReason = UnavailableReason.OTHER) -> None:
        super().__init__(message, operation=operation)
        self.reason = reason


class StoreForbiddenError(StoreUnavailableError):
    """The store answers, but its account may not do what streams need. `lacks` names the missing permissions:
    commands, `keys`, or `channels`."""

    def __init__(self, message: str, *, operation: str, lacks: Sequence[str]) -> None:
        super().__init__(message, operation=operation, reason=UnavailableReason.FORBIDDEN)
        self.lacks: tuple[str, ...] = tuple(lacks)


class NoMasterError(StoreUnavailableError):
    """Sentinel names no master that can be used, so nothing was done. The next call asks again.

    `reason` is `no_sentinel` (none answers, or what answers is none), `sentinel_login` (they want other credentials),
    `unknown_service` (none knows the service), or `no_master` (the server they name is no master, or not yet).
    """


class StoreCorruptError(StoreError):
    """The store holds a record that this version cannot read: another format version, or damaged."""


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
    """A message with that id is stored with other content, or is not the one that this message continues. The stored
    message does not change."""


class MessageSupersededError(MessageConflictError):
    """The message belongs to a part of the conversation that has been superseded. Nothing can be added there."""


class MessageForbiddenError(MessageStoreError):
    """The session belongs to another owner. Only a host's own store raises this; ours know no such session."""


class MessageInvalidError(MessageStoreError):
    """The store cannot hold this message (an id too long, text its encoding refuses); asking again never helps."""


class MessageCorruptError(MessageInvalidError):
    """The stored session or message is damaged. It can be deleted."""


class MessageFailedError(MessageStoreError):
    """This one message failed for an unknown reason, such as an exception of a host's own `save`. It is retried a
    limited number of times. Other messages are not affected."""

    retryable = True


class MessageFormatError(MessageFailedError):
    """A later version of streamguard wrote the stored message. Nothing was changed; a worker of that version can go
    on."""


class MessageUnavailableError(MessageStoreError, Unavailable):
    """The database cannot be reached or refused (read-only, out of space, deadlock); asking again may help.

    `reason` says why, as that of `StoreUnavailableError`.
    """

    retryable = True

    def __init__(self, message: str, *, operation: str, reason: UnavailableReason = UnavailableReason.OTHER) -> None:
        super().__init__(message, operation=operation)
        self.reason = reason


class MessageTimeoutError(MessageStoreError, Unavailable):
    """No answer in time. The step may or may not have happened; it is safe to ask again."""

    retryable = True
    reason = UnavailableReason.TIMEOUT


class QuotaError(StreamGuardError):
    """The quota failed. `operation` is the contract method that was called.

    `retryable` says whether the same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, *, operation: str) -> None:
        super().__init__(message)
        self.operation = operation


class QuotaExceededError(QuotaError):
    """The quota is used up. A host's own service raises it to refuse; our stores return `Refused`.

    `retry_after_seconds` says when asking again may help; None when that is not known.
    """

    def __init__(self, message: str, *, operation: str = "reserve", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, operation=operation)
        self.retry_after_seconds = retry_after_seconds


class QuotaConflictError(QuotaError):
    """The stream already has a reservation of other amounts. That reservation does not change."""


class QuotaInvalidError(QuotaError):
    """An amount, a unit or an id is invalid. Asking again never helps. No counter was changed."""


class QuotaCorruptError(QuotaInvalidError):
    """The stored record of this owner is damaged. Other owners are not affected."""


class QuotaUnavailableError(QuotaError, Unavailable):
    """The service cannot be reached or refused; asking again may help.

    `reason` says why, as that of `StoreUnavailableError`.
    """

    retryable = True

    def __init__(self, message: str, *, operation: str, reason: UnavailableReason = UnavailableReason.OTHER) -> None:
        super().__init__(message, operation=operation)
        self.reason = reason


class QuotaTimeoutError(QuotaError, Unavailable):
    """No answer in time. The step may or may not have happened; it is safe to ask again."""

    retryable = True
    reason = UnavailableReason.TIMEOUT
