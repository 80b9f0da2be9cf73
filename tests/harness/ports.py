"""Ports for servers that are told where to listen.

They are below those that the kernel gives to connections (32768 and above on Linux, 49152 elsewhere), so that no
connection takes one before its server does, or while the server is away to come back. The processes of a run, and of
runs beside it, take turns: none gets a port that another one got shortly before.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["BUS", "free_port", "free_port_pair"]

BUS: Final = 10_000
"""How far a node of a Redis cluster listens above its own port, to the other nodes."""

_PAIRS: Final = range(11_000, 16_000)
_SINGLE: Final = range(26_000, 32_000)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    while True:
        port = _next_of(_SINGLE)
        if _is_free(port):
            return port


def free_port_pair() -> int:
    """A port that is free, as is the one `BUS` above: a node of a cluster listens on both."""
    while True:
        port = _next_of(_PAIRS)
        if _is_free(port) and _is_free(port + BUS):
            return port


def _next_of(ports: range) -> int:
    """The port after the one that any process of this user got last."""
    path = Path(tempfile.gettempdir()) / f"streamguard-ports-{os.getuid()}-{ports.start}"
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        turn = (int(file.read() or 0) + 1) % len(ports)
        file.seek(0)
        file.write(f"{turn:08}")
    return ports[turn]


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
