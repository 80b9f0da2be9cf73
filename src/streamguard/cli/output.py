"""What commands print: tables and lines for people, one JSON object per line for programs.

Ids come from outside: nothing that a terminal or rich would act upon leaves this module.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .exits import CommandError

__all__ = ["Output", "amounts", "count", "duration", "safe", "shown_cell", "size", "table"]

_PLAIN_WIDTH: Final = 160
"""Columns where there is no terminal: in a pipe or a file."""
_CLIPPED: Final = 48


def safe(text: str, *, limit: int | None = None) -> str:
    """A text from outside, without anything a terminal acts upon: what is not printable (control characters, line
    ends, marks that turn the direction of writing) is escaped as in Python, and so are backslashes.

    With `limit`, it is cut after so many characters.
    """
    escaped = "".join(
        "\\\\" if sign == "\\" else sign if sign.isprintable() else sign.encode("unicode_escape").decode()
        for sign in (text if limit is None else text[: limit + 1])
    )
    return escaped if limit is None or len(escaped) <= limit else f"{escaped[: limit - 1]}…"


def count(number: int, what: str) -> str:
    """`1 stream`, `2 streams`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float | None) -> str:
    """Seconds for people: `0.4s`, `12s`, `3m05s`, `2h10m`, `4d03h`; minus for the past, `-` for None."""
    if seconds is None:
        return "-"
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    if left < 9.95:
        return f"{sign}{left:.1f}s"
    whole = round(left)
    if whole < 60:
        return f"{sign}{whole}s"
    if whole < 3600:
        return f"{sign}{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{sign}{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{sign}{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def size(number: int) -> str:
    """Bytes for people: `17 B`, `1.2 kB`, `3.4 MB`."""
    left = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000 or unit == "GB":
            return f"{number} B" if unit == "B" else f"{left:.1f} {unit}"
        left /= 1000
    raise AssertionError("unreachable")


def amounts(found: Mapping[str, int]) -> str:
    """Amounts by unit for people: `1 requests, 2000 tokens`."""
    return ", ".join(f"{amount} {unit}" for unit, amount in found.items())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> Table:
    """A table without lines. Cells are shown as they are, clipped, after `safe`."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(shown_cell(cell)) for cell in row))
    return made


def shown_cell(text: str) -> str:
    """A cell as `table` shows it."""
    return safe(text, limit=_CLIPPED)


class Output:
    """Prints for one command. With `as_json`, objects only, one per line, on standard output."""

    def __init__(self, *, as_json: bool, file: TextIO | None = None) -> None:
        self.as_json: Final = as_json
        self._file = file or sys.stdout
        terminal = self._file.isatty()
        width = None if terminal else int(os.environ.get("COLUMNS") or _PLAIN_WIDTH)
        self.console: Final = Console(file=self._file, width=width, highlight=False, markup=False, emoji=False)

    def value(self, shape: Mapping[str, object]) -> None:
        """One JSON object. Its text is ASCII, so no id in it reaches a terminal as it is."""
        self._file.write(json.dumps(shape, separators=(", ", ": ")) + "\n")
        self._file.flush()

    def line(self, text: str = "") -> None:
        """One line of our own words; ids in it went through `safe`."""
        self.console.print(Text(text), soft_wrap=True)

    def marked(self, mark: str, style: str, text: str, *, width: int) -> None:
        """One line that begins with a coloured word."""
        self.console.print(Text.assemble((f"{mark:<{width}}", style), text), soft_wrap=True)

    def show(self, made: Table) -> None:
        """A table."""
        self.console.print(made)

    def pairs(self, pairs: Mapping[str, str]) -> None:
        """Names and values, a line each, in full."""
        width = max(map(len, pairs)) + 2
        for name, value in pairs.items():
            self.line(f"{name:<{width}}{safe(value)}")

    def failure(self, error: CommandError) -> None:
        """Why a command ended: on standard error, or as an object."""
        if self.as_json:
            self.value({"error": {"code": error.name, "message": error.message}})
        else:
            sys.stderr.write(f"streamguard: {safe(error.message)}\n")
