"""Checks the logs: I1, I4 and I5, and that nothing was done that nobody asked for. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from .facts import Facts, Violation
from .history import Attempt, Log
from .places import Place, place_of_entry
from .wire import text_of_log

__all__ = ["check_ends"]

STORE_AWAY: Final = frozenset(
    {
        "cut Redis",
        "fail over",
        "fail over with a worker",
        "lose replies",
        "partition",
        "pause Redis",
        "pause worker",
        "refuse Redis",
        "restart Redis",
    }
)
"""Faults during which a worker may wait for Redis in vain."""
LONGEST_FAULT_SECONDS: Final = 5.0
"""For how long one of them is felt, at most."""
OPENING_SECONDS: Final = 5.0
"""How long a request takes to claim its key and register its stream, at most."""


def check_ends(facts: Facts) -> Iterator[Violation]:
    """All violations that the logs show."""
    for log in facts.history.logs:
        yield from _numbered(log)
        yield from _ended(log)
        yield from _fenced(log)
        yield from _stopped(log, facts)
    yield from _unchanged(facts)
    yield from _answered_once(facts)
    for stream_id in facts.history.reconciled:
        known = facts.final.get(stream_id)
        what = "was changed by reconciling once more, after everything had settled"
        yield Violation("I11", f"stream {stream_id}", what, None if known is None else known.session)
    for left in facts.history.unfinished:
        yield Violation("I10", left, "did not come to its end in time")


def _store_was_away(facts: Facts, begun: float) -> bool:
    """Whether a fault may have kept a request that was begun then from claiming its key."""
    faults = (one.at for one in facts.history.injected if one.kind in STORE_AWAY)
    return any(begun - LONGEST_FAULT_SECONDS <= at <= begun + OPENING_SECONDS for at in faults)


def _violation(promise: str, log: Log, what: str) -> Violation:
    return Violation(promise, f"stream {log.stream_id}", what, log.session)


def _numbered(log: Log) -> Iterator[Violation]:
    places = [place_of_entry(entry.id) for entry in log.entries]
    if None in places:
        yield _violation("I1", log, "the log has an entry whose id is none")
        return
    seqs = [place.seq for place in places if place is not None]
    first = seqs[0] if log.lost and seqs else 1  # of a lost log, only the tombstone may be left
    if seqs != list(range(first, first + len(seqs))):
        yield _violation("I1", log, f"the log is not numbered one by one from 1: {_strange(seqs)}")


def _strange(seqs: list[int]) -> str:
    for at, seq in enumerate(seqs):
        if seq != at + 1:
            return f"{seq} where {at + 1} should be"
    return "?"


def _ended(log: Log) -> Iterator[Violation]:
    kinds = [entry.kind for entry in log.entries]
    if log.state != "c":
        yield _violation("I4", log, f"is not closed (state {log.state})")
        return
    if kinds.count("t") != 1:
        yield _violation("I4", log, f"has {kinds.count('t')} terminal records")
        return
    if kinds[-1] != "t":
        yield _violation("I4", log, f"goes on after its terminal record: {log.entries[-1].data[:80]!r}")
        return
    terminal = json.loads(log.entries[-1].data)
    if terminal.get("outcome") != log.outcome:
        yield _violation("I4", log, f"was sealed {log.outcome}, and its terminal says {terminal.get('outcome')}")
    if not log.lost and "d" in kinds[log.sealed_seq :]:
        yield _violation("I5", log, f"was appended to after its seal at {log.sealed_seq}")


def _fenced(log: Log) -> Iterator[Violation]:
    epochs = [place.epoch for entry in log.entries if (place := place_of_entry(entry.id)) is not None]
    for before, after in pairwise(epochs):
        if after < before:
            yield _violation("I5", log, f"an event of epoch {after} follows one of epoch {before}")
            return
    if epochs and max(epochs) > log.epoch:
        yield _violation("I5", log, f"holds an event of epoch {max(epochs)}, and its record is of epoch {log.epoch}")


def _stopped(log: Log, facts: Facts) -> Iterator[Violation]:
    if log.outcome == "stopped" and not facts.stops.get(log.session):
        yield _violation("I4", log, "was stopped, and nobody had asked for it")


def _unchanged(facts: Facts) -> Iterator[Violation]:
    """An event never changes: if ids name the epoch, one id is the same event in every version of a log.

    The tombstone of a lost log may replace an event, because no cursor of such a stream is served.
    """
    known: dict[tuple[str, Place], tuple[str, str]] = {}
    for log in facts.all_logs():
        for entry in log.entries:
            place = place_of_entry(entry.id)
            if place is None or place.epoch == 0 or (log.lost and entry.kind == "t"):
                continue
            stood = known.setdefault((log.stream_id, place), (entry.kind, entry.data))
            if stood != (entry.kind, entry.data):
                yield _violation("I1", log, f"{entry.id} was {stood[1][:60]!r} and is {entry.data[:60]!r}")


def _answered_once(facts: Facts) -> Iterator[Violation]:
    """Requests with one key get one answer, unless the first answer never had a word, or was lost, or the store was
    away when one of them was begun: then a request runs as if it had no key, as the guide says."""
    by_key: dict[tuple[str, str], dict[str, Attempt]] = defaultdict(dict)
    for attempt in facts.history.attempts:
        if attempt.request_key is not None and attempt.status == 200 and attempt.stream_id is not None:
            by_key[attempt.owner, attempt.request_key].setdefault(attempt.stream_id, attempt)
    for (_, key), found in by_key.items():
        said = [
            stream_id
            for stream_id in found
            if (log := facts.final.get(stream_id)) is not None
            and not log.lost
            and not facts.touched(stream_id)
            and text_of_log(log)
            and not _store_was_away(facts, found[stream_id].begun)
        ]
        if len(said) > 1:
            session = found[said[0]].session
            yield Violation("I6", f"key {key}", f"was answered by {len(said)} streams: {', '.join(said)}", session)
