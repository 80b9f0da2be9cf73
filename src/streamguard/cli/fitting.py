"""Tables that fit into a terminal: what matters least is left out, rather than each cell folded over many lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.table import Table

from .output import shown_cell, table

__all__ = ["fitted", "needed_width"]

_GAP: Final = 2
"""Between two columns, as `table` has it."""


def needed_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """How many terminal cells the table takes without folding anything."""
    widths = [
        max(cell_len(title), *(cell_len(shown_cell(row[at])) for row in rows)) if rows else cell_len(title)
        for at, title in enumerate(columns)
    ]
    return sum(widths) + _GAP * (len(columns) - 1)


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    spare: Sequence[str],
    width: int,
) -> Table:
    """The table without those of its `spare` columns that have no room in `width` cells; the first goes first."""
    kept = list(columns)
    for title in spare:
        at = [columns.index(one) for one in kept]
        if needed_width(kept, [[row[n] for n in at] for row in rows]) <= width:
            break
        kept.remove(title)
    at = [columns.index(one) for one in kept]
    made = table(kept, [[row[n] for n in at] for row in rows], right=right)
    for column in made.columns:  # where even those have no room, they are cut: a row is a line
        column.no_wrap, column.overflow = True, "ellipsis"
    return made
