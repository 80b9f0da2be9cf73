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

_PACKAGES: Final = ("streamguard-asgi", "starlette", "uvicorn", "uvloop", "httptools", "anyio", "redis", "hiredis")
_ROOT: Final = Path(__file__).resolve().parent.parent
_MEASURED: Final = ("src", "benchmarks", "pyproject.toml")


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


def commit(root: Path = _ROOT) -> str:
    """The last commit that changed what is measured or what measures it, as its short hash; `-dirty` after it when
    files of either have changed since. Commits of documentation, records of earlier cells among them, do not count."""
    try:
        last = _git(root, "log", "-1", "--format=%h", "--", *_MEASURED)
        changed = _git(root, "status", "--porcelain", "--", *_MEASURED)
    except (OSError, subprocess.SubprocessError):
        return "(unknown)"
    return f"{last}-dirty" if changed else last


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()
