"""What a process wrote since that was told last: counted per commit, per append and per end of a stream, and sampled,
never per event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ...observations import Observation, Signal
from ...stores.appends import AppendReply, AppendRequest
from ...stores.records import Status
from ...values import EventKind
from ..viewing.feed import EVENT_BYTES
from .backlog import Backlog

__all__ = ["LogTally"]

_OK: Final = Status.OK
SAMPLED: Final = ("append_seconds", "queued_seconds", "gap_seconds", "event_bytes", "batch_bytes")


class LogTally:
    """Counts of one process: its writer adds commits and appends to it, and who ends streams what ends their logs.

    One commit, one event and one stream at a time is watched; `samples_per_second` says how often anew, 0 for never.
    """

    def __init__(self, samples_per_second: int, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._every = 1 / samples_per_second if samples_per_second else float("inf")
        self._next_at = 0.0
        """When the next sample is due."""
        self._queued: tuple[Backlog, int, float] | None = None
        """An event that is being watched: its stream, its number, and when the writer learned of it."""
        self._appended: tuple[Backlog, int, float] | None = None
        """A stream that is being watched: its last event in the log, and when that got there."""
        self.commits: int = 0
        """Round trips, also those that failed."""
        self.appends: int = 0
        """Appends that were acknowledged, each once."""
        self.events: int = 0
        """Events that the log acknowledged, those that end it included; `bytes` are their payloads."""
        self.bytes: int = 0
        self.retries: int = 0
        """Appends that were sent again."""
        self.failures: int = 0
        """Appends that failed, for now or for good."""
        self._samples: dict[str, list[float]] = {name: [] for name in SAMPLED}

    def watch(self, backlog: Backlog) -> None:
        """An event of it waits: note when, unless another is being watched."""
        if self._queued is None and (now := self._clock()) >= self._next_at:
            self._queued = (backlog, backlog.feed.emitted, now)

    def sent(self, backlogs: Sequence[Backlog], batch: Sequence[AppendRequest], now: float) -> list[int]:
        """A commit is sent. `now` is the present time. Returns the payload of each append, in bytes."""
        self.commits += 1
        sizes = [
            backlog.in_flight_bytes - EVENT_BYTES * len(append.events)
            for backlog, append in zip(backlogs, batch, strict=True)
        ]
        if now >= self._next_at:
            self._samples["batch_bytes"].append(sum(sizes))
            self._samples["event_bytes"].append(len(batch[0].events[0][1]))
        return sizes

    def answered(
        self,
        backlogs: Sequence[Backlog],
        batch: Sequence[AppendRequest],
        replies: Sequence[AppendReply],
        sizes: Sequence[int],
        sent_at: float,
        now: float,
    ) -> None:
        """The commit that was sent at that time, with payloads of those sizes, is answered, `now`. A duplicate is an
        append whose answer was lost."""
        for backlog, append, reply, size in zip(backlogs, batch, replies, sizes, strict=True):
            if reply.status is _OK or reply.status is Status.DUPLICATE:
                self.appends += 1
                if not backlog.ended:  # otherwise they were counted with the stream's end, which came first
                    self.events += len(append.events)
                    self.bytes += size
        if self._queued is None and self._appended is None and now < self._next_at:
            return
        samples = self._samples
        if self._queued is not None:
            backlog, seq, emitted_at = self._queued
            if backlog.acked >= seq:
                samples["queued_seconds"].append(now - emitted_at)
                self._queued = None
            elif backlog.closed:
                self._queued = None
        if self._appended is not None:
            backlog, seq, appended_at = self._appended
            if backlog.acked > seq:
                samples["gap_seconds"].append(now - appended_at)
                self._appended = None
            elif backlog.closed:
                self._appended = None
        if now >= self._next_at:
            self._next_at = now + self._every
            samples["append_seconds"].append(now - sent_at)
            if self._appended is None:
                self._appended = (backlogs[0], backlogs[0].acked, now)

    def ended(self, events: Iterable[tuple[EventKind, bytes]], backlog: Backlog | None = None) -> None:
        """The log acknowledged these, outside a commit: they end it. With the `backlog` of a stream that is written
        here, what waits in that for its acknowledgement is in the log as well."""
        for _, data in events:
            self.events += 1
            self.bytes += len(data)
        if backlog is not None and not backlog.closed:
            self.events += backlog.unacked
            self.bytes += backlog.pending_bytes - EVENT_BYTES * backlog.unacked

    def take(self) -> Observation | None:
        """What was counted since the last call; None for nothing."""
        # An answer may come after its commit was told.
        if not (self.commits or self.appends or self.failures or self.events):
            return None
        fields: dict[str, str | int | float | bool | None] = {
            "commits": self.commits,
            "appends": self.appends,
            "events": self.events,
            "bytes": self.bytes,
            "retries": self.retries,
            "failures": self.failures,
        }
        samples = {name: tuple(values) for name, values in self._samples.items() if values}
        self.commits = self.appends = self.events = self.bytes = self.retries = self.failures = 0
        self._samples = {name: [] for name in SAMPLED}
        return Observation(Signal.LOG_WRITTEN, fields=fields, samples=samples)
