"""What every clause of the message store suite may use."""

from __future__ import annotations

from typing import ClassVar, Final

import anyio
import pytest

__all__ = ["Clauses"]

_LEFT_OUT: Final = object()
"""Stands where a clause was that does not apply. What cannot be called is not collected."""


class Clauses:
    pytestmark: ClassVar[pytest.MarkDecorator] = pytest.mark.anyio

    ttl_seconds: float | None = None
    """How long after the last write to it a session of the store under test lives; None when it stays."""

    global_session_ids: bool = False
    """Whether a session id that one owner has chosen is refused to every other, with `MessageForbiddenError`."""

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass on the store's clock. A store with a clock of its own overrides this to turn it."""
        await anyio.sleep(seconds)

    @classmethod
    def _apply(cls, name: str, applies: bool) -> None:
        """Whether a clause is a test of this class, unless the class has its own answer."""
        if name in vars(cls):
            return
        inherited = (vars(base)[name] for base in cls.__mro__ if name in vars(base))
        setattr(cls, name, next(value for value in inherited if value is not _LEFT_OUT) if applies else _LEFT_OUT)
