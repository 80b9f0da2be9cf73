"""A file that lines are appended to, by several processes at once, and that may be rotated meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

__all__ = ["LineFile"]

_APPENDING: Final = os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_MODE: Final = 0o600


class LineFile:
    """The file at a path, opened when it is first needed, and again when another file is there.

    One `write` with `O_APPEND` appends a whole line, so processes that share a local file do not mix their lines (on
    NFS appending is not atomic). A line of which the disk took only a part ends before the next line begins, whoever
    writes that, so a torn line costs no other one.

    Args:
        path: the file. Its directory must exist. A new file can be read by its owner only (mode 600).
        fsync: `sync` waits for the disk.
    """

    def __init__(self, path: str, *, fsync: bool) -> None:
        self._path = path
        self._fsync = fsync
        self._fd: int | None = None
        self._readable = True
        self._torn = False

    def open(self) -> None:
        """Open the file, unless it is open and still the one at the path.

        Raises:
            OSError: it cannot be opened.
        """
        if self._fd is not None and not self._is_still_there(self._fd):
            self.close()
        if self._fd is None:
            new = not Path(self._path).exists()
            self._fd = self._opened()
            if new and self._fsync:
                self._sync_directory()
        self._torn = self._torn or self._ends_within_a_line(self._fd)

    def append(self, line: bytes) -> None:
        """Append one line to the open file.

        Raises:
            OSError: it is not there, or only its beginning: a full disk may take a part.
        """
        if self._fd is None:
            raise OSError("the file is not open")
        text = b"\n" + line if self._torn else line
        count = os.write(self._fd, text)
        self._torn = count < len(text) and count != 0
        if count < len(text):
            raise OSError(errno.ENOSPC, "the file took only a part of the line")  # the next `write` would say so

    def sync(self) -> None:
        """Wait for the disk, where that was asked for.

        Raises:
            OSError: it is not known what the disk has.
        """
        if self._fsync and self._fd is not None:
            try:
                os.fsync(self._fd)
            except OSError as exc:
                if exc.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe, which has no disk
                    raise

    def close(self) -> None:
        """Close the file. `open` opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _is_still_there(self, fd: int) -> bool:
        try:
            there, ours = os.stat(self._path), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _opened(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDWR | _APPENDING, _MODE)
        except PermissionError:
            self._readable = False
            return os.open(self._path, os.O_WRONLY | _APPENDING, _MODE)
        self._readable = True
        return fd

    def _ends_within_a_line(self, fd: int) -> bool:
        """Whether the last line was torn: by a full disk, a crash of the machine, or another process."""
        size = os.fstat(fd).st_size
        if not self._readable or size == 0:
            return False
        os.lseek(fd, size - 1, os.SEEK_SET)  # appending goes to the end all the same
        return os.read(fd, 1) not in (b"\n", b"")

    def _sync_directory(self) -> None:
        fd = os.open(Path(self._path).parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
