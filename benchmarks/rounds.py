"""Runs cells: rounds in which all contenders take one turn or several: bare, plain, response, …, bare, plain, …"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import redis

from .browser import browser, measure_browser
from .cells import Cell
from .contenders import contenders
from .contenders.contract import Contender, Store
from .environments import NotInstallableError, interpreter
from .finished import keep_finished
from .machine import commit
from .monitor import SentCommands
from .passing import measure_passing
from .plan import Kind, Load, Log, Measured
from .processes import RedisProcess, ServerProcess, carry_out
from .telemetry import measure_telemetry
from .turns import Turn, round_of

__all__ = ["CellResult", "ContenderResult", "load_of", "run_cells"]

_SLOW_ROUNDS = 3
_BUSY = 2.5
"""A load average above which other work was done beside the benchmark."""


@dataclass(slots=True)
class ContenderResult:
    """One cell on one contender: a `Measured` per round."""

    rounds: list[Measured] = field(default_factory=list)
    commands: dict[str, int] | None = None
    """Commands sent to Redis in the counting run: the number of each, by name."""
    commands_per_event: float | None = None
    keys_per_stream: float | None = None
    """Keys that each stream left in Redis, in the counting run."""

    @property
    def problems(self) -> list[str]:
        return [problem for measured in self.rounds for problem in measured.problems]


@dataclass(slots=True)
class CellResult:
    cell: Cell
    contenders: dict[str, ContenderResult]
    skipped: dict[str, str] = field(default_factory=dict)
    """Contenders that could not be installed here, and why."""
    commit: str = ""
    """What was measured: a record may be put together from runs at several commits."""
    load_average: float = 0.0
    """Of the machine before the cell. The benchmark itself makes about 1.5 of it."""

    @property
    def doubts(self) -> str:
        """Why the figures are not to be believed; empty if they are."""
        found = []
        if self.load_average > _BUSY:
            found.append(f"the machine did other work (load average {self.load_average:.0f})")
        rounds = max((len(result.rounds) for result in self.contenders.values()), default=0)
        if self.cell.kind is not Kind.COUNTS and rounds < _SLOW_ROUNDS:
            turns = f" of {self.cell.turns} turns" if self.cell.turns > 1 else ""
            found.append(f"only {rounds} round{'s' if rounds != 1 else ''}{turns}")
        return ", ".join(found)


def run_cells(
    cells: Sequence[Cell],
    *,
    rounds: int,
    only: Sequence[str],
    say: Callable[[str], None],
) -> Iterator[CellResult]:
    """Run every cell `rounds` times. Each round runs all contenders in turn, as often as the cell says, so that other
    load on the machine affects all of them alike.

    Args:
        only: names of contenders, for every cell; empty: each cell's own.
        say: called with texts about the progress.

    Raises:
        BenchmarkError: a process did not start, or it crashed. Wrong answers are in the results instead.
    """
    known = contenders()
    with ExitStack() as stack:
        park = _Park(stack)
        for cell in cells:
            chosen = [
                name
                for name in only or cell.contenders
                if (name in cell.contenders if cell.kind in _IN_PROCESS else _can(cell.kind, known[name]))
            ]
            skipped = {name: reason for name in chosen if (reason := _missing(cell, known[name]))}
            for name, reason in skipped.items():
                say(f"SKIPPED {name}: {reason}")
            able = [name for name in chosen if name not in skipped]
            load = os.getloadavg()[0]
            result = CellResult(cell, {name: ContenderResult() for name in able}, skipped, commit(), load)
            for number in range(_rounds_of(cell, rounds)):
                turns: dict[str, list[Turn]] = {name: [] for name in able}
                for turn, name in itertools.product(range(1, cell.turns + 1), able):
                    say(f"{cell.name}: round {number + 1}, turn {turn} of {cell.turns}, {name}")
                    turns[name].append(taken := _turn(cell, name, park))
                    for problem in taken.measured.problems:
                        say(f"  INVALID: {problem}")
                for name, found in result.contenders.items():
                    found.rounds.append(round_of(turns[name]))
            for name, found in result.contenders.items() if cell.count_commands else ():
                if known[name].store is Store.REDIS:
                    say(f"{cell.name}: counting commands of {name}")
                    _count(cell, park.server(name, cell), found)
            yield result


class _Park:
    """The servers of a run, and their Redis. Each is started when it is first needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._redis: dict[Log, RedisProcess] = {}
        self._servers: dict[tuple[str, Log, bool], ServerProcess] = {}

    def redis(self, log: Log) -> RedisProcess:
        if log not in self._redis:
            self._redis[log] = self._stack.enter_context(RedisProcess(log))
        return self._redis[log]

    def server(self, name: str, cell: Cell, *, second: bool = False) -> ServerProcess:
        """A server of the contender `name`, warmed up, with what the cell wants finished already in its log."""
        key = (name, cell.log, second)
        if key not in self._servers:
            made = self._stack.enter_context(self.fresh(name, cell.log))
            self._servers[key] = made
            _run_once(Cell("warm", "", Kind.TOGETHER, 20, 200), made, None)
            if cell.finished and made.redis is not None:
                keep_finished(made.redis.port, cell.finished)
        return self._servers[key]

    def fresh(self, name: str, log: Log) -> ServerProcess:
        """A server that is not started yet, and not kept."""
        contender = contenders()[name]
        return ServerProcess(contender, self.redis(log) if contender.store is Store.REDIS else None)


def _can(kind: Kind, contender: Contender) -> bool:
    """Whether a contender can do what the cell is about."""
    match kind:
        case Kind.STORM:
            return contender.wire.ids
        case Kind.LONG_REPLAY:
            return contender.wire.resume is not None
        case Kind.COUNTS:
            return contender.store is Store.REDIS
        case _:
            return True


def _missing(cell: Cell, contender: Contender) -> str:
    """Why a contender cannot run here; empty if it can."""
    if cell.kind is Kind.BROWSER and browser() is None:
        return "no Chromium: `apt-get install chromium`"
    try:
        interpreter(contender.environment)
    except NotInstallableError as exc:
        return str(exc)
    return ""


def _rounds_of(cell: Cell, rounds: int) -> int:
    match cell.kind:
        case Kind.COUNTS:
            return 0
        case Kind.IDLE | Kind.STORM | Kind.LONG_REPLAY | Kind.BROWSER:
            return min(rounds, _SLOW_ROUNDS)
        case _:
            return rounds


def _turn(cell: Cell, name: str, park: _Park) -> Turn:
    if cell.kind in _IN_PROCESS:
        return Turn(_in_process(cell, guarded=name != "bare"))
    if cell.kind is Kind.IDLE:
        # A fresh server: an old one reuses memory that earlier cells freed, which hides a stream's own.
        with park.fresh(name, cell.log) as fresh:
            return _run(cell, fresh, None)
    if cell.kind is Kind.BROWSER:
        port = park.server(name, cell).port
        return Turn(measure_browser(port, streams=cell.streams, events=cell.events, gap_seconds=cell.gap_seconds))
    away = cell.elsewhere and contenders()[name].store is Store.REDIS
    return _run(cell, park.server(name, cell), park.server(name, cell, second=True) if away else None)


_IN_PROCESS = (Kind.PASSING, Kind.TELEMETRY)


def _in_process(cell: Cell, *, guarded: bool) -> Measured:
    if cell.kind is Kind.PASSING:
        return measure_passing(guarded=guarded, requests=cell.events)
    return measure_telemetry(observed=guarded, streams=cell.streams, events=cell.events)


def _run_once(cell: Cell, server: ServerProcess, view: ServerProcess | None, *, gauged: bool = True) -> Measured:
    """One turn by itself."""
    return _run(cell, server, view, gauged=gauged).measured


def _run(cell: Cell, server: ServerProcess, view: ServerProcess | None, *, gauged: bool = True) -> Turn:
    load = load_of(cell, server, view, gauged=gauged)
    return carry_out(load, [server] if view is None else [server, view], apart=cell.apart)


def load_of(cell: Cell, server: ServerProcess, view: ServerProcess | None = None, *, gauged: bool = True) -> Load:
    """What a load process does for one turn of a cell. `view`: the second worker, where viewers ask one; `gauged`:
    with the figures of Redis."""
    return Load(
        kind=Kind.PACED if cell.kind is Kind.COUNTS else cell.kind,
        wire=server.contender.wire,
        port=server.port,
        pids=((view or server).pid,),
        streams=cell.streams,
        events=cell.events,
        gap_seconds=cell.gap_seconds,
        stagger_seconds=cell.stagger_seconds,
        view_port=None if view is None else view.port,
        redis_port=server.redis.port if server.redis is not None and gauged else None,
        repeats=cell.repeats,
        at_once=cell.at_once,
    )


def _keys(client: redis.Redis) -> int:
    """How many keys there are, but for those that writers keep for two seconds, whatever they write."""
    return int(client.dbsize()) - sum(1 for _ in client.scan_iter(match="*:{gate.*", count=10_000))


def _count(cell: Cell, server: ServerProcess, result: ContenderResult) -> None:
    assert server.redis is not None
    with redis.Redis(host="127.0.0.1", port=server.redis.port, socket_timeout=5.0) as client:
        before = _keys(client)
        with SentCommands(server.redis.port, server.pid) as sent:
            measured = _run_once(cell, server, None, gauged=False)
        left = _keys(client) - before
    if measured.problems:
        result.rounds.append(measured)
        return
    result.commands = dict(sent.counts.most_common())
    result.commands_per_event = sent.counts.total() / cell.delivered
    result.keys_per_stream = left / (cell.repeats if cell.kind is Kind.ONE_BY_ONE else cell.streams)
