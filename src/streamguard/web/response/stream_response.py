"""The response through which one client views one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ...contained import Contained
from ...event_times import event_times
from ...observations import Observation, Signal
from ...runtime import LiveStream, Runtime, Viewer, ViewerCutError
from ...scopes import StreamContext
from ...scopes import scope as work_scope
from ..access.slots import Slot
from ..headers import RawHeaders
from ..middleware.application_call import cancelled
from ..middleware.base_http_middleware import break_connection, runs_in_base_http_middleware
from ..middleware.exchange import Exchange, Placement, ResponseState, exchange_of
from .chunk_sender import ChunkSender
from .disconnect_watch import DisconnectWatch
from .interruption import Interruption
from .passing_sends import inside_passing
from .server_sends import is_servers_own
from .timed_viewer import TimedViewer

__all__ = ["StreamResponse"]

LEFT: Final = "left"
OBSERVED_ELSEWHERE: Final = frozenset({LEFT, "slow"})


class _Sending(Interruption):
    """What breaks the sending off."""

    __slots__ = ("_viewer",)

    def __init__(self, viewer: Viewer, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._viewer = viewer

    def leave(self) -> None:
        """The client is gone."""
        self._viewer.cut(LEFT)  # also for a `send` of the host's that keeps its cancellation to itself
        self.request()


class StreamResponse(Response):
    """Sends a stream from some position to its terminal, everything in one task and so under one context: that in which
    it is called, or a copy of that.

    Who cancels whom: a disconnect, or the runtime dropping a viewer that does not read, ends the sending; the end of
    the sending ends the watch for a disconnect; none of them touches the stream. The final body message goes out only
    after the stream's terminal.

    `before` is sent before the stream's first chunk.

    With `stream`, the call lasts until that stream is finalised, also when its viewer is gone: a framework closes what
    it lent to the endpoint (FastAPI's `yield` dependencies) when the call returns. The server's own call does not
    last that long: see `ApplicationCall`. The background task runs after that, unless the stream failed or was broken
    off: as after a Starlette response whose body raised. `on_end` is called last, if the call was not cancelled.
    """

    def __init__(
        self,
        runtime: Runtime,
        view: Callable[[], Viewer],
        slot: Slot,
        *,
        status_code: int,
        headers: RawHeaders,
        about: StreamContext,
        before: bytes = b"",
        stream: LiveStream | None = None,
        background: BackgroundTask | None = None,
        on_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status_code = status_code
        self.background = background
        self.body = b""
        self._before = before
        self.raw_headers: RawHeaders = headers
        self._runtime = runtime
        self._view: Callable[[], Viewer] | None = view
        self._slot = slot
        self._stream = stream
        self._about = about
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        call = exchange.call
        if exchange.reader is not None:
            receive = exchange.reader.watch  # every other message is the endpoint's
        with work_scope(self._about, self._runtime.observe):
            try:
                try:
                    viewer = self._opened()
                    exchange.response = ResponseState.CUT_SHORT  # until the terminal went out, whatever breaks this
                    try:
                        state = await self._send_stream(viewer, exchange, receive, send)
                    finally:
                        if exchange.response is ResponseState.CUT_SHORT:  # else it is closed
                            viewer.on_drop = None
                            viewer.close()
                finally:
                    self._slot.release()
                exchange.response = state
                if (
                    state is ResponseState.CUT_SHORT
                    and exchange.placement is Placement.NOWHERE
                    and runs_in_base_http_middleware(exchange.loop)
                ):
                    await break_connection(send)
                if self._stream is not None:
                    if call is not None and state is not ResponseState.WHOLE:
                        call.detach()
                    await self._stream.ended()
            except asyncio.CancelledError:
                await self._outlive_drain()
                raise
            if self.background is not None and not self._failed:
                await self.background()
            if self._on_end is not None:
                await self._on_end()

    def _opened(self) -> Viewer:
        """Begin to view the stream, once. The response lives as long as that, and does not keep what it began with."""
        view, self._view = self._view, None
        if view is None:
            raise RuntimeError("a response is sent once")
        return view()

    def _start(self) -> Message:
        """The message by which it starts. Its headers, likewise, are not kept."""
        headers, self.raw_headers = self.raw_headers, []
        return {"type": "http.response.start", "status": self.status_code, "headers": headers}

    @property
    def _failed(self) -> bool:
        """Whether the stream of this response has failed, was interrupted, or went on elsewhere."""
        return self._stream is not None and (self._stream.fault is not None or self._stream.superseded)

    async def _send_stream(self, viewer: Viewer, exchange: Exchange, receive: Receive, send: Send) -> ResponseState:
        """Send the stream, while a watch waits for the client's disconnect.

        An answer that is all there is sent in the present task. Any other one is sent in a task of its own, and the
        present one watches. Hot path: each event wakes the task that sends, and a wake goes through every coroutine
        that awaits the next one; those of a framework, above the present task, are about twenty.
        """
        sending = _Sending(viewer, exchange.loop)
        enter = self._runtime.viewer_registry.throttle.enter
        watch = DisconnectWatch(receive, on_left=sending.leave, enter=enter, loop=exchange.loop)
        viewer.on_drop = sending.request
        call = exchange.call
        if call is not None:
            call.on_detach(sending.leave)
        if viewer.all_there:
            watch.begin_soon()
            try:
                state = await self._deliver(viewer, exchange, send, sending, watch)
            finally:
                await watch.ended()
        else:
            work = Contained(
                partial(self._deliver, viewer, exchange, send, sending, watch),
                name="streamguard-viewer",
                loop=exchange.loop,
            )
            try:
                await watch.until_left()
                if not work.task.done():
                    await asyncio.wait({work.task})
            except asyncio.CancelledError:
                viewer.cut(LEFT)  # as in `_Sending.leave`
                await cancelled(work)
                raise
            state = work.result()
        if call is not None:
            call.on_detach(None)
        if watch.failure is not None:
            raise watch.failure
        return ResponseState.CLIENT_LEFT if watch.client_left else state

    async def _deliver(
        self, viewer: Viewer, exchange: Exchange, send: Send, sending: Interruption, watch: DisconnectWatch
    ) -> ResponseState:
        """Send everything, within `sending`, and end the watch."""
        state = ResponseState.CUT_SHORT
        try:
            with sending:
                times = event_times()
                source = viewer if times is None else TimedViewer(viewer, times)
                try:
                    inside = inside_passing(send)
                    at_once = is_servers_own(inside, exchange)
                    sender = ChunkSender(source, send, inside=inside, at_once=at_once, exchange=exchange)
                    body_ended = await sender.run(self._start(), self._before)
                    viewer.on_drop = None
                    viewer.close()
                    exchange.response = state = ResponseState.WHOLE
                    watch.end(answered=body_ended)  # a server also says that the client left when it has the whole body
                    if not body_ended:
                        await inside({"type": "http.response.body", "body": b"", "more_body": False})
                except ViewerCutError as exc:
                    state = await self._cut_short(viewer, exc, send)
                except OSError:  # ASGI 2.4: how `send` tells that the client left
                    viewer.cut(LEFT)
                    state = ResponseState.CLIENT_LEFT
        finally:
            watch.end()
        return state

    async def _cut_short(self, viewer: Viewer, cut: ViewerCutError, send: Send) -> ResponseState:
        """Tell the client, if it can be told, why it gets no more on this connection."""
        viewer.cut(cut.reason)
        if cut.reason not in OBSERVED_ELSEWHERE:
            cut_off = Observation.about(viewer.subject, Signal.VIEWER_CUT, fields={"reason": cut.reason})
            self._runtime.observe(cut_off)
        if cut.fault is not None:
            subject = viewer.subject
            self._runtime.observe(
                Observation(
                    Signal.FAULT,
                    ref=subject.ref,
                    message_id=subject.message_id,
                    request_id=self._about.request_id,
                    fault=cut.fault,
                    error=cut.__cause__,
                )
            )
        if cut.frame:
            try:
                await send({"type": "http.response.body", "body": cut.frame, "more_body": True})
            except OSError:
                return ResponseState.CLIENT_LEFT
        return ResponseState.CUT_SHORT

    async def _outlive_drain(self) -> None:
        """Cancelled by a server that shuts down: last until the drain has ended the stream, within its bound.

        uvicorn's graceful timeout cancels requests and begins the lifespan's shutdown at the same moment, so the
        producer still runs then, with everything that it borrowed.
        """
        if self._stream is not None and self._runtime.draining:
            with anyio.move_on_after(self._runtime.settings.drain_seconds, shield=True):  # noqa: TID251 -- what a supervisor gives this process
                await self._stream.ended()
