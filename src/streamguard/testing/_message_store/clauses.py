"""What every clause of the message store suite may use."""

from __future__ import annotations

from typing import ClassVar

import anyio
import pytest

__all__ = ["Clauses"]


class Clauses:
    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    ttl_seconds: float | None = None
    """How long after the last write to it a session of the store under test lives; None when it stays."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the store's clock. A store with a clock of its own overrides this to turn it."""
        await anyio.sleep(seconds)
