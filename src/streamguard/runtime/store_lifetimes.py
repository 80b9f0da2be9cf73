"""Starting and closing the stores that a runtime uses."""

from __future__ import annotations

from collections.abc import Callable

from ..contained import passes
from ..faults import Fault, FaultCode
from ..observations import Observation, Observer, Signal
from ..quota import QuotaService
from ..saving.bindings import Bindings
from ..stores.store import StreamStore

__all__ = ["StoreLifetimes"]


class StoreLifetimes:
    """The stream store, the message stores and the quota's."""

    def __init__(
        self,
        store: StreamStore,
        bindings: Bindings,
        quota: QuotaService | None,
        *,
        store_in_use: Callable[[], bool],
        observe: Observer,
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._quota = quota
        self._store_in_use = store_in_use
        """Whether others use the stream store too: then `close` leaves it open."""
        self._observe = observe

    async def start(self) -> None:
        """Start them, and pass their warnings on to the operator."""
        starts = [self._store.start, *(messages.start for messages in self._bindings.stores)]
        if self._quota is not None:
            starts.append(self._quota.start)
        for start in starts:
            for warning in await start():
                self._observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))

    async def close(self) -> None:
        """Close them, once nothing uses them. If one fails to close, the others are closed all the same."""
        try:
            if not self._store_in_use():
                await self._store.aclose()
        finally:
            closes = [messages.aclose for messages in self._bindings.stores]
            if self._quota is not None:
                closes.append(self._quota.aclose)
            for aclose in closes:
                try:
                    await aclose()
                except BaseException as exc:  # a host's store may raise what it likes
                    if passes(exc):
                        raise
                    self._observe(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL), error=exc))
