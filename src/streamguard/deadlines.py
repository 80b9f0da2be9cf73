"""Deadlines for peers that do not count the time for which this process's event loop stood still.

A blocked loop (an application's blocking call, a large save, a suspended process) reads an answer late, and its timers
fire late. A plain timeout then blames the peer. So all code that judges a peer (Redis, a database, a quota service, a
model, a viewer) measures time on a `LoopClock` and waits with a `Deadline`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from operator import attrgetter
from types import TracebackType
from typing import Final, Self
from weakref import WeakKeyDictionary, ref

__all__ = ["Deadline", "Interruption", "Limit", "LoopClock", "MovableTimer", "Timer"]

TICK_SECONDS: Final = 0.05
"""How often the clock ticks while anything waits. Stalls are measured with this precision."""
TOLERANCE_SECONDS: Final = 0.01
"""A tick that is at most this late is an ordinary turn of a busy loop, not a stall."""
GRACE_SECONDS: Final = 0.01
"""How long a reached deadline still waits: at least one whole turn of the loop, which reads what has arrived."""
WAKE_SECONDS: Final = 0.002
"""How far apart deadlines are looked at, at least: each look is at all timers that run."""
LOOK_SECONDS: Final = 1e-6
"""The same for each timer that runs. A look at one takes a twentieth of that: however many requests wait, a process
spends no more of its time on it."""


class LoopClock:
    """Loop time without the time for which the loop stood still. One per event loop; use it only in the loop's thread.

    The clock ticks while it is held or a timer runs. It may miss a stall shorter than `TICK_SECONDS`.

    Its timers share one timer of the loop, that of the next deadline: nearly all of them are cancelled, a few for each
    stream, and one of the loop's own takes several times as long to begin and to cancel. They are in no order, which
    would cost each of them more than a look at all of them costs now and then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # the registry below must not keep a loop alive
        self._stalled_seconds = 0.0
        """Total length of all stalls that are over."""
        self._expected: float | None = None
        """Loop time of the next tick; None while the clock does not tick."""
        self._calm_until = math.inf
        """Loop time until which the loop does not stand still, as far as the clock can tell."""
        self._users = 0
        """How often it is held now."""
        self._timers: dict[Timer, None] = {}
        """Those that run, in the order of their starts."""
        self._wakes_at = math.inf
        """When the loop's timer for them is due. Its handle is not kept: it would keep the loop."""

    @classmethod
    def current(cls) -> LoopClock:
        """Returns the running loop's clock.

        Raises:
            RuntimeError: no loop runs.
        """
        global _latest  # noqa: PLW0603 -- a cache of one: nearly every process has one loop
        loop = asyncio.get_running_loop()
        latest = None if _latest is None else _latest()
        if latest is not None and latest._loop() is loop:  # noqa: SLF001 -- its own class
            return latest
        clock = _CLOCKS.get(loop)
        if clock is None:
            for known in _CLOCKS.keyrefs():  # a copy: other threads have loops too
                gone = known()
                if gone is not None and gone.is_closed():
                    _CLOCKS.pop(gone, None)  # with whatever its timers still refer to
            clock = _CLOCKS[loop] = cls(loop)
        _latest = ref(clock)
        return clock

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose time this clock measures."""
        loop = self._loop()
        if loop is None:
            raise self._gone()
        return loop

    @staticmethod
    def _gone() -> RuntimeError:
        return RuntimeError("the event loop of this clock is gone")

    def time(self) -> float:
        """Seconds on this clock. The time never goes back, and it stands still while the loop does. Hot path."""
        loop = self._loop()
        if loop is None:
            raise self._gone()
        now = loop.time()
        if now <= self._calm_until:  # the usual case
            return now - self._stalled_seconds
        return now - self._stalled_seconds - self._stalled_by(now)

    def at(self, now: float) -> float:
        """As `time`, for who has just read the loop's: `now`."""
        return now - self._stalled_seconds - (0.0 if now <= self._calm_until else self._stalled_by(now))

    @property
    def stalled_seconds(self) -> float:
        """For how long the loop has stood still while this clock ticked."""
        return self._stalled_seconds + self._stalled_by(self.loop.time())

    def hold(self) -> None:
        """Keep the clock ticking until the matching `release`."""
        self._users += 1
        if self._expected is None:
            self._schedule()

    def release(self) -> None:
        """Undo one `hold`."""
        self._users -= 1

    def start(self, timer: Timer) -> None:
        """Tell a timer when its time has come, and tick until then, unless it is cancelled."""
        self._timers[timer] = None
        if self._expected is None:
            self._schedule()
        if timer.at < self._wakes_at:
            self._wake_at(timer.at)

    def cancelled(self, timer: Timer) -> None:
        """A timer that was started was cancelled before its time came."""
        del self._timers[timer]

    def _wake_at(self, at: float) -> None:
        self._wakes_at = at
        self.loop.call_later(max(0.0, at - self.time()), self._woken, at)

    def _woken(self, at: float) -> None:
        if at != self._wakes_at:  # an earlier deadline was added meanwhile, and has a timer of the loop itself
            return
        self._wakes_at = math.inf
        timers, now = self._timers, self.time()
        due = [timer for timer in timers if timer.at <= now]
        for timer in sorted(due, key=_at):
            del timers[timer]
            timer.reached()
        if timers:  # the next one, or this one once more: the loop stood still meanwhile
            self._wake_at(max(min(map(_at, timers)), now + max(WAKE_SECONDS, len(timers) * LOOK_SECONDS)))

    def _stalled_by(self, now: float) -> float:
        """Length of the current stall so far."""
        return 0.0 if self._expected is None else max(0.0, now - self._expected - TOLERANCE_SECONDS)

    def _schedule(self) -> None:
        loop = self.loop
        self._expected = expected = loop.time() + TICK_SECONDS
        self._calm_until = expected + TOLERANCE_SECONDS
        loop.call_at(expected, self._tick)

    def _tick(self) -> None:
        self._stalled_seconds += self._stalled_by(self.loop.time())
        self._expected, self._calm_until = None, math.inf
        if self._users or self._timers:
            self._schedule()


_latest: ref[LoopClock] | None = None
"""The clock that was asked for last."""
_CLOCKS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, LoopClock]] = WeakKeyDictionary()


class Timer:
    """A callback that runs when a deadline is reached: at the time `at` of a clock."""

    __slots__ = ("_callback", "_clock", "_grace", "at")

    def __init__(self, clock: LoopClock, at: float, callback: Callable[[], None]) -> None:
        self.at: float = at
        self._clock = clock
        self._callback: Callable[[], None] | None = callback
        self._grace: asyncio.TimerHandle | None = None
        """Runs once the deadline is reached."""
        clock.start(self)

    def cancel(self) -> None:
        """Do not run the callback. A second call has no effect."""
        if self._callback is None:
            return
        self._callback = None
        if self._grace is None:
            self._clock.cancelled(self)
        else:
            self._grace.cancel()
            self._clock.release()

    def reached(self) -> None:
        """The deadline is reached: run the callback once what has arrived by now is read."""
        self._clock.hold()
        self._grace = self._clock.loop.call_later(GRACE_SECONDS, self._fire)

    def _fire(self) -> None:
        callback, self._callback = self._callback, None
        self._clock.release()
        if callback is not None:
            callback()


_at: Final = attrgetter("at")


class MovableTimer:
    """A callback that runs when a deadline is reached, which is moved over and over: that costs no timer of the loop.

    Hot path. While it is set, and for as long afterwards as its last deadline was away, its clock ticks.
    """

    __slots__ = ("_at", "_callback", "_clock", "_graced", "_handle", "_wakes_at")

    def __init__(self, clock: LoopClock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._at = math.inf
        self._graced = False
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf

    def set(self, at: float) -> None:
        """Run the callback at this time of the clock, and at no other."""
        self._at, self._graced = at, False
        if at < self._wakes_at:
            if self._handle is None:
                self._clock.hold()
            else:
                self._handle.cancel()
            self._wake_at(at)

    def clear(self) -> None:
        """Do not run the callback."""
        self._at = math.inf

    def stop(self) -> None:
        """Do not run the callback, and give up the loop's timer. It may be set again."""
        self._at = self._wakes_at = math.inf
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
            self._clock.release()

    def _wake_at(self, at: float) -> None:
        self._wakes_at = at
        self._handle = self._clock.loop.call_later(max(0.0, at - self._clock.time()), self._fire)

    def _fire(self) -> None:
        clock = self._clock
        if self._at == math.inf:
            self.stop()
        elif self._at > clock.time():  # it was moved, or the loop stood still meanwhile
            self._wake_at(self._at)
        elif not self._graced:
            self._graced = True
            self._wakes_at = self._at
            self._handle = clock.loop.call_later(GRACE_SECONDS, self._fire)
        else:
            self.stop()
            self._callback()


class Deadline:
    """A moment by which a peer must have answered. Any number of waits may share one."""

    __slots__ = ("at", "clock")

    def __init__(self, clock: LoopClock, at: float) -> None:
        self.clock: LoopClock = clock
        self.at: float = at
        """The moment, as a time of `clock`."""

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """A deadline `seconds` from now, on the running loop's clock."""
        clock = LoopClock.current()
        return cls(clock, clock.time() + seconds)

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and the moment `seconds` from now."""
        at = self.clock.time() + seconds
        return self if self.at <= at else Deadline(self.clock, at)

    @property
    def left_seconds(self) -> float:
        """Seconds until the deadline; never negative."""
        return max(0.0, self.at - self.clock.time())

    @property
    def expired(self) -> bool:
        """Whether the deadline is reached."""
        return self.clock.time() >= self.at

    def call(self, callback: Callable[[], None]) -> Timer:
        """Call `callback` on the event loop when the deadline is reached. The caller must cancel the returned timer."""
        return Timer(self.clock, self.at, callback)

    def limit(self) -> Limit:
        """`async with deadline.limit():` raises `TimeoutError` when the deadline is reached inside the block, as
        `asyncio.timeout` does.

        If the deadline is reached before the block is entered, the block still gets one turn of the loop.
        """
        return Limit(self)


class Interruption:
    """`with interruption:` is a block that `happen` ends: then `TimeoutError` is raised where the block waits, as by
    `asyncio.timeout`. Entered once, in a task.

    For blocks that no time of the loop's ends. Measured, `asyncio.timeout(None)` takes four times as long to enter and
    leave. `loop` is the running event loop, where the caller knows it.
    """

    __slots__ = ("_cancelling", "_handle", "_loop", "_task", "happened")

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._task: asyncio.Task[object] | None = None
        """The task that is in the block."""
        self._handle: asyncio.Handle | None = None
        self.happened: bool = False
        """Whether it ended the block. A `TimeoutError` may come from elsewhere."""

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a block that may be interrupted runs in a task")
        self._task = task
        self._cancelling = task.cancelling()
        """Cancellations of it that others have asked for already."""
        return self

    def happen(self) -> None:
        """End the block, if it is entered, with the next turn of the loop: what the block is to get in this turn, it
        gets. Repeats change nothing."""
        if self._task is not None and self._handle is None:
            self._handle = self._task.get_loop().call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self.happened = True
            self._task.cancel()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._handle is not None:
            self._handle.cancel()
        if not self.happened or task is None:
            return
        by_others = task.uncancel() > self._cancelling
        if not by_others and exc_type is not None and issubclass(exc_type, asyncio.CancelledError):
            raise TimeoutError from exc


class Limit:
    """A block of code under a `Deadline`."""

    __slots__ = ("_deadline", "_interruption", "_timer")

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._interruption = Interruption()
        self._timer: Timer | None = None

    @property
    def expired(self) -> bool:
        """Whether this limit ended the block. A `TimeoutError` may come from elsewhere."""
        return self._interruption.happened

    async def __aenter__(self) -> Self:
        self._interruption.__enter__()
        self._timer = self._deadline.call(self._interruption.happen)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._interruption.__exit__(exc_type, exc, traceback)
