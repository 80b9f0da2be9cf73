"""The command line as operators have it: a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from ..harness.redis import RedisServer
from ..harness.starting import started

__all__ = ["ROOT", "Ran", "administer", "begun", "ran"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command said, and its exit status."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object it printed."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def rows(self) -> list[str]:
        return self.out.splitlines()


def _environment(env: dict[str, str] | None) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "160", "PYTHONPATH": str(ROOT), **(env or {})}


def ran(*arguments: str, says: str = "", env: dict[str, str] | None = None, cwd: Path = ROOT) -> Ran:
    """Run `streamguard ARGUMENTS`, with `says` on its standard input."""
    with TemporaryFile() as told, TemporaryFile() as out, TemporaryFile() as err:
        told.write(says.encode())
        told.seek(0)
        process = started(
            "streamguard.cli",
            arguments,
            env=_environment(env),
            cwd=cwd,
            stdin=told.fileno(),
            stdout=out,
            stderr=err,
        )
        try:
            code = process.wait(45)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        said, errors = [_text(stream) for stream in (out, err)]
    assert "Traceback" not in errors, errors
    return Ran(code, said, errors)


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


def begun(*arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `streamguard ARGUMENTS`, for commands that go on until they are told."""
    return subprocess.Popen(
        [sys.executable, "-m", "streamguard.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment({"PYTHONUNBUFFERED": "1", **(env or {})}),
        cwd=ROOT,
    )


def administer(server: RedisServer, *words: str) -> None:
    """Give a server a command that redis-py has no method for."""
    server.client().execute_command(*words)  # type: ignore[no-untyped-call] # redis-py
