"""The contract of a client protocol: items ↔ payloads ↔ SSE blocks, in pure bytes.

A *payload* is what is logged for one event, in the protocol's own form: a JSON part for `ui-message`, text for
`plain`, a whole SSE block for `opaque` and the protocols of providers. The runtime never looks inside one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final, Literal, NamedTuple, Protocol, Self, TypeAlias

from ..faults import Fault, FaultCode
from ..values import Event, EventKind, Outcome
from .folding import UIMessage
from .sse import DIGITS, KEEP_ALIVE, KEPT_DIGITS, LF
from .values import Reason, Replaced

__all__ = [
    "DataLineProtocol",
    "Encoder",
    "Folding",
    "LeftOut",
    "OnLeftOut",
    "OnTool",
    "OpenParts",
    "ToolNews",
    "ToolOutcome",
    "WireProtocol",
    "nobody_told",
]

_DATA: Final = EventKind.DATA
_NO_USAGE: Final[Mapping[str, int]] = MappingProxyType({})


class LeftOut(NamedTuple):
    """An item, or a part of one, that an encoder could not pass on and replaced."""

    part: str
    """The kind of the item: a part's type, or `block`."""
    replaced: Sequence[Replaced]

    @property
    def reason(self) -> Reason:
        """Why the first replaced value was replaced."""
        return self.replaced[0].reason


OnLeftOut: TypeAlias = Callable[[LeftOut], None]
"""Called for each item that could not be passed on unchanged."""


ToolOutcome: TypeAlias = Literal["called", "finished", "failed"]
_TOOL_CHARACTERS: Final = 64
_ID_CHARACTERS: Final = 128


class ToolNews(NamedTuple):
    """What a reply says of a tool: names only, neither its arguments nor its output."""

    tool: str
    """Its name; empty where the call came from an earlier stream of the message."""
    tool_call_id: str
    outcome: ToolOutcome

    @classmethod
    def of(cls, tool: str, tool_call_id: str, outcome: ToolOutcome) -> Self:
        """With names that fit into a line: a model chose them."""
        return cls(_in_a_line(tool, _TOOL_CHARACTERS), _in_a_line(tool_call_id, _ID_CHARACTERS), outcome)


def _in_a_line(text: str, most: int) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:most])


OnTool: TypeAlias = Callable[[ToolNews], None]
"""Called for each call of a tool, and for each end of one."""


def nobody_told(_: LeftOut) -> None:
    """An `OnLeftOut` that ignores what was left out."""


class Encoder(ABC):
    """Turns one stream's items into payloads, in order. One per stream; not thread-safe.

    `held` collects the first closing part and everything after it. These payloads stay out of the log until the
    stream's end is decided.
    """

    held: list[bytes]
    on_tool: OnTool | None = None
    """Told of tools by the encoders that know of them."""

    @property
    def usage(self) -> Mapping[str, int]:
        """What the stream itself said so far that it consumed, by unit. Cumulative: each figure stands for the whole
        stream. Amounts are integers from 0 to 2**53-1."""
        return _NO_USAGE

    @property
    def failure(self) -> FaultCode | None:
        """How an upstream failed that said so in its stream. Such a stream is to end as `failed`, even if its items end
        without an exception; its `held` parts tell the client, so the seal keeps them."""
        return None

    @abstractmethod
    def begin(self) -> Sequence[bytes]:
        """Payloads before the first item."""

    @abstractmethod
    def encode(self, item: object) -> Sequence[bytes]:
        """The data payloads of one item; none when the item is a closing part or not complete yet. No payload exceeds
        the byte limit: text is cut into several payloads, and what cannot be cut is replaced by something smaller.

        Raises:
            InvalidPartError: the protocol has no such item. Earlier payloads stay valid.
        """

    def lone_payload(self, item: object) -> bytes:
        """Hot path of `encode`: the payload of an item of which `encode` would make this one and nothing else. Empty
        where `encode` has to look; nothing has changed then."""
        return b""

    @abstractmethod
    def finish(self) -> Sequence[bytes]:
        """Data payloads that complete the stream at its natural end. Fills `held` with the default closing parts if
        no item was a closing part."""

    @abstractmethod
    def abandon(self) -> Sequence[bytes]:
        """Data payloads that close the client's open text parts and tool calls when the stream ends early. A repeated
        call returns none.

        A half-received block is discarded."""

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:  # noqa: B027 -- most protocols have no calls
        """Continue a message that has these parts, as its client sent it back. This stream must act on, and end, the
        tool calls that the client answered in them."""


class OpenParts(ABC):
    """Finds the open parts of a stream from its data payloads in order, and what it said that it consumed, for a worker
    that ends the stream and has no encoder of it. One per stream; not thread-safe."""

    @property
    def usage(self) -> Mapping[str, int]:
        """Like `Encoder.usage`."""
        return _NO_USAGE

    @abstractmethod
    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        """Like `Encoder.answered`. Call it before the first payload."""

    @abstractmethod
    def add(self, payload: bytes) -> None:
        """Take in one payload. An unreadable payload changes nothing."""

    @abstractmethod
    def ends(self) -> Sequence[bytes]:
        """Like `Encoder.abandon`."""


class Folding(Protocol):
    """Builds the message from a stream's payloads, one by one. One per message; not thread-safe."""

    def add(self, payload: bytes) -> None:
        """Take in one payload, in order.

        Raises:
            ValueError: `payload` is not one of this protocol.
        """

    def message(self) -> UIMessage:
        """The message so far. Later payloads do not change it."""


class WireProtocol(ABC):
    """One client protocol. Stateless: one instance serves all streams whose clients have the same version."""

    name: ClassVar[str]
    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[dict[str, str]] = {}
    """Response headers of this protocol, besides those of every stream."""
    ids_by_default: ClassVar[bool] = True
    """Whether blocks carry `id:` without the client asking."""
    terminal_visible: ClassVar[bool] = True
    """Whether the terminal record has a wire form. If not, a client that has the event before it has everything."""
    keep_alive: ClassVar[bytes] = KEEP_ALIVE
    """What keeps a quiet connection open; empty for a protocol in which nothing can be sent that says nothing."""

    @property
    def client_version(self) -> str:
        """The client version that this protocol speaks to; empty when it is unknown or makes no difference."""
        return ""

    def for_client(self, version: str) -> WireProtocol:
        """The same protocol for clients of this version.

        Raises:
            ValueError: there can be no such version. The text says why.
        """
        return self

    def message_id_in(self, beginning: bytes) -> str | None:
        """The message id that an upstream's stream with this beginning gives its message; None when it gives none that
        can be used. The stream's record must have this id, because its client does."""
        return None

    @abstractmethod
    def encoder(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> Encoder:
        """A new stream's encoder. `max_event_bytes` also limits the total size of what it holds back."""

    @abstractmethod
    def frame(self, event: Event, cursor: str | None) -> bytes:
        """The SSE bytes of a logged event: whole blocks, the last with `id: <cursor>` inside its data block.

        Empty when the event has no wire form.
        """

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        """Hot path of `frame`: takes the start of the id line, `id: 1.<stream id>.<epoch>.`, instead of a cursor; None
        for a block without an id."""
        cursor = None if id_prefix is None else f"{id_prefix[4:].decode()}{seq}"
        return self.frame(Event(seq, kind, payload), cursor)

    def blocks(
        self, first_seq: int, kinds: Sequence[EventKind], payloads: Sequence[bytes], id_prefix: bytes | None
    ) -> list[bytes]:
        """`block` for consecutive events. The first one has the number `first_seq`."""
        return [
            self.block(seq, kind, payload, id_prefix)
            for seq, (kind, payload) in enumerate(zip(kinds, payloads, strict=True), first_seq)
        ]

    @abstractmethod
    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        """The SSE bytes that report a failure outside any log: a failed resume under `?errors=stream`, a viewer that is
        cut off, degraded mode."""

    def usage(self, held: Sequence[bytes]) -> Mapping[str, int]:
        """The usage that a completed stream's closing parts report, by unit; empty when they report none."""
        return {}

    @abstractmethod
    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        """The `CLOSING` payloads of a stream of this outcome, between its notices and its terminal record.

        `held` are the stream's held parts. A completed stream sends them, and so does a failed one whose upstream told
        of the failure in them (`Encoder.failure`). The fault itself is logged as a notice before them.
        """

    def open_parts(self) -> OpenParts | None:
        """Finds the open parts of a stream that ends early; None for a protocol that has none and tells no usage."""
        return None

    @abstractmethod
    def folding(self, message_id: str, previous: UIMessage | None = None) -> Folding:
        """A fold of data payloads and held closing payloads into the message to save. It continues `previous`."""

    @property
    def tells_continued(self) -> bool:
        """Whether `continued` tells anything. False where a page keeps what it had, or knows of no messages."""
        return False

    def continued(self, message: UIMessage, cursor: str | None, *, max_event_bytes: int) -> bytes:
        """SSE bytes that make a client which resumes hold `message`: for before the whole log of a stream that
        continues it. The last block has `cursor` as its id, the others have none: a client that has all of them goes on
        at the log's beginning, and one that has some gets them again."""
        return b""

    def persisted(self, message_id: str, *, stream_id: str, session_id: str) -> Sequence[bytes]:
        """The `CLOSING` payloads that tell the client that its message is saved. Empty when the terminal record says
        so, or when nothing may be added to an upstream's stream."""
        return ()

    @abstractmethod
    def text(self, events: Iterable[Event]) -> str:
        """The reply's readable text, for a download."""


class DataLineProtocol(WireProtocol):
    """A protocol that sends the payload of a data event as one `data:` line, unless the payload has a newline."""

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        if kind is not _DATA or LF in payload:
            return super().block(seq, kind, payload, id_prefix)
        if id_prefix is None:
            return b"data: %b\n\n" % payload
        number = DIGITS[seq] if seq < KEPT_DIGITS else b"%d" % seq
        return b"".join((id_prefix, number, b"\ndata: ", payload, b"\n\n"))

    def blocks(
        self, first_seq: int, kinds: Sequence[EventKind], payloads: Sequence[bytes], id_prefix: bytes | None
    ) -> list[bytes]:
        if id_prefix is None:
            return super().blocks(first_seq, kinds, payloads, None)
        block = self.block
        return [
            b"%b%d\ndata: %b\n\n" % (id_prefix, seq, payload)
            if kind is _DATA and LF not in payload
            else block(seq, kind, payload, id_prefix)
            for seq, (kind, payload) in enumerate(zip(kinds, payloads, strict=True), first_seq)
        ]
