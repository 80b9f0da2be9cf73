"""Observers name their signals, measurements are for those only that ask, and a failing one hurts nobody."""

from __future__ import annotations

import logging
from typing import Final

import pytest

from streamguard import Observation, Signal
from streamguard.observations import MEASUREMENTS
from streamguard.runtime.observers import Observers


class Listener:
    """Keeps the names of what it is told."""

    def __init__(self) -> None:
        self.names: list[Signal] = []

    def __call__(self, observation: Observation) -> None:
        self.names.append(observation.name)


class Choosy(Listener):
    """Asks for two signals."""

    signals: Final = frozenset({Signal.FAULT, Signal.LOG_WRITTEN})


class Tracing(Listener):
    """Knows of one trace, or of none."""

    def __init__(self, trace: str | None) -> None:
        super().__init__()
        self.trace = trace

    def traceparent(self) -> str | None:
        return self.trace


class Broken:
    """Fails, always."""

    def __call__(self, observation: Observation) -> None:
        raise RuntimeError("a secret text")


def tell_all(observe: Observers) -> None:
    for signal in Signal:
        observe(Observation(signal))


def test_an_observer_without_signals_is_told_every_fact_and_no_measurement() -> None:
    listener = Listener()
    tell_all(Observers((listener,)))
    assert set(listener.names) == set(Signal) - MEASUREMENTS


def test_an_observer_is_told_only_the_signals_that_it_names() -> None:
    choosy = Choosy()
    tell_all(Observers((choosy,)))
    assert set(choosy.names) == Choosy.signals


def test_a_measurement_that_nobody_asked_for_is_not_wanted() -> None:
    assert not Observers((Listener(),)).wants(Signal.LOG_WRITTEN)
    assert Observers((Listener(), Choosy())).wants(Signal.LOG_WRITTEN)
    assert not Observers((Listener(), Choosy())).wants(Signal.PROCESS_MEASURED)


def test_the_trace_is_as_the_hosts_own_observer_says_and_else_as_a_built_in_one() -> None:
    assert Observers((Tracing("built-in"), Listener(), Tracing("host's"))).traceparent() == "host's"
    assert Observers((Tracing("built-in"), Tracing(None))).traceparent() == "built-in"
    assert Observers((Tracing(None), Listener())).traceparent() is None


def test_a_failing_observer_is_counted_logged_once_and_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    observe = Observers((Broken(), listener))
    with caplog.at_level(logging.ERROR, logger="streamguard"):
        tell_all(observe)
    assert observe.errors == len(listener.names) == len(set(Signal) - MEASUREMENTS)
    (told,) = caplog.messages
    assert "Broken" in told
    assert "RuntimeError" in told
    assert "secret" not in told
