"""A schedule: what workers and readers of one stream do, and what goes wrong meanwhile, made of a seed."""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

__all__ = ["READERS", "WORKERS", "Action", "Step", "steps_of"]

WORKERS: Final = 3
READERS: Final = 3


class Action(StrEnum):
    APPEND = "append"
    """A worker emits some events and commits what is not in the log yet."""
    TAKE = "take"
    """A worker takes the stream over."""
    SEAL = "seal"
    CLOSE = "close"
    """A worker writes the end that is decided; of a lost log, its tombstone. An even amount owes a save."""
    FINISH = "finish"
    """A worker decides the end and writes it in one step: the usual end."""
    BEAT = "beat"
    """A worker renews its lease."""
    LOSE_LOG = "lose_log"
    """A worker declares its log lost, and goes on without it."""
    SWEEP = "sweep"
    """Two workers at once look for streams of dead ones, and end this one; they may die on the way: after the takeover
    with an amount of 1, after the seal with one of 2."""
    SETTLE = "settle"
    """Two workers at once do what is owed."""
    ERASE = "erase"
    """The session is erased. Whoever still has its stream does not know."""
    READ = "read"
    """A reader goes on from where it is."""
    RESUME = "resume"
    """A reader begins where another one is, on another worker."""
    LOSE_REPLY = "lose_reply"
    """The next call about the stream is carried out, its reply lost, its connection cut. In a cluster, with an amount
    of 3 or 4 it is the next one at the server that has its entry in the lease index, or its owner's slots."""
    LOSE_REQUEST = "lose_request"
    CUT = "cut"
    """Every connection is cut."""
    PAUSE = "pause"
    """The server answers the next call too late."""
    LAG = "lag"
    """From here on, nothing reaches the replicas."""
    FAIL_OVER = "fail_over"
    """A replica takes over: what happened since `LAG` is lost, if that came before."""
    MIGRATE = "migrate"
    """The stream's slot begins to move."""
    MOVE = "move"
    """Some of its keys have moved."""
    MIGRATED = "migrated"


class Step(NamedTuple):
    action: Action
    who: int
    amount: int


_USUAL: Final[dict[Action, float]] = {
    Action.APPEND: 34,
    Action.READ: 16,
    Action.RESUME: 5,
    Action.TAKE: 4,
    Action.SEAL: 3,
    Action.CLOSE: 3,
    Action.FINISH: 1,
    Action.BEAT: 4,
    Action.LOSE_LOG: 0.5,
    Action.SWEEP: 1,
    Action.SETTLE: 2,
    Action.ERASE: 0.5,
}
_FAULTS: Final[dict[Action, float]] = {
    Action.LOSE_REPLY: 7,
    Action.LOSE_REQUEST: 4,
    Action.CUT: 3,
    Action.LAG: 4,
    Action.FAIL_OVER: 4,
    Action.MIGRATE: 3,
    Action.MOVE: 3,
    Action.MIGRATED: 3,
}
_ENDS: Final[dict[Action, float]] = {
    Action.SEAL: 10,
    Action.CLOSE: 14,
    Action.FINISH: 3,
    Action.SWEEP: 5,
    Action.SETTLE: 12,
    Action.ERASE: 1,
    Action.LAG: 10,
    Action.FAIL_OVER: 10,
}
_ABOUT_ENDS: Final = 0.25
"""Which share of schedules is about what becomes of a stream's end."""
_PAUSES: Final = 0.05
"""Which share of schedules has one: it takes as long as a command may."""


def steps_of(seed: int) -> list[Step]:
    """The steps of a seed's schedule, always the same."""
    random = Random(seed)
    weights = _USUAL | _FAULTS
    if random.random() < _PAUSES:
        weights |= {Action.PAUSE: 2}
    if random.random() < _ABOUT_ENDS:
        weights |= _ENDS
    actions = random.choices(list(weights), weights=list(weights.values()), k=random.randint(8, 36))
    # Whoever writes is most often the same worker: the others find out that they were fenced.
    first = random.randrange(WORKERS)
    steps = []
    for action in actions:
        who = first if random.random() < 0.7 else random.randrange(WORKERS)
        if action is Action.TAKE:
            first = who = random.randrange(WORKERS)
        steps.append(Step(action, who, random.randint(1, 4)))
    return steps
