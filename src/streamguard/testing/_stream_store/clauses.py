"""What every clause of the store suite may use."""

from __future__ import annotations

from typing import ClassVar

import anyio
import pytest

__all__ = ["Clauses"]


class Clauses:
    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    short_seconds: float = 0.2
    """A lease or TTL that clauses let run out. A store that is slower than a fifth of it needs a larger one."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the store's clock. A store with a clock of its own overrides this to turn it."""
        await anyio.sleep(seconds)
