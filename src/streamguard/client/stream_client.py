"""`StreamClient`: asks guarded endpoints, and reads their answers to the end."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self, TypeVar, cast
from urllib.parse import urlencode

import httpx

from ..errors import ConfigurationError
from ..retrying import Backoff
from ..wire.folding import Json
from .errors import MalformedAnswerError, StreamClientError, UnansweredError
from .event_stream import EventStream, NoStream
from .http_requests import HttpRequests
from .reconnection import ReconnectionPolicy
from .records import (
    SavedMessage,
    SessionStatus,
    StoppedStream,
    StreamStatus,
    read_saved_message,
    read_session_status,
    read_stopped_stream,
)
from .responses import error_of, json_object

__all__ = ["StreamClient"]

BACKOFF: Final = Backoff(0.25, 8.0)
SILENCE_SECONDS: Final = 45.0
"""Three of the server's keep-alives."""
_PAGE: Final = 500
_KEY: Final = re.compile("[!-~]{1,255}")


class StreamClient:
    """A client of the guarded endpoints of one server. Safe to share between the tasks of one event loop.

    Use it as a context manager, or call `aclose`: a client that it made itself is closed then.

    Args:
        server: the server's URL, or an `httpx.AsyncClient` of yours whose `base_url` is the server's. Such a client
            keeps its own timeouts for connecting, and stays open. Its pool must have room for all open answers, and for
            one request more; the client that is made from a URL has no bound.
        path: what `guard.install` was given; where questions are posted too, unless `ask` is told otherwise.
        headers: sent with every request, besides those of your own `httpx.AsyncClient`.
        auth: how requests are signed, as for httpx: a pair of user and password, or an `httpx.Auth`, which can renew a
            token. None for what your own client does.
        attempts: how many times in a row a lost connection is made again without progress. 0 for never.
            Each event, and each keep-alive, is progress, after which the count begins anew.
        deadline_seconds: how long, from the first failure without progress, the client goes on trying.
            A `Retry-After` that is longer ends it at once.
        backoff: the pauses before these attempts. They grow, are shortened at random, and are never shorter than the
            server's `Retry-After`, or its `retry:` up to the longest pause.
        silence_seconds: after how long without a byte a connection counts as lost. Longer than the server's
            `keep_alive_seconds` (15), or each pause of the model costs a connection.

    Raises:
        ConfigurationError: a bound that cannot be kept.
    """

    def __init__(
        self,
        server: str | httpx.AsyncClient,
        *,
        path: str = "/api/chat",
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | tuple[str, str] | None = None,
        attempts: int = 8,
        deadline_seconds: float = 120.0,
        backoff: Backoff = BACKOFF,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        if not silence_seconds > 0:
            raise ConfigurationError("silence_seconds is a time over 0 seconds")
        try:
            self._policy = ReconnectionPolicy(attempts, deadline_seconds, backoff)
        except ValueError as exc:
            raise ConfigurationError(str(exc)) from exc
        self._http = HttpRequests(server, path=path, headers=headers or {}, auth=auth, silence_seconds=silence_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the HTTP client, if it is not yours. Open streams break."""
        await self._http.aclose()

    # -- streams ------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def ask(
        self,
        body: Mapping[str, object],
        *,
        session: str | None = None,
        idempotency_key: str | None = None,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[EventStream]:
        """POST a question, and give its answer once that begins: `async with client.ask({…}) as stream:`.

        A lost connection is resumed by the last event's cursor. The question is posted again only if it cannot have
        arrived (no connection was made), or if it has an idempotency key and nothing of the answer came; with a key
        also if it was refused for a reason that passes (409 `conflict_active`, 429 `limit_…`, 503).

        Leaving the block closes the connection, and leaves the answer running: see `stop`.

        Args:
            body: sent as JSON.
            session: the session's id. None for the body's `id`, or what the response says.
            idempotency_key: 1 to 255 visible ASCII characters, another one for each question.
            path: where to post it, if not to the client's own path.
            headers: for this question and its resumes, besides the client's.

        Raises:
            RefusedError: the server refused it.
            UnansweredError: the connection broke before an answer, and there is no key.
            GaveUpError: no connection could be made within the bound.
            MalformedAnswerError: the response is no stream of events.
            ConfigurationError: there is no such idempotency key, or `body` is no JSON.
        """
        if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
            raise ConfigurationError("an idempotency key is 1 to 255 visible ASCII characters")
        named = body.get("id") if session is None else session
        requests = _Requests(
            self._http,
            self.status,
            path=path,
            body=_json(body),
            idempotency_key=idempotency_key,
            headers=headers or {},
        )
        stream = EventStream(requests, self._policy, session_id=named if isinstance(named, str) else None, cursor=None)
        try:
            await stream.begin(ask=True)
            yield stream
        finally:
            await stream.aclose()

    @asynccontextmanager
    async def resume(
        self, session: str, *, after: str | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[EventStream | NoStream]:
        """Come back to a session's answer: the running one, or the last.

        Gives a `NoStream` when there is nothing to resume.

        Args:
            session: the session's id.
            after: a cursor: `EventStream.cursor`, or `StreamEvent.id`. None for the whole answer.
            headers: for these requests, besides the client's.

        Raises:
            ResumeFailedError: the answer after `after` cannot be had.
            RefusedError: the server refused otherwise.
            GaveUpError: no connection could be made within the bound.
            MalformedAnswerError: the response is no stream of events.
        """
        requests = _Requests(self._http, self.status, path=None, body=b"", idempotency_key=None, headers=headers or {})
        stream = EventStream(requests, self._policy, session_id=session, cursor=after)
        try:
            nothing = await stream.begin(ask=False)
            yield stream if nothing is None else nothing
        finally:
            await stream.aclose()

    # -- other requests -----------------------------------------------------------------------------------------------

    async def stop(
        self, session: str, *, stream_id: str | None = None, message_id: str | None = None
    ) -> StoppedStream | None:
        """Stop the running answer; name it, so that a late stop does not end the next one. None if there is none, or
        not the named one.

        Args:
            session: the session's id.
            stream_id: stop this answer only.
            message_id: the same, by the id of its message.

        Raises:
            RefusedError: the server refused; so do the methods below. None of them repeats its request.
            UnansweredError: the connection broke before the response.
            MalformedAnswerError: the response is not the guard's.
        """
        named = {"stream_id": stream_id, "message_id": message_id}
        query = urlencode({name: value for name, value in named.items() if value is not None})
        document = await self._document("POST", self._http.path_of(session, f"/stop?{query}"))
        return None if document is None else _read(read_stopped_stream, document)

    async def status(self, session: str) -> SessionStatus:
        """The running and last answer of `session`."""
        document = await self._document("GET", self._http.path_of(session))
        return _read(read_session_status, document or {})

    async def messages(self, session: str, *, after: int = 0) -> AsyncIterator[SavedMessage]:
        """The saved messages of `session` past position `after`, in order, read page by page."""
        position: Json = after
        while position is not None:
            query = f"/messages?after={position}&limit={_PAGE}"
            document = await self._document("GET", self._http.path_of(session, query)) or {}
            entries = document.get("messages")
            if not isinstance(entries, list):
                raise MalformedAnswerError("the response holds no messages")
            for entry in entries:
                yield _read(read_saved_message, entry)
            following = document.get("next")
            if following is not None and (not isinstance(following, int) or following <= cast("int", position)):
                raise MalformedAnswerError("the next page of messages is none")
            position = following

    async def delete(self, session: str) -> None:
        """End the running answer and erase `session`."""
        await self._document("DELETE", self._http.path_of(session))

    async def _document(self, method: str, path: str) -> Mapping[str, Json] | None:
        """The JSON object that a route answers with; None for 204."""
        try:
            response = await self._http.send(method, path, headers={"accept": "application/json"})
            try:
                if response.status_code == httpx.codes.NO_CONTENT:
                    return None
                if response.is_success:
                    return await json_object(response)
                raise await error_of(response)
            finally:
                await response.aclose()
        except httpx.RequestError as exc:
            raise UnansweredError(f"the connection broke before {method} {path} was answered") from exc


def _json(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (RecursionError, TypeError, ValueError) as exc:
        raise ConfigurationError(f"the body is no JSON: {exc}") from exc


_T = TypeVar("_T")
_R = TypeVar("_R")


def _read(reader: Callable[[_R], _T], document: _R) -> _T:
    """`document` as a record.

    Raises:
        MalformedAnswerError: it is none.
    """
    try:
        return reader(document)
    except ValueError as exc:
        raise MalformedAnswerError(f"the response is {exc}") from exc


class _Requests:
    """The requests of one answer: `event_stream.StreamRequests`."""

    def __init__(
        self,
        http: HttpRequests,
        status: Callable[[str], Awaitable[SessionStatus]],
        *,
        path: str | None,
        body: bytes,
        idempotency_key: str | None,
        headers: Mapping[str, str],
    ) -> None:
        self._http = http
        self._status = status
        self._path = self._http.prefix if path is None else path
        self._body = body
        self.repeatable: bool = idempotency_key is not None
        self._headers = dict(headers)
        self._key = {} if idempotency_key is None else {"idempotency-key": idempotency_key}

    async def ask(self) -> httpx.Response:
        headers = {
            "accept": "text/event-stream",
            "content-type": "application/json",
            **self._headers,
            **self._key,
        }
        # Streams that are passed on carry ids only if they are asked for.
        path = f"{self._path}{'&' if '?' in self._path else '?'}ids=1"
        return await self._http.send("POST", path, headers=headers, content=self._body)

    async def resume(self, session_id: str, cursor: str | None) -> httpx.Response:
        headers = {"accept": "text/event-stream", **self._headers}
        if cursor is not None:
            headers["last-event-id"] = cursor
        return await self._http.send("GET", self._http.path_of(session_id, "/stream?ids=1"), headers=headers)

    async def status(self, session_id: str, stream_id: str) -> StreamStatus | None:
        try:
            last = (await self._status(session_id)).last
        except StreamClientError:
            return None
        return last if last is not None and last.stream_id == stream_id else None
