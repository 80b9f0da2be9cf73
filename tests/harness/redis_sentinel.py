"""A master, its replicas, and the sentinels that make one of those the master when it fails, or when told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import redis

from .proxy import FaultProxy
from .redis import RedisServer
from .redis_binaries import redis_binary
from .redis_group import RedisGroup
from .waiting import wait_until

__all__ = ["SERVICE", "RedisSentinels", "Sentinel", "WatchedRedis"]

SERVICE: Final = "mymaster"

_START_SECONDS: Final = 60.0


class WatchedRedis(RedisServer):
    """The master or a replica, with the fault proxy that clients find it behind, if any."""

    def __init__(self, *, config: dict[str, str], binary: Callable[[], str], aof: bool, proxied: bool) -> None:
        super().__init__(aof=aof, config=config, binary=binary)
        self.proxy = FaultProxy(self.port) if proxied else None
        self.public_port = self.port if self.proxy is None else self.proxy.port
        """Where clients are told that it is."""
        self.config |= {"replica-announce-ip": "127.0.0.1", "replica-announce-port": str(self.public_port)}

    @property
    def replication(self) -> dict[str, str]:
        """What it says of its replication."""
        text = self.command("INFO", "replication")
        assert isinstance(text, bytes)
        return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)

    @property
    def is_master(self) -> bool:
        return self.replication["role"] == "master"


class Sentinel(RedisServer):
    """One sentinel. It rewrites its own configuration file, which therefore outlives a restart."""

    def __init__(self, watched_port: int, *, config: dict[str, str], binary: Callable[[], str], down_ms: int) -> None:
        super().__init__(config=config, binary=binary)
        self.watched_port = watched_port
        """Where its master is at first."""
        self._down_ms = down_ms

    def arguments(self) -> list[str]:
        file = self.directory / "sentinel.conf"
        if not file.exists():
            options = {
                "bind": "127.0.0.1",
                "port": str(self.port),
                "dir": str(self.directory),
                "logfile": str(self._log_path),
                **self.config,
                "sentinel": f"monitor {SERVICE} 127.0.0.1 {self.watched_port} 2",
            }
            lines = [f"{name} {value}" for name, value in options.items()]
            lines += [
                f"sentinel down-after-milliseconds {SERVICE} {self._down_ms}",
                f"sentinel failover-timeout {SERVICE} 10000",
            ]
            file.write_text("\n".join(lines) + "\n")
        return [str(file), "--sentinel"]

    def facts(self) -> dict[str, str]:
        """What it knows of the service."""
        answer = self.command("SENTINEL", "MASTER", SERVICE)
        # As a map in RESP3, which redis-py asks for by itself.
        words = [w for pair in answer.items() for w in pair] if isinstance(answer, dict) else answer
        assert isinstance(words, list)
        texts = [word.decode() for word in words]
        return dict(zip(texts[::2], texts[1::2], strict=True))


class RedisSentinels(RedisGroup):
    """One master, its replicas, and the sentinels. Use as a context manager.

    Args:
        replicas: how many.
        sentinels: how many; two must agree.
        down_seconds: after which silence a sentinel takes the master for failed. A busy machine is silent for longer
            than one thinks: only tests of real failovers should make it short.
        sentinel_config: more options of the sentinels, as `{"requirepass": "…"}`.
        binary: finds the program, which may be another version's, or Valkey's.
        aof: each Redis keeps an append-only file.
        proxied: each Redis is behind a `FaultProxy`, which is where clients are sent.
    """

    def __init__(
        self,
        *,
        replicas: int = 1,
        sentinels: int = 3,
        down_seconds: float = 10.0,
        sentinel_config: dict[str, str] | None = None,
        binary: Callable[[], str] = redis_binary,
        aof: bool = False,
        proxied: bool = False,
    ) -> None:
        self.servers = [
            WatchedRedis(config={"repl-diskless-sync-delay": "0"}, binary=binary, aof=aof, proxied=proxied)
            for _ in range(1 + replicas)
        ]
        """The master first, as it was at the start."""
        self.sentinels = [
            Sentinel(
                self.servers[0].public_port,
                config=sentinel_config or {},
                binary=binary,
                down_ms=round(down_seconds * 1000),
            )
            for _ in range(sentinels)
        ]
        super().__init__()

    def _members(self) -> list[tuple[RedisServer, FaultProxy | None]]:
        return [*((server, server.proxy) for server in self.servers), *((one, None) for one in self.sentinels)]

    @property
    def url(self) -> str:
        """`redis+sentinel://` URL of database 0 that names every sentinel."""
        return self.database_url(0)

    def database_url(self, database: int) -> str:
        """`redis+sentinel://` URL of one of the master's numbered databases."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/{database}"

    @property
    def master(self) -> WatchedRedis:
        """The server that the sentinels name."""
        ports = {int(sentinel.facts()["port"]) for sentinel in self.sentinels if sentinel.running}
        if len(ports) != 1:
            raise AssertionError(f"the sentinels do not agree: {ports}")
        (port,) = ports
        return next(server for server in self.servers if server.public_port == port)

    @property
    def replica(self) -> WatchedRedis:
        """A running server that the sentinels do not name."""
        master = self.master
        return next(server for server in self.servers if server is not master and server.running)

    def clients(self, database: int = 0) -> list[redis.Redis]:
        """The present master's client."""
        return self.master.clients(database)

    def flush(self, database: int = 0) -> None:
        """Delete every key of a database."""
        self.master.flush(database)

    def keys_without_ttl(self, database: int = 0) -> list[bytes]:
        """Every key of a database that would live for ever."""
        return self.master.keys_without_ttl(database)

    def fail_over(self) -> WatchedRedis:
        """Tell a sentinel to make a replica the master, and wait until all sentinels know it; the new master. The old
        one still takes itself for a master for ten seconds or so, and what it is told in that time is lost."""
        old = self.master
        self._wait(self._told, "a sentinel accepts the failover")
        return self._wait_for_another(old)

    def kill(self) -> WatchedRedis:
        """Kill the master, and wait until the sentinels have made a replica one; the new master."""
        old = self.master
        old.kill()
        return self._wait_for_another(old)

    def wait_until_settled(self) -> None:
        """Wait until every running server has its role, every replica has all that the master has, and every sentinel
        knows them all."""
        self._wait(self._settled, "the sentinels and replicas have settled")

    def _told(self) -> bool:
        self.sentinels[0].command("SENTINEL", "FAILOVER", SERVICE)  # refused while another one is under way
        return True

    def _wait_for_another(self, old: WatchedRedis) -> WatchedRedis:
        def another() -> bool:
            new = self.master
            return new is not old and new.is_master

        self._wait(another, "another server is the master")
        return self.master

    def _settled(self) -> bool:
        master = self.master
        facts = master.replication
        offset = facts["master_repl_offset"]
        copies = [text for name, text in facts.items() if name.startswith("slave") and "state=" in text]
        running = [server for server in self.servers if server.running]
        known = [sentinel.facts() for sentinel in self.sentinels if sentinel.running]
        return (
            facts["role"] == "master"
            and len(copies) == len(running) - 1
            and all(f"state=online,offset={offset}," in text for text in copies)
            and all(
                one["flags"] == "master"
                and int(one["num-slaves"]) == len(self.servers) - 1
                and int(one["num-other-sentinels"]) == len(self.sentinels) - 1
                for one in known
            )
        )

    def _start(self) -> None:
        master, *replicas = self.servers
        master.start()
        for replica in replicas:
            replica.start()
            replica.command("REPLICAOF", "127.0.0.1", master.public_port)
        for sentinel in self.sentinels:
            sentinel.start()
        self.wait_until_settled()

    @staticmethod
    def _wait(condition: Callable[[], bool], description: str) -> None:
        def asked() -> bool:
            try:
                return condition()
            except (redis.exceptions.RedisError, AssertionError):  # one that is going away, or they do not agree yet
                return False

        wait_until(asked, description=description, timeout=_START_SECONDS)
