"""Processes that never outlive the one that starts them, however it ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LONGEST_PATH: Final = 103
"""Of a socket, in bytes: macOS has 104 with the one that ends it, Linux 108."""
_LONGEST_NAME: Final = len("/redis.sock")

# Ends, with everything in its process group, as soon as nobody holds the other end of its standard input.
_WATCHDOG = """
import os, shutil, signal, sys
sys.stdin.read()
shutil.rmtree(sys.argv[1], ignore_errors=True)
os.killpg(0, signal.SIGKILL)
"""


def socket_directory() -> Path:
    """A new directory for sockets, this user's alone: in `/tmp` if the usual place has too long a path for them."""
    directory = tempfile.mkdtemp(prefix="streamguard-workers-")
    if len(os.fsencode(directory)) + _LONGEST_NAME > _LONGEST_PATH:
        os.rmdir(directory)
        directory = tempfile.mkdtemp(prefix="streamguard-workers-", dir="/tmp")
    return Path(directory)


class ProcessGroup:
    """Child processes in a process group of their own, and a directory for their sockets, which is this user's alone.

    The group is led by a watchdog: a process that reads a pipe from this one. When this process is killed, the pipe
    closes, and the watchdog kills the group and deletes the directory. A terminal's Ctrl-C does not reach the group, so
    this process decides in which order its children end.
    """

    def __init__(self) -> None:
        self.directory = socket_directory()
        self._watchdog: Process | None = None

    async def __aenter__(self) -> Self:
        self._watchdog = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WATCHDOG, str(self.directory), stdin=PIPE, process_group=0
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill what is left, and wait until it is gone."""
        watchdog = self._watchdog
        if watchdog is not None and watchdog.stdin is not None:
            watchdog.stdin.close()
            await watchdog.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def spawn(self, words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Process:
        """Start a program in the group. Its output goes where this process's goes."""
        if self._watchdog is None:
            raise RuntimeError("the group is not entered")
        return await asyncio.create_subprocess_exec(
            *words, stdin=DEVNULL, env=environment, process_group=self._watchdog.pid
        )


async def end(process: Process, how: signal.Signals, *, within_seconds: float) -> None:
    """Send a signal and wait; kill the process if it is still there after `within_seconds`, or if this is cancelled."""
    with suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        async with asyncio.timeout(within_seconds):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    await process.wait()
