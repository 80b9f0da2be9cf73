"""A real nginx of one's own, in front of a server, with the configuration that the how-to page shows."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .redis import free_port
from .tools import missing
from .waiting import wait_until

__all__ = ["Nginx"]

_INSTALL: Final = "no nginx found: `apt-get install nginx`"
_START_SECONDS: Final = 20.0
_AROUND: Final = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{shown}
}}
"""


class Nginx:
    """`nginx` on a free port of 127.0.0.1.

    Args:
        configuration: what stands in `http`, in which the server listens on port 80 and the application on
            127.0.0.1:8000: both are replaced.
        upstream: the port of the application.
    """

    def __init__(self, configuration: str, *, upstream: int) -> None:
        # Debian has it in /usr/sbin, which is not on everybody's path.
        binary = shutil.which("nginx", path=os.pathsep.join((*os.get_exec_path(), "/usr/sbin")))
        if binary is None:
            missing(_INSTALL)
        self._binary = binary
        self.port = free_port()
        assert configuration.count("127.0.0.1:8000") == 1
        shown = configuration.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        self._shown, listeners = re.subn(r"\blisten 80;", f"listen 127.0.0.1:{self.port};", shown)
        assert listeners == 1
        self.directory = Path(tempfile.mkdtemp(prefix="streamguard-nginx-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        atexit.register(self.close)
        configuration = self.directory / "nginx.conf"
        configuration.write_text(_AROUND.format(directory=self.directory, shown=self._shown))
        words = [self._binary, "-e", str(self.directory / "error.log"), "-c", str(configuration)]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        wait_until(self._listening, description=f"nginx listens on port {self.port}", timeout=_START_SECONDS)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def log(self) -> str:
        """What nginx wrote to its error log."""
        path = self.directory / "error.log"
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
