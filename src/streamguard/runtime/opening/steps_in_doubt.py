"""Steps in doubt, undone or finished in the background so that they block no session.

A step is in doubt when its reply was lost, or when its caller was cancelled before the reply came. Nobody runs a stream
whose registration is, and nobody ends one whose takeover is; yet other requests of its session would meet it until its
lease runs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from ...errors import NotStartedError, StoreError, StoreUnavailableError
from ...stores.breaker import Breaker
from ...stores.roles.stream_registry import StreamRegistry
from ...values import StreamRef

if TYPE_CHECKING:
    from ...loops import StartTask

__all__ = ["Withdrawals"]

REFUSE_SECONDS: Final = 60.0
"""For how long the store refuses the registration itself, which may still be on its way: longer than any command waits
in a connection."""
RETRY_SECONDS: Final = 0.05
MAX_RETRY_SECONDS: Final = 1.0


class Withdrawals:
    """Sees to steps in doubt. `start` runs a task of the runtime's, `changed` is told when one is through."""

    def __init__(
        self,
        store: StreamRegistry,
        breaker: Breaker,
        *,
        start: StartTask,
        given_up: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._start = start
        self._given_up = given_up
        """Whether the drain has given up what still retries."""
        self._changed = changed
        self._under_way: dict[StreamRef, asyncio.Event] = {}

    @property
    def under_way(self) -> bool:
        """Whether any stream is in doubt."""
        return bool(self._under_way)

    def begin(self, ref: StreamRef) -> None:
        """Take a registration back, if there is one. Returns at once.

        It is tried until the store answers, or until the drain gives up: then the lease runs out.
        """
        self.decide(ref, partial(self._store.withdraw, ref, refuse_seconds=REFUSE_SECONDS))

    def decide(self, ref: StreamRef, step: Callable[[], Awaitable[object]]) -> None:
        """Have `step` decide what becomes of a stream that is in doubt, as `begin` does. Returns at once."""
        if ref in self._under_way:
            return
        self._under_way[ref] = asyncio.Event()
        try:
            self._start(partial(self._decide, ref, step))
        except NotStartedError:  # the runtime is over
            self._through(ref)

    def concerns(self, ref: StreamRef) -> bool:
        """Whether that stream is in doubt, and being seen to."""
        return ref in self._under_way

    async def through(self, ref: StreamRef) -> None:
        """Wait until what becomes of that stream is decided, or left to its lease. Cancelling this changes nothing."""
        withdrawal = self._under_way.get(ref)
        if withdrawal is not None:
            await withdrawal.wait()

    async def _decide(self, ref: StreamRef, step: Callable[[], Awaitable[object]]) -> None:
        try:
            with suppress(StoreError):  # the record cannot be read: its lease runs out
                await self._done(step)
        finally:
            self._through(ref)

    async def _done(self, step: Callable[[], Awaitable[object]]) -> None:
        pause = RETRY_SECONDS
        while True:
            try:
                await step()
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
            else:
                return
            if self._given_up():
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_SECONDS)
            await self._breaker.passed()

    def _through(self, ref: StreamRef) -> None:
        self._under_way.pop(ref).set()
        self._changed()
