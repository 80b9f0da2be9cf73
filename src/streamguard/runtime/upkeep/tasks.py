"""The tasks of a runtime: background ones that run again when they crash, and one-off ones whose crash is contained.

None outlives the runtime, unless it catches every cancellation, and none can end it, so that a crash of one stream
harms no other. Background tasks are in a task group, which has a task of its own, because a guard may be entered in one
task and left in another. One-off tasks are plain ones, which only `close` cancels: in the group, each took three times
as long to begin.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio.abc import TaskGroup

from ...contained import passes
from ...errors import NotStartedError, StoreError
from ...faults import Fault, FaultCode
from ...observations import Observation, Signal
from ...scopes import current_stream
from ...values import trace_id_of

__all__ = ["Tasks"]

Args = TypeVarTuple("Args")
T = TypeVar("T")

RESTART_SECONDS: Final = (0.1, 0.5, 2.0, 5.0)
"""Pauses before a crashed background task runs again; the last one repeats."""

AGAIN_SECONDS: Final = 1.0
"""How often `close` cancels a one-off task that goes on."""

MOST_REFUSALS: Final = 5
"""How often in a row tasks may go on in spite of that, before `close` leaves them behind: a host's code may catch every
cancellation, and neither the host's own lifespan nor the process could end."""

LEAVE_SECONDS: Final = 2.0
"""How long an adopted task that is cancelled may clean up."""


class Tasks:
    """Owns the task group. Entered once; used only in between."""

    def __init__(self, *, observe: Callable[[Observation], None], on_ended: Callable[[], None] = lambda: None) -> None:
        self._observe = observe
        self._on_ended = on_ended
        """Called whenever a one-off task ended."""
        self.started: int = 0
        """One-off tasks under way."""
        self.adopted: set[asyncio.Task[None]] = set()
        """Running tasks that were begun elsewhere."""
        self._group: TaskGroup | None = None
        self._one_off: set[asyncio.Task[None]] = set()
        self._closing = False
        self.crashes: dict[str, int] = {}
        """How often each background task was restarted."""

    @property
    def running(self) -> bool:
        return self._group is not None

    async def open(self) -> None:
        """Open the group, in a task of its own: `close` may be called in any other."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._holder = asyncio.create_task(self._hold(opened), name="streamguard-tasks")
        await opened

    async def _hold(self, opened: asyncio.Future[None]) -> None:
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                opened.set_result(None)
                await anyio.sleep_forever()
        finally:
            self._group = None
            opened.cancel()  # unless it was told

    async def close(self) -> None:
        """Cancel every task that still runs, again and again, and wait for them, but leave behind those that go on
        `MOST_REFUSALS` times. Cancelled, it waits no longer, and leaves every task cancelled."""
        self._closing = True
        refusals = 0
        self.group.cancel_scope.cancel()
        try:
            with anyio.CancelScope(shield=True):
                _, holder = await asyncio.wait({self._holder}, timeout=MOST_REFUSALS * AGAIN_SECONDS)
                while self._one_off and refusals < MOST_REFUSALS:
                    await asyncio.sleep(0)  # a task that is cancelled before its first step would end nothing
                    if tasks := tuple(self._one_off):
                        for task in tasks:
                            task.cancel()
                        _, going_on = await asyncio.wait(tasks, timeout=AGAIN_SECONDS)
                        refusals = refusals + 1 if going_on else 0
        except asyncio.CancelledError:
            for task in self._one_off:
                task.cancel()
            raise
        if behind := len(self._one_off) + len(holder):
            self._observe(_left_behind(behind))
        if self._holder.done() and not self._holder.cancelled():
            self._holder.result()

    def supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run `run` until it returns; if it fails it is observed, counted and run again."""
        self.group.start_soon(self._supervised, name, run)

    def start(self, run: Callable[[*Args], Awaitable[None]], *args: *Args) -> None:
        """Run `run` once, under the caller's context variables. What it raises is observed and goes no further."""
        self.start_containing(self._contained, run, args)

    def start_containing(self, run: Callable[[*Args], Coroutine[None, None, None]], *args: *Args) -> None:
        """As `start`, for a `run` that catches everything but what `passes`, and tells `crashed`. Hot path: no other
        coroutine is around it, through which each of its wakes would go."""
        if self._group is None:
            _ = self.group  # which raises
        task = self._holder.get_loop().create_task(run(*args), name="streamguard-task")
        self._one_off.add(task)
        task.add_done_callback(self._ended)
        self.started += 1

    async def run_detached(self, run: Callable[[], Awaitable[T]]) -> T:
        """Run `run` in a task of this group and return its result. Cancelling the caller lets the task go on; its
        result is dropped then.

        Raises:
            NotStartedError: the group is not open, or was closed meanwhile.
        """
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def carried() -> None:
            try:
                result = await run()
            except BaseException as exc:
                if passes(exc):
                    raise
                if not told.done():
                    told.set_exception(_awaitable(exc))
                elif not isinstance(exc, StoreError):  # the caller left, and a store's failure is told elsewhere
                    raise
            else:
                if not told.done():
                    told.set_result(result)
            finally:
                if not told.done():
                    told.set_exception(NotStartedError("this guard was stopped meanwhile"))

        self.start(carried)
        return await told

    def adopt(self, task: asyncio.Task[None]) -> None:
        """Own a task that was begun elsewhere: `close` cancels it, and what it raises is observed.

        Raises:
            NotStartedError: the group is not open.
        """
        self.start(self._own, task)
        self.adopted.add(task)

    async def _own(self, task: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            until = task.get_loop().time() + LEAVE_SECONDS
            while not task.done() and (left := until - task.get_loop().time()) > 0:
                with suppress(asyncio.CancelledError):  # `close`, once more
                    await asyncio.wait({task}, timeout=left)
            raise
        finally:
            self.adopted.discard(task)
        if not task.cancelled():
            task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._one_off.discard(task)
        self.started -= 1
        self._on_ended()

    def finishing(self) -> None:
        """What follows in the present one-off task nobody but `close` cancels any more: also a task that caught the
        cancellation of `close` is cancelled then, where it waits first."""
        if self._closing and (task := asyncio.current_task()) is not None:
            task.cancel()

    @property
    def group(self) -> TaskGroup:
        """The open group.

        Raises:
            NotStartedError: it is not open.
        """
        if self._group is None:
            raise NotStartedError(
                "this guard is not running: pass `lifespan=guard.lifespan` to your app, "
                "or use `async with guard:` in your own lifespan"
            )
        return self._group

    async def _contained(self, run: Callable[[*Args], Awaitable[None]], args: tuple[*Args]) -> None:
        try:
            await run(*args)
        except BaseException as exc:
            if self.passes(exc):
                raise
            self.crashed(exc)

    def passes(self, error: BaseException) -> bool:
        """Whether what a one-off task raised is its end, or that of the process. A stray cancellation is a crash like
        any other."""
        return self._closing if isinstance(error, asyncio.CancelledError) else passes(error)

    def crashed(self, error: BaseException) -> None:
        """Observe what the present one-off task failed with."""
        self._observe(_crash(error))

    async def _supervised(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        crashes = 0
        while True:
            try:
                await run()
            except BaseException as exc:
                if _is_over(exc):
                    raise
                self.crashes[name] = crashes = crashes + 1
                self._observe(Observation(Signal.TASK_RESTARTED, error=exc, fields={"task": name, "crashes": crashes}))
                await asyncio.sleep(RESTART_SECONDS[min(crashes, len(RESTART_SECONDS)) - 1])
            else:
                return


def _left_behind(count: int) -> Observation:
    """Work of the host's catches every cancellation."""
    seconds = MOST_REFUSALS * AGAIN_SECONDS
    text = (
        f"{count} of this application's endpoints or saves went on for {seconds:g} s after they were cancelled, and "
        "the guard stopped without them: let asyncio.CancelledError pass where it is caught, by a bare except: for "
        "example"
    )
    return Observation(Signal.MISUSE, fields={"misuse": "cancellation_caught", "warning": text})


def _awaitable(error: BaseException) -> Exception:
    """An exception for a future: asyncio throws a `GeneratorExit` into who waits, which closes all of its frames."""
    if isinstance(error, Exception):
        return error
    told = RuntimeError(f"the work raised {type(error).__name__}")
    told.__cause__ = error
    return told


def _crash(error: BaseException) -> Observation:
    """What a one-off task failed with, of the stream that it worked on."""
    context = current_stream.get()
    if context is None:
        return Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL), error=error)
    fault = Fault.of(
        FaultCode.INTERNAL,
        session_id=context.session_id,
        stream_id=context.stream_id,
        message_id=context.message_id,
        request_id=context.request_id,
        trace_id=trace_id_of(context.trace),
    )
    return Observation(
        Signal.FAULT,
        ref=context.ref,
        message_id=context.message_id,
        request_id=context.request_id,
        trace=context.trace,
        fault=fault,
        error=error,
    )


def _is_over(error: BaseException) -> bool:
    """Whether `error` is the group's own cancellation, or the end of the process. A stray `CancelledError` is a crash
    like any other, and must not leave its task: anyio would cancel the whole group for it, as for any exception."""
    if isinstance(error, asyncio.CancelledError):
        return anyio.current_effective_deadline() == -math.inf
    return passes(error)
