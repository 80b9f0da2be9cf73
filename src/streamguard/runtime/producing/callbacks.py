"""What a stream knows of the runtime that it belongs to, and what it tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...faults import Fault
from ...wire.base import LeftOut, ToolNews
from .backlog import CommitQueue

__all__ = ["StreamCallbacks"]

S = TypeVar("S")
"""The stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCallbacks(Generic[S]):
    """The same for every stream of a runtime. None of these may block."""

    worker: str
    """The id of the runtime among all workers, under which its streams are registered."""
    writer: CommitQueue
    """Is told that events of a stream wait."""
    on_degraded: Callable[[S, str, Exception | None], None]
    """The stream goes on without its log, for this reason, and because of this error if it is known."""
    on_superseded: Callable[[S], None]
    """Another worker owns the stream."""
    on_shown: Callable[[S], None]
    """Its first event can be seen."""
    on_tool: Callable[[S, ToolNews], None]
    """It called a tool, or told how that came out."""
    on_notice: Callable[[S, Fault], None]
    """Its endpoint told its viewers of a fault that ends nothing."""
    on_left_out: Callable[[S, Fault, LeftOut], None]
    """An item could not be passed on as it was; the stream's viewers were told so."""
