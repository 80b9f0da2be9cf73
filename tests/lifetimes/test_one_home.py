"""A guard that loops of several threads start at the same moment starts in one of them."""

from __future__ import annotations

import threading

from streamguard import ConfigurationError, StreamGuard

from ..harness.racing import raced
from .kinds import Places, chat_app

LOOPS = 4
ROUNDS = 25


def test_a_guard_starts_in_one_of_the_loops_that_start_it_at_once() -> None:
    for _ in range(ROUNDS):
        _start_at_once(chat_app(Places("", "", ""), "memory://")[0])


def _start_at_once(guard: StreamGuard) -> None:
    meeting = threading.Barrier(LOOPS, timeout=20)

    async def start() -> bool:
        try:
            await guard.__aenter__()
        except ConfigurationError:
            meeting.wait()
            return False
        meeting.wait()
        await guard.__aexit__(None, None, None)
        return True

    assert raced([start] * LOOPS).count(True) == 1
