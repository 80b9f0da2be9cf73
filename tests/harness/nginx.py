"""A real nginx of one's own, in front of a server, with the configuration that the how-to page shows."""

from __future__ import annotations

import os
import re
import shutil
from typing import Final

from .front_server import FrontServer
from .tools import missing

__all__ = ["Nginx"]

_INSTALL: Final = "no nginx found: `apt-get install nginx`"
_AROUND: Final = """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/log notice;
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


class Nginx(FrontServer):
    """`nginx` on a free port of 127.0.0.1.

    Args:
        configuration: what stands in `http`, in which the server listens on port 80 and the application on
            127.0.0.1:8000: both are replaced.
        upstream: the port of the application.
    """

    name = "nginx"

    def __init__(self, configuration: str, *, upstream: int) -> None:
        # Debian has it in /usr/sbin, which is not on everybody's path.
        binary = shutil.which("nginx", path=os.pathsep.join((*os.get_exec_path(), "/usr/sbin")))
        if binary is None:
            missing(_INSTALL)
        super().__init__()
        self._binary = binary
        assert configuration.count("127.0.0.1:8000") == 1
        shown = configuration.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        self._shown, listeners = re.subn(r"\blisten 80;", f"listen 127.0.0.1:{self.port};", shown)
        assert listeners == 1

    def command(self) -> list[str]:
        configuration = self.directory / "nginx.conf"
        configuration.write_text(_AROUND.format(directory=self.directory, shown=self._shown))
        return [self._binary, "-e", str(self.directory / "log"), "-c", str(configuration)]
