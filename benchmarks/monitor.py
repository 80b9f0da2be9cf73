"""Counts the commands that clients *send* to Redis."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from types import TracebackType
from typing import Final, Self

import redis

__all__ = ["SentCommands"]

_LINE: Final = re.compile(rb'^\+\d+\.\d+ \[\d+ (\S+)\] "(\w+)"', re.MULTILINE)
_MARK: Final = b"streamguard-bench-end"


class SentCommands:
    """Counts the commands that clients send while the block runs, by name.

    INFO's counters include the calls of scripts; MONITOR marks those with the sender `lua`. MONITOR slows Redis down a
    little, so nothing is timed while it runs.
    """

    def __init__(self, port: int) -> None:
        self._port = port
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
        for sender, name in _LINE.findall(bytes(self._received)):
            if sender != b"lua" and name.upper() not in own:
                self.counts[name.decode().lower()] += 1

    def _receive(self) -> None:
        while _MARK not in self._received[-4096:]:
            data = self._socket.recv(1 << 20)
            if not data:
                return
            self._received += data
