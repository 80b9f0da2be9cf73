"""The chaos page: a soak's record, and the page and chart that are made from it (`scripts/soak --record`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from ..machine import Facts
from ..pages import DOCS, replaced
from .facts import Violation
from .history import Action, Attempt, End, History, Injected
from .timeline import timeline

__all__ = ["CHART", "PAGE", "RECORD", "ChaosRecord", "Second", "chaos_pages", "load_chaos", "record_of", "write_chaos"]

PAGE: Final = Path("explanation/chaos.md")
RECORD: Final = Path("assets/chaos/record.json")
CHART: Final = Path("assets/chaos/timeline.svg")
"""Where the page and what belongs to it are, below the documentation's directory."""
PROMISES: Final = tuple(f"I{number}" for number in range(1, 13))
_OVERLOADED: Final = 500


@dataclass(frozen=True, slots=True)
class Second:
    """What clients saw in responses that ended within one second."""

    whole: int
    """Responses that ended cleanly."""
    broken: int
    """Responses whose connection broke, by a fault or by the client itself."""
    refused: int
    """Requests that got no answer, or an error of the server."""


@dataclass(frozen=True, slots=True)
class ChaosRecord:
    """A soak in figures."""

    seed: int
    seconds: float
    machine: Facts
    chats: int
    requests: int
    resumes: int
    streams: int
    events: int
    """Events that clients saw, each compared with the log."""
    outcomes: dict[str, int]
    """Streams by how they ended."""
    saved: int
    """Messages in the database."""
    injected: tuple[Injected, ...]
    failovers: int
    failover_streams: int
    """Streams of which a failover to a lagging replica took something that the old server had confirmed."""
    violations: dict[str, int]
    """By promise; a promise that was kept has none."""
    per_second: tuple[Second, ...]


_CHAOS: Final = TypeAdapter(ChaosRecord)


def record_of(history: History, violations: Sequence[Violation], machine: Facts) -> ChaosRecord:
    """The figures of a history that was checked."""
    return ChaosRecord(
        seed=history.seed,
        seconds=history.seconds,
        machine={name: value for name, value in machine.items() if name != "commit"},
        chats=len({question.session for question in history.questions}),
        requests=len(history.attempts),
        resumes=sum(attempt.action is Action.RESUME for attempt in history.attempts),
        streams=len(history.logs),
        events=sum(len(attempt.seen) for attempt in history.attempts),
        outcomes=dict(Counter(str(log.outcome) for log in history.logs).most_common()),
        saved=len(history.saved),
        injected=tuple(sorted(history.injected, key=lambda one: one.at)),
        failovers=len(history.losses),
        failover_streams=sum(len(loss.logs) for loss in history.losses),
        violations=dict(Counter(violation.promise for violation in violations)),
        per_second=_per_second(history.attempts, int(history.seconds)),
    )


def _per_second(attempts: Sequence[Attempt], seconds: int) -> tuple[Second, ...]:
    found = [Counter[str]() for _ in range(seconds)]
    for attempt in attempts:
        if int(attempt.ended) < seconds:
            found[int(attempt.ended)][_kind(attempt)] += 1
    return tuple(Second(**{kind: count[kind] for kind in ("whole", "broken", "refused")}) for count in found)


def _kind(attempt: Attempt) -> str:
    if attempt.end is End.NONE or attempt.status >= _OVERLOADED:
        return "refused"
    return "whole" if attempt.end is End.CLEAN else "broken"


def load_chaos(path: Path) -> ChaosRecord:
    """The record in a file."""
    return _CHAOS.validate_json(path.read_bytes())


def chaos_pages(record: ChaosRecord, page: str) -> dict[Path, str]:
    """The page and the chart of a record, by their paths below the documentation's directory.

    Args:
        page: the page as it is, with markers between which the made part goes.
    """
    return {PAGE: replaced(page, _as_markdown(record)), CHART: _chart(record)}


def write_chaos(record: ChaosRecord, docs: Path = DOCS) -> None:
    """Write a record, and make the page and the chart from it."""
    (docs / RECORD).parent.mkdir(parents=True, exist_ok=True)
    (docs / RECORD).write_bytes(_CHAOS.dump_json(record, indent=1) + b"\n")
    for path, text in chaos_pages(record, (docs / PAGE).read_text()).items():
        (docs / path).write_text(text)


def _as_markdown(record: ChaosRecord) -> str:
    broken = sum(record.violations.values())
    kinds = Counter(one.kind for one in record.injected)
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in record.outcomes.items())
    return "\n".join(
        [
            f"![{_alternative(record)}](../{CHART})",
            "",
            f"Seed {record.seed}, {record.seconds:.0f} seconds:",
            "",
            "| what happened | |",
            "|---|--:|",
            f"| chats | {record.chats:,} |",
            f"| requests, of which resumes | {record.requests:,}, {record.resumes:,} |",
            f"| answers ({outcomes}) | {record.streams:,} |",
            f"| faults injected | {len(record.injected)} |",
            f"| failovers to a lagging replica | {record.failovers} |",
            f"| answers from which these took events that Redis had confirmed | {record.failover_streams:,} |",
            f"| messages in the database at the end | {record.saved:,} |",
            f"| events that clients saw, compared with the log one by one | {record.events:,} |",
            f"| **lost, repeated or reordered without the client being told** | **{_of(record, 'I1', 'I2', 'I3')}** |",
            f"| **answers without an end, or with two** | **{_of(record, 'I4', 'I10', 'I11')}** |",
            f"| **replies saved twice, not at all, or wrongly** | **{_of(record, 'I6', 'I7')}** |",
            f"| **usage charged twice or not at all** | **{_of(record, 'I8')}** |",
            f"| **violations of any [promise](promises.md)** | **{broken}** |",
            "",
            "| injected | times |",
            "|---|--:|",
            *(f"| {kind} | {kinds[kind]} |" for kind in sorted(kinds, key=str.lower)),
            "",
            _machine(record.machine),
            "",
        ]
    )


def _machine(machine: Facts) -> str:
    return f"Recorded with {machine.get('python', 'Python')}, on {machine.get('processor', 'an unknown machine')}."


def _of(record: ChaosRecord, *promises: str) -> int:
    return sum(record.violations.get(promise, 0) for promise in promises)


def _alternative(record: ChaosRecord) -> str:
    return (
        f"Timeline of {record.seconds:.0f} seconds: responses that ended each second, and below them "
        f"{len(record.injected)} faults by kind"
    )


def _chart(record: ChaosRecord) -> str:
    bars = [(second.whole, second.broken, second.refused) for second in record.per_second]
    lanes: dict[str, list[float]] = {}
    for one in record.injected:
        lanes.setdefault(one.kind, []).append(one.at)
    return timeline(
        f"{record.seconds:.0f} seconds of faults, seed {record.seed}",
        bars,
        dict(sorted(lanes.items(), key=lambda one: one[0].lower())),
    )
