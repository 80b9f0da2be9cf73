"""A history in an order that suits the checks. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from .history import Action, Attempt, End, History, Log, Question, Seen
from .places import Place, place_of_cursor
from .wire import BLOCKS, PROTOCOLS, Shown, fault_in, shown

__all__ = ["Chain", "Facts", "Refusal", "Violation", "place_of"]

REFUSALS: Final = frozenset({"resume_failed", "store_unavailable"})
"""Codes of faults that tell a viewer that it gets no more."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    promise: str
    """`I1` to `I12`."""
    subject: str
    """The stream, viewer, message or owner in question."""
    what: str
    session: str | None = None
    """The session whose history shows the violation."""


@dataclass(slots=True)
class Chain:
    """What one viewer saw of one stream from its beginning, on all of its connections."""

    viewer: str
    stream_id: str | None
    session: str
    protocol: str
    attempts: list[Attempt] = field(default_factory=list)
    """The attempts that were answered with events."""

    @property
    def seen(self) -> Iterator[Seen]:
        """Everything that the viewer saw, in order."""
        return (one for attempt in self.attempts for one in self.of_stream(attempt))

    def of_stream(self, attempt: Attempt) -> tuple[Seen, ...]:
        """What an attempt saw of the stream itself, without the fault that it got when its connection was cut.

        If the store cannot give the rest of another worker's stream to a viewer, the viewer gets the same as a client
        that is refused when it reconnects: a fault, and what makes its protocol's clients notice it. Then it is cut.
        """
        for at, one in enumerate(attempt.seen):
            if attempt.end is End.CUT and one.id is None:
                fault = fault_in(one, self.protocol)
                if fault is not None and fault.get("code") in REFUSALS:
                    return attempt.seen[:at]
        return attempt.seen

    def went_on_from_memory(self, attempt: Attempt) -> bool:
        """Whether an attempt got the rest of the answer, or its end, from the writer's memory. Then the viewer was told
        that the stream cannot be resumed, or its events had ids at first and later none."""
        numbered = self.protocol in BLOCKS and attempt.action is Action.ASK  # such a request asks for ids
        for one in self.of_stream(attempt):
            if one.id is not None:
                numbered = True
                continue
            fault = fault_in(one, self.protocol)
            if numbered or (fault is not None and fault.get("code") == "not_resumable"):
                return True
        return False

    def told_that_it_cannot_be_resumed(self, attempt: Attempt) -> bool:
        """Whether an attempt's viewer was told so: by a notice, or, in an opaque stream, which has room for none, by
        events without ids after such with ids."""
        if self.protocol in BLOCKS:
            return self.went_on_from_memory(attempt)
        faults = (fault_in(one, self.protocol) for one in self.of_stream(attempt) if one.id is None)
        return any(fault is not None and fault.get("code") == "not_resumable" for fault in faults)

    def saw(self, cursor: str) -> Seen | None:
        """The event that the viewer saw with that id."""
        return next((one for one in self.seen if one.id == cursor), None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A resume that was answered without events, and the chain that it would have continued."""

    attempt: Attempt
    chain: Chain | None


class Facts:
    """Looks things up in a history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.final = {log.stream_id: log for log in history.logs}
        self.questions = {question.nonce: question for question in history.questions}
        self._by_session: dict[str, list[Question]] = defaultdict(list)
        for question in history.questions:
            self._by_session[question.session].append(question)
        self._lost: dict[str, list[tuple[float, Log]]] = defaultdict(list)
        for loss in history.losses:
            for log in loss.logs:
                self._lost[log.stream_id].append((loss.at, log))
        self.gone = {stream_id for loss in history.losses for stream_id in loss.gone}
        self._shown: dict[int, list[Shown]] = {}
        self.chains: list[Chain] = []
        self.refusals: list[Refusal] = []
        self._follow()

    # -- logs -----------------------------------------------------------------------------------------------------

    def versions(self, stream_id: str | None, since: float = 0.0) -> list[Log]:
        """A stream's final log, and its log before each failover after `since` that lost a part of it."""
        found = [log for at, log in self._lost.get(stream_id or "", ()) if at > since]
        final = self.final.get(stream_id or "")
        return found if final is None else [final, *found]

    def touched(self, stream_id: str) -> bool:
        """Whether a failover lost a part of a stream."""
        return stream_id in self._lost

    def all_logs(self) -> Iterator[Log]:
        """Every version of every log."""
        yield from self.history.logs
        for versions in self._lost.values():
            yield from (log for _, log in versions)

    def shown(self, log: Log) -> list[Shown]:
        """What a viewer of the whole log sees."""
        found = self._shown.get(id(log))
        if found is None:
            found = self._shown[id(log)] = shown(log)
        return found

    def holds(self, log: Log, place: Place, seen: Seen | None) -> bool:
        """Whether a log holds, at a place, the event that was seen (None: any event)."""
        return any(one.place == place and (seen is None or one.is_seen_as(seen)) for one in self.shown(log))

    @cached_property
    def unlogged(self) -> frozenset[str]:
        """The streams that a viewer saw go on from memory. More than their logs hold may have been saved and charged,
        if their writers died before they could record that in the logs."""
        return frozenset(
            chain.stream_id
            for chain in self.chains
            if chain.stream_id is not None and any(map(chain.went_on_from_memory, chain.attempts))
        )

    # -- questions --------------------------------------------------------------------------------------------------

    def answers(self, session: str) -> Iterable[Question]:
        """All questions of a session."""
        return self._by_session[session]

    def question_of(self, text: str, session: str) -> Question | None:
        """The question of a session whose answer begins with `text`; None when there is none."""
        return next((question for question in self.answers(session) if question.answer.startswith(text)), None)

    @cached_property
    def stops(self) -> dict[str, list[Attempt]]:
        """Every request that may have stopped an answer, by session."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.history.attempts:
            question = self.questions.get(attempt.nonce or "")
            if attempt.action is Action.STOP or (question is not None and question.path == "replace"):
                found[attempt.session].append(attempt)
        return found

    # -- views ------------------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Combine every viewer's attempts into chains."""
        current: dict[str, Chain | None] = {}
        for attempt in self.history.attempts:
            if attempt.action not in (Action.ASK, Action.RESUME):
                continue
            chain = current.get(attempt.viewer) if attempt.cursor is not None else None
            if attempt.status != 200:
                if attempt.action is Action.RESUME:
                    self.refusals.append(Refusal(attempt, chain))
                continue
            if chain is None:
                protocol = self._protocol(attempt)
                chain = Chain(attempt.viewer, attempt.stream_id, attempt.session, protocol)
                self.chains.append(chain)
                current[attempt.viewer] = chain
            chain.attempts.append(attempt)

    def _protocol(self, attempt: Attempt) -> str:
        for log in self.versions(attempt.stream_id):
            return log.protocol
        question = self.questions.get(attempt.nonce or "")
        if question is not None:
            return question.protocol
        asked = next(
            (one for one in self.history.attempts if one.nonce and one.stream_id == attempt.stream_id is not None), None
        )
        question = self.questions.get(asked.nonce or "") if asked is not None else None
        return PROTOCOLS[0] if question is None else question.protocol


def place_of(seen: Seen) -> Place | None:
    """An event's place in its log, from its id."""
    return None if seen.id is None else place_of_cursor(seen.id)
