"""The command line: `python -m benchmarks`, or `scripts/bench`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .beside import COMPARABLE, ROUNDS, as_table, compare, source_of
from .cells import Cell, cells_of
from .checks import CHECKED, Outcome, check_all
from .contenders import contenders
from .machine import facts, steal_seconds
from .pages import DOCS, RECORD, write_pages
from .plan import FULL, QUICK, Sizes
from .processes import BenchmarkError, redis_version
from .recording import Record, load, merged, save
from .report import as_markdown
from .rounds import CellResult, run_cells

_CHECKS = "checks"
"""The name, beside the cells', under which `--only` chooses the checks."""


def main(arguments: list[str] | None = None, sizes: Sizes | None = None) -> int:
    """Run, print the report, write `report.md` and `report.json`, and with `--record` the pages of the documentation.

    Args:
        arguments: the command line's arguments.
        sizes: the sizes of the run, instead of the two that `--quick` chooses between.

    Returns:
        0; 1 if a cell was invalid, or a floor was missed under `--assert-marks`; 2 if the run was not possible.
    """
    options = _parser().parse_args(arguments)
    sizes = sizes or (QUICK if options.quick else FULL)
    cells = cells_of(sizes)
    if options.only:
        unknown = set(options.only) - {cell.name for cell in cells} - {_CHECKS}
        if unknown:
            print(
                f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in cells)}, {_CHECKS}"
            )
            return 2
        cells = [cell for cell in cells if cell.name in options.only]
    if options.against:
        return _against(options.against, cells, options.contenders or ["plain"], options.rounds or ROUNDS)
    started, stolen, load_before = time.monotonic(), steal_seconds(), os.getloadavg()[0]

    def record_of(results: list[CellResult], checks: Mapping[str, Mapping[str, Outcome]]) -> Record:
        machine = facts() | {
            "redis-server": redis_version(),
            "run": f"{options.rounds or sizes.rounds} rounds in {time.monotonic() - started:.0f} s",
            "other load": f"load average {load_before:.1f} before and {os.getloadavg()[0]:.1f} after, "
            f"about 1.5 of it the benchmark's own; {steal_seconds() - stolen:.1f} s of CPU stolen by other machines",
        }
        return Record(machine, results, checks)

    checked = _CHECKS in options.only or (not options.only and not options.quick)
    results: list[CellResult] = []
    try:
        for result in run_cells(cells, rounds=options.rounds or sizes.rounds, only=options.contenders, say=_say):
            results.append(result)
            if options.record:  # a run that is broken off leaves what it measured
                _keep(record_of([result], {}))
        record = record_of(results, check_all(options.contenders or list(CHECKED), _say) if checked else {})
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 2
    table = as_markdown(record)
    print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(table)
    save(record, options.out / "report.json")
    if options.record:
        _keep(record)
        write_pages()
    invalid = any(measured.problems for result in results for measured in result.contenders.values())
    floors = [mark for mark in record.marks if mark.floor is not None and (mark.value is not None or not options.only)]
    missed = options.assert_marks and not all(mark.reaches(mark.floor or 0.0) for mark in floors)
    return 1 if invalid or missed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _against(revision: str, cells: Sequence[Cell], names: Sequence[str], rounds: int) -> int:
    """Compare this version with another one, and print what came of it. Returns the exit code."""
    if unable := [cell.name for cell in cells if cell.kind not in COMPARABLE]:
        print(f"--against needs --only with cells that one server answers, unlike {', '.join(unable)}")
        return 2
    if others := [name for name in names if not contenders()[name].ours]:
        print(f"--against compares what streamguard serves, and {', '.join(others)} is without it")
        return 2
    found = []
    try:
        with source_of(revision) as source:
            for cell in cells:
                found += compare(cell, names, source, rounds=rounds, say=_say)
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 2
    print(as_table(found, revision))
    return 1 if any(one.problems for one in found) else 0


def _keep(record: Record) -> None:
    """Put a run into the record of the documentation."""
    kept = DOCS / RECORD
    save(merged(load(kept), record) if kept.exists() else record, kept)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round; figures are rough")
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds per cell (default {FULL.rounds})")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="these cells only, or `checks`")
    parser.add_argument(
        "--contenders",
        nargs="+",
        metavar="NAME",
        choices=list(contenders()),
        default=[],
        help="these servers, instead of each cell's own",
    )
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where report.md and report.json go")
    parser.add_argument(
        "--record",
        action="store_true",
        help="also put the run, or the cells of --only, into the record of the documentation, and make its pages anew",
    )
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare the package with its source as of this commit, both at the same time, instead; "
        f"in {ROUNDS} rounds, for `plain` unless --contenders says otherwise",
    )
    parser.add_argument("--assert-marks", action="store_true", help="exit with 1 when a figure is below its floor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
