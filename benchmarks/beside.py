"""The package beside another version of itself, at the same time: what a change costs or saves.

A shared machine changes its speed within seconds, and runs one after the other differ by more than most changes do.
Servers that share one processor at the same time meet the same machine: their ratio is steady within a percent after a
dozen rounds. It is no ratio of the record, whose servers have the processor to themselves.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .cells import Cell
from .contenders import contenders
from .contenders.contract import Store
from .plan import Kind, Measured
from .processes import BenchmarkError, RedisProcess, ServerProcess, carry_out_together
from .rounds import load_of

__all__ = ["COMPARABLE", "ROUNDS", "Beside", "as_table", "compare", "source_of"]

ROUNDS: Final = 12
COMPARABLE: Final = (Kind.PACED, Kind.TOGETHER, Kind.ONE_BY_ONE)
"""The workloads that one server answers by itself."""
_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Beside:
    """One contender in both versions."""

    cell: str
    contender: str
    before: Sequence[Measured]
    """A round each, of the other version."""
    after: Sequence[Measured]
    """The same rounds, of this one."""

    @property
    def problems(self) -> list[str]:
        return [problem for measured in (*self.before, *self.after) for problem in measured.problems]


@contextmanager
def source_of(revision: str, root: Path = _ROOT) -> Iterator[Path]:
    """The package's source as of a commit, in a directory that is removed afterwards.

    Raises:
        BenchmarkError: there is no such commit.
    """
    done = subprocess.run(["git", "archive", revision, "src"], cwd=root, capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"no source of {revision}: {done.stderr.decode(errors='replace').strip()}")
    with tempfile.TemporaryDirectory(prefix="streamguard-bench-") as directory:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(directory, filter="data")
        yield Path(directory) / "src"


def compare(cell: Cell, names: Sequence[str], source: Path, *, rounds: int, say: Callable[[str], None]) -> list[Beside]:
    """Run a cell on contenders, each with the `source` of another version and with this one, all at the same time.

    Raises:
        BenchmarkError: a process did not start, or it crashed.
    """
    known = contenders()
    with ExitStack() as stack:
        servers: list[tuple[ServerProcess, ServerProcess]] = []
        for name in names:
            pair = []
            for version in (source, None):
                redis = stack.enter_context(RedisProcess(cell.log)) if known[name].store is Store.REDIS else None
                pair.append(stack.enter_context(ServerProcess(known[name], redis, source=version)))
            servers.append((pair[0], pair[1]))
        measured: list[tuple[list[Measured], list[Measured]]] = [([], []) for _ in names]
        for number in range(rounds + 1):
            say(f"{cell.name}: round {number} of {rounds}" if number else f"{cell.name}: warming up")
            order = [server for pair in servers for server in pair]
            if number % 2:  # none is always first
                order.reverse()
            turns = carry_out_together([(load_of(cell, server), [server]) for server in order], apart=cell.apart)
            of = {id(server): turn.measured for server, turn in zip(order, turns, strict=True)}
            for (older, newer), (before, after) in zip(servers, measured, strict=True):
                if number:
                    before.append(of[id(older)])
                    after.append(of[id(newer)])
    return [Beside(cell.name, name, *rows) for name, rows in zip(names, measured, strict=True)]


def as_table(found: Sequence[Beside], revision: str) -> str:
    """The comparison, as text."""
    lines = [
        f"Server and Redis CPU of this version by that of {revision}: the median of the rounds and the standard error.",
        "",
        "| | server CPU | server + Redis CPU | rounds |",
        "|---|--:|--:|--:|",
    ]
    for one in found:
        if one.problems:
            lines.append(f"| {one.cell}, {one.contender} | invalid: {one.problems[0]} | | |")
            continue
        server = [
            after.server_cpu_us / before.server_cpu_us for before, after in zip(one.before, one.after, strict=True)
        ]
        both = [_cpu(after) / _cpu(before) for before, after in zip(one.before, one.after, strict=True)]
        lines.append(f"| {one.cell}, {one.contender} | {_spread(server)} | {_spread(both)} | {len(server)} |")
    return "\n".join(lines)


def _cpu(measured: Measured) -> float:
    return measured.server_cpu_us + (measured.redis_cpu_us or 0.0)


def _spread(ratios: Sequence[float]) -> str:
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    return f"{statistics.median(ratios):.3f} ± {error:.3f}"
