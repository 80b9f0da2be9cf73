"""Calls of the append script, packed by hand, and what is kept of a stream from one append to the next."""

from __future__ import annotations

import time
from typing import Final

from ...values import EventKind
from ..appends import AppendRequest
from .clock import ServerClock
from .driver import pack, pack_argument
from .keys import Keys
from .pipeline import Connections

__all__ = ["KEPT_NUMBERS", "KINDS", "SIZES", "AppendCalls", "KeptStream", "until"]

KEPT_NUMBERS: Final = 4096
"""Numbers below are kept in the form that appends send them in: joining pieces takes a third of formatting them."""
SIZES: Final = tuple(b"$%d\r\n" % number for number in range(KEPT_NUMBERS))
KINDS: Final = {kind: pack_argument(kind.encode()) for kind in EventKind}
_SEQS: Final = tuple(pack_argument(b"%d" % number) for number in range(KEPT_NUMBERS))
_DECIDED: Final = "="
"""Stands where the first event's kind would: what was decided about the stream comes before its events."""


class KeptStream:
    """What is kept of a stream between its appends under one epoch."""

    __slots__ = ("_add_digits", "add", "add_below", "checked", "next_seq", "start")

    def __init__(self) -> None:
        self.start: bytes = b""
        """The beginning of the script's call with one event; empty until the first of them."""
        self.add: bytes = b""
        """The beginning of an XADD, up to the event's number. It says how many digits that has."""
        self._add_digits: int = 0
        self.add_below: int = 0
        """Up to this number, `add` does for `next_seq`, whose form is kept, too."""
        self.checked: int = 0
        """The generation of the gate under which the script found nothing amiss, and left the log open."""
        self.next_seq: int = 0
        """The event that follows the log's last one, as of then."""

    def follow(self, last_seq: int, generation: int) -> None:
        """The script found this to be the log's last event, under the gate of that `generation`; 0 for none."""
        self.checked, self.next_seq = generation, last_seq + 1
        self.add_below = 0  # the log may have been longer: then its next number may be shorter

    def begin_add(self, item: AppendRequest, keys: Keys) -> bytes:
        """Have `add` be right for the first event of `item`. Returns its number in the form that it is sent in."""
        digits = b"%d" % item.first_seq
        length = len(digits)
        if length != self._add_digits:
            start, entry = pack(("XADD", keys.stream(item.ref).log, "NOMKSTREAM")), b"%d-" % item.epoch
            self.add = b"*6%b$%d\r\n%b" % (start[2:], len(entry) + length, entry)
            self._add_digits = length
        self.add_below = min(10**length, KEPT_NUMBERS)
        return digits + b"\r\n"


class AppendCalls:
    """Packs calls of one store's append script. It is the `owner` of what it keeps of a stream."""

    def __init__(self, connections: Connections, keys: Keys) -> None:
        self._connections = connections
        self._keys = keys

    def call(self, item: AppendRequest, until_ms: bytes) -> bytes:
        """A call of the script, which may be carried out `until` then."""
        events = item.events
        decided = item.decided if item.first_seq == 1 else None
        if len(events) == 1 and not item.refresh and decided is None:  # the usual case: all but the event is packed
            ((kind, data),) = events
            try:
                seq = _SEQS[item.first_seq]
                size = SIZES[len(data)]
            except IndexError:
                seq, size = pack_argument(b"%d" % item.first_seq), b"$%d\r\n" % len(data)
            kept = self.kept(item)
            if not kept.start:
                keys = self._keys.stream(item.ref)
                kept.start = self._connections.script_start("append", (keys.meta, keys.log), (item.epoch,), more=4)
            return b"".join((kept.start, pack_argument(until_ms), seq, KINDS[kind], size, data, b"\r\n"))
        self.kept(item)
        keys = self._keys.stream(item.ref)
        named: tuple[bytes, ...] = (keys.meta, keys.log)
        if item.refresh:
            named = (keys.meta, keys.log, keys.session, keys.streams)
        elif decided is not None:
            named = (keys.meta, keys.log, keys.session)
        packed = [
            self._connections.script_start(
                "append",
                named,
                (
                    item.epoch,
                    until_ms,
                    item.first_seq,
                    *(() if decided is None else (_DECIDED, *decided, item.ref.stream_id)),
                ),
                more=2 * len(events),
            )
        ]
        for kind, data in events:  # by hand: a third of what the driver takes for it
            length = len(data)
            size = SIZES[length] if length < KEPT_NUMBERS else b"$%d\r\n" % length
            packed += (KINDS[kind], size, data, b"\r\n")
        return b"".join(packed)

    def doubt(self, item: AppendRequest) -> None:
        """Where its log ends is in doubt: have the stream checked anew."""
        if item.cache.owner is self:
            kept: KeptStream = item.cache.value
            kept.checked, kept.next_seq = 0, item.first_seq

    def kept(self, item: AppendRequest) -> KeptStream:
        """What is kept of the stream: the request has it."""
        cache = item.cache
        if cache.owner is not self:
            cache.value, cache.owner = KeptStream(), self
        kept: KeptStream = cache.value
        return kept


def until(clock: ServerClock, within_seconds: float, begun: float) -> bytes:
    """The server's time after which an append that was asked for when it was `begun` (`time.monotonic`) must not be
    carried out; empty if there is none, or if the server's clock is not known yet."""
    until_ms = clock.until(begun + within_seconds - time.monotonic())
    return b"" if until_ms is None else b"%d" % until_ms
