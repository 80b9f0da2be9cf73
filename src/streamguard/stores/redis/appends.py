"""Appends to many streams in one exchange, packed by hand: the path that every event takes.

A lone event is a plain XADD, as far as Redis itself refuses what must not be appended; everything else, and whatever
Redis refused, goes through a script, which says why. `docs/explanation/races.md` has the reasons.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Final

from ...values import EventKind
from ..appends import AllAppended, AppendReply, AppendRequest, appended
from .append_calls import KEPT_NUMBERS, KINDS, SIZES, AppendCalls, KeptStream, until
from .append_gate import EXEC, MULTI, AppendGate
from .codec import append_reply, server_ms
from .driver import Command, CommandError, Reply, Usual
from .namespace import RedisNamespace
from .pipeline import OrderedConnection
from .pipelined_connection import OtherConnectionError, PipelinedConnection

__all__ = ["Appends"]

_LINES: Final = tuple(b"%d\r\n" % number for number in range(KEPT_NUMBERS))
_DATA: Final = EventKind.DATA
_DATA_SIZES: Final = tuple(KINDS[_DATA] + size for size in SIZES)
_END: Final = b"\r\n"
_ADDED: Final = frozenset({bytes})
"""Types of the answers to XADDs that were carried out: their ids."""


@lru_cache(maxsize=512)
def _queued(count: int) -> Usual:
    """How a transaction of so many commands is answered, up to EXEC."""
    return Usual(b"+OK\r\n" + b"+QUEUED\r\n" * count, (b"OK",) + (b"QUEUED",) * count)


class Appends:
    """Appends over the connection of one store that keeps their order."""

    def __init__(self, redis: RedisNamespace, ordered: OrderedConnection) -> None:
        self._ordered = ordered
        self._keys = redis.keys
        self._calls = AppendCalls(ordered, redis.keys)
        self._clock = redis.clock

    async def append(self, batch: Sequence[AppendRequest]) -> Sequence[AppendReply]:
        """See `StreamWrites.append`."""
        if not batch:
            return []
        begun = time.monotonic()
        here = self._ordered.here
        gate, connection = here.gate, here.connection.number
        if gate is not None and gate.stands(connection, begun):
            packed, others = self._packed(batch, gate)
            if len(others) < len(batch):
                added = sorted({*range(len(batch))}.difference(others)) if others else range(len(batch))
                try:
                    return await self._add_all(batch, added, others, packed, gate, connection, begun)
                except OtherConnectionError:
                    pass  # it has connected anew: everything is checked
        return await self._check(batch, begun)

    def _packed(self, batch: Sequence[AppendRequest], gate: AppendGate) -> tuple[list[bytes], list[int]]:
        """A transaction of plain XADDs, without its end, and which of the batch are not in it.

        A plain XADD does for a lone event that follows what the log had when it was checked, since the gate was set
        up. Hot path: what is kept of such a stream says already that its event is there. Whoever learns otherwise has
        the stream checked anew.
        """
        calls, generation, least = self._calls, gate.generation, gate.seconds
        packed, others = [MULTI], []
        for at, item in enumerate(batch):
            data = item.lone
            cache = item.cache
            if data is None or cache.owner is not calls:
                others.append(at)
                continue
            kept: KeptStream = cache.value
            seq = item.first_seq
            if kept.checked != generation or kept.next_seq != seq or item.within_seconds < least:
                others.append(at)
                continue
            line = _LINES[seq] if seq < kept.add_below else kept.begin_add(item, self._keys)
            try:
                head = _DATA_SIZES[len(data)]
            except IndexError:
                head = b"%b$%d\r\n" % (KINDS[_DATA], len(data))
            packed += (kept.add, line, head, data, _END)
            kept.next_seq = seq + 1
        return packed, others

    async def _add_all(
        self,
        batch: Sequence[AppendRequest],
        added: Sequence[int],
        others: Sequence[int],
        packed: list[bytes],
        gate: AppendGate,
        connection: int,
        begun: float,
    ) -> Sequence[AppendReply]:
        """Append `added` of the batch by the plain XADDs that are packed, in one transaction, and the others by the
        script."""
        renewal = gate.renewal(batch[added[0]].within_seconds, begun)
        packed += (EXEC, *renewal)
        end = len(added) + 2
        calls = end + len(renewal)
        if others:
            asked = [batch[at] for at in others]
            packed += [self._calls.call(item, until(self._clock, item.within_seconds, begun)) for item in asked]
        generation = gate.generation
        gate.begin()
        try:
            replies, number = await self._ordered.run_packed(
                "append",
                packed,
                ("append",) * len(others),
                count=calls + len(others),
                only_on=connection,
                usual=_queued(len(added)),
            )
        except BaseException:
            for at in added:
                self._calls.doubt(batch[at])
            raise
        finally:
            gate.end()
        done = replies[end - 1]
        if not others and type(done) is list and len(done) == len(added) and _ADDED.issuperset(map(type, done)):
            gate.take(replies[end:], number)  # nearly always
            return AllAppended(batch)
        if isinstance(done, CommandError):
            gate.refused(replies[:end], number)
        elif done is not None:
            gate.take(replies[end:calls], number)
        answers: dict[int, AppendReply] = {}
        if others:
            stands = gate.stands(number, time.monotonic())
            checked = self._checked(batch, others, replies[calls:], generation if stands else 0)
            answers.update(zip(others, checked, strict=True))
        results: Sequence[Reply] = done if isinstance(done, list) and len(done) == len(added) else (None,) * len(added)
        doubted = []
        for at, result in zip(added, results, strict=True):
            if type(result) is bytes:
                answers[at] = appended(batch[at].first_seq)
            else:
                self._calls.doubt(batch[at])
                doubted.append(at)
        if doubted:  # nobody but the script says why
            asked = [batch[at] for at in doubted]
            answers.update(zip(doubted, await self._check(asked, begun), strict=True))
        return [answers[at] for at in range(len(batch))]

    async def _check(self, batch: Sequence[AppendRequest], begun: float) -> list[AppendReply]:
        """Append by the script."""
        packed = [self._calls.call(item, until(self._clock, item.within_seconds, begun)) for item in batch]
        here = self._ordered.here
        gate, connection = here.gate or self._gate_of(here), here.connection.number
        scripts = ("append",) * len(batch)
        opening: list[bytes] = []
        stood = gate.stands(connection, time.monotonic())
        if not stood:
            for item in batch:
                if len(item.events) == 1 and self._missed_the_gate(item):
                    opening = gate.opening(connection, item.within_seconds)
                    break
        generation = gate.generation if stood or opening else 0
        if opening:
            gate.begin()
            try:
                replies, number = await self._ordered.run_packed("append", [*opening, *packed], scripts)
            finally:
                gate.end()
            gate.take(replies[: len(opening)], number)
            replies = replies[len(opening) :]
        else:
            replies, number = await self._ordered.run_packed("append", packed, scripts)
        stands = gate.generation == generation and gate.stands(number, time.monotonic())
        return self._checked(batch, range(len(batch)), replies, generation if stands else 0)

    def _gate_of(self, connection: PipelinedConnection) -> AppendGate:
        gate = connection.gate = AppendGate(self._keys)
        return gate

    def until(self, item: AppendRequest) -> bytes | None:
        """The server's time after which an append that is asked for now must not be carried out; empty if there is
        none. None: there is, and the server's clock is not known yet."""
        until_ms = self._clock.until(item.within_seconds)
        if until_ms is None:
            return None if isfinite(item.within_seconds) else b""
        return b"%d" % until_ms

    async def end(self, item: AppendRequest, closing: Command) -> Reply:
        """Append in the step that closes the stream: its answer."""
        self._calls.doubt(item)  # if the answer is lost, or is no
        (reply,) = await self._ordered.run("close", (closing,))
        self._clock.heard(server_ms(reply))
        return reply

    def _missed_the_gate(self, item: AppendRequest) -> bool:
        """Whether a plain XADD would have done for its one event, had the gate stood."""
        cache = item.cache
        return cache.owner is self._calls and cache.value.next_seq == item.first_seq

    def _checked(
        self, batch: Sequence[AppendRequest], at: Sequence[int], replies: Sequence[Reply], generation: int
    ) -> list[AppendReply]:
        """What the script's replies to these of the batch say, and what follows from them for the next append.
        `generation` is that of the gate that stood before the script and after, if one did."""
        answers, calls = [], self._calls
        for n, reply in zip(at, replies, strict=True):
            cache = batch[n].cache
            if type(reply) is int:  # nearly always
                if cache.owner is calls:
                    cache.value.follow(reply, generation)
                answers.append(appended(reply))
                continue
            if cache.owner is calls:
                cache.value.checked = cache.value.next_seq = 0
            self._clock.heard(server_ms(reply))
            answers.append(append_reply(reply, "append"))
        return answers
