"""The machine of a run. Figures from different machines cannot be compared, and ratios only roughly."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

import psutil

__all__ = ["Facts", "commit", "facts", "steal_seconds"]

Facts = dict[str, str]

_PACKAGES: Final = ("streamguard", "starlette", "uvicorn", "uvloop", "httptools", "anyio", "redis", "hiredis")


def facts() -> Facts:
    """The properties that determine figures, as texts for a table."""
    memory = psutil.virtual_memory().total / 2**30
    return {
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": f"{memory:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        "commit": commit(),
    }


def steal_seconds() -> float:
    """CPU time since boot that this virtual machine asked for and did not get."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(none)"


def commit() -> str:
    """The commit of the code that runs."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "(unknown)"
    return done.stdout.strip()
