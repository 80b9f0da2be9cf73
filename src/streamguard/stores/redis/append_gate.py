"""What keeps a plain XADD from being carried out late, or on a log that was not checked.

A script can compare the time, a plain command cannot. But a transaction is refused whole (`EXEC` answers nil) if a key
that its connection watches has expired, or was touched. So each connection that appends watches a key of its own, the
gate, which lives about as long as an append may take: a transaction that was held up longer, on its way or in a server
that stood still, adds nothing. Nor does one that comes after the server's data were replaced under the connection
(FLUSHALL, a resynchronisation): the gate is gone with them.

Redis overlooks a key that was gone or had expired when it was to be watched. So what is sent next relies on the gate
only once the answer came that it was there after that.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from itertools import count
from typing import Final

from .driver import CommandError, Reply, pack
from .keys import Keys
from .refusals import error_code

__all__ = ["EXEC", "MULTI", "AppendGate"]

MULTI: Final = pack(("MULTI",))
EXEC: Final = pack(("EXEC",))

LONGEST_SECONDS: Final = 2.0
SHORTEST_SECONDS: Final = 0.05
"""How long gates live: as long as an append may take, within these."""
RENEWED: Final = 0.3
STALE: Final = 0.75
"""Of its life: when a gate is set anew, and from when on it is not relied upon."""
RENEWAL: Final = 3
"""How many commands set a gate anew, to be watched again; fewer if it is only watched."""
REFUSED_SECONDS: Final = 1.0
"""How long a server that takes no writes at present, for want of memory say, is asked for no transaction."""
_FOR_GOOD: Final = frozenset({"CROSSSLOT", "MOVED", "ASK", "NOPERM"})
"""What refuses every transaction: a cluster's server does, and one whose account may not."""


_generations: Final = count(1)


class AppendGate:
    """The gate of one connection."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._key = b""
        """The key, once it was set up; another one each time."""
        self._watching: list[bytes] = []
        self._number = 0
        """Of the connection that watches it, as far as known; 0 while it does not stand."""
        self.generation: int = 0
        """Another number after each time that it was set up anew. Streams are checked anew then."""
        self._under_way = False
        self._set_at = 0.0
        self._refused_by = -1
        """The number of a connection whose server takes no transactions; -1 is no connection's."""
        self._refused_until = 0.0
        self.seconds: float = 0.0
        """How long an append that it is to judge may take, at least."""

    def stands(self, number: int, now: float) -> bool:
        """Whether a transaction may be sent over the connection with this number, `now` (`time.monotonic`)."""
        return 0 < self._number == number and now - self._set_at < self.seconds * STALE

    def begin(self) -> None:
        """Commands are about to be sent that change the gate: until `take` it does not stand."""
        self._number, self._under_way = 0, True

    def end(self) -> None:
        """Their answers are there, or nobody waits for them any more."""
        self._under_way = False

    def refused(self, replies: Sequence[Reply], number: int) -> None:
        """The server took no transaction, over the connection with this number."""
        self._refused_until = time.monotonic() + REFUSED_SECONDS
        if not _FOR_GOOD.isdisjoint(error_code(reply) for reply in replies if isinstance(reply, CommandError)):
            self._refused_by = number

    def renewal(self, within_seconds: float, now: float) -> list[bytes]:
        """What follows a transaction, so that the next one is judged too: `EXEC` ended the watch."""
        if now - self._set_at < self.seconds * RENEWED:
            return self._watching
        return [pack(("PEXPIRE", self._key, self._living(within_seconds))), *self._watching]

    def opening(self, number: int, within_seconds: float) -> list[bytes]:
        """What sets up the gate on a connection, unless it stands, or cannot. The transaction in it ends any earlier
        watch, and a cluster's server refuses it: its two keys are of two slots, as those of many streams are."""
        now = time.monotonic()
        if self._under_way or within_seconds < SHORTEST_SECONDS:
            return []
        if now < self._refused_until or self._refused_by == number:
            return []
        # A name of its own each time: a forked process has what its parent had, and to set up a gate of that name anew
        # would touch it for the other one.
        self._key, elsewhere = self._keys.gate(secrets.token_hex(8))
        # That it is there afterwards says that it was when it was to be watched: its end will not be overlooked.
        self._watching = [pack(("WATCH", self._key)), pack(("EXISTS", self._key))]
        probes = [pack(("EXISTS", key)) for key in (self._key, elsewhere)]
        setting = pack(("SET", self._key, "1", "PX", self._living(within_seconds)))
        self.generation = next(_generations)
        return [MULTI, *probes, EXEC, setting, *self._watching]

    def _living(self, within_seconds: float) -> int:
        self.seconds = min(within_seconds, LONGEST_SECONDS)
        self._set_at = time.monotonic()
        return int(self.seconds * 1000)

    def take(self, replies: Sequence[Reply], number: int) -> None:
        """The answers to `opening` or `renewal`, over the connection with this number. An `EXEC` before them said that
        nothing had become of the gate until then."""
        stands = replies[-1] == 1 and replies[-2] == b"OK"
        if len(replies) == RENEWAL:
            stands = stands and replies[0] == 1
        elif len(replies) > RENEWAL or not stands:
            refused = any(isinstance(reply, CommandError) for reply in replies)
            if refused:
                self.refused(replies, number)
            stands = stands and not refused
        if stands:
            self._number = number
