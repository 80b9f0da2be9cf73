"""Loads in which one thing happens beside another: a storm of reconnects, long replays, and neighbours that are paced.

Neighbours are streams that send an event every 20 ms, each on its own grid. Their latency is compared between a time in
which nothing else happens and the time of the disturbance.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Final

from .client import Client, Connection
from .clocks import resident_bytes
from .plan import Load, Measured, Spread
from .transcript import Expected, Reading, spread_of

__all__ = ["NEIGHBOURS", "long_replay", "storm"]

NEIGHBOURS: Final = 20
_GAP: Final = 0.02
_QUIET_SECONDS: Final = 1.0
_STORM_SECONDS: Final = 1.0
_STORM_GAP: Final = 0.25
"""Seconds between two events of a stream whose client reconnects."""
_STAGGER: Final = 0.005
_ABORTS_PER_TURN: Final = 10
"""The clients are many, and one process: while it cuts them all, it could not note when neighbours' events arrive."""
_GOLDEN: Final = 0.6180339887
"""Multiples of this number modulo one are spread evenly, so neighbours do not tick together."""
_FIRST_NEIGHBOUR: Final = 50_000


@dataclass(frozen=True, slots=True)
class _Window:
    begin: int
    end: int


class _Neighbours:
    def __init__(self, client: Client, load: Load, seconds: float) -> None:
        self._client = client
        self._wire = load.wire
        self._events = int(seconds / _GAP)
        self._made: list[Connection] = []

    async def open(self) -> None:
        for number in range(NEIGHBOURS):
            connection = await self._client.connected()
            connection.ask(self._client.post(_FIRST_NEIGHBOUR + number, self._events, _GAP))
            self._made.append(connection)
            await asyncio.sleep(number * _GOLDEN % 1 * _GAP)

    async def ended(self) -> None:
        for connection in self._made:
            await connection.ended

    def readings(self) -> list[Reading | str]:
        """After `ended`."""
        return [
            connection.transcript.read(Expected(_FIRST_NEIGHBOUR + number, self._events, self._wire))
            for number, connection in enumerate(self._made)
        ]


def _latency(readings: list[Reading], window: _Window) -> Spread:
    """Of the events that were made in the window."""
    return spread_of(
        [
            arrived - made
            for reading in readings
            for made, arrived in zip(reading.made, reading.arrived, strict=True)
            if window.begin <= made < window.end
        ]
    )


def _result(answers: list[Reading | str], neighbours: _Neighbours, quiet: _Window, busy: _Window) -> Measured:
    everything = [*answers, *neighbours.readings()]
    problems = [one for one in everything if isinstance(one, str)]
    if problems:
        return Measured(problems=[f"{len(problems)} responses were wrong", *problems[:3]])
    beside = [one for one in everything[len(answers) :] if isinstance(one, Reading)]
    served = [one for one in answers if isinstance(one, Reading)]
    return Measured(
        events=sum(len(one.made) for one in served),
        seconds=(busy.end - busy.begin) / 1e9,
        whole=spread_of([one.ended - one.asked for one in served]),
        first=spread_of([one.arrived[0] - one.asked for one in served]),
        undisturbed=_latency(beside, quiet),
        disturbed=_latency(beside, busy),
    )


async def long_replay(load: Load) -> Measured:
    """Replays of one long stream, one after the other, beside neighbours."""
    client = Client(load.wire, load.port)
    maker = await client.connected()
    maker.ask(client.post(0, load.events))
    await maker.ended
    if isinstance(wrong := maker.transcript.read(Expected(0, load.events, load.wire)), str):
        return Measured(problems=[wrong])
    neighbours = _Neighbours(client, load, seconds=_QUIET_SECONDS * 2 + load.repeats * 0.5 + 1.5)
    await neighbours.open()
    await asyncio.sleep(0.3)
    quiet_begin = time.monotonic_ns()
    await asyncio.sleep(_QUIET_SECONDS)
    begin = time.monotonic_ns()
    replays = []
    for _ in range(load.repeats):
        replay = await client.connected()
        replay.ask(client.get(maker.transcript, 0))
        await replay.ended
        replays.append(replay)
    busy = _Window(begin, time.monotonic_ns())
    await neighbours.ended()
    answers = [replay.transcript.read(Expected(0, load.events, load.wire)) for replay in replays]
    return _result(answers, neighbours, _Window(quiet_begin, begin), busy)


async def storm(load: Load) -> Measured:
    """All clients of many streams are cut in mid-answer, and come back within one second with their cursors."""
    client = Client(load.wire, load.port)
    seconds = load.events * _STORM_GAP
    neighbours = _Neighbours(client, load, seconds + 3.0)
    await neighbours.open()
    first: list[Connection] = []
    for stream in range(load.streams):
        connection = await client.connected()
        connection.ask(client.post(stream, load.events, _STORM_GAP))
        first.append(connection)
        await asyncio.sleep(_STAGGER)
    for connection in first:
        await connection.first
    await asyncio.sleep(0.5)
    quiet_begin = time.monotonic_ns()
    await asyncio.sleep(_QUIET_SECONDS)
    before = resident_bytes(load.pids[0])
    begin = time.monotonic_ns()
    for number, connection in enumerate(first):
        connection.abort()
        if number % _ABORTS_PER_TURN == 0:
            await asyncio.sleep(0)
    cuts: list[tuple[int, str]] = []
    again: list[Connection] = []
    peak = 0
    due = time.monotonic()
    for stream, connection in enumerate(first):
        cuts.append(connection.transcript.events_so_far())  # one by one, as neighbours' events arrive meanwhile
        back = await client.connected()
        back.ask(client.get(connection.transcript, stream, cuts[stream][1]))
        again.append(back)
        if stream % 100 == 99:
            peak = max(peak, resident_bytes(load.pids[0]))
        due += _STORM_SECONDS / load.streams
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    for connection in again:
        await connection.first
    busy = _Window(begin, time.monotonic_ns())
    for connection in again:
        await connection.ended
    peak = max(peak, resident_bytes(load.pids[0]))
    await neighbours.ended()
    answers = [
        back.transcript.read(Expected(stream, load.events, load.wire, start=cuts[stream][0] + 1))
        for stream, back in enumerate(again)
    ]
    result = _result(answers, neighbours, _Window(quiet_begin, begin), busy)
    return result if result.problems else replace(result, server_bytes=(peak - before) / load.streams)
