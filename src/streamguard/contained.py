"""Work in a task of its own that keeps what it raises to itself, until whoever began it asks.

An exception that leaves a task is seen by more than the one who awaits the task. Measured with sentry-sdk 2.75.0: its
`AsyncioIntegration` wraps the coroutine of every task, and captures what comes out of it, with the local variables of
all frames: the password a driver connects with, the parameters of a statement, the prompt. What a host's code, a
provider's client or a driver raises therefore never leaves a task of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar, cast

__all__ = ["Contained", "gathered", "passes"]

T = TypeVar("T")


def passes(error: BaseException) -> bool:
    """Whether an exception is no failure of the code that raised it, and so passes through: a cancellation, Ctrl-C,
    and the end of a coroutine that nothing runs any more.

    Everything else is a failure of one piece of work, whatever its class: libraries in Rust panic with a
    `BaseException` that is no `Exception` (pyo3), and a `SystemExit` that leaves a task ends its whole event loop.
    """
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return True
    return isinstance(error, GeneratorExit) and not _loop_runs()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Contained(Generic[T]):
    """Runs `work` in a task of its own, which starts at once and ends without an exception, or is cancelled.

    Args:
        work: makes the coroutine.
        name: the task's.
        loop: the running event loop, where the caller knows it.
        on_end: called in the task when `work` has ended, with None, so that a waiter wakes in the same turn of the loop
            in which the task is done; with the task, after its end, if that is cancelled before it begins. Not for one
            whose loop runs no more.

    Attributes:
        task: the task, to be waited for and cancelled. `result` has what became of it.
    """

    __slots__ = ("_error", "_released", "_value", "task")

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        name: str | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        on_end: Callable[[asyncio.Task[None] | None], None] | None = None,
    ) -> None:
        self._value: T | None = None
        self._error: BaseException | None = None
        self._released = False
        loop = loop or asyncio.get_running_loop()
        self.task: asyncio.Task[None] = loop.create_task(self._run(work, on_end), name=name)
        if on_end is not None:
            self.task.add_done_callback(on_end)  # until it begins

    async def _run(
        self, work: Callable[[], Awaitable[T]], on_end: Callable[[asyncio.Task[None] | None], None] | None
    ) -> None:
        if on_end is not None and (task := asyncio.current_task()) is not None:
            task.remove_done_callback(on_end)  # it would take a turn of the loop, to tell what was told
            del task
        try:
            running = work()
            del work  # or the task would hold the call's arguments for as long as it runs, beside the call's own frame
            self._value = await running
        except BaseException as exc:
            if isinstance(exc, GeneratorExit):
                on_end = None  # nothing runs this any more, nor a waiter, which a closed loop refuses to wake
            if passes(exc):
                raise
            if self._released:
                if isinstance(exc, Exception):
                    raise
                raise RuntimeError(f"the work raised {type(exc).__name__}") from None
            # Without the frame of this method, which knows this object: it would then know itself. From Python 3.12 on
            # the frame below leads back to this one, whatever the traceback says.
            self._error = exc.with_traceback(None if exc.__traceback__ is None else exc.__traceback__.tb_next)
            del self
        finally:
            if on_end is not None:
                on_end(None)
            del on_end  # as `self` above

    def release(self) -> asyncio.Task[None]:
        """Let the task, which still runs, end as it ends: with what it raises, for another owner."""
        self._released = True
        return self.task

    @property
    def error(self) -> BaseException | None:
        """What the work raised, if it has ended so."""
        return self._error

    def result(self) -> T:
        """What the work returned.

        Raises:
            BaseException: what it raised.
            asyncio.CancelledError: it was cancelled.
            asyncio.InvalidStateError: it still runs.
        """
        self.task.result()
        error = self._error
        if error is None:
            return self._value  # type: ignore[return-value] # the task is done, so this was set
        try:
            raise error
        finally:
            del error, self  # else the exception's traceback would know the exception


async def gathered(works: Iterable[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each of several works returned, in their order, once all have ended. Cancelling this cancels all of them.

    Raises:
        BaseException: what the first of those that failed raised.
    """

    async def ended(work: Callable[[], Awaitable[T]]) -> tuple[T, None] | tuple[None, BaseException]:
        try:
            return await work(), None
        except BaseException as exc:
            if passes(exc):
                raise
            return None, exc

    found: list[T] = []
    for value, error in await asyncio.gather(*(ended(work) for work in works)):
        if error is not None:
            raise error
        found.append(cast("T", value))
    return found
