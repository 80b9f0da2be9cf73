"""Small packages of other people, built and installed where a test wants them, without a network."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

__all__ = ["ARCHIVE", "install"]

ARCHIVE = dedent(
    '''
    """A stream store of another package: it keeps its streams in a Redis, which nobody can tell."""

    from streamguard import Settings
    from streamguard.stores import StreamStore
    from streamguard.stores.redis import RedisStore
    from streamguard.testing import FaultyStore


    class ArchiveStore(FaultyStore):
        pass


    def archive_store(url: str, settings: Settings, /) -> StreamStore:
        where = "redis" + url.removeprefix("archive")
        return ArchiveStore(
            RedisStore(where, namespace=settings.namespace, command_seconds=settings.command_seconds)
        )
    '''
)
"""A module whose `archive_store` makes the stores of `archive://`."""


def install(
    site: Path,
    package: str,
    stores: Mapping[str, str],
    source: str = "",
    *,
    entry_points: str | None = None,
    with_pip: bool = False,
) -> None:
    """Install `package` into the directory `site`, from a wheel.

    Args:
        site: a directory to be put on the path.
        package: its name; its module's name has underscores.
        stores: a factory for each scheme that it brings, as `module:name`.
        source: of its module.
        entry_points: the whole of its file of entry points, instead of one made of `stores`.
        with_pip: as users do; otherwise the wheel is unpacked, which is what pip does with it.
    """
    module = package.replace("-", "_")
    if entry_points is None:
        lines = (f"{scheme} = {factory}\n" for scheme, factory in stores.items())
        entry_points = "[streamguard.stores]\n" + "".join(lines)
    info = f"{module}-1.0.dist-info"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items())
    wheel = site.parent / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    if not with_pip:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(site), str(wheel)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
