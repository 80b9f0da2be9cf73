"""A real redis-server of one's own, with the ways a Redis goes away: stopped, killed, frozen, restarted empty."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .ports import free_port
from .redis_binaries import redis_binary
from .waiting import wait_until

__all__ = ["DATABASES", "RedisServer"]

DATABASES: Final = 256
"""How many numbered databases each server has, so that tests can take turns without meeting each other's keys."""

_START_SECONDS: Final = 30.0


_WITHOUT_TTL = """
local page = redis.call('SCAN', ARGV[1], 'COUNT', 1000)
local found = {}
for _, key in ipairs(page[2]) do
  if redis.call('PTTL', key) == -1 then found[#found + 1] = key end
end
return {page[1], found}
"""


class RedisServer:
    """One redis-server process on a free port of 127.0.0.1, its files in a temporary directory.

    It keeps its port over `stop`, `kill` and `restart`. What survives depends on `aof`: with it, everything a client
    got an answer for survives a kill; without it nothing does, except a snapshot made with `client().save()`.

    Args:
        aof: keep an append-only file, synced each second.
        config: more redis-server options, as `{"maxmemory": "8mb"}`.
        binary: finds the program, which may be another version's, or Valkey's.
        port: where it listens; a free port unless given.
    """

    def __init__(
        self,
        *,
        aof: bool = False,
        config: dict[str, str] | None = None,
        binary: Callable[[], str] = redis_binary,
        port: int | None = None,
    ) -> None:
        self.aof = aof
        self.config = dict(config or {})
        self.binary = binary
        self.port = free_port() if port is None else port
        self.directory = Path(tempfile.mkdtemp(prefix="streamguard-redis-"))
        self._log_path = self.directory / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[int, redis.Redis] = {}
        self._unparsed: redis.Redis | None = None
        # A test run that dies half way must not leave servers behind.
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """`redis://` URL of database 0."""
        return self.database_url(0)

    def database_url(self, database: int) -> str:
        """`redis://` URL of one of the `DATABASES` numbered databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise AssertionError("this redis-server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a paused one is."""
        return self._process is not None and self._process.poll() is None

    def client(self, database: int = 0) -> redis.Redis:
        """A plain synchronous client for assertions: bytes in and out, three seconds per command, no retry."""
        if database not in self._clients:
            self._clients[database] = self._new_client(database)
        return self._clients[database]

    def command(self, *words: str | bytes | int) -> object:
        """What database 0 answers to a command, unparsed.

        Raises:
            redis.exceptions.RedisError: it answered with an error, or not at all.
        """
        if self._unparsed is None:
            self._unparsed = self._new_client(0)
            self._unparsed.response_callbacks.clear()
        answer: object = self._unparsed.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py
        return answer

    def arguments(self) -> list[str]:
        """What the program is started with."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "logfile": str(self._log_path),
            "databases": str(DATABASES),
            "save": "",
            "appendonly": "yes" if self.aof else "no",
            "appendfsync": "everysec",
            **self.config,
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def start(self) -> None:
        """Start the process and wait until it answers PING.

        Raises:
            AssertionError: it runs already, or does not answer within thirty seconds; the message has its log.
        """
        if self.running:
            raise AssertionError("this redis-server is running already")
        with self._log_path.open("ab") as log:  # what it says before it opens its log: wrong options
            self._process = subprocess.Popen(
                [self.binary(), *self.arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(self._ready, description=f"redis-server answers on port {self.port}", timeout=_START_SECONDS)

    def stop(self) -> None:
        """SIGTERM, and wait: the server closes its connections and its files properly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait: what was not written to a file is lost."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and are still accepted by the kernel, but nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it works off what arrived meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, *, empty: bool = False) -> None:
        """Kill it and start it again on the same port; with `empty`, after deleting every file it kept."""
        self.kill()
        if empty:
            for path in self.directory.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start()

    def clients(self, database: int = 0) -> list[redis.Redis]:
        """The client alone: other kinds have one for each master."""
        return [self.client(database)]

    def flush(self, database: int = 0) -> None:
        """Delete every key of a database, and keep no connection to it: there are thousands of them."""
        client = self.client(database)
        client.flushdb()
        client.close()

    def keys_without_ttl(self, database: int = 0) -> list[bytes]:
        """Every key of a database that would live for ever."""
        client, cursor, immortal = self.client(database), b"0", []
        while True:  # not a command for each key: a test may have made a hundred thousand
            cursor, found = client.eval(_WITHOUT_TTL, 0, cursor)
            immortal += found
            if cursor == b"0":
                return immortal

    def close(self) -> None:
        """Kill it if it runs and delete its directory; may be called twice."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _new_client(self, database: int) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            db=database,
            socket_timeout=3.0,
            socket_connect_timeout=3.0,
            retry=Retry(NoBackoff(), 0),  # redis-py's default retries for ten seconds
        )

    def _ready(self) -> bool:
        if not self.running:
            raise AssertionError(f"redis-server ended while starting:\n{self._log()}")
        try:
            return bool(self.client().ping())
        except redis.exceptions.RedisError:  # refused, or still loading its dataset
            return False

    def _log(self) -> str:
        return self._log_path.read_text(errors="replace")[-4000:]

    def _end(self, how: signal.Signals) -> None:
        for client in (*self._clients.values(), self._unparsed):
            if client is not None:
                client.close()
        self._clients.clear()
        self._unparsed = None
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)  # a paused process would not see SIGTERM
        process.wait(timeout=_START_SECONDS)
