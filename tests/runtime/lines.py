"""A worker's way to a store that other workers use too: it counts what passes, and can be cut, held or made to lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import TypeVar

from streamguard.errors import StoreUnavailableError
from streamguard.stores.appends import AppendReply, AppendRequest
from streamguard.stores.records import Hint
from streamguard.stores.store import StreamStore
from streamguard.stores.worker_hints import WorkerHint
from streamguard.testing._passing import PassingStore
from streamguard.values import StreamRef

from .gates import Gated

__all__ = ["Line"]

T = TypeVar("T")


class Line(Gated, PassingStore):
    """Passes every step on to `inner`, a real store, unless told otherwise. Closing it leaves `inner` open."""

    def __init__(self, inner: StreamStore) -> None:
        Gated.__init__(self)
        PassingStore.__init__(self, inner)
        self.shared = True
        self.calls: Counter[str] = Counter()
        self.batches: list[list[AppendRequest]] = []
        """Every batch of appends, as asked."""
        self.down = False
        """Nothing passes."""
        self.broken: set[str] = set()
        """Operations that do not pass."""
        self.deaf = False
        """Hints do not arrive."""
        self.warnings: list[str] = []
        self.lost: Counter[str] = Counter()
        """Per operation, how many more times it is carried out but its reply is lost."""
        self.errors: dict[str, list[Exception | None]] = {}
        """Per operation, what its next calls raise instead of being carried out; None lets one pass."""
        self.answers: dict[str, list[object]] = {}
        """Per operation, what its next calls answer instead of being carried out."""
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}
        """Per operation, what happens once before its next call is carried out."""

    async def _pass(self, operation: str, step: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        await self._at_gate(operation)
        if operation in self.before:
            await self.before.pop(operation)()
        if self.down or operation in self.broken:
            raise StoreUnavailableError(f"{operation}: the line is cut", operation=operation)
        if self.errors.get(operation):
            error = self.errors[operation].pop(0)
            if error is not None:
                raise error
        if self.answers.get(operation):
            return self.answers[operation].pop(0)  # type: ignore[return-value] # the test gives the right type
        result = await step()
        await self._at_gate(operation, after=True)
        if self.lost[operation] > 0:
            self.lost[operation] -= 1
            raise StoreUnavailableError(f"{operation}: the reply was lost", operation=operation)
        return result

    async def start(self) -> list[str]:
        return [*self.warnings, *await self.inner.start()]

    async def aclose(self) -> None:
        """Leaves the store to whoever opened it."""

    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        self.batches.append([copy(append) for append in batch])
        return await super().append(batch)

    @asynccontextmanager
    async def _watching(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> AsyncIterator[None]:
        def hear(hint: Hint) -> None:
            if not self.deaf and not self.down:
                on_hint(hint)

        async def nothing() -> None:
            pass

        await self._pass("subscribe" if data else "listen", nothing)
        async with self.inner.subscribe(ref, hear, data=data):
            yield

    @asynccontextmanager
    async def _listening(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AsyncIterator[None]:
        def hear(hint: WorkerHint) -> None:
            if not self.deaf and not self.down and "listen" not in self.broken:
                on_hint(hint)

        async def nothing() -> None:
            pass

        await self._pass("listen", nothing)
        async with self.inner.subscribe_worker(worker, hear):
            yield
