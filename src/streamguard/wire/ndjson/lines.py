"""Cutting bytes into lines."""

from __future__ import annotations

from collections.abc import Callable

from ..sse import Block

__all__ = ["LineSplitter"]


class LineSplitter:
    """Cuts bytes into lines, line end included, without changing any byte; see `BlockSplitter`."""

    def __init__(self, *, max_line_bytes: int, on_left_out: Callable[[], None]) -> None:
        self._max_bytes = max_line_bytes
        self._on_left_out = on_left_out
        self._buffer = bytearray()
        self._skipping = False
        """Whether the unfinished line is over the limit. Then only its end matters."""

    def is_whole(self, chunk: bytes) -> bool:
        """See `BlockSplitter.is_whole`."""
        return (
            not self._buffer
            and chunk.find(b"\n") == len(chunk) - 1
            and not self._skipping
            and 0 < len(chunk) <= self._max_bytes
        )

    def feed(self, chunk: bytes) -> list[Block]:
        """The lines that `chunk` completes."""
        if b"\n" not in chunk:
            self._buffer += chunk
            lines: list[bytes] = []
        else:
            self._buffer += chunk
            *whole, rest = bytes(self._buffer).split(b"\n")
            lines = [line + b"\n" for line in whole]
            self._buffer[:] = rest
        if self._skipping and lines:
            self._skipping = False
            del lines[0]
        if len(self._buffer) > self._max_bytes or self._skipping:
            self._skip()
        return [Block(line) for line in lines if self._fits(line)]

    def close(self) -> tuple[list[Block], bytes]:
        """The unfinished rest."""
        rest = b"" if self._skipping else bytes(self._buffer)
        self.discard()
        return [], rest

    def discard(self) -> None:
        """Drop the unfinished line."""
        self._buffer.clear()
        self._skipping = False

    def _skip(self) -> None:
        if not self._skipping:
            self._skipping = True
            self._leave_out()
        self._buffer.clear()

    def _fits(self, line: bytes) -> bool:
        if len(line) <= self._max_bytes:
            return True
        self._leave_out()
        return False

    def _leave_out(self) -> None:
        self._on_left_out()
