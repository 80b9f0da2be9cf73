"""The marks of a run: what a release aims at, and the floors below which it must not fall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .cells import paced_name
from .metrics import (
    COMMANDS,
    DISTURBED_P99,
    DISTURBED_RATIO,
    EVENT,
    FIRST_P99,
    GROWN,
    IDLE,
    KEYS,
    LATENCY_P50,
    LATENCY_P99,
    LOG_BYTES,
    PASSING,
    RATE,
    REDIS,
    REPLAY_CPU,
    SERVER,
    STREAM_SERVER,
    TOTAL,
    WHOLE_P50,
    Middle,
    Row,
)
from .plan import PHASES

__all__ = ["Mark", "Verdict", "marks_of", "verdict"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A bound for one figure."""

    line: str
    """The group in the list: burst, paced, …"""
    name: str
    value: Middle | None
    """None if the cell was not run or was invalid."""
    aim: float
    floor: float | None = None
    """What `--assert-marks` requires; None: nothing, the aim is only an aim."""
    at_least: bool = False

    def reaches(self, bound: float) -> bool:
        """Whether the median is within `bound`."""
        if self.value is None:
            return False
        return self.value.median >= bound if self.at_least else self.value.median <= bound


Verdict = str


def verdict(mark: Mark) -> Verdict:
    """`pass` (the aim), `floor` (only the floor), `fail`, `short of the aim` (there is no floor) or `no figure`."""
    if mark.value is None:
        return "no figure"
    if mark.reaches(mark.aim):
        return "pass"
    if mark.floor is None:
        return "short of the aim"
    return "floor" if mark.reaches(mark.floor) else "fail"


class _Rows:
    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {(row.cell, row.metric): row for row in rows}

    def figure(self, cell: str, metric: str, name: str = "plain") -> Middle | None:
        row = self._rows.get((cell, metric))
        return None if row is None else row.figures.get(name)

    def cells(self, prefix: str) -> list[str]:
        return list(dict.fromkeys(cell for cell, _ in self._rows if cell.startswith(prefix)))

    def compared(self, cell: str, metric: str, name: str = "plain") -> Middle | None:
        row = self._rows.get((cell, metric))
        return None if row is None else row.compared.get(name)


def _worst(values: Iterable[Middle | None]) -> Middle | None:
    """The greatest of those that were measured."""
    return max((value for value in values if value is not None), key=lambda value: value.median, default=None)


def marks_of(rows: Sequence[Row]) -> list[Mark]:
    """All marks, whether their cells were run or not."""
    found = _Rows(rows)
    return [
        *_burst(found),
        *_paced(found),
        *_redis(found),
        *_rivals(found),
        *_others(found),
    ]


def _burst(found: _Rows) -> list[Mark]:
    marks = []
    for name, aim, floor, cpu in (("plain", 1.7, 1.4, 0.8), ("response", 1.2, 1.0, 1.2), ("middleware", 1.2, 1.0, 1.2)):
        rate, total = (found.compared("burst-100", metric.name, name) for metric in (RATE, TOTAL))
        marks += [
            Mark("burst", f"{name}, 100 streams: events/s, × bare", rate, aim, floor, at_least=True),
            Mark("burst", f"{name}, 100 streams: server + Redis CPU, × bare", total, cpu),
        ]
    for name, aim in (("plain", 1.5), ("response", 1.0), ("middleware", 1.0)):
        rate = found.compared("burst-1", RATE.name, name)
        marks.append(Mark("burst", f"{name}, 1 stream: events/s, × bare", rate, aim, at_least=True))
    return marks


def _paced(found: _Rows) -> list[Mark]:
    marks = []
    for name, events, server, total in (
        ("plain", 100, (1.2, 1.45), (1.4, 1.65)),
        ("response", 100, (1.4, 1.55), (1.6, 1.8)),
        ("middleware", 100, (1.4, 1.55), (1.6, 1.8)),
        ("plain", 250, (1.15, 1.35), (1.3, 1.5)),
    ):
        cells = [paced_name(events, phase) for phase in PHASES]
        text = f"{name}, {events} events a stream"
        for metric, short, (aim, floor) in ((SERVER, "server CPU", server), (TOTAL, "server + Redis CPU", total)):
            worst = _worst(found.compared(cell, metric.name, name) for cell in cells)
            marks.append(Mark("paced", f"{text}: {short}, × bare", worst, aim, floor))
    for name in ("plain", "response", "middleware"):
        cells = [paced_name(100, phase) for phase in PHASES]
        for metric, short, aim, floor_ms in (
            (LATENCY_P50, "added latency p50", 3.0, None),
            (LATENCY_P99, "added latency p99", 10.0, None),
            (FIRST_P99, "first event added p99", 5.0, 10.0),
        ):
            worst = _worst(found.compared(cell, metric.name, name) for cell in cells)
            marks.append(Mark("paced", f"{name}: {short}, ms", worst, aim, floor_ms))
    return marks


def _redis(found: _Rows) -> list[Mark]:
    cells = [paced_name(100, phase) for phase in PHASES]
    return [
        Mark("Redis", "paced: CPU, µs/event", _worst(found.figure(cell, REDIS.name) for cell in cells), 5.0, 7.0),
        Mark("Redis", "burst of 1: commands sent/event", found.figure("burst-1", COMMANDS), 0.1),
        Mark("Redis", "burst of 100: commands sent/event", found.figure("burst-100", COMMANDS), 0.1),
        Mark(
            "Redis", "burst of 100: memory, bytes per 60-byte event", found.figure("burst-100", LOG_BYTES.name), 100.0
        ),
    ]


def _growth(found: _Rows) -> list[Mark]:
    """How much the counts differ between few and many streams, without and with finished sessions."""
    marks = []
    for metric in (COMMANDS, KEYS):
        counted = [middle for cell in found.cells("counts-") if (middle := found.figure(cell, metric)) is not None]
        values = [middle.median for middle in counted]
        grown = None if len(values) < 2 else max(values) / min(values)
        value = None if grown is None else Middle(grown, grown, grown)
        marks.append(Mark("growth", f"{metric}: greatest by least, all numbers of streams and sessions", value, 1.1))
    return marks


def _rivals(found: _Rows) -> list[Mark]:
    """Against Python's libraries: a quarter of the CPU of those that log, ahead in bursts of those that do not."""
    marks = []
    for rival in ("resumable-sse", "assistant-stream"):
        for cell in ("burst-100", "paced-few"):
            share = _quotient(found.figure(cell, TOTAL.name), found.figure(cell, TOTAL.name, rival))
            marks.append(Mark("others", f"{cell}: CPU, × {rival} (logs)", share, 0.25))
    for rival in ("sse-starlette", "fastapi-sse", "resumable-stream"):
        ahead = _quotient(found.figure("burst-100", RATE.name), found.figure("burst-100", RATE.name, rival))
        marks.append(Mark("others", f"burst-100: events/s, × {rival} (does not log)", ahead, 1.0, at_least=True))
    return marks


def _quotient(ours: Middle | None, theirs: Middle | None) -> Middle | None:
    """Of two medians, with the widest spread that their rounds allow."""
    if ours is None or theirs is None:
        return None
    return Middle(ours.median / theirs.median, ours.least / theirs.greatest, ours.greatest / theirs.least)


def _others(found: _Rows) -> list[Mark]:
    marks = [
        Mark("resume", "replay of 1,000: whole response p50, ms", found.figure("replay", WHOLE_P50.name), 3.0),
        Mark("resume", "50 at once: whole response p50, ms", found.figure("replay-50", WHOLE_P50.name), 30.0, 60.0),
        Mark("resume", "50 at once: server CPU of one, ms", found.figure("replay-50", REPLAY_CPU.name), 2.0),
        Mark(
            "resume",
            "replays of 10,000: neighbours' p99, × undisturbed",
            found.figure("replay-beside", DISTURBED_RATIO.name),
            2.0,
        ),
        Mark("resume", "50 viewers: server CPU, µs per delivered event", found.figure("viewers", SERVER.name), 10.0),
        Mark("resume", "viewers elsewhere: latency p50, ms", found.figure("viewers-elsewhere", LATENCY_P50.name), 2.0),
        Mark("storm", "neighbours' p99 during 500 reconnects, ms", found.figure("storm", DISTURBED_P99.name), 50.0),
        Mark("storm", "server memory grown, KiB/reconnect", found.figure("storm", GROWN.name), 64.0),
        *(
            Mark("stream", f"{cell}: KiB per open stream above bare", found.compared(cell, IDLE.name), 12.0, 18.0)
            for cell in found.cells("idle-")
        ),
        *_growth(found),
    ]
    marks += [
        Mark(
            "stream",
            f"{name}: a stream of one event: server CPU, × bare",
            found.compared("short", STREAM_SERVER.name, name),
            2.0,
            2.8,
        )
        for name in ("plain", "response", "middleware")
    ]
    guard = "plain-memory"
    return [
        *marks,
        Mark("beside", "passing: added to a request, µs", found.compared("passing", PASSING.name, guard), 2.0, 2.0),
        Mark("beside", "telemetry: added to an event, µs", found.compared("telemetry", EVENT.name, guard), 0.5, 0.5),
        Mark(
            "beside",
            "telemetry: added to an event alone, µs",
            found.compared("telemetry-alone", EVENT.name, guard),
            3.0,
        ),
    ]
