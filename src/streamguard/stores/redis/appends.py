"""Appends to many streams in one exchange, packed by hand: the path that every event takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ...values import EventKind
from ..appends import AppendReply, AppendRequest
from ..records import Status
from .codec import append_reply, flatten, server_ms
from .driver import pack_argument
from .namespace import RedisNamespace

__all__ = ["Appends"]

_KEPT: Final = 4096
"""Numbers below are kept in the form that appends send them in: joining pieces takes a third of formatting them."""
_SEQS: Final = tuple(pack_argument(b"%d" % number) for number in range(_KEPT))
_SIZES: Final = tuple(b"$%d\r\n" % number for number in range(_KEPT))
_APPENDED: Final = tuple(AppendReply(Status.OK, number, stop_requested=False) for number in range(_KEPT))
_KINDS: Final = {kind: pack_argument(kind.encode()) for kind in EventKind}
_NEVER: Final = pack_argument(b"")
_DECIDED: Final = "="
"""Stands where the first event's kind would: what was decided about the stream comes before its events."""


class Appends:
    """Appends over the connection of one store that keeps their order."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._ordered = redis.ordered
        self._keys = redis.keys
        self._clock = redis.clock

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        """See `StreamWrites.append`."""
        calls: list[bytes] = []
        within, until, packed_until = math.inf, b"", _NEVER
        for item in batch:
            events = item.events
            if item.within_seconds != within:
                within = item.within_seconds
                until = self._until(within)
                packed_until = pack_argument(until)
            decided = item.decided if item.first_seq == 1 else None
            if len(events) == 1 and not item.refresh and decided is None:  # the usual case: all but the event is packed
                ((kind, data),) = events
                cache = item.cache
                if cache.owner is not self:
                    cache.value, cache.owner = self._start(item), self
                try:
                    seq = _SEQS[item.first_seq]
                    size = _SIZES[len(data)]
                except IndexError:
                    seq, size = pack_argument(b"%d" % item.first_seq), b"$%d\r\n" % len(data)
                calls.append(b"".join((cache.value, packed_until, seq, _KINDS[kind], size, data, b"\r\n")))
                continue
            keys = self._keys.stream(item.ref)
            call = self._ordered.script(
                "append",
                (keys.meta, keys.log, keys.session, keys.streams) if item.refresh or decided else (keys.meta, keys.log),
                (
                    item.epoch,
                    until,
                    item.first_seq,
                    *(() if decided is None else (_DECIDED, *decided, item.ref.stream_id)),
                    *(events[0] if len(events) == 1 else flatten(events)),
                ),
            )
            calls.append(call.packed)
        replies = await self._ordered.run_calls("append", "append", calls)
        try:
            return [_APPENDED[reply] for reply in replies]  # type: ignore[index] # then it raises
        except (IndexError, TypeError):
            for reply in replies:
                self._clock.heard(server_ms(reply))
            return [append_reply(reply) for reply in replies]

    def _start(self, item: AppendRequest) -> bytes:
        """The beginning of every append of one event to a stream. The request keeps it: it is most of the command."""
        keys = self._keys.stream(item.ref)
        return self._ordered.script_start("append", (keys.meta, keys.log), (item.epoch,), more=4)

    def _until(self, within_seconds: float) -> bytes:
        """The server's time after which an append must not be carried out; empty if there is none, or if the server's
        clock is not known yet."""
        until = self._clock.until(within_seconds)
        return b"" if until is None else b"%d" % until
