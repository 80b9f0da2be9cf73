"""What a run consists of: sizes, and the `Load` of a load process."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .contenders.contract import Wire

__all__ = ["FULL", "PHASES", "QUICK", "Kind", "Load", "Log", "Measured", "Phase", "Sizes", "Spread"]


class Log(StrEnum):
    """The Redis that a cell's contenders log in. Each is a process of its own."""

    PLAIN = "plain"
    AOF = "aof"
    """With an append-only file, `appendfsync everysec`."""
    FULL = "full"
    """With many finished sessions in it."""


class Kind(StrEnum):
    """How a load process makes its requests."""

    TOGETHER = "together"
    """All streams at the same moment; events come as fast as possible."""
    ONE_BY_ONE = "one by one"
    """One stream after the other; events come as fast as possible."""
    PACED = "paced"
    """All streams side by side, opened one after the other, each with one event per gap. Measured from the first
    request to the last byte: opening and ending are part of the cost."""
    VIEWERS = "viewers"
    """Like `PACED`, and only the time with all of them open is measured. On a contender that resumes there is one
    stream, and all connections except its own are viewers of it."""
    REPLAY = "replay"
    """One finished stream, requested again and again. A bare server makes it anew each time."""
    STORM = "storm"
    """All clients of many streams are cut and reconnect within a second, beside neighbours that are paced."""
    LONG_REPLAY = "long replay"
    """A long finished stream is replayed beside neighbours that are paced."""
    IDLE = "idle"
    """Streams that send one event and then nothing, to measure their memory."""
    PASSING = "passing"
    """Requests that are not the guard's, one after the other, in this process and without a server: what stands in
    their way is measured alone."""
    TELEMETRY = "telemetry"
    """Streams with every observer on, or with none, in a process of their own and without a server."""
    BROWSER = "browser"
    """A page in a real browser reads streams, one after the other."""
    COUNTS = "counts"
    """Like `PACED`, run once, to count commands and keys. Nothing is timed."""


@dataclass(frozen=True, slots=True)
class Load:
    """Everything that one load process has to do, sent to it as JSON."""

    kind: Kind
    wire: Wire
    port: int
    pids: tuple[int, ...]
    """The server processes whose CPU time is read."""
    streams: int
    events: int
    """Events per stream."""
    gap_seconds: float = 0.0
    stagger_seconds: float = 0.005
    """Time between the openings of two paced streams: simultaneous requests would queue behind each other."""
    view_port: int | None = None
    """Port of another worker that serves viewers and replays; None: `port` serves them."""
    redis_port: int | None = None
    repeats: int = 1
    """How many requests `ONE_BY_ONE` and `REPLAY` make."""
    at_once: bool = False
    """Whether `REPLAY` makes its requests all at the same moment, not one after the other."""
    timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Two percentiles of a time, in milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on a contender, in one run or one round. If there are `problems`, the cell is invalid and the
    figures mean nothing."""

    problems: list[str] = field(default_factory=list)
    turns: int = 1
    """How many runs of a load process these figures were put together from: the turns of a round."""
    events: int = 0
    """Events delivered in the measured time, on all connections together."""
    responses: int = 0
    """Responses in the measured time."""
    seconds: float = 0.0
    """The measured time."""
    server_cpu_us: float = 0.0
    """User and system time of all watched server processes, per delivered event."""
    redis_cpu_us: float | None = None
    """CPU time of Redis per delivered event."""
    first: Spread | None = None
    """Time from a request's first byte to its first event."""
    latency: Spread | None = None
    """Time from the making of an event to its arrival, on the machine's clock."""
    whole: Spread | None = None
    """Time from a request's first byte to the response's last."""
    undisturbed: Spread | None = None
    """Latency of neighbours' events while nothing else happens."""
    disturbed: Spread | None = None
    """Latency of neighbours' events while what the cell is about happens beside them."""
    server_bytes: float | None = None
    """Resident memory per open stream, or how much it grew per reconnect."""
    stream_cpu_us: float | None = None
    """CPU time of a stream of one event, where a cell measures that beside the events'."""
    redis_bytes: float | None = None
    """Redis's `used_memory` per open stream (idle) or per event (otherwise)."""


@dataclass(frozen=True, slots=True)
class Phase:
    """The timing of a paced case. With round numbers, streams tick together, and a server that sends at once gets
    batches for free; so there are several."""

    gap_seconds: float
    """Time between two events of a stream."""
    stagger_seconds: float
    """Time between the openings of two streams."""

    @property
    def name(self) -> str:
        return f"{self.gap_seconds * 1000:g}-{self.stagger_seconds * 1000:g}"


PHASES: Final = (Phase(0.02, 0.002), Phase(0.0217, 0.0011), Phase(0.037, 0.0017))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a run."""

    rounds: int
    turns: int
    """Turns of a round, in the cells whose runs are short and whose ratios have floors."""
    burst_events: int
    burst_streams: int
    one_by_one: int
    paced_streams: int
    paced_events: tuple[int, ...]
    """Events per stream: a case of each."""
    few_streams: int
    """Streams of the paced case in which other libraries take part."""
    short_streams: int
    viewers: int
    viewers_gap_seconds: float
    viewers_events: int
    replay_events: int
    replays: int
    replays_at_once: int
    long_replay_events: int
    storm_streams: int
    storm_events: int
    idle_streams: tuple[int, ...]
    growth_streams: tuple[int, ...]
    """Numbers of streams whose commands and keys are counted."""
    finished_sessions: int
    """Sessions that are finished beforehand, when commands and keys are counted again."""
    browser_streams: int
    capacity: tuple[tuple[int, int, float], ...]
    """Streams, events of each and their gap in seconds, of the cases that the capacity page predicts."""
    passing_requests: int
    telemetry_events: int


FULL: Final = Sizes(
    rounds=5,
    turns=2,
    burst_events=500,
    burst_streams=100,
    one_by_one=30,
    paced_streams=200,
    paced_events=(100, 250),
    few_streams=50,
    short_streams=200,
    viewers=50,
    viewers_gap_seconds=0.01,
    viewers_events=400,
    replay_events=1000,
    replays=30,
    replays_at_once=50,
    long_replay_events=10_000,
    storm_streams=500,
    storm_events=60,
    idle_streams=(1_000, 5_000),
    growth_streams=(10, 100, 1_000),
    finished_sessions=100_000,
    browser_streams=10,
    capacity=((500, 100, 0.1), (2_000, 40, 0.4)),
    passing_requests=200_000,
    telemetry_events=2_000,
)

QUICK: Final = Sizes(
    rounds=1,
    turns=1,
    burst_events=500,
    burst_streams=100,
    one_by_one=10,
    paced_streams=200,
    paced_events=(100, 250),
    few_streams=50,
    short_streams=100,
    viewers=50,
    viewers_gap_seconds=0.01,
    viewers_events=200,
    replay_events=1000,
    replays=10,
    replays_at_once=50,
    long_replay_events=10_000,
    storm_streams=500,
    storm_events=60,
    idle_streams=(200,),
    growth_streams=(10, 100),
    finished_sessions=10_000,
    browser_streams=3,
    capacity=((500, 100, 0.1), (2_000, 40, 0.4)),
    passing_requests=40_000,
    telemetry_events=1_000,
)
