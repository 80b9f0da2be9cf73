"""While nobody has a use for what comes of every stream, nobody is asked for each of them again."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest

from streamguard.observations import Observation, SelectiveObserver, Signal
from streamguard.runtime.observers import QUIET_SECONDS, Observers
from streamguard.scopes import NO_SCOPE, StreamContext, Work

CONTEXT = StreamContext(Work.VIEW, "ann", "one", "stream", None, None)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Selective(SelectiveObserver):
    """Counts how often it is asked, and wants everything or nothing."""

    def __init__(self) -> None:
        self.wanting = False
        self.asked = 0

    def __call__(self, observation: Observation, /) -> None: ...

    def wants(self, signal: Signal, /) -> bool:
        self.asked += 1
        return self.wanting

    def scope(self, context: StreamContext) -> AbstractContextManager[object]:
        self.asked += 1
        return nullcontext() if self.wanting else NO_SCOPE


class Scoped:
    """An observer of a host's: whether it has a scope may depend on the work."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, observation: Observation, /) -> None: ...

    def scope(self, context: StreamContext) -> AbstractContextManager[object]:
        self.asked += 1
        return NO_SCOPE


@pytest.mark.parametrize(
    "signal",
    [
        Signal.STREAM_OPENED,
        Signal.FIRST_EVENT,
        Signal.STREAM_ENDED,
        Signal.VIEWER_JOINED,
        Signal.VIEWER_LEFT,
    ],
)
def test_who_did_not_want_what_comes_of_every_stream_is_asked_again_after_a_while(signal: Signal) -> None:
    clock, selective = Clock(), Selective()
    observe = Observers((selective,), clock=clock)
    assert [observe.wants(signal) for _ in range(3)] == [False] * 3
    assert selective.asked == 1
    selective.wanting = True
    clock.now += 1.01 * QUIET_SECONDS
    assert [observe.wants(signal) for _ in range(3)] == [True] * 3
    assert selective.asked == 4


def test_news_of_a_fault_is_offered_each_time() -> None:
    selective = Selective()
    observe = Observers((selective,), clock=Clock())
    assert [observe.wants(Signal.FAULT) for _ in range(3)] == [False] * 3
    selective.wanting = True
    assert observe.wants(Signal.FAULT)
    assert selective.asked == 4


def test_who_had_no_scope_is_asked_again_after_a_while() -> None:
    clock, selective = Clock(), Selective()
    observe = Observers((selective,), clock=clock)
    assert [observe.scope(CONTEXT) for _ in range(3)] == [NO_SCOPE] * 3
    assert selective.asked == 1
    selective.wanting = True
    clock.now += 1.01 * QUIET_SECONDS
    assert all(observe.scope(CONTEXT) is not NO_SCOPE for _ in range(3))
    assert selective.asked == 4


def test_a_hosts_own_scope_is_asked_for_each_piece_of_work() -> None:
    scoped = Scoped()
    observe = Observers((Selective(), scoped), clock=Clock())
    assert [observe.scope(CONTEXT) for _ in range(3)] == [NO_SCOPE] * 3
    assert scoped.asked == 3
