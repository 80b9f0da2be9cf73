"""The response through which one client views one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Final

import anyio
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...observations import Observation, Signal
from ...runtime import LiveStream, Runtime, Viewer, ViewerCutError
from ..access.limits import Slot
from ..headers import RawHeaders
from ..middleware.exchange import Exchange, Placement, break_off, exchange_of, in_middlewares_task
from .delivery import Delivery

__all__ = ["StreamResponse"]

OBSERVED_ELSEWHERE: Final = frozenset({"disconnect", "slow"})


class _Left(Enum):
    """How the delivery ended."""

    DONE = "the whole response went out"
    CUT = "there is more, but not on this connection"
    GONE = "the client left"


class StreamResponse(Response):
    """Sends a stream from some position to its terminal, everything in the task that calls it.

    Who cancels whom: a disconnect, or the runtime dropping a viewer that does not read, ends the delivery; the
    delivery's end ends the watch for a disconnect; none of them touches the stream. Only a stream whose terminal went
    out gets the final body message.

    With `stream`, the call lasts until that stream is finalised, also when its viewer is gone: a framework closes what
    it lent to the endpoint (FastAPI's `yield` dependencies) when the call returns. The server's own call does not
    last that long: see `Call`.
    """

    def __init__(
        self,
        runtime: Runtime,
        view: Callable[[], Viewer],
        slot: Slot,
        *,
        status_code: int,
        headers: RawHeaders,
        stream: LiveStream | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        self.status_code = status_code
        self.background = background
        self.body = b""
        self.raw_headers = headers
        self._runtime = runtime
        self._view = view
        self._slot = slot
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        call = exchange.call
        if exchange.intake is not None:
            receive = exchange.intake.left  # what else comes is the endpoint's
        try:
            try:
                viewer = self._view()
                exchange.cut = True  # until the terminal went out; whatever breaks this call leaves it so
                try:
                    left = await self._deliver(viewer, exchange, receive, send)
                finally:
                    viewer.on_drop = None
                    viewer.close()
            finally:
                self._slot.release()
            exchange.gone = left is _Left.GONE
            if exchange.placement is Placement.NOWHERE and exchange.is_cut_short and in_middlewares_task():
                await break_off(send)
            if self._stream is not None:
                if call is not None and left is not _Left.DONE:
                    call.leave()
                await self._stream.ended()
        except asyncio.CancelledError:
            await self._outlive_drain()
            raise
        if self.background is not None:
            await self.background()

    async def _deliver(self, viewer: Viewer, exchange: Exchange, receive: Receive, send: Send) -> _Left:
        """Send in this task, while another watches for the client's disconnect."""
        left = _Left.CUT
        failed: Exception | None = None
        call = exchange.call
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                nonlocal left, failed
                try:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    if left is _Left.DONE:  # also how a server tells that it needs nothing more
                        return
                    left = _Left.GONE
                except Exception as exc:  # noqa: BLE001 -- raised below, where no group wraps it
                    failed = exc
                group.cancel_scope.cancel()

            viewer.on_drop = group.cancel_scope.cancel
            if call is not None:
                call.on_leave(group.cancel_scope.cancel)
            group.start_soon(watch)
            try:
                start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                await Delivery(viewer, send).run(start)
                viewer.on_drop = None
                viewer.close()
                exchange.cut, left = False, _Left.DONE
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except ViewerCutError as exc:
                left = await self._cut(viewer, exc, send)
            except OSError:  # ASGI 2.4: how `send` tells that the client left
                left = _Left.GONE
            except Exception as exc:  # noqa: BLE001 -- as above
                failed = exc
            group.cancel_scope.cancel()
        if call is not None:
            call.on_leave(None)
        if failed is not None:
            raise failed
        return left

    async def _cut(self, viewer: Viewer, cut: ViewerCutError, send: Send) -> _Left:
        if cut.reason not in OBSERVED_ELSEWHERE:
            self._runtime.observe(Observation(Signal.VIEWER_CUT, ref=viewer.ref, fields={"reason": cut.reason}))
        if cut.frame:
            try:
                await send({"type": "http.response.body", "body": cut.frame, "more_body": True})
            except OSError:
                return _Left.GONE
        return _Left.CUT

    async def _outlive_drain(self) -> None:
        """Cancelled by a server that shuts down: last until the drain has ended the stream, within its bound.

        uvicorn's graceful timeout cancels requests and begins the lifespan's shutdown at the same moment, so the
        producer still runs then, with whatever it borrowed.
        """
        if self._stream is not None and self._runtime.draining:
            with anyio.move_on_after(self._runtime.settings.drain_seconds, shield=True):  # noqa: TID251 -- what a supervisor gives this process
                await self._stream.ended()
