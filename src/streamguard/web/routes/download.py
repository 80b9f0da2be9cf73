"""The response that sends a stream's logged text in pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...deadlines import Deadline
from ...errors import FaultError, StoreError
from ..access.slots import Slot
from ..headers import RawHeaders
from ..middleware.exchange import ResponseState, exchange_of

__all__ = ["LogDownload"]


class LogDownload(Response):
    """Sends `pieces` in the task that calls it, each after the client took the one before: only one is in memory.

    The connection breaks if the log expires half way, the store fails, or the client does not read for `send_seconds`:
    a clean end would say that this was all. A disconnect, which another task watches for, ends it too.
    """

    def __init__(self, pieces: AsyncGenerator[str], slot: Slot, *, headers: RawHeaders, send_seconds: float) -> None:
        self.status_code = 200
        self.background: BackgroundTask | None = None
        self.body = b""
        self.raw_headers = headers
        self._pieces = pieces
        self._slot = slot
        self._send_seconds = send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        exchange.response = ResponseState.CUT_SHORT  # until all of it went out, whatever breaks this call
        failure: Exception | None = None
        try:
            async with aclosing(self._pieces) as pieces, anyio.create_task_group() as group:

                async def watch() -> None:
                    nonlocal failure
                    try:
                        while (await receive())["type"] != "http.disconnect":
                            pass
                    except Exception as exc:  # noqa: BLE001 -- raised below, where no group wraps it
                        failure = exc
                    if exchange.response is not ResponseState.WHOLE:  # else the server says that it needs nothing more
                        group.cancel_scope.cancel()

                group.start_soon(watch)
                try:
                    await self._send_pieces(pieces, send)
                    exchange.response = ResponseState.WHOLE
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                except (FaultError, StoreError, OSError):  # OSError: ASGI 2.4's "the client left", and a timeout
                    pass
                except Exception as exc:  # noqa: BLE001 -- as above
                    failure = exc
                group.cancel_scope.cancel()
        finally:
            self._slot.release()
        if failure is not None:
            raise failure

    async def _send_pieces(self, pieces: AsyncGenerator[str], send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for piece in pieces:
            body = piece.encode("utf-8", "replace")
            async with Deadline.after(self._send_seconds).limit():
                await send({"type": "http.response.body", "body": body, "more_body": True})
