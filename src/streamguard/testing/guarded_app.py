"""`GuardedApp`: an application and its guard, driven in the test's own process and event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from starlette.types import ASGIApp

from ..errors import ConfigurationError
from ..guard import StreamGuard
from ..locks import step_lock
from ..loops import Home
from ..observations import Observation, Signal
from ..stores.store import StreamStore
from ._exchange import Exchange
from ._lifespan import Lifespan
from .answers import Answer, within
from .faulty_stores import FaultyStore
from .store_faults import StoreFaults
from .visitors import Visitor

__all__ = ["GuardedApp"]

LEAVE_SECONDS: Final = 5.0
"""How long calls may go on after the application's lifespan ended, before they are cancelled."""


class GuardedApp(Visitor):
    """Runs a guarded application, without a server, and is its first visitor:

    `async with GuardedApp(app, guard, headers={"X-User": "ann"}) as chat: answer = await chat.post({"id": "c1", …})`

    Answers stream: a test reads as many events as it likes, drops the connection, comes back. Entering runs the
    application's lifespan, which must start the guard; leaving drops all open answers, and drains. Enter it any number
    of times, one after the other, in tests that share an application.

    Args:
        app: the application the guard is installed in, or `guard.app`.
        guard: started by the application's lifespan.
        prefix: what `guard.install` was given; where questions are posted too, unless `post` is told otherwise.
        headers: sent with every request of this visitor.
        wait_seconds: after how long a wait fails the test. Nothing waits for a clock otherwise.
    """

    def __init__(
        self,
        app: ASGIApp,
        guard: StreamGuard,
        *,
        prefix: str = "/api/chat",
        headers: Mapping[str, str] | None = None,
        wait_seconds: float = 10.0,
    ) -> None:
        super().__init__(self._begin, prefix=prefix, headers=headers or {})
        self._app = app
        self._guard = guard
        self.wait_seconds: float = wait_seconds
        """For waits from now on; an answer has what was set when it began."""
        self._instruments = ExitStack()
        self._home: Home | None = None
        """Where it is entered."""
        self._entering = step_lock()
        """Held by the thread that looks whether it is entered, and enters it."""
        self._store: FaultyStore | None = None
        self._lifespan = Lifespan(app)
        self._exchanges: dict[Exchange, asyncio.Task[None]] = {}
        self._observed = asyncio.Event()
        self.observations: list[Observation] = []
        """Everything the guard told its observers, oldest first: what logs and Sentry were told."""

    # -- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start the application.

        Raises:
            AssertionError: it did not start in time, or its lifespan does not start the guard.
            ConfigurationError: it is entered already.
        """
        with self._entering:
            if self._home is not None and not self._home.gone:
                raise ConfigurationError("this GuardedApp is entered already: leave it first, or make another")
            self._home = Home()
        self.observations.clear()
        self.cookies.clear()
        self._observed = asyncio.Event()  # which belongs to this event loop
        self._lifespan = Lifespan(self._app)
        self._instruments = ExitStack()
        self._instruments.enter_context(self._guard.instrumented(observer=self._observe, store=self._between))
        try:
            await within(self.wait_seconds, self._lifespan.start, "the application starts")
            if self._store is None:
                raise AssertionError(
                    "the application started without its guard: pass lifespan=guard.lifespan to it, or write "
                    "`async with guard:` in its lifespan"
                )
        except BaseException:
            await self._lifespan.aclose()
            self._instruments.close()
            self._home = None
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drop open answers, let the store work again, and stop the application: streams that run end as interrupted
        after `drain_seconds`, so stop or finish them, or make the setting short.

        Raises:
            BaseException: what the application raised while shutting down, unless the test failed before.
        """
        if self._store is not None:
            self._store.faults.heal()
        for exchange in self._exchanges:
            exchange.disconnect()
        try:
            await self._lifespan.stop()
        except Exception:
            if exc is None:
                raise
        finally:
            await self._lifespan.aclose()
            await self._calls_ended()
            self._instruments.close()
            self._store = self._home = None

    async def _calls_ended(self) -> None:
        """Every call of the application is over, if need be because it was cancelled."""
        tasks = set(self._exchanges.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._exchanges.clear()

    # -- requests -----------------------------------------------------------------------------------------------------

    def visitor(self, headers: Mapping[str, str] | None = None) -> Visitor:
        """Another user of the same application, with headers and cookies of their own."""
        return Visitor(self._begin, prefix=self.prefix, headers=headers or {})

    async def _begin(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answer:
        exchange = Exchange(self._app, method, path, headers=headers, body=body, state=self._lifespan.state)
        task = asyncio.create_task(exchange.run(), name=f"streamguard-testing {method}")
        self._exchanges[exchange] = task
        task.add_done_callback(lambda _: self._exchanges.pop(exchange, None))
        try:
            await within(self.wait_seconds, exchange.begun, f"an answer to {method} {path}")
        except BaseException:
            exchange.disconnect()
            raise
        if exchange.status is None:
            raise exchange.error or AssertionError(f"the application ended without an answer to {method} {path}")
        answer = Answer(exchange, wait_seconds=self.wait_seconds)
        if not (answer.is_stream or answer.is_lines):
            await answer.whole()
        return answer

    # -- behind the scenes --------------------------------------------------------------------------------------------

    @property
    def store(self) -> StoreFaults:
        """What goes wrong between the guard and its stream store: nothing, until the test says so."""
        if self._store is None:
            raise AssertionError("the application is not running: use it inside `async with`")
        return self._store.faults

    async def idle(self) -> None:
        """Wait until nothing that was begun is under way: every stream has ended, been saved or given up for now.

        Work that is owed and not due yet, and streams of other processes, are not waited for.

        Raises:
            AssertionError: not in time.
        """
        await within(self.wait_seconds, self._guard.idle, "nothing is under way any more")

    async def seen(self, signal: Signal, *, stream_id: str | None = None, count: int = 1) -> list[Observation]:
        """Wait until observers were told of `signal` at least `count` times, of the stream `stream_id` or of any.

        Raises:
            AssertionError: not in time.
        """

        def found() -> list[Observation]:
            return [
                observation
                for observation in self.observations
                if observation.name is signal
                and (stream_id is None or (observation.ref is not None and observation.ref.stream_id == stream_id))
            ]

        async def wait() -> list[Observation]:
            while len(observations := found()) < count:
                self._observed.clear()
                await self._observed.wait()
            return observations

        return await within(self.wait_seconds, wait, f"{signal} is seen {count} times")

    async def ended(self, stream: Answer | str) -> Observation:
        """Wait until a stream, named by an answer or its id, has ended; gives what was said of its end.

        Raises:
            AssertionError: not in time.
        """
        stream_id = stream.stream_id if isinstance(stream, Answer) else stream
        return (await self.seen(Signal.STREAM_ENDED, stream_id=stream_id))[-1]

    def _observe(self, observation: Observation) -> None:
        self.observations.append(observation)
        self._observed.set()

    def _between(self, store: StreamStore) -> StreamStore:
        self._store = FaultyStore(store)
        return self._store
