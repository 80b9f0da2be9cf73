"""Several workers of an example chat on one Redis, behind one address, so that killing one is a button.

`scripts/demo --workers 2` runs it. It starts a Redis, unless STREAMGUARD_URL names one, the workers, and a proxy on
HOST:PORT. Ctrl-C and SIGTERM let the workers end their answers, then end everything in order; a second one waits for
nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import uvicorn
from pool import DemoError, WorkerPool, say, until_ready
from process_group import ProcessGroup, end
from proxy import Proxy
from redis_server import INSTALL, RedisServer, redis_program

EXAMPLES = Path(__file__).resolve().parents[1]
# A killed worker's answer is taken over within lease and sweep: seconds that somebody who pressed a button waits. So is
# what is owed once the database is back.
SETTINGS = {
    "lease_seconds": 3,
    "heartbeat_seconds": 1,
    "sweep_seconds": 1,
    "outbox_seconds": 1,
    "outbox_retry_seconds": 1,
}

VIEWERS_SECONDS = 5
"""How long a viewer may take, once the workers have ended, to send the rest of a request or to read an answer's."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves it to others what a signal does."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event, pool: WorkerPool) -> None:
        super().__init__(config)
        self._stop = stop
        self._pool = pool
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop_or_kill, sig)

    def _stop_or_kill(self, sig: int) -> None:
        if self._stop.is_set():
            self._pool.kill()
        self._pool.stop_signal = signal.Signals(sig)
        self._stop.set()


async def serve(framework: str, workers: int, more: list[str], listener: socket.socket) -> None:
    """Run everything until a signal comes.

    Raises:
        DemoError: something did not start.
    """
    async with ProcessGroup() as group:
        environment = dict(os.environ)
        redis = None
        if environment.get("STREAMGUARD_URL", "memory://").startswith("memory://"):
            program = redis_program()
            if program is None:
                raise DemoError(INSTALL)
            server = RedisServer(group, program)
            redis = await server.start()
            try:
                await until_ready(redis, server.is_ready, what="the Redis")
            except DemoError as error:
                raise DemoError(f"{error}\n{server.log}") from error
            environment["STREAMGUARD_URL"] = server.url
        try:
            words = ["--app-dir", str(EXAMPLES / f"{framework}_app"), "--forwarded-allow-ips", "*", *more, "main:app"]
            pool = WorkerPool(group, words, _of_workers(environment, group.directory, workers), size=workers)
            await _serve(pool, listener)
        finally:
            if redis is not None:
                await end(redis, signal.SIGTERM, within_seconds=5)


async def _serve(pool: WorkerPool, listener: socket.socket) -> None:
    stop = asyncio.Event()
    # uvicorn calls it an error when an answer breaks off, which here is the point.
    config = uvicorn.Config(
        Proxy(pool).app,
        lifespan="off",
        ws="none",
        log_level="critical",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=VIEWERS_SECONDS,
    )
    server = Server(config, stop, pool)
    serving = asyncio.create_task(server.serve([listener]))
    running = asyncio.create_task(pool.run())
    stopping = asyncio.create_task(stop.wait())
    started = asyncio.create_task(_announce(pool, listener))
    try:
        await asyncio.wait((serving, running, stopping), return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    finally:
        stopping.cancel()
        server.should_exit = True
        await serving


async def _announce(pool: WorkerPool, listener: socket.socket) -> None:
    await pool.all_ready.wait()
    host, port = listener.getsockname()[:2]
    say(f"The example chat is at http://{host}:{port}/, served by {pool.size} workers (Ctrl-C stops them)")


def _of_workers(environment: Mapping[str, str], directory: Path, workers: int) -> dict[str, str]:
    """The environment of the workers. One variable is theirs alone, `DEMO_WORKER`: a worker's name."""
    settings = {**SETTINGS, **json.loads(environment.get("STREAMGUARD_SETTINGS") or "{}")}
    metrics = directory / "metrics"
    metrics.mkdir()
    ours = {
        "DEMO_WORKERS": str(workers),
        "PROMETHEUS_MULTIPROC_DIR": environment.get("PROMETHEUS_MULTIPROC_DIR") or str(metrics),
        "STREAMGUARD_SETTINGS": json.dumps(settings),
        "XDG_STATE_HOME": str(_state_home(environment, directory)),
    }
    return {name: value for name, value in environment.items() if name != "WEB_CONCURRENCY"} | ours


def _state_home(environment: Mapping[str, str], directory: Path) -> Path:
    """Where the chats are kept, which must be one place for all workers."""
    wanted = environment.get("XDG_STATE_HOME", "")
    with suppress(OSError, RuntimeError):
        home = Path(wanted) if os.path.isabs(wanted) else Path.home() / ".local" / "state"
        own = home / "streamguard-demo"
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(own, os.W_OK):
            return home
    say("nothing may be written in the home directory: chats are kept until the demo ends")
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="More arguments go to uvicorn.")
    parser.add_argument("framework", choices=("fastapi", "litestar"))
    parser.add_argument("--workers", type=int, required=True)
    options, more = parser.parse_known_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    host, port = os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or "8000")
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            asyncio.run(serve(options.framework, options.workers, more, listener))
    except (DemoError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # before there was anything to end in order
        sys.exit(130)


if __name__ == "__main__":
    main()
