"""The loads on one contender: how a load process makes its requests, and what it measures meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from typing import Final

from .client import SETTLE_SECONDS, Client, Connection
from .clocks import RedisGauge, RedisReading, cpu_ns, resident_bytes
from .plan import Kind, Load, Measured
from .transcript import Expected, Reading, Transcript, spread_of
from .turns import Times, Turn

__all__ = ["Workload"]

_LEAD_SECONDS: Final = 0.4
"""Time from the last opening to the measured window, so that the work of the openings is done by then."""


class Workload:
    """One `Load` that is being carried out."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.client = Client(load.wire, load.port)
        self.gauge = RedisGauge(load.redis_port)
        self.window_ns = (0, 0)
        self.cpu_us = 0.0
        self.redis: tuple[RedisReading, RedisReading] | None = None
        self.answers: list[tuple[Expected, Transcript]] = []
        self.unmeasured: list[tuple[Expected, Transcript]] = []
        """Connections that are checked like the others, but are not part of the figures."""
        self.server_bytes: float | None = None

    async def run(self) -> Turn:
        """Carry out the load and close what was opened for it."""
        kinds = {
            Kind.TOGETHER: self.together,
            Kind.ONE_BY_ONE: self.one_by_one,
            Kind.PACED: self.paced,
            Kind.VIEWERS: self.viewers,
            Kind.REPLAY: self.replay,
            Kind.IDLE: self.idle,
        }
        try:
            await kinds[self.load.kind]()
            await self.reread()
        finally:
            self.gauge.close()
        return self.measured()

    def _keep(self, stream: int, connection: Connection, *, measured: bool = True) -> None:
        expected = Expected(stream, self.load.events, self.load.wire)
        (self.answers if measured else self.unmeasured).append((expected, connection.transcript))

    def _post(self, stream: int, *, hold: bool = False) -> bytes:
        return self.client.post(stream, self.load.events, self.load.gap_seconds, hold=hold)

    # -- the measured time -----------------------------------------------------------------------------------------

    def _sample(self) -> tuple[float, RedisReading | None, int]:
        return sum(cpu_ns(pid) for pid in self.load.pids) / 1000, self.gauge.read(), time.monotonic_ns()

    async def _measure(self, work: Coroutine[object, object, None], *, settle: float) -> None:
        """Read all gauges before `work`, and again after it and `settle` seconds, which do not count as duration."""
        cpu, at_first, begin = self._sample()
        await work
        end = time.monotonic_ns()
        await asyncio.sleep(settle)
        cpu_end, at_last, _ = self._sample()
        self.cpu_us = cpu_end - cpu
        self.window_ns = (begin, end)
        if at_first is not None and at_last is not None:
            self.redis = (at_first, at_last)

    # -- the kinds -------------------------------------------------------------------------------------------------

    async def together(self) -> None:
        connections = await self.client.connect(self.load.streams)

        async def work() -> None:
            for stream, connection in enumerate(connections):
                connection.ask(self._post(stream))
            for connection in connections:
                await connection.ended

        await self._measure(work(), settle=SETTLE_SECONDS)
        for stream, connection in enumerate(connections):
            self._keep(stream, connection)

    async def one_by_one(self) -> None:
        connections = await self.client.connect(self.load.repeats)

        async def work() -> None:
            for stream, connection in enumerate(connections):
                connection.ask(self._post(stream))
                await connection.ended

        await self._measure(work(), settle=SETTLE_SECONDS)
        for stream, connection in enumerate(connections):
            self._keep(stream, connection)

    async def paced(self) -> None:
        connections: list[Connection] = []

        async def work() -> None:
            await self._open_all(connections)
            for connection in connections:
                await connection.ended

        await self._measure(work(), settle=SETTLE_SECONDS)
        for stream, connection in enumerate(connections):
            self._keep(stream, connection)

    async def _open_all(self, connections: list[Connection]) -> None:
        """Every stream has a new connection, and a time to begin: a late request does not delay the next."""
        due = time.monotonic()
        for stream in range(self.load.streams):
            connection = await self.client.connected()
            connections.append(connection)
            connection.ask(self._post(stream))
            due += self.load.stagger_seconds
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def viewers(self) -> None:
        load = self.load
        if load.wire.resume is None:  # it cannot share a stream, so every connection has its own
            connections: list[Connection] = []
            await self._paced_window(self._open_all(connections), connections)
            for stream, connection in enumerate(connections):
                self._keep(stream, connection)
            return
        (maker,) = await self.client.connect(1)
        views = await self.client.connect(load.streams - 1, load.view_port)

        async def open_all() -> None:
            maker.ask(self._post(0))
            await maker.first
            for view in views:
                view.ask(self.client.get(maker.transcript, 0))
                await asyncio.sleep(load.stagger_seconds)

        await self._paced_window(open_all(), [maker, *views])
        for connection in (maker, *views):
            self._keep(0, connection)

    async def _paced_window(self, opening: Awaitable[None], connections: list[Connection]) -> None:
        """Measure from the moment when all streams are open until the first of them is about to end."""
        begin = time.monotonic()
        await opening
        await asyncio.sleep(_LEAD_SECONDS)
        whole = self.load.events * self.load.gap_seconds
        left = begin + whole - 0.1 - time.monotonic()
        if left < 0.2:
            raise ValueError(f"{whole:.1f} s of events leave no time to measure; ask for more events or a wider gap")
        await self._measure(asyncio.sleep(left), settle=0.0)
        for connection in connections:
            await connection.ended

    async def replay(self) -> None:
        load = self.load
        resumes = load.wire.resume is not None
        requests = [self._post(stream) for stream in range(load.repeats)]
        if resumes:
            (maker,) = await self.client.connect(1)
            maker.ask(self._post(0))
            await maker.ended
            self._keep(0, maker, measured=False)
            requests = [self.client.get(maker.transcript, 0)] * load.repeats
        connections = await self.client.connect(len(requests), load.view_port)

        async def work() -> None:
            for connection, request in zip(connections, requests, strict=True):
                connection.ask(request)
                if not load.at_once:
                    await connection.ended
            for connection in connections:
                await connection.ended

        await self._measure(work(), settle=SETTLE_SECONDS)
        for number, connection in enumerate(connections):
            self._keep(0 if resumes else number, connection)

    async def reread(self) -> None:
        """Ask once more for an answer, with ids and unmeasured: where it had none, this shows that it was logged."""
        wire = self.load.wire
        if wire.ids or not self.answers or "ids=1" not in (wire.resume or ""):
            return
        expected, made = self.answers[-1]
        (view,) = await self.client.connect(1)
        view.ask(self.client.get(made, expected.stream))
        await view.ended
        self.unmeasured.append((replace(expected, wire=replace(wire, ids=True)), view.transcript))

    async def idle(self) -> None:
        """Measure only memory. Some streams run first, so that everything that is built once exists before counting."""
        load = self.load
        warm = max(10, load.streams // 10)
        held = await self.client.connect(warm + load.streams)
        before = 0
        redis_before = None
        for stream in range(warm + load.streams):
            if stream == warm:
                await asyncio.sleep(SETTLE_SECONDS)
                before = sum(resident_bytes(pid) for pid in load.pids)
                redis_before = self.gauge.read()
            held[stream].ask(self._post(stream, hold=True))
            await held[stream].first
        await asyncio.sleep(SETTLE_SECONDS)
        self.server_bytes = (sum(resident_bytes(pid) for pid in load.pids) - before) / load.streams
        redis_after = self.gauge.read()
        if redis_before is not None and redis_after is not None:
            self.redis = (redis_before, redis_after)
        for connection in held:
            connection.abort()

    # -- the result ------------------------------------------------------------------------------------------------

    def measured(self) -> Turn:
        if self.load.kind is Kind.IDLE:
            grown = None if self.redis is None else (self.redis[1].used_bytes - self.redis[0].used_bytes)
            redis_bytes = None if grown is None else grown / self.load.streams
            return Turn(Measured(server_bytes=self.server_bytes, redis_bytes=redis_bytes))
        readings: list[Reading] = []
        problems: list[str] = []
        for expected, transcript in (*self.unmeasured, *self.answers):
            reading = transcript.read(expected)
            if isinstance(reading, str):
                problems.append(reading)
            else:
                readings.append(reading)
        if problems:
            return Turn(Measured(problems=[f"{len(problems)} responses were wrong", *problems[:3]]))
        readings = readings[len(self.unmeasured) :]
        return self._figures(readings)

    def _figures(self, readings: list[Reading]) -> Turn:
        begin, end = self.window_ns
        windowed = self.load.kind is Kind.VIEWERS
        times = Times(
            first=[reading.arrived[0] - reading.asked for reading in readings],
            latency=[
                arrived - made
                for reading in readings
                for made, arrived in zip(reading.made, reading.arrived, strict=True)
                if not windowed or begin <= arrived < end
            ],
            whole=[reading.ended - reading.asked for reading in readings],
        )
        events = len(times.latency)
        result = Measured(
            events=events,
            responses=len(readings),
            seconds=(end - begin) / 1e9,
            server_cpu_us=self.cpu_us / events,
            first=spread_of(times.first),
            latency=spread_of(times.latency),
            whole=spread_of(times.whole),
        )
        if self.redis is not None:
            first, last = self.redis
            result = replace(
                result,
                redis_cpu_us=(last.cpu_us - first.cpu_us) / events,
                redis_bytes=(last.used_bytes - first.used_bytes) / events,
            )
        return Turn(result, times)
