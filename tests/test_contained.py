"""Work in a task of its own: what it raises is told to who asks, and leaves no task."""

from __future__ import annotations

import asyncio
import gc
import weakref
from functools import partial

import pytest

from streamguard.contained import Contained, gathered

pytestmark = pytest.mark.anyio


class FailureError(Exception): ...


async def failing() -> int:
    await asyncio.sleep(0)
    raise FailureError


async def answering(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def test_it_returns() -> None:
    work = Contained(lambda: answering(1), name="a name")
    with pytest.raises(asyncio.InvalidStateError):
        work.result()
    await work.task
    assert work.task.get_name() == "a name"
    assert (work.result(), work.error) == (1, None)


async def test_it_raises_where_it_is_asked_for_and_nowhere_else() -> None:
    work = Contained(failing)
    await work.task
    assert work.task.exception() is None
    for _ in range(2):
        with pytest.raises(FailureError):
            work.result()
    assert isinstance(work.error, FailureError)


async def test_it_is_cancelled() -> None:
    work = Contained(asyncio.Event().wait)
    work.task.cancel()
    await asyncio.wait({work.task})
    with pytest.raises(asyncio.CancelledError):
        work.result()


async def test_its_end_is_told_once_in_the_task() -> None:
    told: list[asyncio.Task[None] | None] = []
    work = Contained(failing, on_end=told.append)
    await work.task
    await asyncio.sleep(0)  # for callbacks of the task
    assert told == [None]


async def test_the_end_of_one_that_never_began_is_told() -> None:
    told: list[asyncio.Task[None] | None] = []
    work = Contained(failing, on_end=told.append)
    work.task.cancel()
    await asyncio.wait({work.task})
    await asyncio.sleep(0)
    assert told == [work.task]


async def test_released_it_ends_as_it_ends() -> None:
    work = Contained(failing)
    with pytest.raises(FailureError):
        await work.release()


async def test_it_leaves_no_cycle() -> None:
    work = Contained(failing)
    await work.task
    try:
        work.result()
    except FailureError as error:
        gone = weakref.ref(error)
    gc.disable()
    try:
        del work
        assert gone() is None
    finally:
        gc.enable()


async def test_many() -> None:
    assert await gathered(partial(answering, number) for number in range(3)) == [0, 1, 2]
    with pytest.raises(FailureError):
        await gathered([partial(answering, 1), partial(failing), partial(answering, 2)])
