"""What an audit trail consists of: records, and the sinks that keep them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

__all__ = ["Actor", "AuditAction", "AuditRecord", "AuditSink", "ClosableSink"]


class AuditAction(StrEnum):
    """What was done."""

    START = "start"
    """A stream began."""
    END = "end"
    """A stream ended in the process that produced it. `outcome` is the stream's."""
    STOP = "stop"
    """A request of the owner, or an operator's `streamguard stop`, asked to stop a stream. The request id is that
    request's own."""
    RESUME = "resume"
    """A client came back for a stream. `outcome` is `granted`, `empty` or `denied`."""
    TAKEOVER = "takeover"
    """A stream of a lost worker was ended by another one. `outcome` is the stream's."""
    SETTLE = "settle"
    """A quota reservation was settled, by `streamguard quota release` too. `outcome` is `charged`, `released`,
    `expired`, or `pending` where it could not be yet: then another record follows when it is."""
    RECONCILE = "reconcile"
    """A save that a closed stream owed was made up for, or a round of the reconciler found work or failed; or an
    operator ran `streamguard reconcile`, which ended `count` streams."""
    REQUEUE = "requeue"
    """An operator had a dead letter tried again: `streamguard outbox replay`."""
    DISCARD = "discard"
    """An operator gave up a save for good: `streamguard outbox discard`."""
    SAVE_GIVEN_UP = "save_given_up"
    """A save became a dead letter: an operator has to decide."""
    ERASE = "erase"
    """Everything of a session was deleted."""
    TOOL_CALL = "tool_call"
    """A reply called a tool, or told how the call came out: `called`, `finished` or `failed`."""
    QUOTA_DENIED = "quota_denied"
    """A request was refused because its owner's quota is used up."""
    REFUSE = "refuse"
    """Any other request was refused. `code` says why."""
    FAULT = "fault"
    """A fault of a stream. `outcome` is the stream's if the fault ended it."""
    GAP = "gap"
    """Here `count` records are missing: the file could not be written for so long that no more could wait."""


class Actor(StrEnum):
    """Who acted. Whose stream it was, says `AuditRecord.owner`."""

    OWNER = "owner"
    """A request that was made in the owner's name, whether the one that began the stream or a later one."""
    SYSTEM = "system"
    """streamguard itself: the producing process, the worker that took a stream over, or the reconciler."""
    OPERATOR = "operator"
    """Somebody who ran a command of `streamguard`: `operator` says who."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the trail. Holds ids, constants and numbers, no content.

    Ids that a client may have chosen are percent-encoded, as they are in the log.
    """

    at: datetime
    """When streamguard learned of it, in UTC."""
    action: AuditAction
    """What was done."""
    actor: Actor
    """Who did it."""
    owner: str | None = field(default=None, repr=False)
    """Whose stream or session it is: 16 hex digits of the owner's SHA-256, as `owner_hash` in the log; or what
    the host's own `owner_name` makes of it. None where nobody was recognised."""
    operator: str | None = None
    """The login of the operator who ran the command; with sudo, of the one who called it."""
    session_id: str | None = None
    stream_id: str | None = None
    message_id: str | None = None
    request_id: str | None = None
    """The request that did it, or that began the stream."""
    trace_id: str | None = None
    """The trace of that request: 32 hex digits."""
    outcome: str | None = None
    """How it went."""
    reason: str | None = None
    """Why, in one word: the fault's reason, or the action's; for what was denied without one, the fault's code."""
    code: str | None = None
    """The fault's code."""
    fault_id: str | None = None
    """The same as in the client's error part, the log line and the Sentry event."""
    tool: str | None = None
    """The name of the tool. Neither arguments nor output are recorded."""
    tool_call_id: str | None = None
    count: int | None = None
    """How many records a `gap` stands for; how much work a round of the reconciler found; how many streams an
    operator's `reconcile` ended."""

    def as_dict(self) -> dict[str, str | int]:
        """The record's fields that are known; `at` as RFC 3339."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known["at"] = self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            name: value if isinstance(value, int) else str(value) for name, value in known.items() if value is not None
        }


class AuditSink(Protocol):
    """Keeps audit records. Implement it to send them elsewhere.

    `write` is called on the event loop, so it must not block: hand the record over to a thread or a task. What it
    raises is counted as an observer's error, and hurts no stream.
    """

    def write(self, record: AuditRecord, /) -> None: ...


@runtime_checkable
class ClosableSink(Protocol):
    """A sink that keeps records back for a moment. It is closed when the process has drained."""

    def write(self, record: AuditRecord, /) -> None: ...

    def close(self, timeout_seconds: float, /) -> bool:
        """Wait at most that long until everything is written, then let go of threads, files and connections. False when
        something is left. It may be written to again: a guard can be started once more."""
        ...
