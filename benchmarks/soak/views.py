"""Compares what clients saw with the logs: I1, I2, I3, I9 and I12, and that a clean end is a real end. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Chain, Facts, Refusal, Violation, place_of
from .history import Action, Attempt, End, Log, Seen
from .places import Place, place_of_cursor, stream_of_cursor
from .wire import fault_in, is_terminal, text_seen

__all__ = ["check_views"]

PASSING: tuple[int, ...] = (0, 429, 500, 502, 503, 504)
"""Statuses that say nothing about the stream."""


def check_views(facts: Facts) -> Iterator[Violation]:
    """All violations that show in what clients saw."""
    for chain in facts.chains:
        yield from _same_stream(chain)
        for reading in _readings(chain):
            yield from _is_of_a_log(chain, reading, facts)
            yield from _says_what_was_said(chain, reading, facts)
        yield from _ends_as_it_should(chain, facts)
    for refusal in facts.refusals:
        yield from _refusal(refusal, facts)
    for attempt in facts.history.attempts:
        if attempt.action is Action.PRY:
            yield from _pried(attempt)
        if attempt.end is End.SILENT:
            yield Violation("I9", attempt.viewer, "heard nothing, not even keep-alives, and no end", attempt.session)


def _same_stream(chain: Chain) -> Iterator[Violation]:
    for attempt in chain.attempts[1:]:
        if attempt.cursor is not None and stream_of_cursor(attempt.cursor) != attempt.stream_id:
            what = f"came back to {stream_of_cursor(attempt.cursor)} and was given {attempt.stream_id}"
            yield Violation("I3", chain.viewer, what, chain.session)


def _readings(chain: Chain) -> Iterator[list[Seen]]:
    """What each text that the viewer had consists of.

    It has one, unless it was told that the answer cannot be resumed and came back all the same, after the writer died
    before it could say in the log that this is lost. Then the log goes on after the last event with an id: a second
    text begins there, which may repeat what the first one showed without ids, or leave it out.
    """
    seen: list[Seen] = []
    told = False
    for attempt in chain.attempts:
        some = chain.of_stream(attempt)
        if told and any(one.id is not None for one in some):
            yield seen
            seen, told = [one for one in seen if one.id is not None], False
        seen = [*seen, *some]
        told = told or chain.told_that_it_cannot_be_resumed(attempt)
    yield seen


def _is_of_a_log(chain: Chain, reading: list[Seen], facts: Facts) -> Iterator[Violation]:
    """Every event with an id is in the log: what a client saw is a prefix of one version of the log."""
    numbered: list[Seen] = []
    bare = 0
    versions = facts.versions(chain.stream_id)
    closing = [one for log in versions for one in facts.shown(log)[log.sealed_seq :]]
    for one in reading:
        if one.id is None:
            # Notices may be sent outside the log. A writer whose store is away at the end sends closing parts without
            # ids, and a viewer that reconnects gets them again.
            bare += fault_in(one, chain.protocol) is None and not any(part.is_seen_as(one) for part in closing)
        elif bare:
            yield Violation("I3", chain.viewer, f"{one.id} came after {bare} events without ids", chain.session)
            return
        else:
            numbered.append(one)
    if not numbered:
        return
    if not versions:
        yield Violation("I2", chain.viewer, f"saw {len(numbered)} events of a stream that has no log", chain.session)
        return
    furthest, what = -1, ""
    for log in versions:
        at, problem = _compared(numbered, facts, log)
        if problem is None:
            return
        if at > furthest:
            furthest, what = at, problem
    yield Violation("I3", chain.viewer, f"stream {chain.stream_id}: {what}", chain.session)


def _compared(numbered: list[Seen], facts: Facts, log: Log) -> tuple[int, str | None]:
    """How many of the seen events are a prefix of a log, and what is wrong after them."""
    expected = facts.shown(log)
    for at, seen in enumerate(numbered):
        if at >= len(expected):
            return at, f"event {at + 1} ({seen.id}) is not in the log, which has {len(expected)}"
        want = expected[at]
        if place_of(seen) != want.place:
            return (
                at,
                f"event {at + 1} is {seen.id}, but the log goes on with {want.place}: a gap, a repeat or a change",
            )
        if not want.is_seen_as(seen):
            return at, f"{seen.id} is {want.data[:80]!r} in the log, but {seen.data[:80]!r} was seen"
    return len(numbered), None


def _says_what_was_said(chain: Chain, seen: list[Seen], facts: Facts) -> Iterator[Violation]:
    """Whatever the logs hold, the text is a prefix of what the model was told to say, and all of it if the stream says
    that it is complete."""
    text = text_seen(seen, chain.protocol)
    question = facts.question_of(text, chain.session)
    if question is None:
        yield Violation("I3", chain.viewer, f"the text is no answer of this session: {text[-120:]!r}", chain.session)
    elif _claims_to_be_whole(seen, chain.protocol) and text != _expected(text, chain, facts):
        yield Violation("I3", chain.viewer, f"was told that {text[-60:]!r} is the whole answer", chain.session)


def _expected(text: str, chain: Chain, facts: Facts) -> str:
    nonce = text.partition(":")[0]
    question = facts.questions.get(nonce)
    return text if question is None else question.answer


def _claims_to_be_whole(seen: list[Seen], protocol: str) -> bool:
    if not seen:
        return False
    if protocol == "ui-message":
        return any(one.data.startswith('{"type":"finish"') for one in seen)
    if protocol == "plain":
        return seen[-1].event == "streamguard.end" and '"outcome":"completed"' in seen[-1].data
    return seen[-1].data == "[DONE]"


def _ends_as_it_should(chain: Chain, facts: Facts) -> Iterator[Violation]:
    ended = False
    for attempt in chain.attempts:
        for one in chain.of_stream(attempt):
            if ended:
                yield Violation("I4", chain.viewer, f"{one.data[:80]!r} came after the end", chain.session)
                return
            ended = is_terminal(one, chain.protocol)
        if attempt.end is End.CLEAN and not ended:
            last = attempt.seen[-1].data[:80] if attempt.seen else "nothing"
            yield Violation("I4", chain.viewer, f"the body ended cleanly after {last!r}", chain.session)


def _refusal(refusal: Refusal, facts: Facts) -> Iterator[Violation]:
    attempt, chain = refusal.attempt, refusal.chain
    if attempt.status in PASSING:
        return
    if attempt.cursor is None:
        yield from _without_cursor(attempt, facts)
        return
    stream_id, place = stream_of_cursor(attempt.cursor), place_of_cursor(attempt.cursor)
    if place is None or stream_id is None:
        return
    seen = None if chain is None else chain.saw(attempt.cursor)
    versions = facts.versions(stream_id, attempt.begun)
    held = [log for log in versions if facts.holds(log, place, seen)]
    if attempt.status == 204 and not any(_nothing_after(facts, log, place) for log in held):
        what = f"204 {attempt.reason} for {attempt.cursor}, " + (
            "which is not the end of the log" if held else "which is in no log"
        )
        yield Violation("I9", attempt.viewer, what, attempt.session)
    elif attempt.status == 410 and len(held) == len(versions) > 0 and not facts.touched(stream_id):
        what = f"410 {attempt.reason} for {attempt.cursor}, which the log holds"
        yield Violation("I9", attempt.viewer, what, attempt.session)


def _nothing_after(facts: Facts, log: Log, place: Place) -> bool:
    expected = facts.shown(log)
    return not expected or expected[-1].place == place


def _without_cursor(attempt: Attempt, facts: Facts) -> Iterator[Violation]:
    if attempt.status != 204:
        return
    if attempt.reason == "none":
        for chain in facts.chains:
            if chain.session != attempt.session or chain.stream_id in facts.gone:
                continue
            if chain.stream_id in facts.final and any(
                one.ended < attempt.begun and any(seen.id for seen in one.seen) for one in chain.attempts
            ):
                what = f"204 none, although stream {chain.stream_id} of this session had been seen"
                yield Violation("I9", attempt.viewer, what, attempt.session)
                return
    log = facts.final.get(attempt.stream_id or "")
    if attempt.reason == "finished" and log is not None and _half(log) and not facts.touched(log.stream_id):
        what = f"204 finished for {log.stream_id}, which was interrupted and is not saved"
        yield Violation("I9", attempt.viewer, what, attempt.session)


def _half(log: Log) -> bool:
    """Whether an answer is incomplete and its log holds all that there is of it."""
    return log.outcome == "interrupted" and not log.lost and log.sealed_seq > 0 and log.persisted in ("pending", "no")


def _pried(attempt: Attempt) -> Iterator[Violation]:
    told = attempt.seen or attempt.stream_id is not None
    if told or attempt.status not in (204, *PASSING) or (attempt.status == 204 and attempt.reason != "none"):
        what = f"another owner was answered {attempt.status} {attempt.code or ''} {attempt.reason or ''}".strip()
        yield Violation("I12", attempt.viewer, what, attempt.session)
