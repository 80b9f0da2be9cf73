"""A request for a stream, and the values that say what became of its stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ..facts import facts
from ..faults import Fault
from ..saving.revision import Revision
from ..values import Outcome, SessionKey
from ..wire.base import WireProtocol

if TYPE_CHECKING:
    from ..charging.terms import Demand
    from ..stores.records import Terminal

__all__ = ["UNKNOWN_STATUS", "Ending", "FirstItem", "OnConflict", "OnStoreFailure", "StreamRequest"]

UNKNOWN_STATUS: Final = 0
"""Of an answer that a handler of the host's gives."""

OnConflict = Literal["reject", "replace", "join"]
OnStoreFailure = Literal["continue", "fail"]


@facts
class StreamRequest:
    """A request for one new stream, as the edge makes it."""

    key: SessionKey
    protocol: WireProtocol
    binding: str
    message_id: str
    fingerprint: str = ""
    """Equal for equal requests; empty when the stream cannot be joined."""
    on_conflict: OnConflict = "reject"
    on_store_failure: OnStoreFailure = "continue"
    request_id: str | None = None
    framework: str = "none"
    """The web framework that the request came through, for operators; `none` for a stream that no request began."""
    trace: str | None = None
    """The request's trace, a W3C `traceparent`; None where there is none."""
    stream_id: str | None = None
    """An id that was never used; None: a fresh one."""
    arrived_at: float | None = None
    """When the request arrived, on `time.monotonic`; None: just now. A stop since then is for its stream."""
    first_item_seconds: float | None = None
    """None: the setting of the same name. The same holds for the next two."""
    stall_seconds: float | None = None
    max_stream_seconds: float | None = None
    abandon_after_seconds: float | None = None
    """For how long the stream may go on without viewers; None: to its own end."""
    retry_key: str | None = None
    """Equal for a request and its retries, as its client says; ids of the messages that it brings are made from it."""
    revision: Revision | None = None
    """What it supersedes of its conversation, as its body says; an endpoint may say more with `run.save`."""
    answering_errors: tuple[type[Exception], ...] = ()
    """Exceptions of its endpoint that its framework makes an answer of: an `HTTPException`, and those that the host has
    a handler for."""
    demand: Demand | None = None
    """The quota to reserve; None for an endpoint without a quota."""
    on_over: Callable[[], None] | None = None
    """Called once the request's stream is over; not called without a stream. It must not raise."""
    on_end: Callable[[Terminal], None] | None = None
    """Called with the stream's end when that is shown to viewers here; not called if another worker ends the stream.
    It must not raise."""

    def replaces(self, message_id: str) -> bool:
        """Whether this request ends the session's running stream, which answers with that message."""
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
    status: int | None = None
    """Of the answer that is no stream, or `UNKNOWN_STATUS`, if the endpoint gave one: then nothing is to be left of the
    stream."""
