"""Starting and closing the stores that a runtime uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..contained import passes
from ..faults import Fault, FaultCode
from ..messages import MessageStore
from ..observations import Observation, Observer, Signal
from ..quota import QuotaService
from ..saving.bindings import Bindings
from ..stores.roles.service import StoreService
from ..stores.store import StreamStore

__all__ = ["StoreLifetimes"]

_Startable: TypeAlias = StoreService | MessageStore | QuotaService


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
        self._begun: list[_Startable] = []
        """Those whose `start` was called, which `close` has to close; the stream store first."""

    async def start(self) -> None:
        """Start them, and pass their warnings on to the operator.

        Raises:
            Exception: what a store raises, also a host's. `close` closes the others, as it does when this is cancelled.
        """
        stores: list[_Startable] = [self._store, *self._bindings.stores]
        if self._quota is not None:
            stores.append(self._quota)
        for store in stores:
            self._begun.append(store)
            for warning in await store.start():
                self._observe(Observation(Signal.STORE_WARNING, fields={"warning": warning}))

    async def close(self) -> None:
        """Close those that were started, once nothing uses them. If one fails to close, the others are closed all the
        same."""
        begun, self._begun = self._begun, []
        try:
            if begun and not self._store_in_use():
                await begun[0].aclose()
        finally:
            for store in begun[1:]:
                try:
                    await store.aclose()
                except BaseException as exc:  # a host's store may raise what it likes
                    if passes(exc):
                        raise
                    self._observe(Observation(Signal.FAULT, fault=Fault.of(FaultCode.INTERNAL), error=exc))
