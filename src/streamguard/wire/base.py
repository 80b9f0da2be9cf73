"""The contract of a client protocol: items ↔ payloads ↔ SSE blocks, in pure bytes.

A *payload* is what is logged for one event, in the protocol's own form: a JSON part for `ui-message`, text for
`plain`, a whole SSE block for `opaque`. The runtime never looks inside one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Protocol, TypeAlias

from ..faults import Fault
from ..values import Event, EventKind, Outcome
from .folding import UIMessage
from .sse import DIGITS, KEPT_DIGITS, LF
from .values import Reason, Replaced

__all__ = [
    "DataLineProtocol",
    "Encoder",
    "Folding",
    "LeftOut",
    "OnLeftOut",
    "OpenParts",
    "WireProtocol",
    "nobody_told",
]

_DATA: Final = EventKind.DATA


class LeftOut(NamedTuple):
    """What an encoder could not pass on, and put something else in its place."""

    part: str
    """The kind of item it was, or was in: a part's type, or `block`."""
    replaced: Sequence[Replaced]

    @property
    def reason(self) -> Reason:
        """Of the first thing that was replaced."""
        return self.replaced[0].reason


OnLeftOut: TypeAlias = Callable[[LeftOut], None]
"""Told of each item that could not be passed on as it was."""


def nobody_told(_: LeftOut) -> None:
    """For an encoder whose host need not know."""


class Encoder(ABC):
    """Turns one stream's items into payloads, in order. One per stream; not thread-safe.

    `held` collects closing parts: the first closing part and whatever follows it. They stay out of the log until
    the stream's end is decided.
    """

    held: list[bytes]

    @abstractmethod
    def begin(self) -> Sequence[bytes]:
        """Payloads before the first item."""

    @abstractmethod
    def encode(self, item: object) -> Sequence[bytes]:
        """The data payloads of one item; none when it was a closing part or is not complete yet. None is over the byte
        limit: text is cut into several, and what cannot be cut makes room for something smaller.

        Raises:
            InvalidPartError: the protocol has no such item; what came before stays valid.
        """

    @abstractmethod
    def finish(self) -> Sequence[bytes]:
        """Data payloads that complete the stream at its natural end; fills `held` with the default closing parts if
        the items brought none."""

    @abstractmethod
    def abandon(self) -> Sequence[bytes]:
        """Data payloads that leave the client's state tidy when the stream ends otherwise: the ends of open text parts
        and tool calls. A repeated call gives none.

        A half-received block is discarded."""

    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:  # noqa: B027 -- most protocols have no calls
        """The stream goes on with a message that has these parts, as its client sent it back: what the client answered
        in them is this stream's to act on, and to end."""


class OpenParts(ABC):
    """What a stream leaves open, from its data payloads in order, for whoever ends it without its encoder. One per
    stream; not thread-safe."""

    @abstractmethod
    def answered(self, parts: Iterable[Mapping[str, object]]) -> None:
        """As `Encoder.answered`; before the first payload."""

    @abstractmethod
    def add(self, payload: bytes) -> None:
        """Take in one payload. One that cannot be read changes nothing."""

    @abstractmethod
    def ends(self) -> Sequence[bytes]:
        """As `Encoder.abandon`."""


class Folding(Protocol):
    """Builds up the message that a stream's payloads make, one by one. One per message; not thread-safe."""

    def add(self, payload: bytes) -> None:
        """Take in one payload, in order.

        Raises:
            ValueError: it is none of this protocol.
        """

    def message(self) -> UIMessage:
        """The message so far, independent of what is added later."""


class WireProtocol(ABC):
    """One client protocol. Stateless: one instance serves every stream, or all whose clients are of one version."""

    name: ClassVar[str]
    media_type: ClassVar[str] = "text/event-stream"
    headers: ClassVar[dict[str, str]] = {}
    """Response headers of this protocol, besides the ones every stream has."""
    ids_by_default: ClassVar[bool] = True
    """Whether blocks carry `id:` without the client asking."""
    terminal_visible: ClassVar[bool] = True
    """Whether the terminal record has a wire form; if not, whoever has the event before it has everything."""

    @property
    def client_version(self) -> str:
        """The version of the client that it speaks to; empty where that is not known, or makes no difference."""
        return ""

    def for_client(self, version: str) -> WireProtocol:
        """The same protocol as a client of this version takes it.

        Raises:
            ValueError: there can be no such version; the text says why.
        """
        return self

    @abstractmethod
    def encoder(self, *, message_id: str, max_event_bytes: int, on_left_out: OnLeftOut = nobody_told) -> Encoder:
        """A new stream's encoder. All it holds back together is bounded by `max_event_bytes` too."""

    @abstractmethod
    def frame(self, event: Event, cursor: str | None) -> bytes:
        """The SSE bytes of a logged event: whole blocks, the last with `id: <cursor>` inside its data block.

        Empty when the event has no wire form.
        """

    def block(self, seq: int, kind: EventKind, payload: bytes, id_prefix: bytes | None) -> bytes:
        """`frame` for who makes one for every event, and so has the id's line up to its number at hand:
        `id: 1.<stream id>.<epoch>.`, or None for a block without one."""
        cursor = None if id_prefix is None else f"{id_prefix[4:].decode()}{seq}"
        return self.frame(Event(seq, kind, payload), cursor)

    def blocks(
        self, first_seq: int, kinds: Sequence[EventKind], payloads: Sequence[bytes], id_prefix: bytes | None
    ) -> list[bytes]:
        """`block` for consecutive events, the first numbered `first_seq`."""
        return [
            self.block(seq, kind, payload, id_prefix)
            for seq, (kind, payload) in enumerate(zip(kinds, payloads, strict=True), first_seq)
        ]

    @abstractmethod
    def fault_frame(self, fault: Fault, cursor: str | None = None) -> bytes:
        """The SSE bytes that tell a client of a failure outside any log (a failed resume under `?errors=stream`, a
        viewer cut off, degraded mode)."""

    def usage(self, held: Sequence[bytes]) -> Mapping[str, int]:
        """What a completed stream's closing parts say it consumed, by unit; empty where they say nothing."""
        return {}

    @abstractmethod
    def closing(self, outcome: Outcome, fault: Fault | None, held: Sequence[bytes]) -> Sequence[bytes]:
        """The `CLOSING` payloads a stream of this outcome ends with, between its notices and its terminal record.

        `held` are the protocol's own closing parts; only a completed stream sends them. The fault itself is
        logged as a notice before them.
        """

    def open_parts(self) -> OpenParts | None:
        """What a stream leaves open that ends early; None for a protocol in which nothing is ever open."""
        return None

    @abstractmethod
    def folding(self, message_id: str, previous: UIMessage | None = None) -> Folding:
        """A fold of data and held closing payloads into the message to save, going on from `previous`."""

    def persisted(self, message_id: str, *, stream_id: str, session_id: str) -> Sequence[bytes]:
        """The `CLOSING` payloads that tell the client that its message is saved. None where the terminal record says
        so, or where nothing may be added to an upstream's stream."""
        return ()

    @abstractmethod
    def text(self, events: Iterable[Event]) -> str:
        """The reply's readable text, for a download."""


class DataLineProtocol(WireProtocol):
    """A protocol whose data events are their payload as one `data:` line, unless a newline is in it."""

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
