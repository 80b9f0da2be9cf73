"""Plans the chats of a soak from the seed alone, so that a run can be repeated as far as processes allow."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from .history import Question

__all__ = ["ENDPOINTS", "Chat", "Reading", "Turn", "chat_of"]

ENDPOINTS: Final = {
    "ui": "ui-message",
    "plain": "plain",
    "opaque": "opaque",
    "sync": "ui-message",
    "replace": "ui-message",
    "join": "ui-message",
    "strict": "ui-message",
    "counted": "ui-message",
}
"""The application's endpoints and their protocols."""

CHATS_PER_OWNER: Final = 12
"""Chats of one owner: enough for some owners to reach their quota."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a viewer reads. Each entry is for one connection, in turn; the last entry is for all further connections."""

    delay: float
    """Seconds from the question to the viewer's first connection."""
    drops: tuple[int | None, ...]
    """Bytes after which the viewer breaks each connection; None: never."""
    forgets: tuple[bool, ...]
    """Whether the viewer reconnects without its cursor."""
    in_query: bool
    in_stream: bool

    def drop(self, connection: int) -> int | None:
        """The entry of `drops` for a connection, from 0."""
        return self.drops[connection] if connection < len(self.drops) else None

    def forgetful(self, connection: int) -> bool:
        """The entry of `forgets` for a connection, from 0."""
        return connection < len(self.forgets) and self.forgets[connection]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what happens during its answer. Delays are in seconds after the question."""

    question: Question
    gap_ms: float
    request_key: str | None
    asker: Reading
    watchers: tuple[Reading, ...]
    stop_after: float | None
    rival_after: float | None
    """When another question is asked in the session; for `join`, the same question."""
    repeat_after: float | None
    """When the request is repeated with the same idempotency key."""
    pry_after: float | None


@dataclass(frozen=True, slots=True)
class Chat:
    """One session."""

    number: int
    turns: tuple[Turn, ...]


def chat_of(seed: int, number: int) -> Chat:
    """Chat `number` of a soak, from 0."""
    rng = Random(f"{seed}/chat/{number}")
    turns = tuple(_turn(rng, seed, number, turn) for turn in range(rng.choice((1, 1, 1, 2, 3))))
    return Chat(number, turns)


def _turn(rng: Random, seed: int, number: int, turn: int) -> Turn:
    path = rng.choice(list(ENDPOINTS))
    long = rng.random() < 0.15
    count = rng.randrange(40, 200) if long else rng.randrange(1, 40)
    gap_ms = rng.choice((0.0, 2.0, 10.0, 40.0))
    question = Question(
        nonce=f"n{number}t{turn}",
        owner=f"owner-{number // CHATS_PER_OWNER}",
        session=f"chat-{seed}-{number}",
        path=path,
        protocol=ENDPOINTS[path],
        count=count,
        size=rng.choice((0, 0, 0, 200, 2_000)),
        crash_at=rng.randrange(0, count) if rng.random() < 0.1 else None,
        asked_at=0.0,
    )
    lasting = count * gap_ms / 1000 + 0.05
    keyed = rng.random() < 0.4

    def maybe(chance: float) -> float | None:
        return rng.uniform(0, lasting) if rng.random() < chance else None

    return Turn(
        question=question,
        gap_ms=gap_ms,
        request_key=f"key-{seed}-{number}-{turn}" if keyed else None,
        asker=_reading(rng, 0.0),
        watchers=tuple(_reading(rng, rng.uniform(0, lasting * 1.2)) for _ in range(rng.choice((0, 0, 1, 1, 2)))),
        stop_after=maybe(0.15),
        rival_after=maybe(0.6 if path in ("replace", "join") else 0.08),
        repeat_after=rng.uniform(0, lasting * 2) if keyed and rng.random() < 0.5 else None,
        pry_after=maybe(0.08),
    )


def _reading(rng: Random, delay: float) -> Reading:
    count = rng.choice((0, 0, 1, 2, 4))
    return Reading(
        delay=delay,
        drops=tuple(rng.randrange(0, 6_000) for _ in range(count)),
        forgets=(False, *(rng.random() < 0.15 for _ in range(count))),
        in_query=rng.random() < 0.3,
        in_stream=rng.random() < 0.2,
    )
