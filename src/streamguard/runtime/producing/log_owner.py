"""The stream that a backlog belongs to, as far as the backlog and the writer know it."""

from __future__ import annotations

from typing import Protocol

from ...stores.records import Status
from ...values import EventKind, Subject
from .log_access import LogAccess

__all__ = ["LogOwner"]


class LogOwner(Subject, Protocol):
    """The backlog and the writer tell it what concerns more than the log."""

    log: LogAccess

    def emit(self, kind: EventKind, payload: bytes) -> None:
        """Emit an event that may be at a limit."""

    def shown(self) -> None:
        """The first event can be seen: told once."""

    def degrade(self, reason: str, error: Exception | None = None) -> None:
        """The log cannot be written any more, because of `error` if it is known: go on without it."""

    def stop(self) -> None:
        """A stop was asked for the stream."""

    def log_refused(self, status: Status) -> None:
        """The store refused an append, and would refuse it again."""
