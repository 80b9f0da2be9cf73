"""Server-sent events in pure bytes: an incremental parser, a block splitter and an encoder.

Source: WHATWG HTML, "Server-sent events", sections "Parsing an event stream" and "Interpreting an event stream"
(https://html.spec.whatwg.org/multipage/server-sent-events.html). One addition, because every buffer has a size: an
event over `max_event_bytes` is an error, and a block over it is left out.

Lines end with CR, LF or CRLF and nothing else: U+2028, U+0085, form feed and the like are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ..errors import EventTooLargeError, InvalidPartError

__all__ = [
    "BOM",
    "CR",
    "DIGITS",
    "KEEP_ALIVE",
    "KEEP_ALIVE_BLOCK",
    "KEPT_DIGITS",
    "LF",
    "MAX_EVENT_BYTES",
    "Block",
    "BlockSplitter",
    "EventParser",
    "SseEvent",
    "encode_block",
    "encode_comment",
    "encode_text",
]

BOM: Final = b"\xef\xbb\xbf"

KEEP_ALIVE: Final = b": hb\n"
"""The comment that keeps a quiet connection open. One newline only: a blank line after any id makes the OpenAI
Python SDK dispatch an event with empty data, which it then fails to parse."""

KEEP_ALIVE_BLOCK: Final = KEEP_ALIVE + b"\n"
"""The same comment as a whole block, for readers that look only at a block's first characters. Never send it on a
connection whose events carry ids."""

MAX_EVENT_BYTES: Final = 16_777_216
"""Default limit of an event or block, in bytes. An event of the default `max_event_bytes` fits, in any form that an
upstream or a protocol gives it."""

LF: Final = 10
"""A newline, for `in` on bytes: with `b"\\n"`, `in` first raises and drops a `TypeError` (CPython 3.11 to 3.13)."""
CR: Final = 13

KEPT_DIGITS: Final = 4_096
DIGITS: Final = tuple(b"%d" % number for number in range(KEPT_DIGITS))
"""Hot path: numbers as text, one for each event. Joining five pieces takes a third of the time of formatting them."""

_PROTOCOL: Final = "sse"
_EOL: Final = re.compile(rb"\r\n|\n|\r")
_RETRY: Final = re.compile(rb"[0-9]{1,15}")  # nobody waits for a time of more than 15 digits


def encode_text(text: str) -> bytes:
    """Any `text` as UTF-8. Adjacent halves of a surrogate pair are joined; a lone half becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


# -- parsing ----------------------------------------------------------------------------------------------------------


class SseEvent(NamedTuple):
    """One dispatched event."""

    data: str
    event: str
    """The event's name; `message` when the stream gave none."""
    last_event_id: str
    """The last id that the stream set, in this block or before."""


class EventParser:
    """Turns the bytes of one event stream, in any chunking, into the events that a browser would dispatch.

    As the specification asks, an event without its blank line at the stream's end is dropped, with its id: the caller
    just stops feeding. Not thread-safe.

    `on_comment` is called with the text of each comment line, as soon as that is whole.
    """

    def __init__(
        self, *, max_event_bytes: int = MAX_EVENT_BYTES, on_comment: Callable[[str], None] | None = None
    ) -> None:
        self._max_bytes = max_event_bytes
        self._on_comment = on_comment
        self._at_start = True
        self._skip_lf = False
        self._line: list[bytes] = []  # the unfinished line, in pieces
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = b""
        self._id = b""
        self.last_event_id: str = ""
        """What a reconnecting client sends as `Last-Event-ID`. Only a blank line sets it."""
        self.retry_ms: int | None = None
        """The last reconnection time that the stream asked for, in milliseconds."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes.

        Raises:
            EventTooLargeError: the unfinished event is over the limit. The parser cannot be used afterwards.
        """
        if self._at_start:
            self._line.append(chunk)
            chunk = b"".join(self._line)
            self._line.clear()
            if len(chunk) < len(BOM) and BOM.startswith(chunk):
                self._line.append(chunk)
                return []
            self._at_start = False
            chunk = chunk.removeprefix(BOM)
        if not chunk:
            return []
        if self._skip_lf:
            chunk = chunk.removeprefix(b"\n")
        # A CR ends its line at once. An LF at the start of the next chunk belongs to that CR.
        self._skip_lf = chunk.endswith(b"\r") if chunk else False
        lines = _EOL.split(chunk)
        rest = lines.pop()
        events: list[SseEvent] = []
        for line in lines:
            if self._line:
                self._line.append(line)
                line = b"".join(self._line)
                self._line.clear()
            if line:
                self._field(line)
            else:
                self._dispatch(events)
        if rest:
            self._line.append(rest)
        self._line_bytes = len(rest) if lines else self._line_bytes + len(rest)
        self._check(self._line_bytes + self._data_bytes)
        return events

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise EventTooLargeError(protocol=_PROTOCOL, size_bytes=size, limit_bytes=self._max_bytes)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value
        elif name == b"retry" and _RETRY.fullmatch(value):
            self.retry_ms = int(value)
        elif not name and self._on_comment is not None:
            self._on_comment(value.decode("utf-8", "replace"))

    def _dispatch(self, events: list[SseEvent]) -> None:
        self.last_event_id = self._id.decode("utf-8", "replace")
        if self._data:
            self._check(self._data_bytes)
            data = b"\n".join(self._data).decode("utf-8", "replace")
            name = self._event.decode("utf-8", "replace") or "message"
            events.append(SseEvent(data, name, self.last_event_id))
            self._data.clear()
            self._data_bytes = 0
        self._event = b""


# -- splitting into blocks --------------------------------------------------------------------------------------------

# A CR alone is a line end only when the byte after it is known not to be LF.
_END: Final = rb"(?:\r\n|\n|\r(?=[^\n]))"
_BLANK_LINE: Final = re.compile(_END + _END)
_LEADING_END: Final = re.compile(_END)
_HAS_DATA: Final = re.compile(rb"(?:\A|[\r\n])data(?=[:\r\n]|\Z)")
_HAS_ID: Final = re.compile(rb"(?:\A|[\r\n])id(?::[^\0\r\n]*)?(?=[\r\n]|\Z)")


class Block(NamedTuple):
    """One block of an event stream, byte for byte, its terminating blank line included."""

    raw: bytes
    opens_stream: bool = False
    """Whether this is the first block, in which a leading byte order mark is ignored."""

    @property
    def has_data(self) -> bool:
        """Whether a client dispatches an event for this block."""
        return self.raw.startswith(b"data:") or _HAS_DATA.search(self._text()) is not None

    @property
    def has_id(self) -> bool:
        """Whether this block sets the client's last id."""
        return _HAS_ID.search(self._text()) is not None

    @property
    def data(self) -> bytes:
        """The block's data as a client would join it."""
        raw = self.raw
        if raw.startswith(b"data: ") and raw.count(b"\n") == 2 and raw.endswith(b"\n\n") and b"\r" not in raw:
            return raw[6:-2]  # nearly always, and several times as fast
        lines = _EOL.split(self._text())
        return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line == b"data" or line[:5] == b"data:")

    @property
    def event(self) -> bytes:
        """The event's name; empty when the block gives none."""
        if b"event:" not in self.raw:
            return b""
        names = [line[6:].removeprefix(b" ") for line in _EOL.split(self._text()) if line[:6] == b"event:"]
        return names[-1] if names else b""

    def _text(self) -> bytes:
        return self.raw.removeprefix(BOM) if self.opens_stream else self.raw


class BlockSplitter:
    """Cuts the bytes of one event stream, in any chunking, into blocks without changing any byte.

    The results of all `feed` calls and of `close`, joined, are the input. Only the next byte tells a block that ends in
    a bare CR from one that ends in CRLF, so such a block is returned with the next chunk, or by `close`.
    A byte order mark at the start belongs to the first block. Not thread-safe.

    A block over `max_block_bytes` is left out: `on_left_out` is called once for it, and none of its bytes are kept.
    """

    def __init__(
        self, *, max_block_bytes: int = MAX_EVENT_BYTES, on_left_out: Callable[[], None] = lambda: None
    ) -> None:
        self._max_bytes = max_block_bytes
        self._on_left_out = on_left_out
        self._buffer = bytearray()
        self._scanned = 0
        self._at_start = True
        self._between = False
        """Whether nothing is kept, and the first block has ended."""
        self._skipping = False
        """Whether the unfinished block is over the limit. Then only its end matters."""

    def is_whole(self, chunk: bytes) -> bool:
        """Hot path: whether `feed` would return this chunk as its one block, and keep nothing of it. A block that ends
        in another way than LF LF, and the first one, is left to `feed`."""
        return (
            self._between
            and chunk[chunk.find(b"\n\n", 0, self._max_bytes) :] == b"\n\n"  # -1: the last byte alone
            and CR not in chunk
            and chunk[0] != LF
        )

    def feed(self, chunk: bytes) -> list[Block]:
        """The blocks that `chunk` completes."""
        if self._at_start and not (self._buffer or chunk.startswith(BOM)):
            self._between = True  # without a mark, the first block is as any other
            if self.is_whole(chunk):
                self._at_start = False
                return [Block(chunk, opens_stream=True)]
        self._buffer += chunk
        blocks = self._cut()
        if len(self._buffer) > self._max_bytes:
            self._skip()
        self._between = not (self._buffer or self._at_start)
        return blocks

    def close(self) -> tuple[list[Block], bytes]:
        """The last block, if it ends in a bare CR and so waited for the next byte, and the unfinished rest.

        Clients drop the rest.
        """
        rest = b"" if self._skipping else bytes(self._buffer)
        if not rest.endswith(b"\r"):
            self._buffer.clear()
            return [], rest
        # No LF follows any more. Append another byte so that the rule of `_END` decides, and remove it again.
        self._buffer += b"x"
        blocks = self._cut()
        del self._buffer[-1:]
        rest = bytes(self._buffer)
        self._buffer.clear()
        return blocks, rest

    def discard(self) -> None:
        """Drop the unfinished block."""
        self._buffer.clear()
        self._scanned = 0
        self._skipping = False
        self._between = not self._at_start

    def _skip(self) -> None:
        """Drop the unfinished block, except for the bytes that its end may have begun with, after a byte that is not a
        line end."""
        if not self._skipping:
            self._skipping = True
            self._on_left_out()
        self._at_start = False
        self._buffer[:-4] = b"x"
        self._scanned = 0

    def _cut(self) -> list[Block]:
        buffer = self._buffer
        if self._at_start and len(buffer) < len(BOM) and BOM.startswith(buffer):
            return []
        blocks: list[Block] = []
        start = 0
        lf_only = b"\r" not in buffer  # true for nearly every stream, and ten times as fast
        while True:
            head = start + len(BOM) if self._at_start and buffer.startswith(BOM) else start
            end = self._block_end(head, lf_only=lf_only)
            if end is None:
                break
            if self._skipping:
                self._skipping = False
            elif end - start > self._max_bytes:
                self._on_left_out()
            else:
                blocks.append(Block(bytes(buffer[start:end]), self._at_start))
            start = self._scanned = end
            self._at_start = False
        del buffer[:start]
        self._scanned = len(buffer)
        return blocks

    def _block_end(self, head: int, *, lf_only: bool) -> int | None:
        """Where the block that begins at `head` ends; None while it has no end."""
        buffer = self._buffer
        # The longest blank line, CRLF CRLF, may have begun four bytes before the new bytes; five with the byte that
        # decides about a CR.
        search_from = max(head, self._scanned - 5)
        if lf_only:
            if buffer.startswith(b"\n", head):
                return head + 1
            at = buffer.find(b"\n\n", search_from)
            return None if at < 0 else at + 2
        match = _LEADING_END.match(buffer, head) or _BLANK_LINE.search(buffer, search_from)
        return None if match is None else match.end()


# -- encoding ---------------------------------------------------------------------------------------------------------


def encode_block(
    data: bytes | str | None, *, event: str | None = None, event_id: str | None = None, retry_ms: int | None = None
) -> bytes:
    """One block with its blank line. Each CR, LF or CRLF in `data` starts a new `data:` line; clients read it as LF.
    Clients dispatch no event for a block without data (None).

    Raises:
        InvalidPartError: `event` or `event_id` holds CR, LF, NUL or half a surrogate pair, so clients could not
            read it back (and it might inject lines); or `retry_ms` is negative.
    """
    out: list[bytes] = []
    if event_id is not None:
        out += (b"id: ", _single_line("id", event_id), b"\n")
    if event is not None:
        out += (b"event: ", _single_line("event", event), b"\n")
    if retry_ms is not None:
        if retry_ms < 0:
            raise InvalidPartError(f"retry is a time in milliseconds from 0, not {retry_ms}", protocol=_PROTOCOL)
        out.append(b"retry: %d\n" % retry_ms)
    if data is not None:
        for line in _EOL.split(encode_text(data) if isinstance(data, str) else data):
            out += (b"data: ", line, b"\n")
    out.append(b"\n")
    return b"".join(out)


def encode_comment(text: str) -> bytes:
    """`text` as comment lines. Each ends in one newline, and no blank line follows them (see `KEEP_ALIVE`)."""
    return b"".join(b": " + line + b"\n" for line in _EOL.split(encode_text(text)))


def _single_line(field: str, value: str) -> bytes:
    if "\n" in value or "\r" in value or "\0" in value:
        raise InvalidPartError(f"an SSE {field} cannot hold CR, LF or NUL", protocol=_PROTOCOL)
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise InvalidPartError(f"an SSE {field} must be encodable as UTF-8", protocol=_PROTOCOL) from exc
