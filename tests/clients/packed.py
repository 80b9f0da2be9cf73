"""`streamguard-client` as its users get it: packed by npm, and installed from the tarball."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..harness.tools import missing
from ..harness.workers import ROOT

__all__ = ["PACKAGE", "installed_client", "tsc"]

PACKAGE: Final = ROOT / "clients" / "javascript"
"""The package's sources."""

_LINK: Final = Path(__file__).parent / "node_modules"
"""Where the other packages of these tests are, and so what the installed one lies in."""


def installed_client(npm: str) -> Path:
    """The directory `node_modules` that has the package and nothing else. Made once for each state of the sources."""
    _LINK.mkdir(exist_ok=True)
    with (_LINK / ".streamguard-client.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = _LINK / f".streamguard-client-{_digest()}"
        if not place.exists():
            for old in _LINK.glob(".streamguard-client-*"):
                shutil.rmtree(old)
            _install(npm, place)
        return place / "node_modules"


def tsc() -> Path:
    """The TypeScript compiler that the package is built with, once `installed_client` has installed it."""
    return PACKAGE / "node_modules" / ".bin" / "tsc"


def _install(npm: str, place: Path) -> None:
    lock, done = PACKAGE / "package-lock.json", PACKAGE / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        _run([npm, "ci"], PACKAGE)
        done.touch()
    with tempfile.TemporaryDirectory(dir=_LINK) as directory:
        scratch = Path(directory)
        _run([npm, "pack", "--pack-destination", directory], PACKAGE)
        (tarball,) = scratch.glob("*.tgz")
        (scratch / "package.json").write_text('{"private": true, "type": "module"}')
        _run([npm, "install", "--offline", "--no-save", "--no-package-lock", str(tarball)], scratch)
        place.mkdir()
        (scratch / "node_modules").rename(place / "node_modules")


def _run(command: Sequence[str], directory: Path) -> None:
    options = ["--no-audit", "--no-fund"]
    ran = subprocess.run([*command, *options], cwd=directory, capture_output=True, text=True, timeout=150)
    if ran.returncode != 0 and command[1] == "ci":
        missing(f"the packages could not be installed: `npm ci --prefix clients/javascript`\n{ran.stderr[-2000:]}")
    assert ran.returncode == 0, f"{command}\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"


def _digest() -> str:
    files = sorted(path for path in PACKAGE.iterdir() if path.is_file()) + sorted((PACKAGE / "src").rglob("*.ts"))
    content = hashlib.sha256()
    for path in files:
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]
