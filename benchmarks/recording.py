"""The record of a run: what was measured, as it is kept in JSON, and put together from several runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from .acceptance import Mark, marks_of
from .checks import Outcome
from .machine import Facts
from .metrics import Row, rows_of
from .rounds import CellResult

__all__ = ["Record", "load", "merged", "save"]


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that the pages about performance are made from."""

    machine: Facts
    cells: list[CellResult]
    checks: Mapping[str, Mapping[str, Outcome]] = field(default_factory=dict)
    """By contender, then by the check's name. Empty for a contender that could not be installed."""
    format: int = 3

    @property
    def rows(self) -> list[Row]:
        return rows_of(self.cells)

    @property
    def marks(self) -> list[Mark]:
        return marks_of(self.rows)


_RECORD: Final = TypeAdapter(Record)


def load(path: Path) -> Record:
    """The record in a file."""
    return _RECORD.validate_json(path.read_bytes())


def save(record: Record, path: Path) -> None:
    """Write a record to a file, with a line for each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_RECORD.dump_json(record, indent=1) + b"\n")


def merged(old: Record, new: Record) -> Record:
    """`old` with the cells and checks of `new` in place of its own, and the machine of `new`."""
    fresh = {result.cell.name: result for result in new.cells}
    kept = [fresh.pop(result.cell.name, result) for result in old.cells]
    return replace(new, cells=[*kept, *fresh.values()], checks={**old.checks, **new.checks})
