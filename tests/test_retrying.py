"""Pauses between attempts: they grow, are bounded, and end no later than their deadline."""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamguard.deadlines import Deadline, LoopClock
from streamguard.retrying import JITTER, Backoff, jittered

SECONDS: Final = st.floats(min_value=1e-3, max_value=1e3)
PARTS: Final = st.floats(min_value=0.0, max_value=1.0)
FAILURES: Final = st.integers(min_value=1, max_value=5_000)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    first, longest = sorted((draw(SECONDS), draw(SECONDS)))
    return Backoff(first, longest, draw(PARTS))


@given(backoffs(), FAILURES)
def test_the_bounds_double_until_the_longest(backoff: Backoff, failures: int) -> None:
    assert backoff.bound_seconds(1) == backoff.first_seconds
    bound, next_bound = backoff.bound_seconds(failures), backoff.bound_seconds(failures + 1)
    assert next_bound == min(2 * bound, backoff.longest_seconds)
    assert backoff.first_seconds <= bound <= backoff.longest_seconds


@given(backoffs(), FAILURES)
def test_jitter_only_shortens_a_pause_and_by_its_part_at_most(backoff: Backoff, failures: int) -> None:
    bound = backoff.bound_seconds(failures)
    pause = backoff.pause_seconds(failures)
    assert bound * (1 - backoff.jitter) * (1 - 1e-9) <= pause <= bound


@given(SECONDS)
def test_without_jitter_pauses_are_exact(seconds: float) -> None:
    backoff = Backoff(seconds, seconds * 3, jitter=0.0)
    assert [backoff.pause_seconds(failures) for failures in (1, 2, 3, 4)] == [seconds, 2 * seconds, *[3 * seconds] * 2]


def test_jitter_spreads_over_its_whole_range() -> None:
    pauses = [jittered(1.0) for _ in range(2_000)]
    assert 1 - JITTER <= min(pauses) < 1 - JITTER * 0.9
    assert 1 - JITTER * 0.1 < max(pauses) <= 1.0


@pytest.mark.parametrize(
    ("first", "longest", "jitter"),
    [(0.0, 1.0, 0.5), (-1.0, 1.0, 0.5), (2.0, 1.0, 0.5), (1.0, 2.0, -0.1), (1.0, 2.0, 1.1), (1.0, 2.0, float("nan"))],
)
def test_a_backoff_that_is_none_is_refused(first: float, longest: float, jitter: float) -> None:
    with pytest.raises(ValueError, match=r"seconds|jitter"):
        Backoff(first, longest, jitter)


class _Slept:
    """Sleeping without waiting: a loop's clock that is turned instead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pauses: list[float] = []
        self.now = 0.0
        monkeypatch.setattr("streamguard.retrying.asyncio.sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(_Clock(self), seconds)


class _Clock(LoopClock):
    def __init__(self, slept: _Slept) -> None:
        super().__init__(asyncio.get_running_loop())
        self._slept = slept

    def time(self) -> float:
        return self._slept.now


@given(backoffs(), st.floats(min_value=0.0, max_value=50.0))
def test_no_pause_passes_the_deadline(backoff: Backoff, seconds: float) -> None:
    async def main(slept: _Slept) -> None:
        retries = backoff.retries(slept.deadline(seconds))
        for _ in range(50):
            if not await retries.pause():
                break
            assert slept.now <= seconds * (1 + 1e-9)  # sums of pauses are rounded
        else:
            return
        assert slept.now + backoff.bound_seconds(retries.failures) * (1 + 1e-9) >= seconds

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(main(_Slept(monkeypatch)))


@pytest.mark.anyio
async def test_pauses_grow_and_start_anew_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = _Slept(monkeypatch)
    retries = Backoff(0.1, 0.5, jitter=0.0).retries()
    for _ in range(5):
        assert await retries.pause()
    assert retries.failures == 5
    retries.reset()
    assert await retries.pause()
    assert slept.pauses == [0.1, 0.2, 0.4, 0.5, 0.5, 0.1]


@pytest.mark.anyio
async def test_a_run_has_no_more_retries_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = _Slept(monkeypatch)
    retries = Backoff(1.0, 8.0).retries(most=3)
    assert [await retries.pause() for _ in range(5)] == [True, True, True, False, False]
    assert len(slept.pauses) == 3


@pytest.mark.anyio
async def test_waking_ends_a_pause() -> None:
    wake = asyncio.Event()
    pausing = asyncio.create_task(Backoff(3600.0, 3600.0).retries().pause(wake=wake))
    for _ in itertools.repeat(None, 3):
        await asyncio.sleep(0)
    assert not pausing.done()
    wake.set()
    assert await pausing
    assert await Backoff(0.001, 0.001).retries().pause(wake=asyncio.Event())
