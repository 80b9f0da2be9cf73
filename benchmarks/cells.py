"""The cases (cells) of a run, and the run itself: rounds of bare, memory, Redis, bare, …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from .monitor import SentCommands
from .passing import measure_passing
from .plan import Kind, Load, Measured, Protocol, Sizes, Target
from .processes import RedisProcess, ServerProcess, carry_out
from .telemetry import measure_telemetry

__all__ = ["Cell", "CellResult", "TargetResult", "cells_of", "run_cells"]

_IDLE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Cell:
    """One case. It runs against each of its targets."""

    name: str
    """The cell's key in the JSON report and for `--only`."""
    title: str
    kind: Kind
    streams: int
    events: int
    """Events per stream."""
    gap_seconds: float = 0.0
    repeats: int = 1
    protocol: Protocol = Protocol.PLAIN
    targets: tuple[Target, ...] = tuple(Target)
    elsewhere: bool = False
    """Whether viewers and replays are requested from a second worker. Then the second worker is measured."""
    count_commands: bool = False
    """Whether the cell runs once more on Redis, untimed, to count the commands sent."""

    @property
    def apart(self) -> bool:
        """Whether the servers get a processor of their own. They do if events come at a given rate and their cost is
        measured. If events come as fast as possible, half of the cost would be handing over between processors."""
        return self.gap_seconds > 0

    @property
    def delivered(self) -> int:
        """Events that reach clients in one run of the cell."""
        return self.events * (self.repeats if self.kind is Kind.ONE_BY_ONE else self.streams)


@dataclass(slots=True)
class TargetResult:
    """One cell on one target: a `Measured` per round."""

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
    targets: dict[Target, TargetResult]


def cells_of(sizes: Sizes) -> list[Cell]:
    """All cases of a run, in the order of the report."""
    gap = sizes.paced_gap_seconds
    pace = f"{sizes.paced_streams} streams × {1 / gap:.0f} events/s"
    burst = f"{sizes.burst_streams} streams × {sizes.burst_events}"
    viewing = f"{sizes.viewers + 1} connections × {1 / sizes.viewers_gap_seconds:.0f} events/s"
    cells = [
        Cell(
            "burst-1",
            f"Burst, 1 stream × {sizes.burst_events}",
            Kind.ONE_BY_ONE,
            1,
            sizes.burst_events,
            repeats=sizes.one_by_one,
            count_commands=True,
        ),
        Cell(
            "burst-many", f"Burst, {burst}", Kind.TOGETHER, sizes.burst_streams, sizes.burst_events, count_commands=True
        ),
        Cell(
            "paced",
            f"Paced, {pace}",
            Kind.PACED,
            sizes.paced_streams,
            sizes.paced_events,
            gap_seconds=gap,
            count_commands=True,
        ),
        Cell("short", f"Opening and ending, {sizes.short_streams} streams × 1", Kind.TOGETHER, sizes.short_streams, 1),
        Cell(
            "viewers",
            f"Viewers of one stream, {viewing}",
            Kind.VIEWERS,
            sizes.viewers + 1,
            sizes.viewers_events,
            gap_seconds=sizes.viewers_gap_seconds,
        ),
        Cell(
            "viewers-elsewhere",
            "The same on another worker",
            Kind.VIEWERS,
            sizes.viewers + 1,
            sizes.viewers_events,
            gap_seconds=sizes.viewers_gap_seconds,
            targets=(Target.BARE, Target.REDIS),
            elsewhere=True,
        ),
        Cell(
            "replay",
            f"Replay of {sizes.replay_events:,} events",
            Kind.REPLAY,
            1,
            sizes.replay_events,
            repeats=sizes.replays,
        ),
        Cell(
            "replay-elsewhere",
            "The same on another worker",
            Kind.REPLAY,
            1,
            sizes.replay_events,
            repeats=sizes.replays,
            targets=(Target.BARE, Target.REDIS),
            elsewhere=True,
        ),
        Cell("idle", f"Idle, {sizes.idle_streams} open streams", Kind.IDLE, sizes.idle_streams, 1),
        Cell(
            "passing",
            "Requests that match no rule of StreamGuardMiddleware",
            Kind.PASSING,
            1,
            sizes.passing_requests,
            targets=(Target.BARE, Target.MEMORY),
        ),
        Cell(
            "telemetry",
            "No observers (bare) and every observer (memory)",
            Kind.TELEMETRY,
            20,
            sizes.telemetry_events,
            targets=(Target.BARE, Target.MEMORY),
        ),
        Cell(
            "telemetry-alone",
            "The same, an event a commit",
            Kind.TELEMETRY,
            1,
            sizes.telemetry_events,
            targets=(Target.BARE, Target.MEMORY),
        ),
    ]
    if sizes.ui_message:
        again = [cell for cell in cells if cell.name in {"burst-many", "paced"}]
        cells += [
            Cell(
                f"{cell.name}-ui",
                f"{cell.title}, ui-message",
                cell.kind,
                cell.streams,
                cell.events,
                gap_seconds=cell.gap_seconds,
                protocol=Protocol.UI_MESSAGE,
            )
            for cell in again
        ]
    return cells


def run_cells(
    cells: Sequence[Cell],
    *,
    rounds: int,
    targets: Sequence[Target],
    redis_process: RedisProcess | None,
    say: Callable[[str], None],
) -> list[CellResult]:
    """Run every cell `rounds` times. Each round runs all targets in turn, so that other load on the machine affects all
    of them alike.

    Args:
        redis_process: needed if `targets` contains Redis.
        say: called with texts about the progress.

    Raises:
        BenchmarkError: a process did not start, or it crashed. Wrong answers are in the results instead.
    """
    with ExitStack() as stack:
        servers = {target: stack.enter_context(ServerProcess(target, redis_process)) for target in targets}
        second = stack.enter_context(ServerProcess(Target.REDIS, redis_process)) if Target.REDIS in targets else None
        for server in servers.values():
            for protocol in {cell.protocol for cell in cells}:
                _run_once(Cell("warm", "", Kind.TOGETHER, 20, 200, protocol=protocol), server, None)
        results = []
        for cell in cells:
            chosen = [target for target in targets if target in cell.targets]
            result = CellResult(cell, {target: TargetResult() for target in chosen})
            results.append(result)
            for number in range(rounds if cell.kind is not Kind.IDLE else min(rounds, _IDLE_ROUNDS)):
                for target in chosen:
                    say(f"{cell.name}: round {number + 1}, {target}")
                    measured = _run_round(cell, servers[target], second)
                    result.targets[target].rounds.append(measured)
                    for problem in measured.problems:
                        say(f"  INVALID: {problem}")
            if cell.count_commands and Target.REDIS in chosen:
                say(f"{cell.name}: counting commands")
                _count(cell, servers[Target.REDIS], result.targets[Target.REDIS])
    return results


def _run_round(cell: Cell, server: ServerProcess, second: ServerProcess | None) -> Measured:
    if cell.kind is Kind.PASSING:
        return measure_passing(guarded=server.target is not Target.BARE, requests=cell.events)
    if cell.kind is Kind.TELEMETRY:
        return measure_telemetry(observed=server.target is not Target.BARE, streams=cell.streams, events=cell.events)
    if cell.kind is Kind.IDLE:
        # Start a fresh server: an old one reuses memory that earlier cells freed, which would hide a stream's own.
        with ServerProcess(server.target, server.redis) as fresh:
            return _run_once(cell, fresh, None)
    return _run_once(cell, server, second if cell.elsewhere and server.target is Target.REDIS else None)


def _run_once(cell: Cell, server: ServerProcess, view: ServerProcess | None, *, gauged: bool = True) -> Measured:
    redis_port = server.redis.port if server.redis is not None and gauged else None
    return carry_out(
        Load(
            kind=cell.kind,
            guarded=server.target is not Target.BARE,
            protocol=cell.protocol,
            port=server.port,
            pids=((view or server).pid,),
            streams=cell.streams,
            events=cell.events,
            gap_seconds=cell.gap_seconds,
            view_port=None if view is None else view.port,
            redis_port=redis_port,
            repeats=cell.repeats,
        ),
        [server] if view is None else [server, view],
        apart=cell.apart,
    )


def _count(cell: Cell, server: ServerProcess, result: TargetResult) -> None:
    assert server.redis is not None
    with SentCommands(server.redis.port) as sent:
        measured = _run_once(cell, server, None, gauged=False)
    if measured.problems:
        result.rounds.append(measured)
        return
    result.commands = dict(sent.counts.most_common())
    result.commands_per_event = sent.counts.total() / cell.delivered
