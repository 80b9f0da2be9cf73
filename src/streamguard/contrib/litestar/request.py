"""A Litestar request as Starlette's, for `authenticate`, selectors and everything below an endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TypeAlias, cast
from urllib.parse import unquote

import litestar
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from litestar.types import Empty
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

__all__ = ["LitestarRequest", "StarletteRequest", "unrouted"]

LitestarRequest: TypeAlias = litestar.Request[object, object, State]
"""Any request of Litestar's."""


class StarletteRequest(Request):
    """One Litestar request, as Starlette shows it: also for libraries that take one of Starlette's.

    The body is read through the Litestar request, which keeps it: whoever read it first, the others have it too.
    `session`, `user` and `auth` are those that Litestar's middlewares put into the scope.

    Args:
        request: the Litestar request.
    """

    def __init__(self, request: LitestarRequest) -> None:
        self._request = request
        super().__init__(cast("Scope", request.scope), cast("Receive", request.receive), cast("Send", request.send))

    @property
    def _receive(self) -> Receive:
        return cast("Receive", self._request.receive)

    @_receive.setter
    def _receive(self, receive: Receive) -> None:
        self._request.receive = receive  # type: ignore[assignment]

    @property
    def session(self) -> dict[str, object]:
        """The session. Empty after it was cleared, where Litestar has a sentinel."""
        found: object = super().session
        return {} if found is Empty else cast("dict[str, object]", found)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The pieces of the body.

        Raises:
            RuntimeError: it was consumed, and not kept.
        """
        if not self._request.is_connected:
            yield await self.body()
            return
        async for piece in self._request.stream():
            yield piece

    async def body(self) -> bytes:
        """The body.

        Raises:
            RuntimeError: it was consumed, and not kept (an upload that Litestar parsed as it came).
        """
        try:
            return await self._request.body()
        except InternalServerException as exc:
            raise RuntimeError(str(exc)) from exc


def unrouted(scope: Scope) -> Scope:
    """A scope that Litestar has routed, as the server made it: its path with the root path, in agreement with the raw
    path. Measured on Litestar 2.25: the router takes the root path and doubled slashes off `path`, and leaves
    `root_path` as it was."""
    raw = scope.get("raw_path")
    if not raw:
        return scope
    return {**scope, "path": unquote(raw.decode("latin-1").partition("?")[0])}
