"""What is known of the server's clock: behind it, never ahead."""

from __future__ import annotations

import math

import pytest

from streamguard.stores.redis import clock
from streamguard.stores.redis.clock import ServerClock


class Times:
    """This process's clock, moved by hand, and a server's beside it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ahead_ms = 1_700_000_000_000.0

    def monotonic(self) -> float:
        return self.now

    def server_ms(self) -> int:
        return int(self.ahead_ms + self.now * 1000)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()
    monkeypatch.setattr(clock, "time", times)
    return times


def test_before_any_reply_nothing_is_known(times: Times) -> None:
    assert ServerClock().until(1.0) is None


def test_for_ever_has_no_end(times: Times) -> None:
    clock = ServerClock()
    clock.heard(times.server_ms())
    assert clock.until(math.inf) is None


def test_a_slow_reply_does_not_take_back_what_a_quick_one_told(times: Times) -> None:
    clock = ServerClock()
    clock.heard(times.server_ms())
    written = times.server_ms()
    times.now += 0.4
    clock.heard(written)
    assert clock.until(2.0) == times.server_ms() + 2000


def test_the_quickest_reply_counts_and_none_is_ahead(times: Times) -> None:
    clock = ServerClock()
    for delay in (0.5, 0.2, 0.3):
        written = times.server_ms()
        times.now += delay
        clock.heard(written)
        until = clock.until(0.0)
        assert until is not None
        assert until <= times.server_ms()
    assert clock.until(0.0) == times.server_ms() - 200


@pytest.mark.parametrize("step_ms", [5_000, -5_000])
def test_a_server_s_clock_that_was_set_is_learned_with_the_next_reply(times: Times, step_ms: int) -> None:
    clock = ServerClock()
    clock.heard(times.server_ms())
    times.ahead_ms += step_ms
    clock.heard(times.server_ms())
    assert clock.until(1.0) == times.server_ms() + 1000


def test_a_clock_that_falls_behind_is_believed_after_a_minute(times: Times) -> None:
    clock = ServerClock()
    clock.heard(times.server_ms())
    times.ahead_ms -= 300
    times.now += 61
    clock.heard(times.server_ms())
    assert clock.until(0.0) == times.server_ms()
