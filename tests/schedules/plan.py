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
    READ = "read"
    """A reader goes on from where it is."""
    RESUME = "resume"
    """A reader begins where another one is, on another worker."""
    LOSE_REPLY = "lose_reply"
    """The next call about the stream is carried out, its reply lost, its connection cut."""
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


_USUAL: Final = {
    Action.APPEND: 34,
    Action.READ: 16,
    Action.RESUME: 5,
    Action.TAKE: 4,
    Action.SEAL: 3,
    Action.CLOSE: 3,
}
_FAULTS: Final = {
    Action.LOSE_REPLY: 7,
    Action.LOSE_REQUEST: 4,
    Action.CUT: 3,
    Action.LAG: 4,
    Action.FAIL_OVER: 4,
    Action.MIGRATE: 3,
    Action.MOVE: 3,
    Action.MIGRATED: 3,
}
_PAUSES: Final = 0.05
"""Which share of schedules has one: it takes as long as a command may."""


def steps_of(seed: int) -> list[Step]:
    """The steps of a seed's schedule, always the same."""
    random = Random(seed)
    weights = _USUAL | _FAULTS
    if random.random() < _PAUSES:
        weights |= {Action.PAUSE: 2}
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
