"""What a test gets of an answer: status, headers, events, and how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..client.stream_events import UI_MESSAGE_HEADER, ReplyReader, StreamEvent, fault_of_envelope
from ..faults import Fault
from ..values import Outcome
from ..wire import EventParser, SseEvent
from ..wire.folding import Json
from ..wire.recognition import LINES, SSE
from ._exchange import Ending, Exchange

__all__ = ["Answer", "Ending", "within"]

T = TypeVar("T")


async def within(seconds: float, step: Callable[[], Awaitable[T]], description: str) -> T:
    """Do `step`, or fail the test.

    Raises:
        AssertionError: it took longer.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            return await step()
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"not within {seconds} s: {description}") from None


class Answer:
    """One answer of the application, read as its client reads it. A stream is read only as far as the test asks.

    Every wait fails the test with an `AssertionError` after `wait_seconds`.
    """

    def __init__(self, exchange: Exchange, *, wait_seconds: float) -> None:
        self._exchange = exchange
        self.wait_seconds: float = wait_seconds
        self._parser = EventParser()
        self._ready: list[SseEvent] = []
        self.status: int = exchange.status or 0
        self.headers: dict[str, str] = dict(exchange.headers)
        """By lower-case name; of several lines of one name, the last."""
        self.body: bytes = b""
        """What was received: all of it, or of a stream what came so far."""
        self.events: list[SseEvent] = []
        """Every event read so far."""
        self._reader = ReplyReader(ui_message=UI_MESSAGE_HEADER in self.headers)
        self._meant: list[StreamEvent] = []

    @property
    def ending(self) -> Ending:
        """How the body ended; `OPEN` while there is more to read."""
        return Ending.OPEN if self._ready else self._exchange.ending

    @property
    def error(self) -> BaseException | None:
        """What the application raised while it answered."""
        return self._exchange.error

    @property
    def set_cookies(self) -> list[str]:
        """Every `Set-Cookie` line."""
        return [value for name, value in self._exchange.headers if name == "set-cookie"]

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events."""
        return self._media_type == SSE

    @property
    def is_lines(self) -> bool:
        """Whether it is a stream of lines of JSON, which `whole` reads."""
        return self._media_type in LINES

    @property
    def _media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def session_id(self) -> str | None:
        return self.headers.get("x-session-id")

    @property
    def stream_id(self) -> str | None:
        return self.headers.get("x-stream-id")

    @property
    def message_id(self) -> str | None:
        return self.headers.get("x-message-id")

    @property
    def cursor(self) -> str | None:
        """The id of the last event read: what a client resumes with. None before the first, or without ids."""
        return (self.events[-1].last_event_id or None) if self.events else None

    @property
    def parts(self) -> list[dict[str, Json]]:
        """The parts read so far, of a `ui-message` stream."""
        return [json.loads(event.data) for event in self.events if event.data.startswith("{")]

    @property
    def text(self) -> str:
        """The reply's text, as far as it was read: `ui-message` deltas, or the data of unnamed events."""
        return "".join(event.text for event in self._meanings())

    @property
    def faults(self) -> list[Fault]:
        """What went wrong, as far as the client was told: in a JSON answer, or in a `ui-message` or `plain` stream."""
        if not self.is_stream:
            fault = fault_of_envelope(self.json()) if self.body.startswith(b'{"error":') else None
            return [] if fault is None else [fault]
        return [event.fault for event in self._meanings() if event.fault is not None]

    @property
    def outcome(self) -> Outcome | None:
        """How the answer ended, as far as the events read so far say."""
        self._meanings()
        return self._reader.outcome

    def _meanings(self) -> list[StreamEvent]:
        """What the events read so far mean, one by one."""
        self._meant += [self._reader.read(event) for event in self.events[len(self._meant) :]]
        return self._meant

    async def next_event(self) -> SseEvent | None:
        """The next event; None once the body ended, and `ending` says how."""
        while not self._ready:
            data = await within(self.wait_seconds, self._exchange.chunk, "the next event")
            if not data:
                return None
            self.body += data
            self._ready += self._parser.feed(data)
        event = self._ready.pop(0)
        self.events.append(event)
        return event

    async def read(self, count: int) -> list[SseEvent]:
        """The next `count` events; fewer when the body ends first."""
        read: list[SseEvent] = []
        while len(read) < count and (event := await self.next_event()) is not None:
            read.append(event)
        return read

    async def rest(self) -> list[SseEvent]:
        """All events until the body ends."""
        read: list[SseEvent] = []
        while (event := await self.next_event()) is not None:
            read.append(event)
        return read

    async def whole(self) -> bytes:
        """Read the body to its end, and give all of it."""
        while data := await within(self.wait_seconds, self._exchange.chunk, "the rest of the body"):
            self.body += data
            self._ready += self._parser.feed(data)
        self.events += self._ready
        self._ready.clear()
        return self.body

    def json(self) -> dict[str, Json]:
        """The body as a JSON object.

        Raises:
            ValueError: it is none.
        """
        document = json.loads(self.body)
        if not isinstance(document, dict):
            raise ValueError("the body is no JSON object")
        return document

    def drop(self) -> None:
        """Break the connection, as a closed tab or a lost network does: the stream goes on without this client."""
        self._ready.clear()
        self._exchange.disconnect()
