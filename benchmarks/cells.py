"""The cases (cells) of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from .plan import PHASES, Kind, Log, Phase, Sizes

__all__ = ["ALL", "Cell", "cells_of", "paced_name"]

GUARDED: Final = ("plain", "response", "middleware")
MAIN: Final = ("bare", *GUARDED)
MEMORY: Final = ("plain-memory", "response-memory", "middleware-memory")
UI: Final = ("bare-ui", "ui-message", "ui-message-memory")
RIVALS: Final = (
    "sse-starlette",
    "fastapi-sse",
    "resumable-stream",
    "resumable-sse",
    "resumable-sse-memory",
    "assistant-stream",
    "assistant-stream-memory",
    "node-bare",
    "npm-resumable-stream",
)
ALL: Final = (*MAIN, *MEMORY, *UI, *RIVALS)
"""Everything that is compared where other libraries are."""
IN_PROCESS: Final = ("bare", "plain-memory")
_LONG_RUN_SECONDS: Final = 5.0
"""A paced run of this length has as many events as several turns of a short one."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One case. It runs against each of its contenders."""

    name: str
    """The cell's key in the JSON report and for `--only`."""
    title: str
    kind: Kind
    streams: int
    events: int
    """Events per stream."""
    gap_seconds: float = 0.0
    stagger_seconds: float = 0.005
    repeats: int = 1
    turns: int = 1
    """How many runs a contender has in one round. More of them make a ratio steadier, see `turns.py`."""
    contenders: tuple[str, ...] = MAIN
    elsewhere: bool = False
    """Whether viewers and replays are requested from a second worker. Then the second worker is measured."""
    at_once: bool = False
    """Whether a replay makes its requests all at the same moment."""
    log: Log = Log.PLAIN
    finished: int = 0
    """Sessions that are finished in `Log.FULL` before the cell."""
    count_commands: bool = False
    """Whether the cell runs once more on Redis, untimed, to count the commands sent."""

    @property
    def apart(self) -> bool:
        """Whether the servers get a processor of their own. They do if events come at a given rate and their cost is
        measured. If events come as fast as possible, half of the cost would be handing over between processors."""
        return self.gap_seconds > 0 or self.kind in (Kind.STORM, Kind.LONG_REPLAY)

    @property
    def delivered(self) -> int:
        """Events that reach clients in one run of the cell."""
        return self.events * (self.repeats if self.kind is Kind.ONE_BY_ONE else self.streams)


def paced_name(events: int, phase: Phase) -> str:
    """The name of a paced cell."""
    return f"paced-{events}-{phase.name}"


def cells_of(sizes: Sizes) -> list[Cell]:
    """All cases of a run, in the order of the report."""
    burst = Cell(
        "burst-100",
        f"Burst, {sizes.burst_streams} streams × {sizes.burst_events}",
        Kind.TOGETHER,
        sizes.burst_streams,
        sizes.burst_events,
        count_commands=True,
    )
    paced = [_paced(sizes, events, phase) for events in sizes.paced_events for phase in PHASES]
    viewing = f"{sizes.viewers + 1} connections × {1 / sizes.viewers_gap_seconds:.0f} events/s"
    viewers = Cell(
        "viewers",
        f"Viewers of one stream, {viewing}",
        Kind.VIEWERS,
        sizes.viewers + 1,
        sizes.viewers_events,
        gap_seconds=sizes.viewers_gap_seconds,
    )
    replay = Cell(
        "replay",
        f"Replay of {sizes.replay_events:,} events",
        Kind.REPLAY,
        1,
        sizes.replay_events,
        repeats=sizes.replays,
    )
    return [
        Cell(
            "burst-1",
            f"Burst, 1 stream × {sizes.burst_events}",
            Kind.ONE_BY_ONE,
            1,
            sizes.burst_events,
            repeats=sizes.one_by_one,
            contenders=ALL,
            count_commands=True,
        ),
        replace(burst, contenders=ALL),
        *paced,
        Cell(
            "paced-few",
            f"Paced, {sizes.few_streams} streams × 50 events, one per 50 ms",
            Kind.PACED,
            sizes.few_streams,
            50,
            gap_seconds=0.05,
            contenders=ALL,
            count_commands=True,
        ),
        Cell(
            "short",
            f"Opening and ending, {sizes.short_streams} streams of one event",
            Kind.PACED,
            sizes.short_streams,
            1,
            stagger_seconds=0.003,
            turns=sizes.turns,
            contenders=ALL,
        ),
        viewers,
        _elsewhere(viewers),
        replay,
        _elsewhere(replay),
        *_resuming(sizes),
        *(Cell(f"idle-{count}", f"Idle, {count:,} open streams", Kind.IDLE, count, 1) for count in sizes.idle_streams),
        *_growing(sizes),
        *(
            replace(one, name=f"{one.name}-aof", title=f"{one.title}, append-only file", turns=1, log=Log.AOF)
            for one in (burst, paced[0])
        ),
        Cell(
            "browser",
            f"Read by headless Chromium, {sizes.browser_streams} streams × 50 events, one per 20 ms",
            Kind.BROWSER,
            sizes.browser_streams,
            50,
            gap_seconds=0.02,
        ),
        *(
            Cell(
                f"capacity-{streams}",
                f"Capacity, {streams:,} streams × {events} events, one per {gap * 1000:g} ms",
                Kind.PACED,
                streams,
                events,
                gap_seconds=gap,
                stagger_seconds=0.0023,
                contenders=("bare", "plain"),
            )
            for streams, events, gap in sizes.capacity
        ),
        Cell(
            "passing",
            "Requests that match no rule of StreamGuardMiddleware",
            Kind.PASSING,
            1,
            sizes.passing_requests,
            contenders=IN_PROCESS,
        ),
        Cell(
            "telemetry",
            "No observers (bare) and every observer (plain-memory)",
            Kind.TELEMETRY,
            20,
            sizes.telemetry_events,
            contenders=IN_PROCESS,
        ),
        Cell(
            "telemetry-alone",
            "The same, an event a commit",
            Kind.TELEMETRY,
            1,
            sizes.telemetry_events,
            contenders=IN_PROCESS,
        ),
    ]


def _paced(sizes: Sizes, events: int, phase: Phase) -> Cell:
    gap, stagger = phase.gap_seconds * 1000, phase.stagger_seconds * 1000
    return Cell(
        paced_name(events, phase),
        f"Paced, {sizes.paced_streams} streams × {events} events, one per {gap:g} ms, opened {stagger:g} ms apart",
        Kind.PACED,
        sizes.paced_streams,
        events,
        gap_seconds=phase.gap_seconds,
        stagger_seconds=phase.stagger_seconds,
        turns=sizes.turns if events * phase.gap_seconds < _LONG_RUN_SECONDS else 1,
        count_commands=phase is PHASES[0],
    )


def _resuming(sizes: Sizes) -> list[Cell]:
    long = sizes.long_replay_events
    return [
        Cell(
            "replay-50",
            f"Replay of {sizes.replay_events:,} events, {sizes.replays_at_once} at once",
            Kind.REPLAY,
            1,
            sizes.replay_events,
            repeats=sizes.replays_at_once,
            at_once=True,
        ),
        Cell("replay-long", f"Replay of {long:,} events", Kind.REPLAY, 1, long, repeats=5),
        Cell(
            "replay-long-50",
            f"Replay of {long:,} events, {sizes.replays_at_once} at once",
            Kind.REPLAY,
            1,
            long,
            repeats=sizes.replays_at_once,
            at_once=True,
            contenders=("plain",),
        ),
        Cell(
            "replay-beside",
            f"Replays of {long:,} events beside paced neighbours",
            Kind.LONG_REPLAY,
            1,
            long,
            repeats=10,
            contenders=GUARDED,
        ),
        Cell(
            "storm",
            f"Resume storm, {sizes.storm_streams} reconnects in a second beside paced neighbours",
            Kind.STORM,
            sizes.storm_streams,
            sizes.storm_events,
            contenders=("plain",),
        ),
    ]


def _growing(sizes: Sizes) -> list[Cell]:
    cells = [
        Cell(
            f"counts-{count}",
            f"Commands and keys, {count:,} streams",
            Kind.COUNTS,
            count,
            20,
            gap_seconds=0.1,
            stagger_seconds=0.001,
            contenders=("plain",),
            count_commands=True,
        )
        for count in sizes.growth_streams
    ]
    done = sizes.finished_sessions
    beside = f"{done:,} finished sessions"
    return [
        *cells,
        *(
            replace(cell, name=f"{cell.name}-full", title=f"{cell.title}, {beside}", log=Log.FULL, finished=done)
            for cell in cells
        ),
    ]


def _elsewhere(cell: Cell) -> Cell:
    return Cell(
        f"{cell.name}-elsewhere",
        f"{cell.title}, on another worker",
        cell.kind,
        cell.streams,
        cell.events,
        gap_seconds=cell.gap_seconds,
        repeats=cell.repeats,
        contenders=("bare", "plain"),
        elsewhere=True,
    )
