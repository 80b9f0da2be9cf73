"""A real MariaDB server of one's own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Sequence
from typing import Final

from .database import DatabaseServer
from .tools import missing

__all__ = ["MariaDBServer"]

_INSTALL: Final = "no MariaDB server found: `apt-get install mariadb-server`"
_ANSWER_SECONDS: Final = 2.0


def _program(*names: str) -> str:
    """The first of `names` on PATH; Debian has the server in /usr/sbin, which is not on everybody's."""
    path = os.pathsep.join((*os.get_exec_path(), "/usr/sbin"))
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        missing(_INSTALL)
    return found


class MariaDBServer(DatabaseServer):
    """`mariadbd`, without passwords or accounts, and with latin1 as the character set of what does not name its own.
    It is not synced to the disk: only the machine's own crash loses what it has committed."""

    _stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self._install = _program("mariadb-install-db", "mysql_install_db")
        self._mariadbd = _program("mariadbd", "mysqld")
        super().__init__(user="mysql")

    def url(self, port: int | None = None, *, scheme: str = "mysql+asyncmy") -> str:
        return f"{scheme}://root@127.0.0.1:{port or self.port}/streamguard"

    def _preparation(self) -> Sequence[str]:
        options = ("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin")
        return (self._install, "--no-defaults", f"--datadir={self.directory / 'data'}", *options)

    def _command(self) -> Sequence[str]:
        first = self.directory / "first.sql"
        first.write_text("CREATE DATABASE IF NOT EXISTS streamguard;\n")
        options = {
            "datadir": self.directory / "data",
            "socket": self.directory / "socket",
            "pid-file": self.directory / "pid",
            "init-file": first,
            "bind-address": "127.0.0.1",
            "port": self.port,
            "character-set-server": "latin1",
            "innodb-flush-log-at-trx-commit": 2,
            "innodb-buffer-pool-size": "24M",
            "innodb-log-file-size": "8M",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        return (self._mariadbd, "--no-defaults", "--skip-grant-tables", "--skip-name-resolve", *words)

    def _answers(self) -> bool:
        # It speaks first: a packet's header of four bytes, then the protocol's version, or 255 for an error.
        with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_SECONDS) as connection:
            return connection.recv(5)[4:] == b"\n"
