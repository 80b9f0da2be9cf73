"""What belongs to one event loop is made there, and let go of when that loop is closed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streamguard.loops import Home, PerLoop

from .harness.racing import raced


class Made:
    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


@pytest.fixture
def made() -> PerLoop[Made]:
    return PerLoop(Made, Made.abandon)


async def get(made: PerLoop[Made]) -> Made:
    return made.get()


def test_a_loop_keeps_what_was_made_in_it(made: PerLoop[Made]) -> None:
    async def twice() -> tuple[Made, Made]:
        return made.get(), made.get()

    first, second = asyncio.run(twice())
    assert first is second


def test_another_loop_gets_another_one_and_that_of_a_closed_loop_is_abandoned(made: PerLoop[Made]) -> None:
    first, second = [asyncio.run(get(made)) for _ in range(2)]
    assert second is not first
    assert second.loop is not first.loop
    assert (first.abandoned, second.abandoned) == (True, False)


def test_that_of_a_loop_which_still_runs_is_left_alone(made: PerLoop[Made]) -> None:
    other: list[Made] = []
    got, over = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        other.append(made.get())
        got.set()
        await asyncio.to_thread(over.wait)

    async def here() -> None:
        mine = made.get()
        assert mine is not other[0]
        assert made.pop_others() == [(other[0].loop, other[0])]
        assert made.pop() is mine
        assert made.pop() is None
        assert [one.abandoned for one in (mine, *other)] == [False, False]

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    try:
        assert got.wait(10)
        asyncio.run(here())
    finally:
        over.set()
        thread.join()


def test_outside_a_loop_there_is_none(made: PerLoop[Made]) -> None:
    with pytest.raises(RuntimeError):
        made.get()


def test_a_home_is_gone_with_its_loop() -> None:
    async def here() -> Home:
        home = Home()
        assert home.here
        assert not home.gone
        return home

    async def elsewhere() -> bool:
        return home.here

    home = asyncio.run(here())
    assert home.gone
    assert not asyncio.run(elsewhere())


def test_loops_of_several_threads_begin_and_end_at_once() -> None:
    inside = list[Made]()

    class Alone(Made):
        """Nothing else is made or abandoned meanwhile."""

        def __init__(self) -> None:
            inside.append(self)
            super().__init__()
            assert inside == [self]
            inside.remove(self)

        def abandon(self) -> None:
            inside.append(self)
            assert not self.abandoned
            super().abandon()
            assert inside == [self]
            inside.remove(self)

    kept: PerLoop[Alone] = PerLoop(Alone, Alone.abandon)

    async def begin() -> Alone:
        return kept.get()

    async def begin_and_end() -> Made:
        mine = kept.get()
        kept.pop_others()
        assert kept.pop() in (mine, None)  # another loop may have taken it
        return mine

    for _ in range(20):
        closed = list[Alone]()
        for loop in [asyncio.new_event_loop() for _ in range(20)]:
            closed.append(loop.run_until_complete(begin()))
        for one in closed:
            one.loop.close()
        begun = raced([begin_and_end] * 4)
        assert len(set(begun)) == 4
        assert all(one.abandoned for one in closed)
