"""A real PostgreSQL server of one's own."""

from __future__ import annotations

import shutil
import signal
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .database import DatabaseServer
from .tools import missing

__all__ = ["PostgresServer"]

_INSTALL: Final = "no PostgreSQL server found: `apt-get install postgresql`"
_PROTOCOL_3: Final = 196_608
_ANSWER_SECONDS: Final = 2.0


def _program(name: str) -> str:
    """Debian keeps the server's programs off PATH, in a directory per version."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    found = shutil.which(name) or next(map(str, reversed(packaged)), None)
    if found is None:
        missing(_INSTALL)
    return found


class PostgresServer(DatabaseServer):
    """`postgres`, with everyone on this machine trusted. It is not synced to the disk: only the machine's own crash
    loses what it has committed."""

    _stop_signal = signal.SIGINT

    def __init__(self) -> None:
        self._initdb, self._postgres = _program("initdb"), _program("postgres")
        super().__init__(user="postgres")

    def url(self, port: int | None = None) -> str:
        # Nobody asks for the password, but without one asyncpg looks for it in a file, and for TLS it looks for more.
        return f"postgresql+asyncpg://postgres:unasked@127.0.0.1:{port or self.port}/postgres?ssl=disable"

    def _preparation(self) -> Sequence[str]:
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-clean")
        return (self._initdb, f"--pgdata={self.directory / 'data'}", *options)

    def _command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return (self._postgres, "-D", str(self.directory / "data"), *words)

    def _answers(self) -> bool:
        # While it recovers, it takes connections but refuses sessions: one must be begun to know.
        body = struct.pack("!I", _PROTOCOL_3) + b"user\0postgres\0database\0postgres\0\0"
        with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_SECONDS) as connection:
            connection.sendall(struct.pack("!I", len(body) + 4) + body)
            answer = connection.recv(1)
            connection.sendall(b"X\0\0\0\4")
        return answer == b"R"
