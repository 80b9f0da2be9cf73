"""Steps in doubt: undone or finished in the background, so that they block no session.

A step is in doubt when its reply was lost, or when its caller was cancelled before the reply came. A stream whose
registration is in doubt has no producer, and a stream whose takeover is in doubt has no worker that ends it; yet other
requests of the session would meet it until its lease runs out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from ...errors import NotStartedError, StoreError, StoreUnavailableError
from ...retrying import Backoff
from ...stores.breaker import Breaker
from ...stores.roles.stream_registry import StreamRegistry
from ...values import StreamRef

__all__ = ["StepsInDoubt"]

REFUSE_SECONDS: Final = 60.0
"""For how long the store refuses the registration itself, which may still be on its way: longer than any command waits
in a connection."""
BACKOFF: Final = Backoff(0.05, 1.0)
"""The pauses while the store fails."""


class StepsInDoubt:
    """Resolves steps in doubt. `start` runs a task of the runtime's; `changed` is called when a step is resolved."""

    def __init__(
        self,
        store: StreamRegistry,
        breaker: Breaker,
        *,
        start: Callable[[Callable[[], Awaitable[None]]], None],
        given_up: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._start = start
        self._given_up = given_up
        """Whether the drain has given up what still retries."""
        self._changed = changed
        self._resolved: dict[StreamRef, asyncio.Event] = {}
        """For each stream in doubt, the event that its waiters are woken by."""

    @property
    def under_way(self) -> bool:
        """Whether any stream is in doubt."""
        return bool(self._resolved)

    def withdraw(self, ref: StreamRef) -> None:
        """Take a registration back, if the store has it. Returns at once.

        It is tried until the store answers, or until the drain gives up: then the lease runs out.
        """
        self.resolve(ref, partial(self._store.withdraw, ref, refuse_seconds=REFUSE_SECONDS))

    def resolve(self, ref: StreamRef, step: Callable[[], Awaitable[object]]) -> None:
        """Let `step` decide what becomes of a stream in doubt; it is tried as `withdraw` is. Returns at once."""
        if ref in self._resolved:
            return
        self._resolved[ref] = asyncio.Event()
        try:
            self._start(partial(self._resolve, ref, step))
        except NotStartedError:  # the runtime is over
            self._forget(ref)

    def concerns(self, ref: StreamRef) -> bool:
        """Whether that stream is in doubt."""
        return ref in self._resolved

    async def wait_until_resolved(self, ref: StreamRef) -> None:
        """Wait until that stream is not in doubt, or is left to its lease. Cancelling this changes nothing."""
        resolved = self._resolved.get(ref)
        if resolved is not None:
            await resolved.wait()

    async def _resolve(self, ref: StreamRef, step: Callable[[], Awaitable[object]]) -> None:
        try:
            with suppress(StoreError):  # the record cannot be read: its lease runs out
                await self._retry(step)
        finally:
            self._forget(ref)

    async def _retry(self, step: Callable[[], Awaitable[object]]) -> None:
        retries = BACKOFF.retries()
        while True:
            try:
                await step()
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
            else:
                return
            if self._given_up():
                return
            await retries.pause()
            await self._breaker.passed()

    def _forget(self, ref: StreamRef) -> None:
        self._resolved.pop(ref).set()
        self._changed()
