"""Installs the contenders that need packages which the project does not have, each kind into a directory of its own."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from .contenders.contract import Environment

__all__ = ["NODE_MODULES", "NotInstallableError", "interpreter"]

_HERE: Final = Path(__file__).resolve().parent / "contenders"
_BUILT: Final = _HERE.parent.parent / "build" / "contenders"
NODE_MODULES: Final = _BUILT / "node"
"""The directory that npm installed into."""
_INSTALL_SECONDS: Final = 300.0


class NotInstallableError(Exception):
    """The packages of a contender could not be installed. The message says why."""


def interpreter(environment: Environment) -> str:
    """The program that runs a contender's server. Installs its packages when they, or their pins, are new.

    Raises:
        NotInstallableError: the tools are missing, or the packages could not be got.
    """
    found = _interpreter(environment)
    if isinstance(found, NotInstallableError):
        raise found
    return found


@cache
def _interpreter(environment: Environment) -> str | NotInstallableError:
    """Tried once a run."""
    try:
        return _installed(environment)
    except NotInstallableError as exc:
        return exc


def _installed(environment: Environment) -> str:
    match environment:
        case Environment.PROJECT:
            return sys.executable
        case Environment.PYTHON:
            place = _BUILT / "python"
            python = place / "bin" / "python"
            _once(
                place,
                _HERE / "requirements.txt",
                [sys.executable, "-m", "venv", "--clear", str(place)],
                [str(python), "-m", "pip", "install", "--quiet", "-r", str(_HERE / "requirements.txt")],
            )
            return str(python)
        case Environment.NODE:
            node, npm = shutil.which("node"), shutil.which("npm")
            if node is None or npm is None:
                raise NotInstallableError("no node and npm: `apt-get install nodejs npm`")
            place = NODE_MODULES
            place.mkdir(parents=True, exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(_HERE / "node" / name, place / name)
            _once(
                place,
                _HERE / "node" / "package-lock.json",
                [npm, "ci", "--silent", "--no-audit", "--no-fund", "--prefix", str(place)],
            )
            return node


def _once(place: Path, pins: Path, *commands: list[str]) -> None:
    """Run `commands` unless they ran for these pins. Of several processes that want it at a time, one does it."""
    stamp = place / ".installed"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    _BUILT.mkdir(parents=True, exist_ok=True)
    with (_BUILT / ".turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        for command in commands:
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
            except (OSError, subprocess.TimeoutExpired) as exc:
                raise NotInstallableError(f"{command[0]}: {exc}") from exc
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise NotInstallableError(f"{' '.join(command[:3])} failed: {said[-1] if said else done.returncode}")
        stamp.write_text(wanted)
