"""Lines that wait for a file, and the thread that appends them to it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from ...log_lines import AUDIT_LOGGER, LogEvent, log_line
from ..safety import plain_text
from .line_file import LineFile

__all__ = ["LineWriter"]

RETRY_SECONDS: Final = 0.25
"""Before the first retry; each further one waits twice as long."""
MAX_RETRY_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 10.0
"""After this long without a line the thread ends; the next line starts another one."""
EXIT_SECONDS: Final = 2.0
"""How long the end of the process waits for what is left."""
TELL_SECONDS: Final = 60.0
"""How often an outage is told of while it lasts."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""How much may wait, however many lines that are."""

_writers: Final[WeakSet[LineWriter]] = WeakSet()


class LineWriter:
    """Keeps lines until they are in the file. No method but `flush` and `close` waits, and none raises.

    The thread is a daemon. It runs while there is something to write and a little longer; it ends when the writer is
    closed or abandoned, after one more attempt to write what waits.

    Args:
        path: the file.
        fsync: wait for the disk after each batch.
        capacity: how many lines may wait; more are dropped.
        gap: makes a line that says how many are missing. It is put where they would have been.
    """

    def __init__(self, path: str, *, fsync: bool, capacity: int, gap: Callable[[int], bytes]) -> None:
        self._path = path
        self._fsync = fsync
        self._capacity = capacity
        self._gap = gap
        self.start_afresh()
        _writers.add(self)

    def start_afresh(self) -> None:
        """Forget everything, as in a forked child: threads do not survive a fork, locks may be held by one of them, and
        what waits is the parent's to write."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._writing = False
        self._closing = False
        self._hurried = False
        self._abandoned = False
        self._failures = 0
        self._retry_at = 0.0
        self._told_at: dict[str, float] = {}
        self._unmarked = 0
        """Dropped lines that no line in the file tells of yet."""
        self.dropped: int = 0
        """How many lines were dropped, because too many were waiting or the process ended."""

    def write(self, line: bytes) -> None:
        """Have a line written soon."""
        with self._changed:
            if len(self._waiting) >= self._capacity or self._bytes + len(line) > MAX_BYTES:
                self.dropped += 1
                self._unmarked += 1
                told = self._is_time_to_tell("dropped")
            else:
                told = False
                self._mark_gap()
                self._add(line)
                self._start()
        if told:
            self._tell(LogEvent.AUDIT_DROPPED, dropped=self.dropped)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait at most that long until everything is written. False when something is left."""
        with self._changed:
            self._hurried = True
            self._start()
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_seconds)

    def close(self, timeout_seconds: float) -> bool:
        """Write what waits, then end the thread and close the file; wait at most that long for it.

        False when something is left. It goes on waiting, for the next line or the end of the process.
        """
        with self._changed:
            self._hurried = True
            self._start()
            thread = self._thread
            self._closing = thread is not None
            ended = self._changed.wait_for(lambda: self._thread is None, timeout_seconds)
            left = len(self._waiting) + self._writing
        if thread is not None and ended:
            thread.join(timeout_seconds)
        if left:
            self._tell(LogEvent.AUDIT_LEFT, waiting=left)
        return not left

    def abandon(self) -> None:
        """Nobody writes any more, and nobody waits: try once more, then drop what is left and tell of it."""
        with self._changed:
            self._abandoned = self._closing = self._hurried = True
            self._changed.notify_all()
            lost = 0 if self._thread is not None else self._drop_all()
        self._tell_lost(lost)

    def finish(self, timeout_seconds: float) -> None:
        """The process ends: wait at most that long, then drop what is left and tell of it."""
        with self._changed:
            self._closing = self._hurried = True
            self._start()
            self._changed.wait_for(lambda: self._thread is None, timeout_seconds)
            lost = self._drop_all()
        self._tell_lost(lost)

    # With the lock held:

    def _add(self, line: bytes) -> None:
        self._waiting.append(line)
        self._bytes += len(line)

    def _mark_gap(self) -> None:
        if self._unmarked:
            count, self._unmarked = self._unmarked, 0
            self._add(self._gap(count))

    def _drop_all(self) -> int:
        lost = len(self._waiting) + self._unmarked
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._bytes = self._unmarked = 0
        return lost

    def _start(self) -> None:
        """Have the thread see to what waits. Where no thread can be started, the next line tries again."""
        if self._thread is None and self._waiting:
            thread = threading.Thread(target=self._run, name="streamguard-audit", daemon=True)
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread
        self._changed.notify_all()

    def _is_time_to_tell(self, what: str) -> bool:
        now = time.monotonic()
        if now - self._told_at.get(what, -TELL_SECONDS) < TELL_SECONDS:
            return False
        self._told_at[what] = now
        return True

    # In the thread:

    def _run(self) -> None:
        file = LineFile(self._path, fsync=self._fsync)
        try:
            while (lines := self._next()) is not None:
                written, error = _append(file, lines)
                self._note(lines[written:], error)
        finally:
            with suppress(OSError):
                file.close()

    def _next(self) -> list[bytes] | None:
        """The lines to write now; None when the thread is to end."""
        idle_at = time.monotonic() + IDLE_SECONDS
        lost = 0
        with self._changed:
            while True:
                now = time.monotonic()
                if self._waiting and (self._hurried or now >= self._retry_at):
                    lines = list(self._waiting)
                    self._waiting.clear()
                    self._bytes = 0
                    self._writing, self._hurried = True, False
                    return lines
                if self._closing or (not self._waiting and now >= idle_at):
                    self._thread, self._closing = None, False
                    if self._abandoned:
                        lost = self._drop_all()
                    self._changed.notify_all()
                    break
                self._changed.wait((self._retry_at if self._waiting else idle_at) - now)
        self._tell_lost(lost)
        return None

    def _note(self, unwritten: list[bytes], error: OSError | None) -> None:
        """What became of a batch."""
        with self._changed:
            self._writing = False
            self._waiting.extendleft(reversed(unwritten))
            self._bytes += sum(map(len, unwritten))
            recovered = error is None and (self._failures > 0 or "dropped" in self._told_at)
            if error is None:
                self._failures, self._retry_at = 0, 0.0
                self._told_at.clear()
                self._mark_gap()
                told = False
            else:
                wait = min(RETRY_SECONDS * 2.0**self._failures, MAX_RETRY_SECONDS)
                self._failures, self._retry_at = min(self._failures + 1, 32), time.monotonic() + wait
                told = self._is_time_to_tell("failed")
            waiting, dropped = len(self._waiting), self.dropped
            self._changed.notify_all()
        if error is not None and told:
            name = type(error).__name__
            self._tell(LogEvent.AUDIT_FAILED, error=name, errno=error.errno, waiting=waiting, dropped=dropped)
        elif recovered:
            self._tell(LogEvent.AUDIT_RECOVERED, logging.WARNING, dropped=dropped)

    def _tell_lost(self, lost: int) -> None:
        if lost:
            self._tell(LogEvent.AUDIT_LOST, lost=lost)

    def _tell(self, event: LogEvent, level: int = logging.ERROR, **fields: str | int | None) -> None:
        log_line(AUDIT_LOGGER, level, event, {"path": plain_text(self._path), **fields})


def _append(file: LineFile, lines: list[bytes]) -> tuple[int, OSError | None]:
    """How many lines are in the file, and why not all. With a failing `sync` it is none: they are written again."""
    written = 0
    try:
        file.open()
        for line in lines:
            file.append(line)
            written += 1
        file.sync()
    except OSError as exc:
        with suppress(OSError):
            file.close()
        return (0 if written == len(lines) else written), exc
    return written, None


def _finish_all() -> None:
    deadline = time.monotonic() + EXIT_SECONDS
    for writer in list(_writers):
        writer.finish(max(0.0, deadline - time.monotonic()))


def _start_all_afresh() -> None:
    for writer in list(_writers):
        writer.start_afresh()


atexit.register(_finish_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_afresh)
