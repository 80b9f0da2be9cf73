"""The answer to a request whose body is too large, whatever the application makes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from starlette.types import Scope, Send

from ..application.guarded_endpoint import Guarded
from ..headers import RawHeaders, expose
from .request_reader import BodyTooLargeError

__all__ = ["Oversize", "caused_by_oversize"]

LATE_SECONDS: Final = 1.0
"""How long the application may take to answer the failure of its read before it is answered for."""


class Oversize:
    """Answers one refused request with 413, once.

    The application's own read failed, and its answer to that, whatever it is, comes through its middlewares: CORS
    headers are taken from it, so that a page of another origin can read what is wrong. Its status and body are
    replaced. If it answers nothing, raises, or takes longer than `LATE_SECONDS` (code that caught the failure and goes
    on), the request is answered all the same.
    """

    def __init__(self, endpoint: Guarded, scope: Scope, send: Send) -> None:
        self._endpoint = endpoint
        self._scope = scope
        self._send = send
        self._late: asyncio.Task[None] | None = None
        self._answering_late = False
        self.answered: bool = False

    def watch(self) -> None:
        """See that the answer is not late. `settle` ends what this begins."""
        self._late = asyncio.get_running_loop().create_task(self._answer_late())

    async def answer(self, theirs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send the answer, unless that was done. `theirs` are the headers of what it replaces."""
        if self.answered:
            return
        self.answered = True
        response = self._endpoint.too_large(self._scope)
        kept: RawHeaders = [(name, value) for name, value in theirs if _concerns_cors(name.lower())]
        headers = expose(response.raw_headers + kept)
        await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body, "more_body": False})

    async def settle(self) -> None:
        """The application is through: wait for what is being sent, and send nothing more."""
        late = self._late
        if late is not None:
            if not self._answering_late:
                late.cancel()
            await asyncio.wait({late})
            if not late.cancelled():
                late.result()

    async def _answer_late(self) -> None:
        await asyncio.sleep(LATE_SECONDS)
        self._answering_late = True
        await self.answer()


def caused_by_oversize(error: BaseException) -> bool:
    """Whether a refused body is what `error` comes from."""
    found, seen = [error], {id(error)}
    for exception in found:
        if isinstance(exception, BodyTooLargeError):
            return True
        beyond = [exception.__cause__, exception.__context__]
        if isinstance(exception, BaseExceptionGroup):  # `BaseHTTPMiddleware` reads in a task group
            beyond += exception.exceptions
        for cause in beyond:
            if cause is not None and id(cause) not in seen:
                seen.add(id(cause))
                found.append(cause)
    return False


def _concerns_cors(name: bytes) -> bool:
    return name == b"vary" or name.startswith(b"access-control-")
