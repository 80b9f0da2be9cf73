"""Without the packages of a lock file, what needs them is skipped visibly, or fails in CI, and says how to get them."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..harness.ports import free_port
from ..harness.tools import missing
from . import packed


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An npm that has nothing cached and is configured by the environment alone."""
    found = shutil.which("npm")
    if found is None:
        missing("no npm found: `apt-get install nodejs npm`, or see https://nodejs.org/")
    for name in ("cache", "userconfig", "globalconfig"):
        monkeypatch.setenv(f"npm_config_{name}", str(tmp_path / name))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    return found


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A directory whose lock file wants one package."""
    directory = tmp_path / "locked"
    directory.mkdir()
    wants = {"name": "locked", "version": "1.0.0", "dependencies": {"wanted": "1.0.0"}}
    (directory / "package.json").write_text(json.dumps(wants))
    packages = {"": wants, "node_modules/wanted": {"version": "1.0.0"}}
    lock = {"name": "locked", "version": "1.0.0", "lockfileVersion": 3, "requires": True, "packages": packages}
    (directory / "package-lock.json").write_text(json.dumps(lock))
    return directory


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize("ci", ["true", None], ids=["in CI", "elsewhere"])
@pytest.mark.parametrize("source", ["none", "silent"])
def test_without_a_source_of_packages(
    source: str, ci: str | None, npm: str, locked: Path, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port() if source == "none" else silent
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{port}/")
    if source == "silent":
        monkeypatch.setattr(packed, "NPM_SECONDS", 1.0)
    if ci is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", ci)
    outcome = pytest.skip.Exception if ci is None else pytest.fail.Exception
    with pytest.raises(outcome, match=r"`npm ci --prefix .*locked`"):
        packed.install_locked(npm, locked)
