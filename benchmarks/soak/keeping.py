"""Checks the message store and the quota's ledgers: I6, I7 and I8. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from .facts import Facts, Violation
from .history import Log, Saved
from .wire import BLOCKS, announces_saved, text_of_log

__all__ = ["check_counted", "check_saved"]


def check_saved(facts: Facts) -> Iterator[Violation]:
    """I6 and I7: each reply has one message, which equals the fold of its log and exists if a client was told so."""
    saved = {(one.owner, one.session, one.message_id): one for one in facts.history.saved}
    rows = Counter((one.owner, one.session, one.message_id) for one in facts.history.saved)
    for (_, session, message_id), count in rows.items():
        if count > 1:
            yield Violation("I6", f"message {message_id}", f"is stored {count} times", session)
    logs: dict[str, list[Log]] = defaultdict(list)
    for log in facts.all_logs():
        logs[log.message_id].append(log)
    for one in facts.history.saved:
        if one.role == "assistant":
            yield from _is_the_fold(one, logs.get(one.message_id, []), facts)
    ids = {message_id for _, _, message_id in saved}
    yield from _announced(facts, ids)
    for log in facts.history.logs:
        yield from _on_record(log, ids)


def _is_the_fold(row: Saved, logs: list[Log], facts: Facts) -> Iterator[Violation]:
    whole = [log for log in logs if not log.lost]
    folded = [log for log in whole if row.text in _folds(log)]
    unlogged = any(log.stream_id in facts.unlogged for log in logs)
    if folded and not unlogged:
        outcomes = {log.outcome for log in folded if log.outcome is not None}
        if outcomes and (row.status == "complete") not in {outcome == "completed" for outcome in outcomes}:
            what = f"is {row.status}, and its stream {', '.join(map(str, outcomes))}"
            yield Violation("I6", f"message {row.message_id}", what, row.session)
        return
    # If the log was lost, the writer may have known more than it holds. Then the message is what the model said, once.
    degraded = unlogged or len(whole) < len(logs) or not logs or any(facts.touched(log.stream_id) for log in logs)
    text = row.text if not row.text.startswith("data: ") else _unwrapped(row.text)
    if not degraded or facts.question_of(text, row.session) is None:
        what = f"{row.text[-80:]!r} is not what its log folds to"
        yield Violation("I6", f"message {row.message_id}", what, row.session)


def _folds(log: Log) -> list[str]:
    if log.protocol not in BLOCKS:
        return [text_of_log(log)]
    said = "".join(entry.data for entry in log.entries[: log.sealed_seq] if entry.kind == "d")
    closing = "".join(entry.data for entry in log.entries[log.sealed_seq :] if entry.kind == "c")
    return [said, said + closing]


def _unwrapped(blocks: str) -> str:
    """The text in the application's opaque blocks."""
    deltas = blocks.replace("data: [DONE]\n\n", "").split('data: {"delta":"')
    return "".join(delta.removesuffix('"}\n\n') for delta in deltas)


def _announced(facts: Facts, ids: set[str]) -> Iterator[Violation]:
    for chain in facts.chains:
        for seen in chain.seen:
            message_id = announces_saved(seen, chain.protocol)
            if message_id is not None and message_id not in ids and _said_something(facts, chain.stream_id):
                what = "was announced as saved, and is not in the message store"
                yield Violation("I7", f"message {message_id}", what, chain.session)


def _said_something(facts: Facts, stream_id: str | None) -> bool:
    """Whether a stream said something. A stream without a word is not saved."""
    return any(text_of_log(log) for log in facts.versions(stream_id))


def _on_record(log: Log, ids: set[str]) -> Iterator[Violation]:
    subject = f"stream {log.stream_id}"
    if log.persisted == "yes" and log.message_id not in ids and text_of_log(log):
        yield Violation("I7", subject, "is on record as saved, and its message is not in the store", log.session)
    if log.persisted == "pending" and not log.owes:
        yield Violation("I7", subject, "is on record as pending, and nothing is owed", log.session)
    if log.quota == "pending" and not log.owes:
        yield Violation("I8", subject, "is on record as to be settled, and nothing is owed", log.session)


def check_counted(facts: Facts) -> Iterator[Violation]:
    """I8: no owner is over its limit, and every reservation was settled once."""
    history = facts.history
    charged: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for one in history.reserved:
        charged[one.owner] += one.charged
        subject = f"reservation of {one.stream_id}"
        log = facts.final.get(one.stream_id)
        session = None if log is None else log.session
        if one.state == "reserved":
            held[one.owner] += one.reserved
            yield Violation("I8", subject, "is still held", session)
        if one.charged > one.reserved:
            yield Violation("I8", subject, f"of {one.reserved} was charged {one.charged}", session)
        known = log is not None and not log.lost and one.stream_id not in facts.unlogged
        if known and log is not None and log.usage is not None and not facts.touched(one.stream_id):
            if one.state == "committed" and one.charged != log.usage:
                yield Violation("I8", subject, f"was charged {one.charged}; sealed is {log.usage}", session)
            if log.outcome == "completed" and one.state != "committed":
                yield Violation("I8", subject, f"is {one.state}, and its answer is complete", session)
    for standing in history.standings:
        subject = f"owner {standing.owner}"
        if standing.used + standing.held > standing.limit:
            what = f"has used {standing.used} and holds {standing.held}, over its limit of {standing.limit}"
            yield Violation("I8", subject, what)
        if (standing.used, standing.held) != (charged[standing.owner], held[standing.owner]):
            what = (
                f"is counted with {standing.used} used and {standing.held} held, "
                f"but its reservations are {charged[standing.owner]} and {held[standing.owner]}"
            )
            yield Violation("I8", subject, what)
