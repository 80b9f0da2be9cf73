"""What finds a value in each request: a session's or message's id, an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.requests import Request

__all__ = ["ValueSource"]


class ValueSource(Protocol):
    """Finds a value in each request to one endpoint."""

    async def find(self, arguments: Mapping[str, object], request: Request) -> object:
        """The value for one request, whose endpoint is called with `arguments`; None if there is none."""
