"""Measures how much one owner's heavy load delays the first event of another owner's answers.

    python -m benchmarks.owners [--seconds 10] [--rounds 3]

One uvicorn worker runs with the default settings on a Redis. It freezes its garbage collector once it has its
application, as the how-to on deploying advises. The *quiet* owner begins an answer ten times a second. The *loud* owner
has a process of its own. Its clients download a long log, resume it from its start, delete sessions that do not exist,
and repeat refused requests with new idempotency keys, each as soon as its last request is answered. Rounds without and
with the loud owner alternate. A short pause after each refusal stands for the network. If there are several processors,
the server has one of its own. The loud clients, which would be on other machines, get what the measuring client and
Redis leave of the others, so that only the server can be late.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.routing import Route

from streamguard import Settings, StreamGuard
from streamguard.quota import Quota

from .processes import BenchmarkError, ChildProcess, RedisProcess, place

__all__ = ["Figures", "main", "measure"]

MOST_TIMES: Final = 2.0
"""The mark: the most that the p99 with the loud owner may be, divided by the p99 without it."""
EVENTS: Final = 20_000
"""Events of the long log: about two megabytes."""
CLIENTS: Final = 8
"""Clients of each kind."""
EVERY_SECONDS: Final = 0.1
PAUSE_SECONDS: Final = 0.02
_START_SECONDS: Final = 20.0


# -- the server -------------------------------------------------------------------------------------------------------


def _app(url: str) -> Starlette:
    guard = StreamGuard(url, authenticate=_owner, settings=Settings(replay_after_finish_seconds=600))

    async def long(request: Request) -> AsyncIterator[str]:
        for number in range(int(request.query_params["events"])):
            yield f"{number} and some more words to read; "
            if number % 100 == 0:
                await asyncio.sleep(0)

    def session(request: Request) -> str | None:
        return request.query_params.get("session")

    spent = Quota(limit=0, per="day", unit="requests")
    routes = [
        Route("/chat", guard.stream(session=session)(long), methods=["POST"]),
        Route("/spent", guard.stream(session=session, quota=spent, binding="spent")(long), methods=["POST"]),
    ]
    app = Starlette(routes=routes, lifespan=guard.lifespan)
    guard.install(app, "/chat")
    return app


async def _owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


class _Server(ChildProcess):
    def __init__(self, url: str) -> None:
        super().__init__("the server")
        self._url = url
        self.port = 0

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            self.port = listener.getsockname()[1]
            fd = listener.fileno()
            self._spawn([sys.executable, "-m", "benchmarks.owners", "--serve", str(fd), self._url], pass_fds=(fd,))
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            self._check_running()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/chat/health/ready", timeout=1.0).close()
            except (urllib.error.HTTPError, OSError):
                time.sleep(0.05)
            else:
                return
        raise self._failed(f"did not answer within {_START_SECONDS:.0f} s")


# -- clients ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Answer:
    status: int
    first_seconds: float
    """Time until the first event, or until the end of the head if there is no event."""
    body_bytes: int
    headers: bytes


async def _ask(port: int, method: str, path: str, user: str, key: str | None = None) -> _Answer:
    """Send one request on its own connection and read the response to its end."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        more = "" if key is None else f"Idempotency-Key: {key}\r\n"
        length = "Content-Length: 0\r\n" if method == "POST" else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-User: {user}\r\nConnection: close\r\n{length}{more}\r\n"
        writer.write(head.encode())
        answered = await reader.readuntil(b"\r\n\r\n")
        status, first, size, tail = int(answered.split(maxsplit=2)[1]), time.perf_counter(), 0, b""
        streams = status == 200 and b"text/event-stream" in answered
        seen = not streams
        while chunk := await reader.read(65_536):
            size += len(chunk)
            if not seen:
                tail += chunk
                if b"text-delta" in tail:
                    first, seen = time.perf_counter(), True
        return _Answer(status, first - began, size, answered)
    finally:
        writer.close()


async def _loud(port: int, stream_id: str, seconds: float) -> Counter[str]:
    """Run all loud clients at once for `seconds`. Returns the number of each kind of answer."""
    answers: Counter[str] = Counter()
    until = time.monotonic() + seconds
    numbers = itertools.count()

    async def client(kind: str) -> None:
        while time.monotonic() < until:
            number = next(numbers)
            method, path, key = {
                "raw": ("GET", f"/chat/long/streams/{stream_id}/raw", None),
                "resume": ("GET", "/chat/long/stream", None),
                "delete": ("DELETE", f"/chat/never-{number}", None),
                "refused": ("POST", f"/spent?events=1&session=s{number}", f"key-{number}"),
            }[kind]
            try:
                answer = await _ask(port, method, path, "loud", key)
            except (OSError, asyncio.IncompleteReadError):
                answers[f"{kind} broken"] += 1
                continue
            answers[f"{kind} {answer.status}"] += 1
            if answer.status >= 400:
                await asyncio.sleep(PAUSE_SECONDS)

    kinds = ("raw", "resume", "delete", "refused")
    clients = [asyncio.create_task(client(kind)) for kind in kinds for _ in range(CLIENTS)]
    _, late = await asyncio.wait(clients, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.wait(clients)
    for task in late:
        answers["cut by the end"] += task.cancelled()
    return answers


async def _quiet(port: int, seconds: float) -> list[float]:
    """Begin answers one after the other. Returns the time to the first event of each."""
    found: list[float] = []
    until = time.monotonic() + seconds
    for number in itertools.count():
        if time.monotonic() >= until:
            return found
        began = time.monotonic()
        answer = await _ask(port, "POST", f"/chat?events=5&session=q{number}", "quiet")
        if answer.status != 200:
            raise BenchmarkError(f"the quiet owner was answered {answer.status}")
        found.append(answer.first_seconds)
        await asyncio.sleep(max(0.0, EVERY_SECONDS - (time.monotonic() - began)))
    return found


# -- the measurement --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Figures:
    """The result of a run; times in seconds."""

    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def times(self) -> float:
        """The factor by which the p99 grew."""
        return _p99(self.beside) / _p99(self.alone)

    @property
    def good(self) -> bool:
        return self.times <= MOST_TIMES


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


async def measure(*, seconds: float, rounds: int, events: int) -> Figures:
    """Run both owners against a new server and a new Redis. The long log has `events` events."""
    figures = Figures()
    with RedisProcess() as redis_process, _Server(redis_process.url) as server:
        place([server.pid], [redis_process.pid, os.getpid()], apart=True)  # children inherit their parent's processors
        began = await _ask(server.port, "POST", f"/chat?events={events}&session=long", "loud")
        (stream_id,) = [
            line.partition(b":")[2].strip().decode()
            for line in began.headers.split(b"\r\n")
            if line.lower().startswith(b"x-stream-id")
        ]
        await _quiet(server.port, 1.0)
        for _ in range(rounds):
            figures.alone += await _quiet(server.port, seconds)
            arguments = ["--loud", str(server.port), stream_id, str(seconds + 1)]
            loud = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "benchmarks.owners", *arguments, stdout=subprocess.PIPE
            )
            await asyncio.sleep(1.0)
            figures.beside += await _quiet(server.port, seconds)
            told, _ = await loud.communicate()
            figures.answers.update(json.loads(told))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report. Returns 0 if the mark is reached, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.owners", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each round (10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds without and with the loud owner (3)")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"length of the long log ({EVENTS})")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--loud", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        fd, url = options.serve
        app = _app(url)
        gc.collect()
        gc.freeze()
        config = uvicorn.Config(app, loop="uvloop", http="httptools", ws="none", access_log=False, log_level="error")
        uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(fd))])
        return 0
    if options.loud is not None:
        os.nice(19)
        port, stream_id, seconds = options.loud
        sys.stdout.write(json.dumps(asyncio.run(_loud(int(port), stream_id, float(seconds)))))
        return 0
    figures = asyncio.run(measure(seconds=options.seconds, rounds=options.rounds, events=options.events))
    for name, values in (("alone", figures.alone), ("beside the loud owner", figures.beside)):
        middle, last = statistics.median(values) * 1000, _p99(values) * 1000
        sys.stdout.write(f"first event {name}: p50 {middle:.1f} ms, p99 {last:.1f} ms ({len(values)} answers)\n")
    sys.stdout.write(f"the loud owner was answered: {dict(sorted(figures.answers.items()))}\n")
    verdict = "good" if figures.good else "NOT GOOD"
    sys.stdout.write(f"p99 grew {figures.times:.2f} times (at most {MOST_TIMES:g}): {verdict}\n")
    return 0 if figures.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
