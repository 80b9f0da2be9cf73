"""The bytes of one response, and the check that it holds every event once, in order, up to a clean end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from .contenders.contract import Wire
from .pieces import PIECE
from .plan import Spread

__all__ = ["Expected", "Reading", "Transcript", "percentiles", "spread_of"]

_SESSION: Final = re.compile(rb"^x-session-id: *(\S+)\r$", re.IGNORECASE | re.MULTILINE)
_ID: Final = re.compile(rb"^id: ?1\.[0-9a-f]+\.\d+\.(\d+)$", re.MULTILINE)
_ANY_ID: Final = re.compile(rb"^id: ?(.*?)\r?$", re.MULTILINE)
_LAST_CHUNK: Final = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a response must hold."""

    stream: int
    events: int
    wire: Wire
    start: int = 1
    """The number of the first event: a resume after a cursor does not start at 1."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The events of a correct response, in order; times in nanoseconds of the machine's monotonic clock."""

    made: list[int]
    arrived: list[int]
    asked: int
    ended: int


@dataclass(slots=True)
class Transcript:
    """The raw bytes of one response. Nothing is parsed while time is measured."""

    asked: int = 0
    """The time at which the request was sent."""
    chunks: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    @property
    def session_id(self) -> str | None:
        """The session id in the response's headers; None while they have not arrived."""
        found = _SESSION.search(b"".join(self.chunks[:4]).partition(b"\r\n\r\n")[0] + b"\r\n")
        return found[1].decode() if found else None

    def events_so_far(self) -> tuple[int, str]:
        """How many events have arrived whole, and the last id with them; of a response that was cut."""
        body = b"".join(self.chunks).rpartition(b"\n\n")[0]
        ids = _ANY_ID.findall(body)
        return len(PIECE.findall(body)), ids[-1].decode() if ids else ""

    def read(self, expected: Expected) -> Reading | str:
        """The events with their times, or a sentence that says what is wrong."""
        raw = b"".join(self.chunks)
        name = f"stream {expected.stream}"
        if not raw.startswith(b"HTTP/1.1 200 "):
            return f"{name}: {raw[:30].decode(errors='replace')!r} … {raw[-200:].decode(errors='replace')!r}"
        if not raw.endswith(_LAST_CHUNK):
            return f"{name}: the response broke off: {raw[-200:].decode(errors='replace')!r}"
        body, ends = _unchunked(raw)
        made: list[int] = []
        arrived: list[int] = []
        which, upto, part = -1, 0, 0
        for match in PIECE.finditer(body):
            if int(match[1]) != expected.stream or int(match[2]) != len(made) + expected.start:
                return f"{name}: {match[0].decode()!r} came as event {len(made) + expected.start}"
            while ends[part][0] < match.end():
                part += 1
            in_body, in_raw = ends[part]
            while upto < in_raw - (in_body - match.end()):
                which += 1
                upto += len(self.chunks[which])
            made.append(int(match[3]))
            arrived.append(self.times[which])
        if len(made) != (wanted := expected.events - expected.start + 1):
            return f"{name}: {len(made)} of {wanted} events: {raw[-300:].decode(errors='replace')!r}"
        if expected.wire.end.encode() not in raw:
            return f"{name}: no end in band: {raw[-300:].decode(errors='replace')!r}"
        if expected.wire.ids:
            blocks = [block for block in body.split(b"\n\n") if PIECE.search(block)]
            ids = [int(found[1]) for block in blocks if (found := _ID.search(block))]
            if len(ids) != wanted or ids != sorted(set(ids)):
                return f"{name}: only {len(ids)} of {wanted} events were logged (have ids, in order)"
        return Reading(made, arrived, self.asked, self.times[-1])


def _unchunked(raw: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """A response's body, and for each HTTP chunk its end in the body and its end in the whole response.

    A server may cut its response into chunks anywhere, even in the middle of an event.
    """
    parts: list[bytes] = []
    ends: list[tuple[int, int]] = []
    at, length = raw.index(b"\r\n\r\n") + 4, 0
    while True:
        line = raw.index(b"\r\n", at)
        size = int(raw[at:line], 16)
        if size == 0:
            return b"".join(parts), ends
        parts.append(raw[line + 2 : line + 2 + size])
        length += size
        ends.append((length, line + 2 + size))
        at = line + 2 + size + 2


def percentiles(values: list[int], *ranks: float) -> list[float]:
    """Nearest-rank percentiles, without interpolation, so each one is a measured value. `values` must not be empty."""
    if not values:
        raise ValueError("no values to take percentiles of")
    ordered = sorted(values)
    return [ordered[min(len(ordered) - 1, int(rank / 100 * len(ordered)))] for rank in ranks]


def spread_of(nanoseconds: list[int]) -> Spread:
    """The spread, in milliseconds, of times in nanoseconds."""
    p50, p99 = percentiles(nanoseconds, 50, 99)
    return Spread(p50 / 1e6, p99 / 1e6)
