"""The processes of a soak: two workers, the Redis of their streams, its replica, and the Redis of the quota.

Workers reach Redis through one proxy, and the replica reaches its master through another, so that both can be delayed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import redis
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.waiting import wait_until
from tests.harness.workers import ROOT, Worker

from streamguard.messages.sql import SQLMessageStore

from .collecting import lacking
from .history import Loss

__all__ = ["WORKERS", "World"]

WORKERS: Final = 2
SYNC_SECONDS: Final = 30.0
_OPTIONS: Final = {
    # Redis writes to the file before it answers, so a kill loses nothing. With `everysec`, a slow disk may lose two
    # seconds.
    "appendfsync": "no",
    "repl-diskless-sync": "yes",
    "repl-diskless-sync-delay": "0",
    "repl-ping-replica-period": "1",
}


class World:
    """All processes of a soak. The methods block, so call them from a thread."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="streamguard-soak-"))
        self.faults = self.directory / "faults"
        self.database = self.directory / "messages.db"
        self._stack = ExitStack()
        self._redis_servers: list[RedisServer] = []
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        self.faults.mkdir()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self.master = self._redis()
        self.master.start()
        self.ledger = self._redis()
        self.ledger.start()
        self.proxy = self._stack.enter_context(FaultProxy(self.master.port))
        self.lag = self._stack.enter_context(FaultProxy(self.master.port))
        self.replica = self._follow()
        self.env = env = {
            "SOAK_REDIS": self.proxy.redis_url(),
            "SOAK_LEDGER": self.ledger.url,
            "SOAK_DATABASE": f"sqlite+aiosqlite:///{self.database}",
            "SOAK_FAULTS": str(self.faults),
        }
        _create_tables(env["SOAK_DATABASE"])
        self.workers = [Worker("benchmarks.soak.app:application", env=env, graceful_seconds=5) for _ in range(WORKERS)]
        for worker in self.workers:
            worker.start()

    def close(self) -> None:
        """End every process and delete their data."""
        for worker in self.workers:
            worker.close()
        self._stack.close()
        for server in self._redis_servers:
            server.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _redis(self) -> RedisServer:
        server = RedisServer(aof=True, config=dict(_OPTIONS))
        self._redis_servers.append(server)
        return server

    def _follow(self) -> RedisServer:
        """A new replica that has caught up with the master."""
        server = self._redis()
        server.config |= {"replicaof": f"127.0.0.1 {self.lag.port}"}
        server.start()
        self._in_step(server)
        return server

    def _in_step(self, server: RedisServer) -> None:
        def linked() -> bool:
            found = server.client().info("replication")
            return found.get("master_link_status") == "up" and not found.get("master_sync_in_progress")

        wait_until(_patiently(linked), description="the replica is in step", timeout=SYNC_SECONDS)

    # -- faults of Redis ------------------------------------------------------------------------------------------

    def fail_over(self, lag_seconds: float, clock: Callable[[], float], *, killing: Worker | None = None) -> Loss:
        """Let the replica fall behind for `lag_seconds`, kill the master, and connect the workers to the replica.

        With `killing`, that worker dies together with the master, so it cannot write again what the replica lacks.
        """
        old, new = self.master, self.replica
        self._in_step(new)
        self.lag.hang()
        time.sleep(lag_seconds)
        self.proxy.hang()  # clients may have seen everything that the master has confirmed
        logs, gone = lacking(old.client(), new.client())
        old.kill()
        if killing is not None and killing.alive:
            killing.kill()
        new.client().replicaof("NO", "ONE")
        del new.config["replicaof"]  # from now on it starts as a master
        self.master = new
        self.proxy.retarget(new.port)
        at = clock()
        self.proxy.forward()
        self.lag.retarget(new.port)
        self.lag.forward()
        old.close()
        self._redis_servers.remove(old)
        self.replica = self._follow()
        return Loss(at, logs, gone)

    def restart_redis(self) -> None:
        """Kill the master and start it again with its append-only file, which holds everything that it confirmed."""
        self.master.restart()

    # -- the end --------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End every fault."""
        for path in self.faults.iterdir():
            path.unlink()
        self.proxy.forward()
        self.lag.forward()
        for server in (self.master, self.ledger):
            if server.running:
                server.resume()
            else:
                server.start()
        for worker in self.workers:
            if worker.alive:
                worker.resume()
            else:
                worker.start()

    def reconcile(self) -> None:
        """End the workers, and reconcile what they left once more.

        Raises:
            AssertionError: reconciling failed.
        """
        for worker in self.workers:
            worker.kill()
        command = [sys.executable, "-m", "streamguard.cli", "reconcile", "--app", "benchmarks.soak.app:guard", "--once"]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode not in (0, 1):  # 1: some work is left for an operator
            raise AssertionError(f"reconciling failed:\n{done.stdout}{done.stderr}")

    def logs(self) -> dict[str, str]:
        """The output of each worker, by name."""
        return {
            f"worker-{number}.log": worker.log_path.read_text(errors="replace")
            for number, worker in enumerate(self.workers)
            if worker.log_path.exists()
        }


def _create_tables(url: str) -> None:
    async def create() -> None:
        store = SQLMessageStore(url)
        try:
            await store.create_tables()
        finally:
            await store.aclose()

    asyncio.run(create())  # in a thread, so there is no loop yet


def _patiently(predicate: Callable[[], bool]) -> Callable[[], bool]:
    """`predicate`, but False while Redis does not answer."""

    def asked() -> bool:
        try:
            return predicate()
        except redis.RedisError:
            return False

    return asked
