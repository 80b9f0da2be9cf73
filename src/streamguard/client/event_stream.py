"""`EventStream`: the events of one answer, over as many connections as it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from typing import Final, Literal, Protocol, Self, cast

import httpx

from ..errors import EventTooLargeError
from ..faults import Fault, FaultCode
from ..values import Outcome, Persisted
from ..wire.sse import EventParser
from .errors import MalformedAnswerError, RefusedError, ResumeFailedError, StreamClientError, UnansweredError
from .reconnection import Reconnection, ReconnectionPolicy
from .records import StreamStatus
from .responses import check_event_stream, error_of, header, may_ask_again, may_reconnect
from .stream_events import UI_MESSAGE_HEADER, ReplyReader, StreamEvent

__all__ = ["EventStream", "NoStream", "StreamRequests"]

_NO_CONTENT: Final = 204
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class _PassingError(Exception):
    """An attempt failed; another one may not."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause: Exception = cause


class StreamRequests(Protocol):
    """The requests of one answer."""

    repeatable: bool
    """Whether the question may be asked again as long as nothing of its answer came."""

    async def ask(self) -> httpx.Response:
        """POST the question. Raises what httpx raises, like all methods here."""

    async def resume(self, session_id: str, cursor: str | None) -> httpx.Response:
        """GET the stream."""

    async def status(self, session_id: str, stream_id: str) -> StreamStatus | None:
        """What the server knows of the session's last stream, if it is this one."""


class NoStream:
    """What `resume` gives when there is nothing to resume: the server answered 204. It iterates over no event."""

    def __init__(self, session_id: str, reason: str) -> None:
        self.session_id: str = session_id
        self.reason: Literal["finished", "none"] = "none" if reason == "none" else "finished"
        """`finished`: the last answer has ended, and the client has seen all of it, or can read it with the session's
        messages. `none`: this user's session never had an answer."""

    def __repr__(self) -> str:
        return f"NoStream(session_id={self.session_id!r}, reason={self.reason!r})"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        raise StopAsyncIteration


class EventStream:
    """One answer: an async iterator of its events, each once and in order, to its end.

    When the connection is lost, the stream reconnects and goes on after the last event. Made by `StreamClient.ask` and
    `StreamClient.resume`. For one task at a time. Cancelling an iteration, or leaving the `async with` block, closes
    the connection; the answer goes on being written on the server.

    Iterating raises a `StreamClientError` if the end cannot be reached. After such an error, `cursor` and `session_id`
    say where to go on with `StreamClient.resume`.
    """

    def __init__(
        self, requests: StreamRequests, policy: ReconnectionPolicy, *, session_id: str | None, cursor: str | None
    ) -> None:
        self._requests = requests
        self._reconnection = Reconnection(policy, lambda: (self.session_id, self.cursor))
        self._longest_seconds = policy.backoff.longest_seconds
        self._reader = ReplyReader()
        self._parser = EventParser()
        self._over = False
        self._response: httpx.Response | None = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._ready: deque[StreamEvent] = deque()
        self._behind = 0
        """How many logged events came since the one that `cursor` names: those with an id of an upstream's."""
        self._skip = 0
        """How many events of this connection were seen before."""
        self._received = False
        """Whether an event came."""
        self._received_here = False
        """Whether a new event came over this connection."""
        self._retry_seconds = 0.0
        self._fault_ids: set[str] = set()
        self.session_id: str | None = session_id
        self.stream_id: str | None = None
        self.message_id: str | None = None
        self.cursor: str | None = cursor
        """The id of the last event, or what `resume` was given: what to go on from. None before the first event."""
        self.notice: str | None = None
        """`X-Streamguard-Notice`: the code of what is wrong although the answer is sent, such as `not_resumable`."""
        self.faults: list[Fault] = []
        """What the answer's events said that went wrong, so far: notices, and the fault that ended it."""
        self.connections: int = 0
        """How many connections have carried it: 1 if none was lost."""

    @property
    def outcome(self) -> Outcome | None:
        """How the answer ended. None until the iteration has ended, and for an answer that was passed on, had ended
        before it was resumed, and whose record is gone."""
        return self._reader.outcome if self._over and not self._ready else None

    @property
    def persisted(self) -> Persisted | None:
        """What the stream said at its end about saving the reply. None where it said nothing: `StreamClient.status`
        knows, also what changed since."""
        return self._reader.persisted if self._over and not self._ready else None

    async def text(self) -> str:
        """Read to the end, and give the text of what was read. All of it is kept in memory."""
        return "".join([event.text async for event in self])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            try:
                await self._read()
            except StreamClientError:
                await self.aclose()
                raise
        event = self._ready.popleft()
        if event.id is not None:
            self.cursor = event.id
        fault = event.fault
        if fault is not None and fault.fault_id not in self._fault_ids:
            self._fault_ids.add(fault.fault_id)
            self.faults.append(fault)
        return event

    async def aclose(self) -> None:
        """Close the connection. Does not stop the answer."""
        self._over = True
        await self._close_response()

    # -- connecting ---------------------------------------------------------------------------------------------------

    async def begin(self, *, ask: bool) -> NoStream | None:
        """Send the first request, which is the question with `ask`; None once there is a response to read.

        Raises:
            StreamClientError: there is none.
        """
        while True:
            try:
                response = await self._attempt(ask=ask)
            except _PassingError as exc:
                await self._reconnection.pause(exc.cause)
                continue
            if response.status_code == _NO_CONTENT:
                await response.aclose()
                return NoStream(self._session, response.headers.get("x-resume-reason", ""))
            await self._take(response)
            return None

    async def _reconnect(self, cause: Exception, *, pause: bool = True) -> None:
        """Get another connection, or find that nothing follows.

        Raises:
            StreamClientError: neither.
        """
        await self._close_response()
        from_the_start = self.cursor is None and not self._behind
        if from_the_start and self._received:
            text = "the connection broke, and the events of this answer have no ids"
            raise self._lost("not_resumable", text) from cause
        least = min(self._retry_seconds, self._longest_seconds)
        while True:
            if pause:
                await self._reconnection.pause(cause, least_seconds=least)
            pause = True
            try:
                # Before its first event, an answer may be known by its question's key alone.
                response = await self._attempt(ask=from_the_start and self._requests.repeatable)
            except _PassingError as exc:
                cause = exc.cause
                continue
            if response.status_code == _NO_CONTENT:
                await self._nothing_follows(response, cause)
            else:
                await self._take(response)
            return

    async def _attempt(self, *, ask: bool) -> httpx.Response:
        """One request, and its response of status 200, or 204 for a resume.

        Raises:
            _PassingError: it failed in a way that may pass, and may be sent again.
            StreamClientError: it failed otherwise.
        """
        repeatable = self._requests.repeatable or not ask
        try:
            response = await (self._requests.ask() if ask else self._requests.resume(self._session, self.cursor))
        except httpx.RequestError as exc:
            if repeatable or isinstance(exc, _NOT_SENT):
                raise _PassingError(exc) from exc
            raise UnansweredError(
                "the connection broke before the question was answered; whether it arrived is not known. "
                "With an idempotency key the client may ask again by itself"
            ) from exc
        if response.status_code == httpx.codes.OK or (response.status_code == _NO_CONTENT and not ask):
            return response
        error = await error_of(response, cursor=self.cursor)
        if repeatable and (may_ask_again(error) if ask else may_reconnect(error)):
            raise _PassingError(error) from error
        raise error

    async def _take(self, response: httpx.Response) -> None:
        """Read events from this response from now on.

        Raises:
            StreamClientError: it is not this answer's.
        """
        self._response = response
        try:
            check_event_stream(response)
            stream_id = header(response, "x-stream-id")
            if None not in (self.stream_id, stream_id) and stream_id != self.stream_id:
                raise self._lost(
                    "another_stream", "the session's last answer is another one by now", response.status_code
                )
        except StreamClientError:
            await self._close_response()
            raise
        self.stream_id = stream_id or self.stream_id
        self.session_id = self.session_id or header(response, "x-session-id")
        self.message_id = header(response, "x-message-id") or self.message_id
        self.notice = response.headers.get("x-streamguard-notice", self.notice)
        self.connections += 1
        self._reader.ui_message = UI_MESSAGE_HEADER in response.headers
        self._reader.reconnected()
        self._parser = EventParser(on_comment=self._comment)
        self._skip = self._behind
        self._received_here = False
        self._chunks = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())

    async def _nothing_follows(self, response: httpx.Response, cause: Exception) -> None:
        await response.aclose()
        reason = response.headers.get("x-resume-reason", "finished")
        if self.cursor is None:
            text = "the connection broke before an event came, and there is nothing to resume"
            raise self._lost(reason, text, response.status_code) from cause
        self._over = True
        if self._reader.outcome is None and (known := await self._known()) is not None:
            self._reader.outcome = known.outcome

    async def _known(self) -> StreamStatus | None:
        """What the server knows of this answer; None where it names none, or cannot be asked."""
        if self.session_id is None or self.stream_id is None:
            return None
        return await self._requests.status(self.session_id, self.stream_id)

    def _lost(self, reason: str, text: str, status: int = 0) -> ResumeFailedError:
        return ResumeFailedError(
            text, status=status, fault=None, retry_after_seconds=None, reason=reason, cursor=self.cursor
        )

    @property
    def _session(self) -> str:
        if self.session_id is None:
            raise MalformedAnswerError("the response named no session, so it cannot be resumed: pass `session`")
        return self.session_id

    async def _close_response(self) -> None:
        response, chunks = self._response, self._chunks
        self._response = self._chunks = None
        if chunks is not None:
            await chunks.aclose()
        if response is not None:
            await response.aclose()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Take the connection's next bytes, or get another connection."""
        if (fault := self._reader.connection_fault) is not None:
            await self._reconnect_after(fault)
            return
        chunks, self._chunks = self._chunks, None  # a read that is cancelled closes its connection
        if chunks is None:
            await self._reconnect(StreamClientError("the last read was cancelled"))
            return
        try:
            chunk = await anext(chunks, None)
        except httpx.RequestError as exc:
            if self._reader.ended:
                await self.aclose()
            else:
                await self._reconnect(exc)
            return
        self._chunks = chunks
        if chunk is None:
            await self._body_ended()
            return
        try:
            self._feed(chunk)
        except EventTooLargeError as exc:
            raise MalformedAnswerError(str(exc)) from exc
        if self._reader.over:
            await self.aclose()

    async def _body_ended(self) -> None:
        """The body ended as it should. Some proxies make that of a connection that broke."""
        if self._reader.ended:
            await self.aclose()
            return
        cause = MalformedAnswerError("the response ended before the answer did")
        if self._reader.ui_message:
            await self._reconnect(cause)
        elif self.cursor is None:
            known = None if self._reader.outcome else await self._known()
            if known is not None and known.outcome is None:  # it is being written
                await self._reconnect(cause)
                return
            told = known.outcome if known is not None else None
            self._reader.outcome = self._reader.outcome or told or Outcome.COMPLETED
            await self.aclose()
        elif self._received_here:
            await self._reconnect(cause, pause=False)  # of an upstream's stream the server alone knows the end
        else:  # all of it had been seen: no cursor names the last events, whose ids are the upstream's
            known = None if self._reader.outcome else await self._known()
            outcome = self._reader.outcome or (known.outcome if known is not None else None)
            if outcome is None:
                await self._reconnect(cause)
            else:
                self._reader.outcome = outcome
                await self.aclose()

    async def _reconnect_after(self, fault: Fault) -> None:
        text = f"{fault.code}: {fault.message}"
        if fault.code is not FaultCode.RESUME_FAILED:
            retry_after = None if fault.retry_after_seconds is None else float(fault.retry_after_seconds)
            await self._reconnect(RefusedError(text, status=fault.status, fault=fault, retry_after_seconds=retry_after))
            return
        raise ResumeFailedError(
            text, status=fault.status, fault=fault, retry_after_seconds=None, reason=fault.reason, cursor=self.cursor
        )

    def _feed(self, chunk: bytes) -> None:
        events = self._parser.feed(chunk)
        if self._parser.retry_ms is not None:
            self._retry_seconds = self._parser.retry_ms / 1000
        for sse in events:
            if self._skip:
                self._skip -= 1
                continue
            event = self._reader.read(sse)
            if self._reader.connection_fault is not None:
                return
            if event.id is not None:
                self._behind = 0
            elif sse.last_event_id and self._reader.is_foreign_id(sse.last_event_id):
                self._behind += 1
            self._ready.append(event)
            self._received = self._received_here = True
            self._reconnection.progressed()
            if self._reader.over:
                return

    def _comment(self, text: str) -> None:
        if not self._reader.is_notice(text):
            self._reconnection.progressed()  # a keep-alive
            return
        notice = self._reader.notice_in(text)
        if notice is None:
            return
        fault = cast("Fault", notice.fault)
        if fault.fault_id not in self._fault_ids:  # one that is logged comes again with a replay
            self._ready.append(notice)
