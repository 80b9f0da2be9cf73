"""A request whose body is too large: the error that its reader gets, and the guard's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import Scope, Send

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ..application.guarded_endpoint import Guarded
from ..headers import RawHeaders, expose

__all__ = ["BodyTooLargeError", "TooLargeResponse", "caused_by_large_body"]

LATE_SECONDS: Final = 1.0
"""How long the application may take to answer the failure of its read before it is answered for."""


class BodyTooLargeError(HTTPException, FaultError):
    """Reading the body of a guarded endpoint's request found more than `max_request_bytes`.

    A Starlette `HTTPException` of status 413, so that frameworks answer it instead of reporting a crash.
    """

    def __init__(self) -> None:
        FaultError.__init__(self, Fault.of(FaultCode.PAYLOAD_TOO_LARGE))
        HTTPException.__init__(self, self.fault.status, self.fault.message)


class TooLargeResponse:
    """Answers one refused request with 413, once.

    The application's own read failed, and its answer to that comes through its middlewares: CORS headers are taken
    from that answer, so that a page of another origin can read the fault. Its status and body are replaced. If the
    application answers nothing, raises, or takes longer than `LATE_SECONDS` (code that caught the failure and goes
    on), the request is answered all the same.
    """

    def __init__(self, endpoint: Guarded, scope: Scope, send: Send) -> None:
        self._endpoint = endpoint
        self._scope = scope
        self._send = send
        self._timer: asyncio.Task[None] | None = None
        self._timer_fired = False
        self.sent: bool = False

    def send_when_late(self) -> None:
        """Answer after `LATE_SECONDS`, unless the application answered by then. `finish` ends the timer."""
        self._timer = asyncio.get_running_loop().create_task(self._send_late())

    async def send(self, application_headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send the answer, unless that was done. `application_headers` are those of the answer that it replaces."""
        if self.sent:
            return
        self.sent = True
        response = self._endpoint.too_large(self._scope)
        kept: RawHeaders = [(name, value) for name, value in application_headers if _concerns_cors(name.lower())]
        headers = expose(response.raw_headers + kept)
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def finish(self) -> None:
        """The application has returned: wait for what is being sent, and send nothing more."""
        timer = self._timer
        if timer is not None:
            if not self._timer_fired:
                timer.cancel()
            await asyncio.wait({timer})
            if not timer.cancelled():
                timer.result()

    async def _send_late(self) -> None:
        await asyncio.sleep(LATE_SECONDS)
        self._timer_fired = True
        await self.send()


def caused_by_large_body(error: BaseException) -> bool:
    """Whether `error` comes from a refused body."""
    found, seen = [error], {id(error)}
    for exception in found:
        if isinstance(exception, BodyTooLargeError):
            return True
        causes = [exception.__cause__, exception.__context__]
        if isinstance(exception, BaseExceptionGroup):  # `BaseHTTPMiddleware` reads in a task group
            causes += exception.exceptions
        for cause in causes:
            if cause is not None and id(cause) not in seen:
                seen.add(id(cause))
                found.append(cause)
    return False


def _concerns_cors(name: bytes) -> bool:
    return name == b"vary" or name.startswith(b"access-control-")
