"""What is run: targets, sizes, and the order one load process gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["FULL", "QUICK", "Kind", "Load", "Measured", "Protocol", "Sizes", "Spread", "Target"]


class Target(StrEnum):
    """Who serves."""

    BARE = "bare"
    MEMORY = "memory"
    REDIS = "redis"


class Protocol(StrEnum):
    """How an event looks on the wire; the bare server writes the same form by hand."""

    PLAIN = "plain"
    UI_MESSAGE = "ui-message"


class Kind(StrEnum):
    """How a load process asks."""

    TOGETHER = "together"
    """All streams at the same moment, events as fast as they come."""
    ONE_BY_ONE = "one by one"
    """One stream after the other, events as fast as they come."""
    PACED = "paced"
    """All streams side by side, one event per gap each; only a window with all of them open is measured."""
    VIEWERS = "viewers"
    """As paced. On a guarded server one stream is made, and all connections but its own are viewers of it."""
    REPLAY = "replay"
    """One finished stream, asked for again and again. A bare server makes it anew each time."""
    IDLE = "idle"
    """Streams that send one event and then nothing, for their memory."""


@dataclass(frozen=True, slots=True)
class Load:
    """The whole order of one load process, sent to it as JSON."""

    kind: Kind
    guarded: bool
    protocol: Protocol
    port: int
    pids: tuple[int, ...]
    """The server processes whose CPU time is read."""
    streams: int
    events: int
    """Per stream."""
    gap_seconds: float = 0.0
    view_port: int | None = None
    """Where viewers and replays are asked for, if not at `port`: another worker."""
    redis_port: int | None = None
    repeats: int = 1
    """How often `ONE_BY_ONE` and `REPLAY` ask."""
    timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Two percentiles of a time, in milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one load process saw. With `problems` the cell is invalid and the figures mean nothing."""

    problems: list[str] = field(default_factory=list)
    events: int = 0
    """Delivered in the measured time, all connections together."""
    seconds: float = 0.0
    """The measured time."""
    server_cpu_us: float = 0.0
    """Per delivered event, user and system, of all watched server processes."""
    redis_cpu_us: float | None = None
    """Per delivered event."""
    first: Spread | None = None
    """From a request's first byte to its first event."""
    latency: Spread | None = None
    """From an event's making to its arrival, in the same machine's clock."""
    whole: Spread | None = None
    """From a request's first byte to the response's last."""
    server_bytes: float | None = None
    """Resident memory per open stream."""
    redis_bytes: float | None = None
    """Redis's `used_memory` per open stream (idle) or per event (otherwise)."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a run does."""

    rounds: int
    burst_events: int
    burst_streams: int
    one_by_one: int
    paced_streams: int
    paced_gap_seconds: float
    paced_events: int
    short_streams: int
    viewers: int
    viewers_gap_seconds: float
    viewers_events: int
    replay_events: int
    replays: int
    idle_streams: int
    ui_message: bool
    """Whether bursts and the paced case are repeated in AI SDK's protocol."""


FULL: Final = Sizes(
    rounds=5,
    burst_events=500,
    burst_streams=100,
    one_by_one=30,
    paced_streams=200,
    paced_gap_seconds=0.02,
    paced_events=400,
    short_streams=200,
    viewers=50,
    viewers_gap_seconds=0.01,
    viewers_events=400,
    replay_events=1000,
    replays=30,
    idle_streams=500,
    ui_message=True,
)

QUICK: Final = Sizes(
    rounds=1,
    burst_events=500,
    burst_streams=100,
    one_by_one=10,
    paced_streams=200,
    paced_gap_seconds=0.02,
    paced_events=175,
    short_streams=100,
    viewers=50,
    viewers_gap_seconds=0.01,
    viewers_events=200,
    replay_events=1000,
    replays=10,
    idle_streams=200,
    ui_message=False,
)
