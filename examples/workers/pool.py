"""The worker processes: each serves the whole example chat, and another takes the place of one that ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import httpx
from process_group import ProcessGroup, end

START_SECONDS = 60.0
DRAIN_SECONDS = 30.0  # streamguard's own drain is over before: 20 seconds, or half a second after Ctrl-C
_READY_POLL_SECONDS = 0.05


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


class Worker:
    """One process. It listens on a socket in the group's directory, which only this user can reach."""

    def __init__(self, name: str, socket: Path) -> None:
        self.name = name
        self.socket = socket
        # A connection for each request: none is left that could turn out to be closed when it is used again.
        self.transport = httpx.AsyncHTTPTransport(
            uds=str(socket), limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
        )
        self.process: Process | None = None
        self.ready = False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def kill(self) -> None:
        """SIGKILL: without drain and clean-up."""
        if self.process is not None and self.running:
            self.process.kill()

    async def is_ready(self) -> bool:
        try:
            response = await self.transport.handle_async_request(
                httpx.Request("GET", "http://worker/api/chat/health/ready")
            )
            await response.aread()
        except httpx.TransportError:
            return False
        return response.is_success


class WorkerPool:
    """As many workers as were asked for. `words` is the server's command, without where it listens."""

    def __init__(self, group: ProcessGroup, words: Sequence[str], environment: Mapping[str, str], *, size: int) -> None:
        self.size = size
        self.all_ready = asyncio.Event()
        """Whether every worker has served at once."""
        self.stop_signal = signal.SIGTERM
        """The signal that asks a worker to end its answers and itself."""
        self._group = group
        self._words = list(words)
        self._environment = dict(environment)
        self._numbers = count(1)
        self._workers: list[Worker] = []

    def in_turn(self) -> Iterator[Worker]:
        """The workers that serve, each once; the next call begins with another one."""
        ready = [worker for worker in self._workers if worker.ready and worker.running]
        if ready:
            self._workers.remove(ready[0])
            self._workers.append(ready[0])
        return iter(ready)

    async def run(self) -> None:
        """Keep the workers running. Cancelled, it lets each end its answers and itself, and waits for them.

        Raises:
            ExceptionGroup: of `DemoError`: a worker ended, or did not answer, before it served.
        """
        async with asyncio.TaskGroup() as group:
            for _ in range(self.size):
                group.create_task(self._keep_one())

    def kill(self) -> None:
        """SIGKILL all of them."""
        for worker in self._workers:
            worker.kill()

    async def _keep_one(self) -> None:
        while True:
            name = f"w{next(self._numbers)}"
            worker = Worker(name, self._group.directory / f"{name}.sock")
            words = [sys.executable, "-m", "uvicorn", *self._words, "--uds", str(worker.socket)]
            process = await self._group.spawn(words, environment={**self._environment, "DEMO_WORKER": name})
            worker.process = process
            self._workers.append(worker)
            try:
                await until_ready(process, worker.is_ready, what=f"worker {name}")
                worker.ready = True
                if self.all_ready.is_set():
                    say(f"worker {name} serves")
                if sum(one.ready for one in self._workers) == self.size:
                    self.all_ready.set()
                await process.wait()
            finally:
                await end(process, self.stop_signal, within_seconds=DRAIN_SECONDS)
                self._workers.remove(worker)
            say(f"worker {name} is gone; another takes its place")


async def until_ready(process: Process, is_ready: Callable[[], Awaitable[bool]], *, what: str) -> None:
    """Wait until a process that was just started answers.

    Raises:
        DemoError: it ended, or was silent for a minute.
    """
    deadline = time.monotonic() + START_SECONDS
    while not await is_ready():
        if process.returncode is not None:
            raise DemoError(f"{what} ended before it served, with status {process.returncode}")
        if time.monotonic() > deadline:
            raise DemoError(f"{what} does not answer")
        await asyncio.sleep(_READY_POLL_SECONDS)


def say(text: str) -> None:
    print(text, flush=True)
