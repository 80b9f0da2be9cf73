"""The load process: `python -m benchmarks.load`, one `Load` as JSON on stdin, one `Measured` as JSON on stdout."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from typing import Final, cast
from urllib.parse import quote

import uvloop
from pydantic import TypeAdapter

from .clocks import RedisGauge, RedisReading, cpu_ns, resident_bytes
from .plan import Kind, Load, Measured, Spread
from .transcript import Expected, Reading, Transcript, percentiles

__all__ = ["LOAD", "MEASURED", "run"]

LOAD: Final = TypeAdapter(Load)
MEASURED: Final = TypeAdapter(Measured)

_SETTLE_SECONDS: Final = 0.15
"""Time after the last byte. A guarded server still cleans up then, which is part of a stream's cost."""
_LEAD_SECONDS: Final = 0.4
"""Time from the last opening to the measured window, so that the work of the openings is done by then."""


class Connection(asyncio.Protocol):
    """One connection for one response. It keeps the bytes and their arrival times."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transcript = Transcript()
        self.first: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transcript.times.append(time.monotonic_ns())
        self.transcript.chunks.append(data)
        if not self.first.done() and b" e000001 " in data:
            self.first.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.first.done():
            self.first.set_result(None)  # reading the transcript will report what is missing
        self.ended.set_result(None)

    def ask(self, request: bytes) -> None:
        assert self._transport is not None
        self.transcript.asked = time.monotonic_ns()
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _Run:
    """One `Load` that is being carried out."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.nonce = f"b{os.getpid():x}t{time.monotonic_ns():x}"
        self.gauge = RedisGauge(load.redis_port)
        self.window_ns = (0, 0)
        self.cpu_us = 0.0
        self.redis: tuple[RedisReading, RedisReading] | None = None
        self.answers: list[tuple[Expected, Transcript]] = []
        self.unmeasured: list[tuple[Expected, Transcript]] = []
        """Connections that are checked like the others, but are not part of the figures."""
        self.server_bytes: float | None = None

    # -- connections ---------------------------------------------------------------------------------------------

    async def connect(self, count: int, port: int | None = None) -> list[Connection]:
        """Accepted, idle connections, because the time of connecting is not measured."""
        made = [await self._connected(port) for _ in range(count)]
        await asyncio.sleep(_SETTLE_SECONDS)
        return made

    async def _connected(self, port: int | None = None) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port or self.load.port)
        return connection

    def _keep(self, stream: int, connection: Connection, *, measured: bool = True) -> None:
        expected = Expected(stream, self.load.events, self.load.wire)
        (self.answers if measured else self.unmeasured).append((expected, connection.transcript))

    def post(self, stream: int, *, hold: bool = False) -> bytes:
        load = self.load
        query = f"stream={stream}&events={load.events}&gap={load.gap_seconds}&hold={int(hold)}"
        return (
            f"POST {load.wire.path}?{query} HTTP/1.1\r\nHost: bench\r\nX-User: user-{stream}\r\n"
            f"X-Session: {self._session(stream)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ).encode()

    def get(self, made: Transcript, stream: int) -> bytes:
        """A resume, from the beginning, of the answer `made` for `stream`."""
        session = quote(made.session_id or self._session(stream), safe="")
        path = (self.load.wire.resume or "").replace("{session}", session)
        return (f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-User: user-{stream}\r\nConnection: close\r\n\r\n").encode()

    def _session(self, stream: int) -> str:
        return f"{self.nonce}-{stream}"

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
        connections = await self.connect(self.load.streams)

        async def work() -> None:
            for stream, connection in enumerate(connections):
                connection.ask(self.post(stream))
            for connection in connections:
                await connection.ended

        await self._measure(work(), settle=_SETTLE_SECONDS)
        for stream, connection in enumerate(connections):
            self._keep(stream, connection)

    async def one_by_one(self) -> None:
        connections = await self.connect(self.load.repeats)

        async def work() -> None:
            for stream, connection in enumerate(connections):
                connection.ask(self.post(stream))
                await connection.ended

        await self._measure(work(), settle=_SETTLE_SECONDS)
        for stream, connection in enumerate(connections):
            self._keep(stream, connection)

    async def paced(self) -> None:
        connections: list[Connection] = []

        async def work() -> None:
            await self._open_all(connections)
            for connection in connections:
                await connection.ended

        await self._measure(work(), settle=_SETTLE_SECONDS)
        for stream, connection in enumerate(connections):
            self._keep(stream, connection)

    async def _open_all(self, connections: list[Connection]) -> None:
        """Every stream has a new connection, and a time to begin: a late request does not delay the next."""
        due = time.monotonic()
        for stream in range(self.load.streams):
            connection = await self._connected()
            connections.append(connection)
            connection.ask(self.post(stream))
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
        (maker,) = await self.connect(1)
        views = await self.connect(load.streams - 1, load.view_port)

        async def open_all() -> None:
            maker.ask(self.post(0))
            await maker.first
            for view in views:
                view.ask(self.get(maker.transcript, 0))
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
        requests = [self.post(stream) for stream in range(load.repeats)]
        if resumes:
            (maker,) = await self.connect(1)
            maker.ask(self.post(0))
            await maker.ended
            self._keep(0, maker, measured=False)
            requests = [self.get(maker.transcript, 0)] * load.repeats
        connections = await self.connect(len(requests), load.view_port)

        async def work() -> None:
            for connection, request in zip(connections, requests, strict=True):
                connection.ask(request)
                await connection.ended

        await self._measure(work(), settle=_SETTLE_SECONDS)
        for number, connection in enumerate(connections):
            self._keep(0 if resumes else number, connection)

    async def reread(self) -> None:
        """Ask once more for an answer, unmeasured: a contender without ids shows so that it logged."""
        wire = self.load.wire
        if wire.resume is None or wire.ids or not self.answers:
            return
        expected, made = self.answers[-1]
        (view,) = await self.connect(1)
        view.ask(self.get(made, expected.stream))
        await view.ended
        logged = replace(wire, ids="ids=1" in wire.resume)
        self.unmeasured.append((replace(expected, wire=logged), view.transcript))

    async def idle(self) -> None:
        """Measure only memory. Some streams run first, so that everything that is built once exists before counting."""
        load = self.load
        warm = max(10, load.streams // 10)
        held = await self.connect(warm + load.streams)
        before = 0
        redis_before = None
        for stream in range(warm + load.streams):
            if stream == warm:
                await asyncio.sleep(_SETTLE_SECONDS)
                before = sum(resident_bytes(pid) for pid in load.pids)
                redis_before = self.gauge.read()
            held[stream].ask(self.post(stream, hold=True))
            await held[stream].first
        await asyncio.sleep(_SETTLE_SECONDS)
        self.server_bytes = (sum(resident_bytes(pid) for pid in load.pids) - before) / load.streams
        redis_after = self.gauge.read()
        if redis_before is not None and redis_after is not None:
            self.redis = (redis_before, redis_after)
        for connection in held:
            connection.abort()

    # -- the result ------------------------------------------------------------------------------------------------

    def measured(self) -> Measured:
        if self.load.kind is Kind.IDLE:
            grown = None if self.redis is None else (self.redis[1].used_bytes - self.redis[0].used_bytes)
            return Measured(
                server_bytes=self.server_bytes, redis_bytes=None if grown is None else grown / self.load.streams
            )
        readings: list[Reading] = []
        problems: list[str] = []
        for expected, transcript in (*self.unmeasured, *self.answers):
            reading = transcript.read(expected)
            if isinstance(reading, str):
                problems.append(reading)
            else:
                readings.append(reading)
        if problems:
            return Measured(problems=[f"{len(problems)} responses were wrong", *problems[:3]])
        readings = readings[len(self.unmeasured) :]
        return self._figures(readings)

    def _figures(self, readings: list[Reading]) -> Measured:
        begin, end = self.window_ns
        windowed = self.load.kind is Kind.VIEWERS
        lags = [
            arrived - made
            for reading in readings
            for made, arrived in zip(reading.made, reading.arrived, strict=True)
            if not windowed or begin <= arrived < end
        ]
        result = Measured(
            events=len(lags),
            seconds=(end - begin) / 1e9,
            server_cpu_us=self.cpu_us / len(lags),
            first=_spread([reading.arrived[0] - reading.asked for reading in readings]),
            latency=_spread(lags),
            whole=_spread([reading.ended - reading.asked for reading in readings]),
        )
        if self.redis is None:
            return result
        first, last = self.redis
        return replace(
            result,
            redis_cpu_us=(last.cpu_us - first.cpu_us) / len(lags),
            redis_bytes=(last.used_bytes - first.used_bytes) / len(lags),
        )


def _spread(nanoseconds: list[int]) -> Spread:
    p50, p99 = percentiles(nanoseconds, 50, 99)
    return Spread(p50 / 1e6, p99 / 1e6)


async def run(load: Load) -> Measured:
    """Carry out one `Load`. A server's mistakes are in the result's `problems`; they raise nothing."""
    job = _Run(load)
    kinds = {
        Kind.TOGETHER: job.together,
        Kind.ONE_BY_ONE: job.one_by_one,
        Kind.PACED: job.paced,
        Kind.VIEWERS: job.viewers,
        Kind.REPLAY: job.replay,
        Kind.IDLE: job.idle,
    }
    gc.disable()  # a collection in this process would be measured as the server's latency
    try:
        async with asyncio.timeout(load.timeout_seconds):
            await kinds[load.kind]()
            await job.reread()
    except TimeoutError:
        return Measured(problems=[f"not done within {load.timeout_seconds:.0f} s"])
    finally:
        gc.enable()
        job.gauge.close()
    return job.measured()


def main() -> None:
    load = LOAD.validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(MEASURED.dump_json(uvloop.run(run(load))))


if __name__ == "__main__":
    main()
