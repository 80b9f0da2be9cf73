"""`streamguard-client` as its users get it: packed by npm, and installed from the tarball."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..harness.tools import missing
from ..harness.workers import ROOT

__all__ = ["PACKAGE", "install_locked", "installed_client", "tsc"]

PACKAGE: Final = ROOT / "clients" / "javascript"
"""The package's sources."""

NPM_SECONDS = 150.0
"""How long one npm may take."""

_LINK: Final = Path(__file__).parent / "node_modules"
"""Where the other packages of these tests are, and so what the installed one lies in."""


def installed_client(npm: str) -> Path:
    """The directory `node_modules` that has the package and nothing else. Made once for each state of the sources."""
    install_locked(npm, PACKAGE)
    _LINK.mkdir(exist_ok=True)
    with (_LINK / ".streamguard-client.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = _LINK / f".streamguard-client-{_digest()}"
        if not place.exists():
            for old in _LINK.glob(".streamguard-client-*"):
                shutil.rmtree(old)
            _install(npm, place)
        return place / "node_modules"


def install_locked(npm: str, directory: Path) -> None:
    """Install what a lock file says, unless it is all there. Where npm finds no packages, or waits for them too long,
    it skips; with `CI=true` it fails."""
    with (directory / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the processes that share the tests, one installs
        if not _is_installed(directory):
            try:
                ran = _npm([npm, "ci"], directory)
                failure = "" if ran.returncode == 0 else ran.stderr[-2000:] or f"npm ended with {ran.returncode}"
            except subprocess.TimeoutExpired as exc:
                failure = str(exc)
            if failure:
                command = f"npm ci --prefix {os.path.relpath(directory, ROOT)}"
                missing(f"the packages could not be installed: `{command}`\n{failure}")


def _is_installed(directory: Path) -> bool:
    """Whether `node_modules` has what the lock file of a directory says.

    npm writes its own record last, so a half installed directory has none. Times are not compared: a checkout sets that
    of the lock file, and a copy of `node_modules` has its own.
    """
    record = directory / "node_modules" / ".package-lock.json"
    if not record.exists():
        return False
    installed = _versions(record)
    wanted = _versions(directory / "package-lock.json")
    return all(installed.get(name) == wanted[name] and (directory / name).is_dir() for name in wanted)


def _versions(lock: Path) -> dict[str, str]:
    """The version of each package, by its place. Optional ones are for some platforms only."""
    packages = json.loads(lock.read_text())["packages"]
    return {place: one["version"] for place, one in packages.items() if place and not one.get("optional")}


def tsc() -> Path:
    """The TypeScript compiler that the package is built with, once `installed_client` has installed it."""
    return PACKAGE / "node_modules" / ".bin" / "tsc"


def _install(npm: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_LINK) as directory:
        scratch = Path(directory)
        (scratch / "package.json").write_text('{"private": true, "type": "module"}')
        packed = _npm([npm, "pack", "--pack-destination", directory], PACKAGE)
        assert packed.returncode == 0, packed.stdout + packed.stderr
        (tarball,) = scratch.glob("*.tgz")
        installed = _npm([npm, "install", "--offline", "--no-save", "--no-package-lock", str(tarball)], scratch)
        assert installed.returncode == 0, installed.stdout + installed.stderr
        place.mkdir()
        (scratch / "node_modules").rename(place / "node_modules")


def _npm(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    options = ["--no-audit", "--no-fund"]
    return subprocess.run([*command, *options], cwd=directory, capture_output=True, text=True, timeout=NPM_SECONDS)


def _digest() -> str:
    files = sorted(path for path in PACKAGE.iterdir() if path.is_file()) + sorted((PACKAGE / "src").rglob("*.ts"))
    content = hashlib.sha256()
    for path in files:
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]
