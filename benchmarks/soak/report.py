"""Texts that a soak prints: a summary, and the history of each violation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .facts import Violation
from .history import Attempt, History

__all__ = ["evidence", "summary"]

_AROUND_SECONDS = 5.0


def summary(history: History, violations: Sequence[Violation]) -> str:
    """What the soak did and found, in a few lines."""
    chats = len({question.session for question in history.questions})
    compared = sum(len(attempt.seen) for attempt in history.attempts)
    injected = Counter(fault.kind for fault in history.injected)
    answers = Counter(attempt.status for attempt in history.attempts)
    outcomes = Counter(log.outcome for log in history.logs)
    lost = sum(len(loss.logs) for loss in history.losses)
    lines = [
        f"seed {history.seed}, {history.seconds:.0f} s",
        f"{chats} chats, {len(history.attempts)} requests, {len(history.logs)} streams, {compared} events compared",
        "answers: " + ", ".join(f"{count} × {status or 'none'}" for status, count in sorted(answers.items())),
        "ends: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()),
        f"{len(history.injected)} faults: " + ", ".join(f"{count} × {kind}" for kind, count in injected.most_common()),
        f"{len(history.losses)} failovers took something of {lost} streams",
        f"{len(history.saved)} messages, {len(history.reserved)} reservations of {len(history.standings)} owners",
        f"{len(violations)} violations"
        + "".join(f", {count} of {promise}" for promise, count in Counter(v.promise for v in violations).items()),
    ]
    return "\n".join(lines)


def evidence(history: History, violation: Violation) -> str:
    """A violation, all requests and answers of its session, and the faults during that time."""
    lines = [f"\n{violation.promise}: {violation.subject}: {violation.what}"]
    attempts = [attempt for attempt in history.attempts if attempt.session == violation.session is not None]
    for log in history.logs:
        if log.session == violation.session:
            ids = f"{log.entries[0].id} … {log.entries[-1].id}" if log.entries else "empty"
            lines.append(
                f"  log {log.stream_id} ({log.protocol}): {log.state} {log.outcome} epoch {log.epoch}, sealed at "
                f"{log.sealed_seq}, {ids}, persisted {log.persisted}, quota {log.quota}"
                + (", lost" if log.lost else "")
            )
    for number, loss in enumerate(history.losses, 1):
        for log in loss.logs:
            if log.session == violation.session:
                last = log.entries[-1].id if log.entries else "nothing"
                lines.append(
                    f"  before failover {number} at {loss.at:.2f}: log {log.stream_id} {log.state} up to {last}"
                )
    lines += [_line(attempt) for attempt in sorted(attempts, key=lambda attempt: attempt.begun)]
    if attempts:
        begin = min(attempt.begun for attempt in attempts) - _AROUND_SECONDS
        end = max(attempt.ended for attempt in attempts) + _AROUND_SECONDS
        lines += [
            f"  fault at {one.at:.2f}: {one.kind}: {one.detail}" for one in history.injected if begin < one.at < end
        ]
    return "\n".join(lines)


def _line(attempt: Attempt) -> str:
    ids = [seen.id for seen in attempt.seen if seen.id is not None]
    parts = [
        f"  {attempt.begun:.2f}–{attempt.ended:.2f} {attempt.viewer} {attempt.action}",
        f"from {attempt.cursor}" if attempt.cursor else "",
        f"→ {attempt.status} {attempt.code or ''} {attempt.reason or ''}".rstrip(),
        f"stream {attempt.stream_id}" if attempt.stream_id else "",
        f"{len(attempt.seen)} events" + (f" ({ids[0]} … {ids[-1]})" if ids else " without ids") if attempt.seen else "",
        str(attempt.end),
        f"ending {attempt.seen[-1].data[:60]!r}" if attempt.seen else "",
    ]
    return " ".join(part for part in parts if part)
