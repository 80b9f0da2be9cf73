"""The command line: `python -m benchmarks`, or `scripts/bench`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from .acceptance import marks_of
from .cells import cells_of
from .contenders import contenders
from .machine import facts, steal_seconds
from .metrics import rows_of
from .plan import FULL, QUICK, Sizes
from .processes import BenchmarkError, redis_version
from .report import as_json, as_markdown, replaced
from .rounds import run_cells


def main(arguments: list[str] | None = None, sizes: Sizes | None = None) -> int:
    """Run, print the table, write `report.md` and `report.json`.

    Args:
        arguments: the command line's arguments.
        sizes: the sizes of the run, instead of the two that `--quick` chooses between.

    Returns:
        0; 1 if a cell was invalid, or a floor was missed under `--assert-marks`; 2 if the run was not possible.
    """
    options = _parser().parse_args(arguments)
    if options.into is not None:
        replaced(options.into.read_text(), "")  # report a page without markers before the run, not after it
    sizes = sizes or (QUICK if options.quick else FULL)
    cells = cells_of(sizes)
    if options.only:
        unknown = set(options.only) - {cell.name for cell in cells}
        if unknown:
            print(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in cells)}")
            return 2
        cells = [cell for cell in cells if cell.name in options.only]
    started, stolen, load = time.monotonic(), steal_seconds(), os.getloadavg()[0]
    try:
        results = run_cells(
            cells,
            rounds=options.rounds or sizes.rounds,
            only=options.contenders,
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except BenchmarkError as exc:
        print(exc, file=sys.stderr)
        return 2
    about = facts() | {
        "redis-server": redis_version(),
        "run": f"{options.rounds or sizes.rounds} rounds in {time.monotonic() - started:.0f} s",
        "other load": f"load average {load:.1f} before and {os.getloadavg()[0]:.1f} after, about 1.5 of it the "
        f"benchmark's own; {steal_seconds() - stolen:.1f} s of CPU stolen by other virtual machines",
    }
    rows = rows_of(results)
    marks = marks_of(rows)
    table = as_markdown(about, results, rows, marks)
    print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(table)
    (options.out / "report.json").write_text(as_json(about, results, rows, marks))
    if options.into is not None:
        options.into.write_text(replaced(options.into.read_text(), table))
    invalid = any(measured.problems for result in results for measured in result.contenders.values())
    missed = options.assert_marks and not all(mark.floor is None or mark.reaches(mark.floor) for mark in marks)
    return 1 if invalid or missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sys.modules["benchmarks"].__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round; figures are rough")
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds per cell (default {FULL.rounds})")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="these cells only")
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
        "--into", type=Path, metavar="PAGE", help="also put the table into this Markdown page, between its markers"
    )
    parser.add_argument("--assert-marks", action="store_true", help="exit with 1 when a figure is below its floor")
    return parser


if __name__ == "__main__":
    sys.exit(main())
