"""A host's own observer: whatever it does, no stream is hurt; what can never work is refused when the guard is made."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from streamguard import ConfigurationError, Observation, Outcome, Signal, StreamGuard
from streamguard.observations import SelectiveObserver
from streamguard.scopes import StreamContext
from tests.web.serving import user_of

from .observed import Told, Worker, asked

pytestmark = pytest.mark.anyio


class Nasty:
    """Raises, wherever it is called."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, _: Observation) -> None:
        raise self.error

    def scope(self, _: StreamContext) -> AbstractContextManager[None]:
        raise self.error

    def traceparent(self) -> str | None:
        raise self.error

    async def aclose(self) -> None:
        raise RuntimeError("cannot close either")


class NastyChoice(SelectiveObserver):
    """Fails where it is asked what it wants to be told."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, _: Observation) -> None: ...

    def wants(self, _: Signal) -> bool:
        raise self.error


class NastyScope:
    """Fails where its scope is entered, or left."""

    def __init__(self, error: BaseException, *, entering: bool) -> None:
        self.error, self.entering = error, entering

    def __call__(self, _: Observation) -> None: ...

    @contextmanager
    def scope(self, _: StreamContext) -> Iterator[None]:
        if self.entering:
            raise self.error
        yield
        raise self.error


ERRORS = [RuntimeError("x"), asyncio.CancelledError(), SystemExit(1), GeneratorExit(), RecursionError(), MemoryError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_whatever_an_observer_raises_answers_are_whole(error: BaseException) -> None:
    scopes = NastyScope(error, entering=True), NastyScope(error, entering=False)
    nasty: tuple[Any, ...] = (Nasty(error), NastyChoice(error), *scopes)
    worker = Worker(observers=nasty)
    async with worker.running() as chat:
        answer = await worker.whole(chat)
        assert answer.text == "one two"
        assert (await chat.resume("s")).status in (200, 204)
    ended = await worker.told.of(Signal.STREAM_ENDED)
    assert ended.fields["outcome"] == Outcome.COMPLETED


async def test_one_that_takes_long_is_told_of_once_and_loses_no_lease(caplog: pytest.LogCaptureFixture) -> None:
    """It holds up the whole process, for longer than a lease: neither its own streams nor its reconciler may think that
    the process died."""

    def slow(seen: Observation) -> None:
        if seen.name in (Signal.STREAM_OPENED, Signal.FIRST_EVENT):
            until = time.perf_counter() + 0.3
            while time.perf_counter() < until:  # not a sleep, which the tests' own guard refuses on a loop
                pass

    worker = Worker(observers=(slow,), lease_seconds=0.2)
    with caplog.at_level(logging.WARNING, logger="streamguard"):
        async with worker.running() as chat:
            answer = await worker.whole(chat)
    assert answer.text == "one two"
    names = [seen.name for seen in worker.told.observations]
    assert not {Signal.ORPHAN_SETTLED, Signal.STREAM_SUPERSEDED, Signal.FAULT} & set(names)
    (line,) = [text for text in caplog.messages if "observer_slow" in text]
    assert "observer=function" in line


async def test_one_that_returns_a_coroutine_is_told_of_and_leaves_none_behind(caplog: pytest.LogCaptureFixture) -> None:
    """A lambda around an async function cannot be told from another before it is called."""

    async def wait(_: Observation) -> None:
        raise AssertionError("never runs")

    mistaken: Any = lambda seen: wait(seen)  # noqa: E731, PLW0108
    worker = Worker(observers=(mistaken,))
    async with worker.running() as chat:
        answer = await worker.whole(chat)
    assert answer.text == "one two"
    (line,) = [text for text in caplog.messages if "observer_failed" in text]
    assert "TypeError" in line


async def test_one_that_calls_the_guard_again() -> None:
    """It is called in the middle of a step: what it begins, runs after that."""
    begun: list[asyncio.Task[None]] = []
    worker: Worker

    def again(seen: Observation) -> None:
        if seen.name is Signal.STREAM_ENDED and not begun:
            begun.append(asyncio.get_running_loop().create_task(answer()))

    async def answer() -> None:
        async with worker.guard.start("ann", "s") as run:  # of the same session
            await run.send("more")

    worker = Worker(observers=(again,))
    async with worker.running() as chat:
        await worker.whole(chat)
        await begun[0]
        await chat.seen(Signal.STREAM_ENDED, count=2)
    ended = [seen for seen in worker.told.observations if seen.name is Signal.STREAM_ENDED]
    assert [seen.fields["outcome"] for seen in ended] == [Outcome.COMPLETED] * 2


async def test_one_that_drains_the_guard_while_a_stream_begins() -> None:
    drains: list[asyncio.Task[None]] = []
    worker: Worker

    def drain(seen: Observation) -> None:
        if seen.name is Signal.FIRST_EVENT:
            drains.append(asyncio.get_running_loop().create_task(worker.guard.drain()))

    worker = Worker(observers=(drain,))
    async with worker.running() as chat:
        answer = await asked(chat)
        await answer.rest()
        await drains[0]
    ended = await worker.told.of(Signal.STREAM_ENDED)
    assert ended.fields["outcome"] == Outcome.INTERRUPTED


async def test_one_that_observes_itself() -> None:
    """Told of what it tells, without end: that is an error of its own."""
    told = Told()

    class Echo:
        def __call__(self, seen: Observation) -> None:
            self(seen)

    worker = Worker(observers=(Echo(), told))
    async with worker.running() as chat:
        answer = await worker.whole(chat)
    assert answer.text == "one two"
    assert told.observations


# -- refused at once ---------------------------------------------------------------------------------------------------


async def waits(_: Observation) -> None: ...


class Waits:
    async def __call__(self, _: Observation) -> None: ...


class WaitsInItsScope:
    def __call__(self, _: Observation) -> None: ...

    async def scope(self, _: StreamContext) -> None: ...


class Naming:
    def __init__(self, signals: object) -> None:
        self.signals = signals

    def __call__(self, _: Observation) -> None: ...


def quiet(_: Observation) -> None: ...


@pytest.mark.parametrize(
    ("observers", "says"),
    [
        ((waits,), "waits is an async function"),
        ((functools.partial(waits),), "is an async function"),
        ((Waits(),), "a Waits is an async function"),
        ((WaitsInItsScope(),), "scope of a WaitsInItsScope is an async function"),
        ((Waits,), "Waits is a class"),
        ((3,), "a int is not callable"),
        (quiet, "observers is a tuple of observers"),
        ("quiet", "observers is a tuple of observers"),
        ((Naming("streamguard.fault"),), "signals of a Naming is a str"),
        ((Naming(Signal.FAULT),), "signals of a Naming is a Signal"),
        ((Naming({"streamguard.faults"}),), "names 'streamguard.faults', which is no Signal"),
        ((Naming(["streamguard.fault"]),), "names 'streamguard.fault', which is no Signal"),
        ((Naming(abs),), "signals of a Naming is abs, and no set"),
        ((Naming({Signal.FAULT: 1}),), "signals of a Naming is a dict"),
    ],
)
def test_what_can_never_work_is_refused(observers: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        StreamGuard(authenticate=user_of, observers=observers)


@pytest.mark.parametrize("signals", [frozenset({Signal.FAULT}), {Signal.FAULT}, [Signal.FAULT], (Signal.FAULT,)])
async def test_any_collection_of_signals_will_do(signals: object) -> None:
    names: list[Signal] = []

    class Choosy(Naming):
        def __call__(self, seen: Observation) -> None:
            names.append(seen.name)

    worker = Worker(observers=(Choosy(signals),))
    worker.fails = True
    async with worker.running() as chat:
        await worker.whole(chat)
    assert set(names) == {Signal.FAULT}
