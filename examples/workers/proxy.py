"""A proxy that shares requests among the workers, and has a route that kills one. It is for the demo alone.

It does what a stream needs of any proxy. Each chunk is sent on as it comes. A viewer who leaves is gone for the worker
too. An answer whose worker dies ends with a broken connection, never with a clean end, since that would read as the
answer's own. A request goes to another worker only where none can have acted on the first attempt: no connection came
about, or the method is safe and nothing was answered.

What it leaves out: TLS, HTTP/2, WebSockets, limits besides the size of a request, and any doubt about its workers.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from urllib.parse import quote

import anyio
import httpx
from pool import Worker, WorkerPool, say
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

MAX_REQUEST_BYTES = 8_388_608  # twice what streamguard takes, so that its refusal is seen
_REMEMBERED_STREAMS = 10_000
_SAFE = ("GET", "HEAD", "OPTIONS")
_OF_ONE_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_SET_HERE = frozenset((b"content-length", b"x-forwarded-for", b"x-forwarded-proto"))


class Proxy:
    """`app` is the ASGI application."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._writers: OrderedDict[str, Worker] = OrderedDict()
        """Which worker a stream's question was sent to, by the stream's id."""
        self.app = Starlette(
            routes=[
                Route("/demo/kill", self._kill, methods=["POST"]),
                Route("/demo/facts", self._facts),
                Mount("/", self._forward),
            ]
        )

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a request on, and its answer back, until one of the two sides leaves."""
        if scope["type"] != "http":
            return  # no WebSockets, and uvicorn answers so
        request = Request(scope, receive)
        try:
            body = await _body(request)
        except ClientDisconnect:
            return
        if body is None:
            await _error(413, "payload_too_large", "The request is too large.")(scope, receive, send)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_left, receive, tasks.cancel_scope)
            answer = await self._ask(request, body)
            if isinstance(answer, Response):
                await answer(scope, receive, send)
            else:
                await _send_on(*answer, send)
            tasks.cancel_scope.cancel()

    async def _ask(self, request: Request, body: bytes) -> tuple[httpx.Response, Worker] | Response:
        """The answer of a worker, of which only the head was read."""
        for worker in self._pool.in_turn():
            try:
                answer = await worker.transport.handle_async_request(_for_worker(request, body))
            except httpx.ConnectError:
                continue
            except httpx.TransportError:
                if request.method in _SAFE:
                    continue
                return _error(502, "worker_lost", "The worker went away before it answered.")
            if request.method == "POST" and (stream := answer.headers.get("x-stream-id")):
                self._writers.setdefault(stream, worker)  # sent again with its key, it comes from elsewhere
                if len(self._writers) > _REMEMBERED_STREAMS:
                    self._writers.popitem(last=False)
            return answer, worker
        return _error(503, "no_worker", "No worker serves at the moment.", {"retry-after": "1"})

    async def _facts(self, request: Request) -> Response:
        """What the application says of itself, and what this proxy adds to it."""
        answer = await self._ask(request, b"")
        if isinstance(answer, Response):
            return answer
        response, worker = answer
        await response.aread()
        facts = response.json() if response.is_success else {}
        can = [*facts.get("can", ()), "kill"]
        return JSONResponse(
            {**facts, "workers": self._pool.size, "worker": worker.name, "can": can},
            headers={"cache-control": "no-store"},
        )

    async def _kill(self, request: Request) -> Response:
        """Kill the worker that writes the running answer of the visitor's session."""
        try:
            session = json.loads(await _body(request) or b"")["session"]
        except (ValueError, TypeError, KeyError):
            session = None
        # No form of another site's page can send this type without asking first.
        if request.headers.get("content-type") != "application/json" or not isinstance(session, str):
            return _error(400, "request_invalid", 'Send {"session": "<id>"} as application/json.')
        # The application knows whose the session is, and which of its answers is running.
        status = await self._ask(_asking(request, f"/api/chat/{quote(session, safe='')}"), b"")
        if isinstance(status, Response):
            return status
        await status[0].aread()
        active = status[0].json().get("active") if status[0].is_success else None
        stream = active["stream_id"] if active else ""
        worker = self._writers.get(stream)
        if worker is None or not worker.running:
            return _error(409, "nothing_to_kill", "No worker is writing an answer in this chat.")
        worker.kill()
        say(f"worker {worker.name} was killed in the middle of an answer")
        return JSONResponse({"killed": worker.name, "stream_id": stream}, 202)


async def _body(request: Request) -> bytes | None:
    """The whole body, or None if it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            return None
    return bytes(body)


def _for_worker(request: Request, body: bytes) -> httpx.Request:
    scope = request.scope
    target = scope.get("raw_path", b"") + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    headers = [pair for pair in scope["headers"] if pair[0] not in _OF_ONE_CONNECTION | _SET_HERE]
    headers.append((b"x-forwarded-proto", scope["scheme"].encode()))
    if scope["client"]:
        headers.append((b"x-forwarded-for", scope["client"][0].encode()))
    url = httpx.URL(scheme="http", host="worker", raw_path=target)
    return httpx.Request(request.method, url, headers=headers, content=body)


def _asking(request: Request, path: str) -> Request:
    """A GET by the same visitor."""
    return Request({**request.scope, "method": "GET", "raw_path": path.encode(), "query_string": b""})


async def _send_on(response: httpx.Response, worker: Worker, send: Send) -> None:
    headers = [(name.lower(), value) for name, value in response.headers.raw]
    headers = [pair for pair in headers if pair[0] not in _OF_ONE_CONNECTION]
    headers.append((b"x-demo-worker", worker.name.encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    try:
        async for chunk in response.aiter_raw():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except httpx.TransportError:
        return  # without a final message, which is what breaks the connection
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()
    await send({"type": "http.response.body", "body": b""})


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
