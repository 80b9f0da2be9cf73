"""What every clause of the quota store suite may use."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import anyio
import pytest

from ...quota.limits import Quota
from ...quota.store import QuotaStore
from .steps import FORWARD_SECONDS

__all__ = ["Clauses"]


class Clauses:
    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    window_seconds: int = 3_600
    """The window of the clauses that wait for the next one."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the store's clock. A store with a clock of its own overrides this to turn it."""
        await anyio.sleep(seconds)

    async def expiry(self, store: QuotaStore) -> None:
        """Let what was just reserved expire."""
        await self.advance(store.hold_seconds + FORWARD_SECONDS)

    def short(self, limit: int, unit: str = "tokens") -> Quota:
        """A quota whose window ends soon enough to be waited for."""
        return Quota(limit, timedelta(seconds=self.window_seconds), unit)

    async def next_window(self, store: QuotaStore, owner: str, quota: Quota) -> None:
        """Wait for a quota's next window."""
        (standing,) = (await store.status(owner, [quota])).standings
        await self.advance(standing.resets_in_seconds + FORWARD_SECONDS)
