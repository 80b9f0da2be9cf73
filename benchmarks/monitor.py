"""Counts the commands that clients *send* to Redis."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Final, Self

import psutil
import redis

__all__ = ["SentCommands"]

_LINE: Final = re.compile(rb'^\+\d+\.\d+ \[\d+ (?:lua|\S+:(\d+))\] "(\w+)"', re.MULTILINE)
_MARK: Final = b"streamguard-bench-end"


class SentCommands:
    """Counts the commands that clients send while the block runs, by name.

    INFO's counters include the calls of scripts; MONITOR marks those with the sender `lua`. MONITOR slows Redis down a
    little, so nothing is timed while it runs.

    Args:
        port: Redis's.
        pid: of the process whose commands are counted; None: every client's. A connection that it opens and closes
            within the block is not seen.
    """

    def __init__(self, port: int, pid: int | None = None) -> None:
        self._port = port
        self._pid = pid
        self._clients = self._ports()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        self._received = bytearray()
        self._thread = threading.Thread(target=self._receive, name="redis-monitor")
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._socket.sendall(b"MONITOR\r\n")
        if not self._socket.recv(5).startswith(b"+OK"):
            self._socket.close()
            raise OSError("redis refused MONITOR")
        self._socket.settimeout(60.0)
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # MONITOR reports in order: once the mark has come, everything before it has come too.
        with redis.Redis(host="127.0.0.1", port=self._port, socket_timeout=5.0) as client:
            client.echo(_MARK.decode())
        self._thread.join(60.0)
        self._socket.close()
        own = {b"ECHO", b"CLIENT", b"HELLO"}
        clients = self._clients | self._ports()
        for sender, name in _LINE.findall(bytes(self._received)):
            if sender and name.upper() not in own and (self._pid is None or int(sender) in clients):
                self.counts[name.decode().lower()] += 1

    def _ports(self) -> set[int]:
        """The local ports of the process's connections to Redis."""
        if self._pid is None:
            return set()
        found = psutil.Process(self._pid).net_connections(kind="tcp")
        return {one.laddr.port for one in found if getattr(one.raddr, "port", None) == self._port}

    def _receive(self) -> None:
        while _MARK not in self._received[-4096:]:
            data = self._socket.recv(1 << 20)
            if not data:
                return
            self._received += data
