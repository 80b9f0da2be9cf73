"""The phases of a stream and the states of its log: what each means, and which may follow which.

Pure: nothing here waits or knows a stream. `move` is the one way from one to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

__all__ = ["TRANSITIONS", "Answer", "IllegalMoveError", "LogState", "Output", "Phase", "move"]

S = TypeVar("S", bound=Enum)


class _Step(Enum):
    """A phase or state. Hashed as an object: `Enum` asks Python code for the hash of its name each time."""

    if not TYPE_CHECKING:  # for a type checker it is what it was
        __hash__ = object.__hash__


class Phase(_Step):
    """How far a stream has come in this process."""

    PRODUCING = "producing"
    """Its endpoint may still give items, or is about to begin."""
    CANCELLED = "cancelled"
    """It was decided to end it early; its endpoint may still clean up."""
    FINALISING = "finalising"
    """Its endpoint is done, or was left behind: its end is being written."""
    FINISHED = "finished"
    """It is over, as far as this process can bring that about."""


class LogState(_Step):
    """Whether a stream's events go into its log, and if not, why."""

    UNREGISTERED = "unregistered"
    """The store was not asked for a record of it, or refused."""
    REGISTERING = "registering"
    """The store was asked, and has not answered: it may be registered."""
    WRITING = "writing"
    """Events go into the log."""
    SEALING = "sealing"
    """Events go into the log, and this process seals and closes the stream in one step with the last of them."""
    DOUBTED = "doubted"
    """As `WRITING`, but a step in which this process seals and closes the stream was not answered: it may have been
    carried out, or may still be."""
    WITHDRAWN = "withdrawn"
    """The registration is being taken back, or was: the endpoint answered with no stream."""
    CLOSED = "closed"
    """The store said that it closed the stream: it holds nothing of it any more but its record and log."""
    UNWRITTEN = "unwritten"
    """Every event is in the log, but its end is not: the store cannot be reached, or this process is through with the
    stream for another reason. Viewers here were given the end, if there was one."""
    LOST = "lost"
    """The log is not the whole stream (it is degraded): later events carry no id."""
    DISOWNED = "disowned"
    """Another worker owns the record of a stream whose end viewers here are given all the same. Nothing of it is
    written any more."""
    SUPERSEDED = "superseded"
    """Another worker owns the stream: nothing may be appended, saved or charged here. Viewers follow the new owner."""


class Output(_Step):
    """What clients can see of a stream."""

    NOTHING = "nothing"
    PREAMBLE = "preamble"
    """What its protocol begins with."""
    ITEMS = "items"
    """At least one item of its endpoint came to something."""


class Answer(_Step):
    """What the request that began the stream was told."""

    WAITING = "waiting"
    """Nothing yet: it waits for the first event."""
    ANSWERED = "answered"
    """The stream begins."""
    FAILED = "failed"
    """The stream failed before its first event."""


TRANSITIONS: Final[Mapping[type[Enum], Mapping[Any, frozenset[Any]]]] = MappingProxyType(
    {
        Phase: {
            Phase.PRODUCING: frozenset({Phase.CANCELLED, Phase.FINALISING}),
            Phase.CANCELLED: frozenset({Phase.FINALISING}),
            Phase.FINALISING: frozenset({Phase.FINISHED}),
            Phase.FINISHED: frozenset(),
        },
        LogState: {
            LogState.UNREGISTERED: frozenset({LogState.REGISTERING, LogState.LOST}),
            LogState.REGISTERING: frozenset({LogState.UNREGISTERED, LogState.WRITING, LogState.LOST}),
            LogState.WRITING: frozenset(
                {
                    LogState.SEALING,
                    LogState.WITHDRAWN,
                    LogState.CLOSED,
                    LogState.UNWRITTEN,
                    LogState.LOST,
                    LogState.DISOWNED,  # found when the stream was to be saved, because its seal could not be written
                    LogState.SUPERSEDED,
                }
            ),
            LogState.SEALING: frozenset({LogState.WRITING, LogState.DOUBTED, LogState.LOST, LogState.SUPERSEDED}),
            LogState.DOUBTED: frozenset(
                {LogState.CLOSED, LogState.UNWRITTEN, LogState.LOST, LogState.DISOWNED, LogState.SUPERSEDED}
            ),
            LogState.WITHDRAWN: frozenset({LogState.WRITING}),  # it cannot be taken back
            LogState.CLOSED: frozenset(),
            LogState.UNWRITTEN: frozenset({LogState.LOST, LogState.DISOWNED}),
            # A close that was under way when the log was given up may succeed all the same.
            LogState.LOST: frozenset({LogState.DISOWNED, LogState.CLOSED}),
            LogState.DISOWNED: frozenset({LogState.CLOSED}),
            LogState.SUPERSEDED: frozenset(),
        },
        Output: {
            Output.NOTHING: frozenset({Output.PREAMBLE}),
            Output.PREAMBLE: frozenset({Output.ITEMS}),
            Output.ITEMS: frozenset({Output.PREAMBLE}),  # its log failed before anybody saw anything: it is refused
        },
        Answer: {
            Answer.WAITING: frozenset({Answer.ANSWERED, Answer.FAILED}),
            Answer.ANSWERED: frozenset(),
            Answer.FAILED: frozenset(),
        },
    }
)
"""Which may follow which."""


_NEXT: Final[Mapping[Any, frozenset[Any]]] = {now: to for moves in TRANSITIONS.values() for now, to in moves.items()}


class IllegalMoveError(AssertionError):
    """One phase or state cannot follow the other: a defect of this package, never the caller's."""

    def __init__(self, now: Enum, to: Enum) -> None:
        super().__init__(f"{type(now).__name__}: {now.value} cannot become {to.value}")
        self.now = now
        self.to = to


def move(now: S, to: S) -> S:
    """`to`, where it may follow `now`.

    Raises:
        IllegalMoveError: it may not.
    """
    if to not in _NEXT[now]:
        raise IllegalMoveError(now, to)
    return to
