"""A storm of failures that are alike is a hundred lines, and one that counts the others."""

from __future__ import annotations

import pytest

from streamguard import Fault, FaultCode, Observation, Signal
from streamguard.telemetry import StructlogObserver

from .logged import Line, logged
from .observed import Worker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def failed(code: FaultCode = FaultCode.STORE_UNAVAILABLE) -> Observation:
    return Observation(Signal.FAULT, fault=Fault.of(code, reason="not_drained"))


def events(lines: list[Line]) -> list[object]:
    return [line["event"] for line in lines]


def test_a_storm_is_counted() -> None:
    clock = Clock()
    observer = StructlogObserver(repeats=3, clock=clock)
    with logged() as lines:
        for _ in range(1000):
            observer(failed())
        assert events(lines) == [Signal.FAULT] * 3
        observer(failed(FaultCode.PROVIDER_ERROR))  # another kind
        observer(Observation(Signal.STREAM_OPENED))  # nothing failed
        assert events(lines[3:]) == [Signal.FAULT, Signal.STREAM_OPENED]
        clock.now = 61.0
        observer(failed())
    repeated, again = lines[5:]
    assert repeated == {
        "event": "streamguard.repeated",
        "level": "error",
        "repeated": "streamguard.fault",
        "code": "store_unavailable",
        "reason": "not_drained",
        "count": 997,
        "seconds": 61.0,
    }
    assert again["event"] == Signal.FAULT


def test_what_was_left_out_is_told_at_the_end_of_a_drain() -> None:
    observer = StructlogObserver(repeats=1, clock=Clock())
    with logged() as lines:
        for _ in range(5):
            observer(failed())
        observer(Observation(Signal.DRAIN_ENDED))
    assert events(lines) == [Signal.FAULT, "streamguard.repeated", Signal.DRAIN_ENDED]
    assert lines[1]["count"] == 4


def test_facts_of_streams_that_are_well_are_all_logged() -> None:
    observer = StructlogObserver(repeats=1, clock=Clock())
    with logged() as lines:
        for _ in range(200):
            observer(Observation(Signal.STREAM_ENDED))
    assert len(lines) == 200


@pytest.mark.parametrize("kinds", [1000])
def test_what_is_remembered_is_bounded_and_nothing_is_forgotten_silently(kinds: int) -> None:
    clock = Clock()
    observer = StructlogObserver(repeats=1, clock=clock)
    with logged() as lines:
        for number in range(kinds):
            kind = type(f"Kind{number}", (Exception,), {})
            for _ in range(2):
                observer(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL), error=kind()))
        observer(Observation(Signal.DRAIN_ENDED))
    assert sum(line["event"] == "streamguard.repeated" for line in lines) == kinds


def test_a_host_may_have_them_all() -> None:
    observer = StructlogObserver(repeats=None)
    with logged() as lines:
        for _ in range(500):
            observer(failed())
    assert len(lines) == 500


@pytest.mark.long
@pytest.mark.anyio
async def test_a_store_that_goes_away_under_many_streams_is_no_storm() -> None:
    """A hundred and fifty streams lose their log at once."""
    many = 150
    worker = Worker(max_streams_per_owner=many, max_viewers_per_owner=many, abandon_after_seconds=None)
    with logged() as lines:
        async with worker.running() as chat:
            answers = [await chat.post({}, path=f"/api/chat?id=s{number}") for number in range(many)]
            for answer in answers:
                await answer.read(2)
            chat.store.fail()
            worker.go.set()
            for answer in answers:
                await answer.rest()
            await worker.told.of(Signal.BREAKER_OPENED)
            chat.store.heal()
            for answer in answers:
                await chat.ended(answer)
    degraded = [line for line in lines if line["event"] == Signal.STREAM_DEGRADED]
    left_out = sum(int(str(line["count"])) for line in lines if line.get("repeated") == Signal.STREAM_DEGRADED)
    assert (len(degraded), left_out) == (100, many - 100)
    loud = [line for line in lines if line["level"] in ("warning", "error")]
    assert len(loud) < 3 * 100 + 20
