"""Audit records in a file: one JSON object a line, appended by a thread."""

from __future__ import annotations

import json
import os
import weakref
from datetime import UTC, datetime

from .line_writer import LineWriter
from .records import Actor, AuditAction, AuditRecord

__all__ = ["JsonLinesAudit"]


class JsonLinesAudit:
    """Appends each record to a file, as one JSON object a line. `write` never blocks and never raises.

    A thread writes, each line with one `write` to a file opened with `O_APPEND`, so several processes may share a local
    file (not one on NFS, where appending is not atomic). A file that was renamed or removed is opened anew, and one
    that was truncated is continued, so log rotation works both by renaming and with `copytruncate`.

    While the file cannot be written (disk full, no permission, directory gone), records wait and the thread tries again
    after 0.25 s, then ever more seldom, at last every 30 s. When `capacity` of them wait, or 16 MiB, new ones are
    dropped, counted, told of in the log, and marked in the file by a record `gap` once it can be written again.

    The thread is a daemon, begins with the first record, and ends after 10 s without one, when the sink is closed, and
    when the sink is garbage. The end of the process waits 2 s at most for what is left.

    Args:
        path: the file. Its directory must exist. A new file can be read by its owner only (mode 600).
        fsync: wait for the disk after each batch. A crash of the machine then loses what waited, and no more.
        capacity: how many records may wait. 10,000 records are about 5 MB.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False, capacity: int = 10_000) -> None:
        where = os.fspath(path)
        if not os.path.isabs(where):
            where = os.path.abspath(where)  # a daemon changes its directory
        self._writer = LineWriter(where, fsync=fsync, capacity=capacity, gap=_gap)
        weakref.finalize(self, self._writer.abandon).atexit = False  # the end of the process waits for the writer

    @property
    def dropped(self) -> int:
        """How many records this process dropped because too many were waiting, or at its end."""
        return self._writer.dropped

    def write(self, record: AuditRecord) -> None:
        """Have one record written soon."""
        self._writer.write(_line(record))

    def flush(self, timeout_seconds: float) -> bool:
        """Wait at most that long until everything is written. False when something is left."""
        return self._writer.flush(timeout_seconds)

    def close(self, timeout_seconds: float = 2.0) -> bool:
        """Write what waits, end the thread and close the file; wait at most that long for it.

        False when something is left: it is told of in the log, and waits for the next record or the end of the process.
        The sink may be written to again: the guard that comes next may share it.
        """
        return self._writer.close(timeout_seconds)


def _line(record: AuditRecord) -> bytes:
    return json.dumps(record.as_dict(), separators=(",", ":")).encode() + b"\n"


def _gap(count: int) -> bytes:
    return _line(
        AuditRecord(
            at=datetime.now(UTC),
            action=AuditAction.GAP,
            actor=Actor.SYSTEM,
            outcome="dropped",
            reason="capacity",
            count=count,
        )
    )
