from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from streamguard import FaultCode, FaultError
from streamguard.web.access.sync_streams import SyncStreams
from streamguard.web.endpoint.threaded_iterator import BUFFERED_ITEMS, ThreadedIterator
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.anyio

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("WORD", default="unset")


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streamguard-sync-stream"]


@pytest.fixture
async def threaded() -> AsyncIterator[Callable[[Callable[[], Iterator[object]]], ThreadedIterator]]:
    """Runs iterators; afterwards no thread of theirs is left."""
    pool = SyncStreams(4)

    def start(make: Callable[[], Iterator[object]]) -> ThreadedIterator:
        return ThreadedIterator(make, pool.take(), stream=None)

    yield start
    await wait_until_async(lambda: not _threads(), description="the threads have ended")
    assert pool.running == 0


async def test_items_come_in_order(threaded: Callable[..., ThreadedIterator]) -> None:
    assert [item async for item in threaded(lambda: iter(range(1000)))] == list(range(1000))


async def test_one_thread_and_one_context_from_first_line_to_finally(
    threaded: Callable[..., ThreadedIterator],
) -> None:
    seen: list[tuple[int, str]] = []

    def generator() -> Iterator[object]:
        seen.append((threading.get_ident(), WORD.get()))
        WORD.set("changed")
        try:
            for _ in range(3):
                yield WORD.get()
        finally:
            seen.append((threading.get_ident(), WORD.get()))

    WORD.set("outside")
    assert [item async for item in threaded(generator)] == ["changed"] * 3
    assert [word for _, word in seen] == ["outside", "changed"]
    assert len({thread for thread, _ in seen}) == 1
    assert seen[0][0] != threading.get_ident()
    assert WORD.get() == "outside"


async def test_what_it_raises_comes_after_its_items(threaded: Callable[..., ThreadedIterator]) -> None:
    def generator() -> Iterator[object]:
        yield 1
        raise LookupError("no more")

    iterator = threaded(generator)
    assert await anext(iterator) == 1
    with pytest.raises(LookupError):
        await anext(iterator)
    with pytest.raises(StopAsyncIteration):
        await anext(iterator)


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, StopAsyncIteration])
async def test_what_would_end_the_loop_or_the_items_does_not(
    threaded: Callable[..., ThreadedIterator], error: type[BaseException]
) -> None:
    """A sync generator that runs an async iterator by itself raises the last one where a model's stream ends early."""

    def generator() -> Iterator[object]:
        yield 1
        raise error

    with pytest.raises(RuntimeError, match=error.__name__):
        [item async for item in threaded(generator)]


async def test_closing_runs_finally_in_its_thread_even_when_it_is_ahead(
    threaded: Callable[..., ThreadedIterator],
) -> None:
    produced, closed_in = 0, []

    def generator() -> Iterator[object]:
        nonlocal produced
        try:
            while True:
                produced += 1
                yield produced
        finally:
            closed_in.append(threading.current_thread().name)

    iterator = threaded(generator)
    assert await anext(iterator) == 1
    await wait_until_async(lambda: produced >= BUFFERED_ITEMS, description="the buffer is full")
    await iterator.aclose()
    assert closed_in == ["streamguard-sync-stream"]
    assert produced <= BUFFERED_ITEMS + 2
    await iterator.aclose()


async def test_a_cancelled_wait_loses_nothing(threaded: Callable[..., ThreadedIterator]) -> None:
    go = threading.Event()

    def generator() -> Iterator[object]:
        go.wait(10)
        yield 1

    iterator = threaded(generator)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(iterator)
    go.set()
    assert [item async for item in iterator] == [1]


async def test_posted_calls_run_on_the_loop_between_items() -> None:
    pool = SyncStreams(1)
    order: list[object] = []
    seen: list[ThreadedIterator] = []

    def generator() -> Iterator[object]:
        mine = ThreadedIterator.of_this_thread()
        assert mine is not None
        seen.append(mine)
        yield 1
        mine.post(lambda: order.append(threading.get_ident()))
        yield 2

    iterator = ThreadedIterator(generator, pool.take(), stream=None)
    async for item in iterator:
        order.append(item)  # noqa: PERF401 -- the posted call writes to it too
    assert order == [1, threading.get_ident(), 2]
    assert seen == [iterator]
    assert ThreadedIterator.of_this_thread() is None


async def test_a_plain_iterator_needs_no_close(threaded: Callable[..., ThreadedIterator]) -> None:
    iterator = threaded(lambda: iter([1, 2, 3]))
    assert await anext(iterator) == 1
    await iterator.aclose()


@pytest.mark.long
async def test_a_full_process_answers_503_and_unused_slots_come_back() -> None:
    pool = SyncStreams(1)
    slot = pool.take()
    with pytest.raises(FaultError) as refused:
        pool.take()
    fault = refused.value.fault
    assert (fault.code, fault.status, fault.reason) == (FaultCode.LIMIT_STREAMS, 503, "max_sync_streams")
    slot.release()
    slot.release()
    pool.take()
    gc.collect()
    pool.take().release()
    assert pool.running == 0
