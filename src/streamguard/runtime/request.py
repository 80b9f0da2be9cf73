"""What is asked of a runtime for one stream, and the small words for what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..faults import Fault
from ..saving.revision import Revision
from ..values import Outcome, SessionKey
from ..wire.base import WireProtocol

if TYPE_CHECKING:
    from ..charging.terms import Demand

__all__ = ["Ending", "FirstItem", "OnConflict", "OnStoreFailure", "StreamRequest"]

OnConflict = Literal["reject", "replace", "join"]
OnStoreFailure = Literal["continue", "fail"]


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What the edge asks of the runtime: one new stream."""

    key: SessionKey
    protocol: WireProtocol
    binding: str
    message_id: str
    fingerprint: str = ""
    """Equal for equal requests; empty when the stream cannot be joined."""
    on_conflict: OnConflict = "reject"
    on_store_failure: OnStoreFailure = "continue"
    request_id: str | None = None
    stream_id: str | None = None
    """One that was never used; None: a fresh one."""
    arrived_at: float | None = None
    """When the request arrived, as `time.monotonic` says; None: just now. A stop since then is meant for its stream."""
    first_item_seconds: float | None = None
    """None: the setting of the same name; so with the next two."""
    stall_seconds: float | None = None
    max_stream_seconds: float | None = None
    abandon_after_seconds: float | None = None
    """For how long it may go on while nobody watches it; None: to its own end."""
    retry_key: str | None = None
    """The same for a request and its retries, as far as its client says; ids of texts it brings are made of it."""
    revision: Revision | None = None
    """What it supersedes of its conversation, as its body says; an endpoint may say more with `run.save`."""
    demand: Demand | None = None
    """What is to be reserved for it; None where nothing is counted."""
    on_over: Callable[[], None] | None = None
    """Called once the stream that was made of it is over; never if there is none. It must not raise."""

    def replaces(self, message_id: str) -> bool:
        """Whether the session's running answer, of that message, ends for this request."""
        superseded = self.revision is not None and not self.revision.keeps(message_id)
        return superseded or self.on_conflict == "replace"

    @property
    def arrived_seconds(self) -> float:
        """How long ago the request arrived."""
        return 0.0 if self.arrived_at is None else time.monotonic() - self.arrived_at


class FirstItem(Enum):
    """What became of a stream's first event."""

    READY = "ready"
    """It may be shown."""
    LATE = "late"
    """The time passed; the stream goes on."""
    FAILED = "failed"
    """The stream ended before it had one."""


class Ending(NamedTuple):
    """How a stream is about to end; its seal decides."""

    outcome: Outcome
    fault: Fault | None
    error: BaseException | None = None
