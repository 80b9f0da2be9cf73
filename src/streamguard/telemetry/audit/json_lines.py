"""Audit records in a file: one JSON object a line, appended by a thread."""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections import deque
from typing import Final

from .records import AuditRecord

__all__ = ["JsonLinesAudit"]

RETRY_SECONDS: Final = 1.0
EXIT_SECONDS: Final = 2.0
_log: Final = logging.getLogger("streamguard.audit")


class JsonLinesAudit:
    """Appends each record to a file, as one JSON object a line. Never blocks the caller, and never raises.

    A thread writes, each line with one `write` to a file opened with `O_APPEND`, so several processes may share a local
    file (not one on NFS, where appending is not atomic). A file that was renamed or removed is opened anew, so any log
    rotation that renames works. While the file cannot be written (disk full, no permission), records wait; when
    `capacity` of them wait, new ones are dropped and counted. Both are told of in the log, once each time.

    Args:
        path: the file. Its directory must exist. A new file can be read by its owner only (mode 600).
        fsync: wait for the disk after each batch. A crash of the machine then loses what waited, and no more.
        capacity: how many records may wait. 10,000 records are about 5 MB.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False, capacity: int = 10_000) -> None:
        self._path = os.fspath(path)
        self._fsync = fsync
        self._capacity = capacity
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)  # threads do not survive a fork, and locks may be held
        atexit.register(self.flush, EXIT_SECONDS)

    def _start_afresh(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._fd: int | None = None
        self._torn = False
        self._failing = False
        self._dropping = False
        self._writing = False
        self.dropped: int = 0
        """How many records this process dropped because too many were waiting."""

    def write(self, record: AuditRecord) -> None:
        """Have one record written soon."""
        line = json.dumps(record.as_dict(), separators=(",", ":")).encode() + b"\n"
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self.dropped += 1
                first, self._dropping = not self._dropping, True
            else:
                first = False
                self._waiting.append(line)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="streamguard-audit", daemon=True)
                    self._thread.start()
                self._changed.notify_all()
        if first:
            _log.error("streamguard.audit_dropped path=%s capacity=%d", json.dumps(self._path), self._capacity)

    def flush(self, timeout_seconds: float) -> bool:
        """Wait at most that long until everything is written. False when something is left."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                self._writing = True
                lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            written = 0
            try:
                fd = self._open()
                for line in lines:
                    self._append(fd, line)
                    written += 1
                if self._fsync:
                    os.fsync(fd)
            except OSError as exc:
                self._failed(exc)
            else:
                self._worked()
            with self._changed:
                self._waiting.extendleft(reversed(lines[written:]))
                self._writing = False
                self._changed.notify_all()
            if written < len(lines):
                time.sleep(RETRY_SECONDS)

    def _open(self) -> int:
        """Open the file, unless it is open and still the one at the path."""
        if self._fd is not None:
            try:
                there, ours = os.stat(self._path), os.fstat(self._fd)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._fd
            except FileNotFoundError:
                pass
            fd, self._fd = self._fd, None
            os.close(fd)
        self._fd = fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._torn = False
        return fd

    def _append(self, fd: int, line: bytes) -> None:
        """Write one line.

        Raises:
            OSError: it is not there, or only its beginning: a full disk may take a part. The next line then begins
                with a line break, so that only the torn one cannot be read, and the record is written again.
        """
        text = b"\n" + line if self._torn else line
        count = os.write(fd, text)
        if count < len(text):
            self._torn = True
            raise OSError("the file took only a part of the line")
        self._torn = False

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            name = type(error).__name__
            _log.error("streamguard.audit_failed path=%s error=%s errno=%s", json.dumps(self._path), name, error.errno)

    def _worked(self) -> None:
        if self._failing or self._dropping:
            self._failing = self._dropping = False
            _log.warning("streamguard.audit_recovered path=%s dropped=%d", json.dumps(self._path), self.dropped)
