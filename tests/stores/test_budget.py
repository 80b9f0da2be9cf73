"""How long one request waits for the stream store."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.deadlines import LoopClock
from streamguard.errors import StoreUnavailableError
from streamguard.stores.breaker import Breaker
from streamguard.stores.budget import EXTENSIONS, Budget
from streamguard.stores.memory import MemoryStore

pytestmark = pytest.mark.anyio

SECONDS = 0.1


def budget_of(breaker: Breaker) -> Budget:
    return Budget(breaker, SECONDS, LoopClock.current())


@pytest.fixture
async def breaker(anyio_backend: object) -> Breaker:
    clock = LoopClock.current()
    return Breaker(MemoryStore(), probe_seconds=60, observe=lambda _: None, clock=clock.time)


async def silence() -> str:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def answer() -> str:
    return "an answer"


async def test_it_is_spent_once_the_store_was_silent_for_so_long(breaker: Breaker) -> None:
    budget, begun = budget_of(breaker), LoopClock.current().time()
    with pytest.raises(StoreUnavailableError, match="no answer within"):
        await budget.ask(silence)
    assert SECONDS <= LoopClock.current().time() - begun < SECONDS * (1 + EXTENSIONS)
    with pytest.raises(StoreUnavailableError, match="no answer within"):
        await budget.ask_once(answer)
    assert await budget.ask_once(answer, at_least_seconds=30) == "an answer"


async def test_an_answer_begins_it_anew(breaker: Breaker) -> None:
    budget = budget_of(breaker)
    for _ in range(3):
        assert await budget.ask(answer) == "an answer"
    assert budget.silent_seconds == 0.0
    assert budget.left_seconds <= SECONDS * (1 + EXTENSIONS)
    begun = LoopClock.current().time()
    with pytest.raises(StoreUnavailableError):
        await budget.ask(silence)
    assert LoopClock.current().time() - begun >= SECONDS


async def test_answers_to_others_extend_it_so_often_and_no_longer(breaker: Breaker) -> None:
    loop, clock, budget = asyncio.get_running_loop(), LoopClock.current(), budget_of(breaker)
    begun, over = clock.time(), False

    def answered() -> None:
        breaker.answered()
        if not over:
            loop.call_later(SECONDS / 4, answered)

    answered()
    try:
        with pytest.raises(StoreUnavailableError, match="no answer within"):
            await budget.ask_once(silence)
    finally:
        over = True
    assert clock.time() - begun >= SECONDS * (1 + EXTENSIONS)
    assert budget.left_seconds <= 0


async def test_a_step_s_own_timeout_is_not_the_budget_s(breaker: Breaker) -> None:
    async def late() -> str:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await budget_of(breaker).ask_once(late)


async def test_its_caller_s_cancellation_goes_through(breaker: Breaker) -> None:
    waiting = asyncio.create_task(budget_of(breaker).ask(silence))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
