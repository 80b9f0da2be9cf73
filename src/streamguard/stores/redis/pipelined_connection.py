"""One connection, shared by many callers: the requests that wait go out in one write."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from ...deadlines import Deadline, LoopClock, MovableTimer
from .append_gate import AppendGate
from .driver import DRIVER_ERRORS, Command, Connection, RawConnection, Reply, Usual, unknown_script
from .errors import closed_error, mapped_error, mapped_errors
from .scripts import Scripts

__all__ = ["OtherConnectionError", "PipelinedConnection", "Request"]

EXCHANGE_COMMANDS: Final = 1_000
"""Commands in one exchange, unless a single request has more: its replies must arrive well within the timeout."""


class OtherConnectionError(Exception):
    """The connection that a request was meant for is not there any more; nothing was sent."""


class Request:
    """The commands of one call."""

    __slots__ = ("count", "number", "only_on", "operation", "packed", "replies", "scripts", "until", "usual")

    def __init__(
        self,
        operation: str,
        packed: Sequence[bytes],
        scripts: Sequence[str | None],
        replies: asyncio.Future[list[Reply]] | None,
        until: float,
        *,
        count: int | None = None,
        only_on: int = 0,
        usual: Usual | None = None,
    ) -> None:
        self.operation: str = operation
        self.packed: Sequence[bytes] = packed
        self.count: int = len(packed) if count is None else count
        """How many commands these are. All but those that may call a script may be in pieces."""
        self.scripts: Sequence[str | None] = scripts
        """The scripts that the last commands call, if any."""
        self.replies: asyncio.Future[list[Reply]] | None = replies
        """None when the caller does not wait for them."""
        self.until: float = until
        """By when the replies must be there, on the connection's clock; the wait for the connection counts."""
        self.only_on: int = only_on
        """The number of the connection that it is meant for; 0 for any."""
        self.usual: Usual | None = usual
        """What its replies nearly always begin with."""
        self.number: int = 0
        """That of the connection over which all its replies came, if it was one."""

    def call(self, number: int) -> tuple[str, bytes] | None:
        """The script that the command with this number calls, if any, and the command."""
        from_end = number - self.count
        if -from_end > len(self.scripts):
            return None
        script = self.scripts[from_end]
        return None if script is None else (script, self.packed[from_end])


class _Unknown(NamedTuple):
    """An exchange in which the server did not know some of the scripts."""

    batch: list[Request]
    replies: list[Reply]
    numbers: list[int]
    """Of these replies."""
    connection: int
    """The number of the connection."""


class PipelinedConnection:
    """It owns the futures of all requests, and resolves each, however it ends.

    Requests of one turn of the event loop go out together, at its end, and what arrives resolves their futures: no task
    of its own stands between. Its task does what takes several steps: it connects, and loads scripts. Made in the event
    loop that it is for.
    """

    def __init__(self, connection: Connection, scripts: Scripts) -> None:
        self.connection: Connection = connection
        self.waiting: deque[Request] = deque()
        """Requests that no exchange carries yet."""
        self.busy: bool = False
        """An exchange is under way."""
        self.gate: AppendGate | None = None
        """What this connection watches for the appends over it: `Appends` makes it and keeps it."""
        self._batch: list[Request] = []
        """What the exchange under way carries."""
        self._wanted = 0
        """How many replies that has."""
        self._over: RawConnection | None = None
        """What it goes over, unless the task has begun it."""
        self._unknown: _Unknown | None = None
        """It waits for the task, which repeats a part of it."""
        self._sending = False
        """What waits is sent at the end of this turn of the loop."""
        self._scripts = scripts
        self._loop = asyncio.get_running_loop()
        self._clock = LoopClock.current()
        self._limit = MovableTimer(self._clock, self._too_late)
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def until(self, seconds: float) -> float:
        """The time of this connection's clock in so many `seconds`."""
        return self._clock.time() + seconds

    def ask(
        self,
        operation: str,
        packed: Sequence[bytes],
        scripts: Sequence[str | None],
        seconds: float,
        deadline: Deadline | None = None,
        *,
        count: int | None = None,
        only_on: int = 0,
        usual: Usual | None = None,
    ) -> tuple[Request, asyncio.Future[list[Reply]]]:
        """Queue a request of one command or more, to be answered by `deadline`, or in `seconds`. The second value is
        what its caller waits for."""
        replies: asyncio.Future[list[Reply]] = self._loop.create_future()
        until = self._clock.time() + seconds if deadline is None else deadline.at
        request = Request(operation, packed, scripts, replies, until, count=count, only_on=only_on, usual=usual)
        self.waiting.append(request)
        if not self.busy and not self._sending:
            self._send_soon()
        return request, replies

    def submit(self, request: Request) -> None:
        """Queue a request."""
        self.waiting.append(request)
        if not self.busy and not self._sending:
            self._send_soon()

    def close_soon(self) -> None:
        """End the task, and with it the connection, without waiting for that."""
        if self._task is not None:
            self._task.cancel()
        self._fail([*self._batch, *self.waiting], None)  # a task that is cancelled before its first step does not
        self.waiting.clear()

    async def aclose(self) -> None:
        """End the task, fail the requests that wait, disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._give_up(None)

    def _give_up(self, cause: Exception | None) -> None:
        """Fail all requests, and drop the connection: what still arrives on it belongs to none of them."""
        self._fail([*self._batch, *self.waiting], cause)
        self._batch, self._over, self._unknown = [], None, None
        self.waiting.clear()
        self.busy = False
        self._limit.stop()
        with mapped_errors("aclose"):
            self.connection.discard()

    def _mistaken(self, error: Exception) -> None:
        """A mistake of ours must not leave callers waiting."""
        self._loop.call_exception_handler({"message": "the task of a Redis connection failed", "exception": error})
        self._give_up(error)

    # -- without the task ----------------------------------------------------------------------------------------------

    def _send_soon(self) -> None:
        self._sending = True
        self._loop.call_soon(self._send)

    def _send(self) -> None:
        """Send what waits, in one write."""
        self._sending = False
        if self.busy or not self.waiting:
            return
        raw = self.connection.usable(self._loop.time())
        if raw is None:
            self._wake_task()
            return
        try:
            if len(self.waiting) == 1 and self.waiting[0].only_on in (0, raw.number):  # nearly always
                request = self.waiting.popleft()
                self._batch, self._wanted, packed = [request], request.count, request.packed
            else:
                batch = self._batch = self._meant_for(raw.number, self._next_batch())
                if not batch:
                    if self.waiting:  # more than one exchange takes
                        self._send_soon()
                    return
                request, self._wanted = batch[0], _count(batch)
                packed = [one for some in batch for one in some.packed]
            self.busy, self._over = True, raw
            self._limit.set(request.until)
            raw.expect(self._wanted, self._arrived, request.usual)
            try:
                raw.write(b"".join(packed))
            except DRIVER_ERRORS as exc:
                raw.fail(exc)
        except Exception as exc:  # noqa: BLE001 -- see `_mistaken`
            self._mistaken(exc)

    def _arrived(self, raw: RawConnection, error: Exception | None) -> None:
        """All replies are there; or none will come, for this reason."""
        if raw is not self._over:  # it was given up
            return
        self._limit.clear()
        self._over = None
        try:
            batch = self._batch
            if error is not None:
                self._fail(batch, error)
                self.connection.discard()
            else:
                replies, refused = self.connection.take(raw, self._wanted, self._loop.time())
                unknown = [n for n, reply in enumerate(replies) if unknown_script(reply)] if refused else None
                if unknown:
                    self._unknown = _Unknown(batch, replies, unknown, raw.number)
                    self._wake_task()
                    return
                self._hand_out(batch, replies, raw.number)
        except Exception as exc:  # noqa: BLE001 -- see `_mistaken`
            self._mistaken(exc)
        self._batch = []
        self.busy = False
        if self.waiting:
            self._send_soon()

    def _too_late(self) -> None:
        if self._over is not None:
            self._over.fail(TimeoutError())

    def _next_batch(self) -> list[Request]:
        waiting = self.waiting
        batch = [waiting.popleft()]
        if waiting:
            count = batch[0].count
            while waiting and count + waiting[0].count <= EXCHANGE_COMMANDS:
                count += waiting[0].count
                batch.append(waiting.popleft())
        return batch

    def _hand_out(self, batch: list[Request], replies: list[Reply], number: int) -> None:
        """Give each request its replies, which came over the connection with this number."""
        if self.connection.number != number:  # what it says of a log may not be true of the next server's
            number = 0
        at = 0
        for request in batch:
            request.number = number
            end = at + request.count
            if request.replies is not None and not request.replies.done():
                request.replies.set_result(replies if len(replies) == request.count else replies[at:end])
            at = end

    @staticmethod
    def _meant_for(number: int, batch: list[Request]) -> list[Request]:
        """Leave out the requests that were meant for another connection."""
        if len(batch) == 1 and batch[0].only_on in (0, number):
            return batch
        kept = []
        for request in batch:
            if request.only_on in (0, number):
                kept.append(request)
            elif request.replies is not None and not request.replies.done():
                request.replies.set_exception(OtherConnectionError())
        return kept

    @staticmethod
    def _fail(batch: Sequence[Request], cause: Exception | None) -> None:
        for request in batch:
            if request.replies is None or request.replies.done():
                continue
            if cause is None:
                error = closed_error(request.operation)
            else:
                error = mapped_error(request.operation, cause)
                error.__cause__ = cause
            request.replies.set_exception(error)

    # -- the task ------------------------------------------------------------------------------------------------------

    def _wake_task(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name="streamguard-redis-connection")
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        """Exchange what takes several steps, until cancelled."""
        try:
            await self._exchange_all()
        except asyncio.CancelledError:
            self._give_up(None)
            raise
        except Exception as exc:  # noqa: BLE001 -- see `_mistaken`
            self._mistaken(exc)

    async def _exchange_all(self) -> None:
        while True:
            while self._unknown is None and (self.busy or not self.waiting):
                self._wake = self._loop.create_future()
                await self._wake
            self._wake = None
            self.busy = True
            try:
                if self._unknown is not None:
                    await self._repeat(self._unknown)
                else:
                    self._batch = self._next_batch()
                    await self._exchange(self._batch)
            except DRIVER_ERRORS as exc:
                self._fail(self._batch, exc)
            self._batch, self._unknown = [], None
            self.busy = False

    def _deadline_of(self, batch: list[Request]) -> Deadline:
        return Deadline(self._clock, batch[0].until)

    async def _exchange(self, batch: list[Request]) -> None:
        deadline = self._deadline_of(batch)
        raw = await self.connection.ready(deadline=deadline)
        batch = self._meant_for(raw.number, batch)
        if not batch:
            return
        packed = [one for request in batch for one in request.packed]
        replies, refused = await self.connection.exchange(packed, deadline=deadline, over=raw, count=_count(batch))
        unknown = [n for n, reply in enumerate(replies) if unknown_script(reply)] if refused else None
        if unknown:
            await self._repeat(_Unknown(batch, replies, unknown, raw.number))
        else:
            self._hand_out(batch, replies, raw.number)

    async def _repeat(self, unknown: _Unknown) -> None:
        """Load the scripts the server did not know, and call those again, and only those."""
        batch, replies, numbers, connection = unknown
        calls: dict[int, tuple[str, bytes]] = {}
        at = 0
        for request in batch:
            for n in numbers:
                if at <= n < at + request.count and (call := request.call(n - at)) is not None:
                    calls[n] = call
            at += request.count
        names = sorted({name for name, _ in calls.values()})
        loads = [Command.of("SCRIPT", "LOAD", self._scripts.sources[name]).packed for name in names]
        again, _ = await self.connection.exchange(
            [*loads, *(packed for _, packed in calls.values())], deadline=self._deadline_of(batch)
        )
        for n, reply in zip(calls, again[len(loads) :], strict=True):
            replies[n] = reply
        self._hand_out(batch, replies, connection)


def _count(batch: list[Request]) -> int:
    """How many commands these requests have."""
    return batch[0].count if len(batch) == 1 else sum([request.count for request in batch])
