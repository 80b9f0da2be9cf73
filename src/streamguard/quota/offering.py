"""`OffersQuotaStore`: what a stream store has that brings a quota store along."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .store import QuotaStore

__all__ = ["OffersQuotaStore"]


@runtime_checkable
class OffersQuotaStore(Protocol):
    """A stream store beside which usage can be counted. A guard that is given no `quota=` asks it where."""

    def new_quota_store(self) -> QuotaStore:
        """A quota store, not started. The guard starts it with itself and closes it after the drain."""
