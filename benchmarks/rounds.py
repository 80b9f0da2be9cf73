"""Runs cells: rounds in which all contenders take turns, bare, plain, response, …, bare, plain, …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from .cells import Cell
from .contenders import contenders
from .contenders.contract import Store
from .monitor import SentCommands
from .passing import measure_passing
from .plan import Kind, Load, Measured
from .processes import RedisProcess, ServerProcess, carry_out
from .telemetry import measure_telemetry

__all__ = ["CellResult", "ContenderResult", "run_cells"]

_IDLE_ROUNDS = 3


@dataclass(slots=True)
class ContenderResult:
    """One cell on one contender: a `Measured` per round."""

    rounds: list[Measured] = field(default_factory=list)
    commands: dict[str, int] | None = None
    """Commands sent to Redis in the counting run: the number of each, by name."""
    commands_per_event: float | None = None

    @property
    def problems(self) -> list[str]:
        return [problem for measured in self.rounds for problem in measured.problems]


@dataclass(slots=True)
class CellResult:
    cell: Cell
    contenders: dict[str, ContenderResult]


def run_cells(
    cells: Sequence[Cell],
    *,
    rounds: int,
    only: Sequence[str],
    redis_process: RedisProcess | None,
    say: Callable[[str], None],
) -> list[CellResult]:
    """Run every cell `rounds` times. Each round runs all contenders in turn, so that other load on the machine affects
    all of them alike.

    Args:
        only: names of contenders, for every cell; empty: each cell's own.
        redis_process: needed if a contender logs in Redis.
        say: called with texts about the progress.

    Raises:
        BenchmarkError: a process did not start, or it crashed. Wrong answers are in the results instead.
    """
    known = contenders()
    with ExitStack() as stack:
        servers: dict[str, ServerProcess] = {}
        seconds: dict[str, ServerProcess] = {}

        def server(name: str, among: dict[str, ServerProcess]) -> ServerProcess:
            if name not in among:
                among[name] = stack.enter_context(ServerProcess(known[name], redis_process))
                _run_once(Cell("warm", "", Kind.TOGETHER, 20, 200), among[name], None)
            return among[name]

        results = []
        for cell in cells:
            chosen = [
                name for name in only or cell.contenders if cell.kind not in _IN_PROCESS or name in cell.contenders
            ]
            result = CellResult(cell, {name: ContenderResult() for name in chosen})
            results.append(result)
            for number in range(rounds if cell.kind is not Kind.IDLE else min(rounds, _IDLE_ROUNDS)):
                for name in chosen:
                    say(f"{cell.name}: round {number + 1}, {name}")
                    if cell.kind in _IN_PROCESS:
                        measured = _in_process(cell, guarded=name != "bare")
                    elif cell.kind is Kind.IDLE:
                        # A fresh server: an old one reuses memory that earlier cells freed, which hides a stream's own.
                        with ServerProcess(known[name], redis_process) as fresh:
                            measured = _run_once(cell, fresh, None)
                    else:
                        away = cell.elsewhere and known[name].store is Store.REDIS
                        measured = _run_once(cell, server(name, servers), server(name, seconds) if away else None)
                    result.contenders[name].rounds.append(measured)
                    for problem in measured.problems:
                        say(f"  INVALID: {problem}")
            for name in chosen if cell.count_commands else ():
                if known[name].store is Store.REDIS:
                    say(f"{cell.name}: counting commands of {name}")
                    _count(cell, servers[name], result.contenders[name])
    return results


_IN_PROCESS = (Kind.PASSING, Kind.TELEMETRY)


def _in_process(cell: Cell, *, guarded: bool) -> Measured:
    if cell.kind is Kind.PASSING:
        return measure_passing(guarded=guarded, requests=cell.events)
    return measure_telemetry(observed=guarded, streams=cell.streams, events=cell.events)


def _run_once(cell: Cell, server: ServerProcess, view: ServerProcess | None, *, gauged: bool = True) -> Measured:
    redis_port = server.redis.port if server.redis is not None and gauged else None
    return carry_out(
        Load(
            kind=cell.kind,
            wire=server.contender.wire,
            port=server.port,
            pids=((view or server).pid,),
            streams=cell.streams,
            events=cell.events,
            gap_seconds=cell.gap_seconds,
            stagger_seconds=cell.stagger_seconds,
            view_port=None if view is None else view.port,
            redis_port=redis_port,
            repeats=cell.repeats,
        ),
        [server] if view is None else [server, view],
        apart=cell.apart,
    )


def _count(cell: Cell, server: ServerProcess, result: ContenderResult) -> None:
    assert server.redis is not None
    with SentCommands(server.redis.port) as sent:
        measured = _run_once(cell, server, None, gauged=False)
    if measured.problems:
        result.rounds.append(measured)
        return
    result.commands = dict(sent.counts.most_common())
    result.commands_per_event = sent.counts.total() / cell.delivered
