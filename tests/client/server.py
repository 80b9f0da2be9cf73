"""A scripted server behind httpx: statuses and broken connections that our own server does not give."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import httpx

from streamguard.client import Backoff, StreamClient
from streamguard.faults import Fault, FaultCode

__all__ = ["QUICK", "STREAM_ID", "Script", "answer", "cursor", "part", "refusal"]

STREAM_ID = "0123456789abcdef01234567"
QUICK = Backoff(0.001, 0.002)

Reply = httpx.Response | Exception


def cursor(number: int) -> str:
    return f"1.{STREAM_ID}.7.{number}"


def part(number: int, data: object) -> bytes:
    """One block of a UI message stream."""
    return f"id: {cursor(number)}\ndata: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


class _Body(httpx.AsyncByteStream):
    def __init__(self, chunks: Sequence[bytes], then: Exception | None) -> None:
        self._chunks, self._then = chunks, then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._then is not None:
            raise self._then


def answer(
    *chunks: bytes, cut: bool = False, ui_message: bool = True, stream_id: str = STREAM_ID, **headers: str
) -> httpx.Response:
    """A stream of events, whose connection breaks at its end if it is `cut`."""
    lines = {"content-type": "text/event-stream; charset=utf-8", "x-session-id": "c1", "x-stream-id": stream_id}
    if ui_message:
        lines["x-vercel-ai-ui-message-stream"] = "v1"
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    broken = httpx.RemoteProtocolError("peer closed connection without sending complete message body") if cut else None
    return httpx.Response(200, headers=lines, stream=_Body(chunks, broken))


def refusal(code: FaultCode, *, retry_after: int | None = None, **details: object) -> httpx.Response:
    """An error of a guard."""
    fault = Fault.of(code, retry_after_seconds=retry_after, **details)  # type: ignore[arg-type] # what tests give
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return httpx.Response(fault.status, content=fault.envelope(), headers=headers)


@dataclass
class Script:
    """Answers requests one after the other; the last reply is for all that come later too."""

    replies: list[Reply | Callable[[], Reply]]
    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.requests]

    def http(self) -> httpx.AsyncClient:
        """httpx's client of this server."""
        return httpx.AsyncClient(base_url="http://chat.test", transport=httpx.MockTransport(self._reply))

    def client(self, **options: object) -> StreamClient:
        """A client of this server, which does not wait long."""
        return StreamClient(self.http(), **{"attempts": 3, "backoff": QUICK, **options})  # type: ignore[arg-type]

    async def _reply(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies[0] if len(self.replies) == 1 else self.replies.pop(0)
        if callable(reply) and not isinstance(reply, httpx.Response):
            reply = reply()
        if isinstance(reply, Exception):
            raise reply
        return reply
